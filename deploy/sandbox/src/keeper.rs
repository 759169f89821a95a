//! Watches the running parts, and carries out orders to restart, stop and start them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::clickhouse::ClickHouse;
use crate::clickhouse_server::{ClickHouseAddresses, stop_merges};
use crate::control::{Act, Control, Order};
use crate::error::SandboxError;
use crate::nats_server::{self, NatsAddresses};
use crate::process::Process;
use crate::query_api_server;
use crate::report;
use crate::stack::{Stack, first_end};

/// Where the parts answer, the first time and again after a restart.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) nats: NatsAddresses,
    pub(crate) clickhouse: ClickHouseAddresses,
    /// Where webhook and metrics are.
    pub(crate) joint: Joint,
    /// Where the sandbox's own query API listens, if it has one.
    pub(crate) query_api: Option<SocketAddr>,
    /// Merges are to be stopped whenever `ClickHouse` starts.
    pub(crate) stop_merges: bool,
}

/// The addresses of the relay, or of the Vectors.
#[derive(Debug, Clone)]
pub(crate) struct Joint {
    /// Where the webhook listens.
    pub(crate) webhook: SocketAddr,
    /// Where sidecar and aggregator tell metrics, in this order; one address if they are one.
    pub(crate) metrics: Vec<SocketAddr>,
}

/// The parts of a running sandbox, and where orders about them arrive.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    stack: &'a mut Stack,
    control: Control,
    reached: Reached,
    /// The ports of parts that are down, by their process's name.
    held: BTreeMap<&'static str, Vec<TcpSocket>>,
}

impl<'a> Keeper<'a> {
    /// Keeps a stack whose parts all answer.
    pub(crate) fn new(stack: &'a mut Stack, control: Control, reached: Reached) -> Self {
        Self { stack, control, reached, held: BTreeMap::new() }
    }

    /// Waits until a part ends that was not ordered to, and says which and how. Meanwhile it does
    /// what is ordered, one order after the other.
    pub(crate) async fn broken(&mut self) -> SandboxError {
        loop {
            let (order, client) = tokio::select! {
                error = self.stack.broken() => return error,
                order = self.control.next() => order,
            };
            let outcome = self.obey(order).await;
            client.answer(outcome.as_ref().map(drop)).await;
            match outcome {
                Err(error @ SandboxError::PartDied { .. }) => return error,
                Err(error) => report::say_error(&error),
                Ok(()) => report::say(&order.done()),
            }
        }
    }

    /// Does to a part what is ordered, and watches the others.
    async fn obey(&mut self, order: Order) -> Result<(), SandboxError> {
        let Self { stack, reached, held, .. } = self;
        let nats_is_up = !stack.is_down(nats_server::NAME);
        let (mut named, others) = stack.split(order.part.process_names());
        if named.is_empty() {
            return Err(SandboxError::NoSuchPart { part: order.part.name() });
        }
        tokio::select! {
            error = first_end(others) => Err(error),
            done = act(&mut named, order.act, reached, held, nats_is_up) => done,
        }
    }
}

async fn act(
    named: &mut [&mut Process],
    act: Act,
    reached: &Reached,
    held: &mut BTreeMap<&'static str, Vec<TcpSocket>>,
    nats_is_up: bool,
) -> Result<(), SandboxError> {
    if act != Act::Start {
        for process in named.iter_mut().filter(|process| !process.is_down()) {
            process.kill().await?;
            held.insert(process.name(), hold(&reached.ports(process.name())));
        }
    }
    match act {
        Act::Stop => return Ok(()),
        Act::Start => {}
        Act::Restart(down_for) => sleep(down_for).await,
    }
    for process in named.iter_mut().filter(|process| process.is_down()) {
        process.start_again()?;
    }
    for process in named {
        let nats_is_up = nats_is_up || process.name() == nats_server::NAME;
        match reached.answers(process, nats_is_up).await {
            Err(error @ SandboxError::PartDied { part, .. }) => {
                // A Vector that finds no NATS ends like this. It counts as down then, and may be
                // started again.
                process.stay_down();
                held.insert(part, hold(&reached.ports(part)));
                return Err(SandboxError::NotDone {
                    part,
                    done: "started",
                    why: error.to_string(),
                });
            }
            answered => answered?,
        }
        held.remove(process.name());
    }
    Ok(())
}

impl Reached {
    /// All on which a process listens.
    fn ports(&self, name: &str) -> Vec<SocketAddr> {
        let Joint { webhook, metrics } = &self.joint;
        match name {
            "clickhouse" => vec![self.clickhouse.http, self.clickhouse.native],
            nats_server::NAME => self.nats.ports(),
            "relay" => std::iter::once(*webhook).chain(metrics.iter().copied()).collect(),
            "sidecar" | "vector-sidecar" => {
                std::iter::once(*webhook).chain(metrics.first().copied()).collect()
            }
            query_api_server::NAME => self.query_api.into_iter().collect(),
            _ => metrics.last().copied().into_iter().collect(),
        }
    }

    /// Waits until a part that was started again does its work.
    async fn answers(&self, process: &mut Process, nats_is_up: bool) -> Result<(), SandboxError> {
        const LIMIT: Duration = Duration::from_mins(1);
        match process.name() {
            "clickhouse" => {
                let client = ClickHouse::at(self.clickhouse.http);
                process.answer(LIMIT, async || client.is_up().await.then_some(())).await?;
                // Merges are stopped only until the server restarts, so they must be stopped again.
                if self.stop_merges { stop_merges(self.clickhouse).await } else { Ok(()) }
            }
            nats_server::NAME => {
                process.answer(LIMIT, async || nats_server::serves(&self.nats).await).await
            }
            name => {
                for port in self.ports(name) {
                    process.answer(LIMIT, async || TcpStream::connect(port).await.ok()).await?;
                }
                // If NATS is down by order, nobody can read from it, so there is nothing to wait
                // for.
                if name.ends_with("aggregator") && nats_is_up {
                    let read = async || nats_server::is_read(&self.nats).await;
                    process.answer(LIMIT, read).await?;
                }
                Ok(())
            }
        }
    }
}

/// Keeps ports from others until their part is back.
///
/// They are of the range that the system gives to outgoing connections: without this a client that
/// tries again and again is in the end given the port itself, and connected to itself. A socket
/// that does not listen refuses clients, and lets the part listen beside it.
fn hold(addresses: &[SocketAddr]) -> Vec<TcpSocket> {
    let hold = |address: &SocketAddr| {
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        socket.bind(*address).ok()?;
        Some(socket)
    };
    // If a port cannot be held, restarting is only less safe.
    addresses.iter().filter_map(hold).collect()
}
