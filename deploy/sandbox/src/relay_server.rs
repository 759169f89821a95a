//! Starts the sandbox's own relay: one fast process, or two honest ones.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use crate::clickhouse_server::ClickHouseAddresses;
use crate::error::SandboxError;
use crate::guard::OWN_PROGRAM;
use crate::keeper::Joint;
use crate::nats_server::{self, NatsAddresses};
use crate::process::Launch;
use crate::relay::DRAIN_LIMIT;
use crate::stack::{Stack, is_free, local, remove_stale};

/// How the relay stands in for Vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RelayMode {
    /// One process that holds events in memory, and retries soon
    Fast,
    /// Two processes, sidecar and aggregator, with disk buffers and with retries like Vector's
    Honest,
}

/// Starts the relay, and waits until it listens.
///
/// # Errors
///
/// Returns an error if it ends or does not answer.
pub(crate) async fn start_relay(
    stack: &mut Stack,
    mode: RelayMode,
    flags: &[String],
    nats: &NatsAddresses,
    clickhouse: ClickHouseAddresses,
) -> Result<Joint, SandboxError> {
    let folder = stack.folder("relay")?;
    let faults = folder.with_file_name("faults.jsonl");
    let mut common = vec![
        format!("--nats={}", nats.client),
        format!("--clickhouse={}", clickhouse.http),
        format!("--faults-file={}", faults.display()),
    ];
    common.extend_from_slice(flags);
    let part = |name| Part { name, folder: &folder, common: &common };
    match mode {
        RelayMode::Fast => {
            let [webhook, metrics] = start_part(stack, &part("relay"), nats).await?;
            Ok(Joint { webhook, metrics: vec![metrics] })
        }
        RelayMode::Honest => {
            // The aggregator starts first, as with Vector.
            let [behind] = start_part(stack, &part("aggregator"), nats).await?;
            let [webhook, before] = start_part(stack, &part("sidecar"), nats).await?;
            Ok(Joint { webhook, metrics: vec![before, behind] })
        }
    }
}

/// One process of the relay.
struct Part<'a> {
    name: &'static str,
    folder: &'a Path,
    /// Flags of all parts.
    common: &'a [String],
}

async fn start_part<const PORTS: usize>(
    stack: &mut Stack,
    part: &Part<'_>,
    nats: &NatsAddresses,
) -> Result<[SocketAddr; PORTS], SandboxError> {
    const READY_LIMIT: Duration = Duration::from_secs(20);
    /// Time beyond its own limit, in which it writes what it could not pass on.
    const STOP_SLACK: Duration = Duration::from_secs(2);
    let Part { name, folder, .. } = *part;
    let file = if name == "relay" { "address".to_owned() } else { format!("{name}-address") };
    let address_file = folder.join(file);
    // After a restart it must have the same address, because others know it.
    let earlier = read_addresses(&address_file).unwrap_or([local(0); PORTS]);
    let earlier = earlier.map(|address| if is_free(&address) { address } else { local(0) });
    remove_stale(&address_file)?;
    let process = stack.start(Launch {
        name,
        program: PathBuf::from(OWN_PROGRAM),
        args: args(part, &address_file, &earlier),
        env: Vec::new(),
        stop_limit: DRAIN_LIMIT + STOP_SLACK,
    })?;
    // The relay listens before it writes this, so who reads it can connect.
    let addresses = process.answer(READY_LIMIT, async || read_addresses(&address_file)).await?;
    process.set_args(args(part, &address_file, &addresses));
    if name == "aggregator" {
        process.answer(READY_LIMIT, async || nats_server::is_read(nats).await).await?;
    }
    Ok(addresses)
}

fn args(part: &Part<'_>, address_file: &Path, listen: &[SocketAddr]) -> Vec<String> {
    let Part { name, folder, common } = part;
    let mut args = vec![(*name).to_owned()];
    args.extend_from_slice(common);
    args.push(format!("--address-file={}", address_file.display()));
    args.push(format!("--buffer={}", folder.join(format!("{name}-buffer")).display()));
    if *name != "relay" {
        args.push(format!("--part={name}"));
    }
    if let [webhook, _] = listen {
        args.push(format!("--listen={webhook}"));
    }
    args.extend(listen.last().map(|metrics| format!("--metrics={metrics}")));
    args
}

/// Where a part listens, as it wrote it down.
fn read_addresses<const PORTS: usize>(file: &Path) -> Option<[SocketAddr; PORTS]> {
    let text = fs::read_to_string(file).ok()?;
    let addresses: Vec<SocketAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
    addresses.try_into().ok()
}
