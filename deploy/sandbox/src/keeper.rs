//! Watches the running parts, and restarts those that it is ordered to.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::clickhouse::ClickHouse;
use crate::clickhouse_server::{ClickHouseAddresses, stop_merges};
use crate::control::{Control, Order, Part};
use crate::error::SandboxError;
use crate::nats_server::{self, NatsAddresses};
use crate::process::Process;
use crate::report;
use crate::stack::{Stack, first_end};

/// Where the parts answer, the first time and again after a restart.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) nats: NatsAddresses,
    pub(crate) clickhouse: ClickHouseAddresses,
    /// Where the webhook listens.
    pub(crate) webhook: SocketAddr,
    /// Where sidecar and aggregator tell metrics, in this order; one address if they are one.
    pub(crate) metrics: Vec<SocketAddr>,
    /// Merges are to be stopped whenever `ClickHouse` starts.
    pub(crate) stop_merges: bool,
}

/// The parts of a running sandbox, and where orders about them arrive.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    stack: &'a mut Stack,
    control: Control,
    reached: Reached,
}

impl<'a> Keeper<'a> {
    /// Keeps a stack whose parts all answer.
    pub(crate) fn new(stack: &'a mut Stack, control: Control, reached: Reached) -> Self {
        Self { stack, control, reached }
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
                Ok(()) => report::say(&format!("restarted {}", order.part.process_name())),
            }
        }
    }

    /// Restarts a part, and watches the others.
    async fn obey(&mut self, order: Order) -> Result<(), SandboxError> {
        let Order { part, down_for } = order;
        let (process, others) = self.stack.split(part.process_name())?;
        tokio::select! {
            error = first_end(others) => Err(error),
            done = revive(process, part, &self.reached, down_for) => done,
        }
    }
}

async fn revive(
    process: &mut Process,
    part: Part,
    reached: &Reached,
    down_for: Duration,
) -> Result<(), SandboxError> {
    process.kill().await?;
    let held = hold(&reached.ports(part));
    sleep(down_for).await;
    process.start_again()?;
    reached.answers(process, part).await?;
    drop(held);
    Ok(())
}

impl Reached {
    /// All on which the part listens.
    fn ports(&self, part: Part) -> Vec<SocketAddr> {
        match part {
            Part::Clickhouse => vec![self.clickhouse.http, self.clickhouse.native],
            Part::Nats => self.nats.ports(),
            Part::Relay => std::iter::once(self.webhook).chain(self.metrics.clone()).collect(),
        }
    }

    /// Waits until a part that was started again does its work.
    async fn answers(&self, process: &mut Process, part: Part) -> Result<(), SandboxError> {
        const LIMIT: Duration = Duration::from_mins(1);
        match part {
            Part::Clickhouse => {
                let client = ClickHouse::at(self.clickhouse.http);
                process.answer(LIMIT, async || client.is_up().await.then_some(())).await?;
                // The order to stop them does not outlive the process.
                if self.stop_merges { stop_merges(self.clickhouse).await } else { Ok(()) }
            }
            Part::Nats => {
                process.answer(LIMIT, async || nats_server::serves(&self.nats).await).await
            }
            Part::Relay => {
                let connect = async || TcpStream::connect(self.webhook).await.ok();
                process.answer(LIMIT, connect).await.map(drop)
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
    // One that cannot be held is only less safe.
    addresses.iter().filter_map(hold).collect()
}
