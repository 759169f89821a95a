//! Starts the pipeline, keeps it, and stops it.

use std::fs;
use std::path::{Path, PathBuf};

use async_nats::jetstream::stream;

use crate::chdb::QueryLog;
use crate::cli::Up;
use crate::clickhouse_server::{start_clickhouse, stop_merges};
use crate::command::run_command;
use crate::control::Control;
use crate::error::SandboxError;
use crate::fault::{Fault, FaultKind, FaultPlan, Place};
use crate::keeper::{Joint, Keeper, Reached};
use crate::nats_server::{start_nats, stream_config};
use crate::owner::Ownership;
use crate::parts::{self, CLICKHOUSE, NATS, on_path};
use crate::query_api::ReadPlan;
use crate::query_api_server::{QueryApi, start_query_api};
use crate::read_fault::ReadFault;
use crate::relay_server::{RelayMode, start_relay};
use crate::report;
use crate::stack::{Stack, remove_stale, write_whole};
use crate::stop_signals::StopSignals;
use crate::vector::Vector;

/// Runs a sandbox from start to stop, and returns the exit code.
///
/// # Errors
///
/// Returns an error if the directory is taken, or a part is missing, cannot be started, or ends by
/// itself. What was started is stopped in any case.
pub(crate) async fn up(options: Up) -> Result<u8, SandboxError> {
    let dir = std::path::absolute(&options.dir)
        .map_err(SandboxError::io("find the folder", &options.dir))?;
    let wanted = Wanted::new(&options)?;
    if let Some(program) = options.command.first() {
        check_program(program)?;
    }
    fs::create_dir_all(&dir).map_err(SandboxError::io("create", &dir))?;
    let ownership = Ownership::take(&dir)?;
    let env_file = dir.join("env");
    remove_stale(&env_file)?;
    let mut signals = StopSignals::listen()?;
    let mut stack = Stack::new(&dir);
    let outcome = keep(&wanted, &options.command, &env_file, &mut stack, &mut signals).await;
    let removed = remove_stale(&env_file);
    stack.stop().await;
    drop(ownership);
    let code = outcome?;
    removed.map(|()| code)
}

/// What to start, found and checked before anything is.
struct Wanted {
    nats: PathBuf,
    clickhouse: PathBuf,
    join: Join,
    stop_merges: bool,
    stream: stream::Config,
    /// With its own flags.
    query_api: Option<(QueryApi, Vec<String>)>,
}

/// What joins webhook, NATS and `ClickHouse`.
enum Join {
    Vector(Vector),
    /// With the relay's own flags.
    Relay(RelayMode, Vec<String>),
}

impl Wanted {
    fn new(options: &Up) -> Result<Self, SandboxError> {
        let plan = FaultPlan::new(&options.faults, options.seed)?;
        let join = match &options.vector {
            Some(_) if options.faults.iter().any(|fault| fault.of_reading().is_none()) => {
                return Err(SandboxError::FaultsNeedRelay);
            }
            Some(_) if options.relay.is_some() => return Err(SandboxError::RelayAndVector),
            Some(path) if !path.is_file() => {
                return Err(SandboxError::NotThere { part: "vector", path: path.clone() });
            }
            Some(path) => {
                let program = std::path::absolute(path).map_err(SandboxError::io("find", path))?;
                Join::Vector(Vector::new(program, options.batch_wait, options.retry_max)?)
            }
            None => Join::Relay(wanted_relay(options)?, relay_args(options)),
        };
        let home = std::path::absolute(&options.parts)
            .map_err(SandboxError::io("find the folder", &options.parts))?;
        let named = &options.named;
        let duplicates = |place| plan.orders(FaultKind::Duplicate, place);
        Ok(Self {
            nats: parts::find(&NATS, named.nats_server.as_deref(), &home)?,
            clickhouse: parts::find(&CLICKHOUSE, named.clickhouse.as_deref(), &home)?,
            join,
            stream: stream_config(options.stream.as_deref())?,
            query_api: wanted_query_api(options)?,
            stop_merges: duplicates(Place::Sidecar) || duplicates(Place::Aggregator),
        })
    }
}

/// The relay that stands in for Vector.
fn wanted_relay(options: &Up) -> Result<RelayMode, SandboxError> {
    let mode = options.relay.unwrap_or(RelayMode::Fast);
    let of_buffers = options.faults.iter().find(|fault| matches!(fault, Fault::KeepLast { .. }));
    match (mode, of_buffers) {
        (RelayMode::Fast, Some(fault)) => {
            Err(SandboxError::FaultNeedsHonest { fault: fault.to_string() })
        }
        _ => Ok(mode),
    }
}

/// The query API, if one is asked for, with flags for its faults.
fn wanted_query_api(options: &Up) -> Result<Option<(QueryApi, Vec<String>)>, SandboxError> {
    let faults: Vec<ReadFault> =
        options.faults.iter().filter_map(|fault| fault.of_reading()).collect();
    ReadPlan::new(&faults, options.seed)?;
    if options.query_api != Some(QueryApi::Own)
        && let Some(fault) = faults.first()
    {
        return Err(SandboxError::FaultNeedsQueryApi { fault: fault.to_string() });
    }
    let faults = faults.iter().map(|fault| format!("--fault={fault}"));
    let flags = std::iter::once(format!("--seed={}", options.seed)).chain(faults).collect();
    Ok(options.query_api.clone().map(|query_api| (query_api, flags)))
}

/// Fails if a shell would not find the program either, before anything is started.
fn check_program(program: &str) -> Result<(), SandboxError> {
    let path = Path::new(program);
    let is_there = if program.contains('/') { path.is_file() } else { on_path(program).is_some() };
    let not_there = || SandboxError::NotThere { part: "command", path: path.to_owned() };
    is_there.then_some(()).ok_or_else(not_there)
}

fn relay_args(options: &Up) -> Vec<String> {
    let faults = options.faults.iter().filter(|fault| fault.of_reading().is_none());
    let faults = faults.map(|fault| format!("--fault={fault}"));
    let batch_wait = format!("--batch-wait={}ms", options.batch_wait.as_millis());
    let seed = format!("--seed={}", options.seed);
    let retry_max = format!("--retry-max={}ms", options.retry_max.as_millis());
    [batch_wait, retry_max, seed].into_iter().chain(faults).collect()
}

type Addresses = Vec<(&'static str, String)>;

async fn keep(
    wanted: &Wanted,
    command: &[String],
    env_file: &Path,
    stack: &mut Stack,
    signals: &mut StopSignals,
) -> Result<u8, SandboxError> {
    let reached = tokio::select! {
        reached = start(wanted, stack) => reached?,
        stop = signals.next() => return Ok(stop.exit_code()),
    };
    let addresses = addresses(&reached, wanted);
    let control = Control::listen(env_file.parent().expect("a file in the sandbox's folder"))?;
    let mut keeper = Keeper::new(stack, control, reached);
    let lines: Vec<String> =
        addresses.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for line in &lines {
        report::print_line(line);
    }
    // This file is written last, so that whoever waits for it finds everything ready.
    write_whole(env_file, format!("{}\n", lines.join("\n")))?;
    if !command.is_empty() {
        return run_command(command, &addresses, &mut keeper, signals).await;
    }
    report::say("up; Ctrl-C or `down` stops it");
    tokio::select! {
        error = keeper.broken() => Err(error),
        stop = signals.next() => Ok(stop.exit_code()),
    }
}

async fn start(wanted: &Wanted, stack: &mut Stack) -> Result<Reached, SandboxError> {
    let nats = start_nats(stack, &wanted.nats, wanted.stream.clone()).await?;
    let log = match &wanted.query_api {
        Some(_) => QueryLog::Kept,
        None => QueryLog::Off,
    };
    let clickhouse = start_clickhouse(stack, &wanted.clickhouse, log).await?;
    if wanted.stop_merges {
        stop_merges(clickhouse).await?;
    }
    let joint = match &wanted.join {
        Join::Relay(mode, flags) => start_relay(stack, *mode, flags, &nats, clickhouse).await?,
        Join::Vector(vector) => vector.start(stack, &nats, clickhouse).await?,
    };
    let query_api = match &wanted.query_api {
        Some((QueryApi::Own, flags)) => Some(start_query_api(stack, flags, clickhouse).await?),
        _ => None,
    };
    Ok(Reached { nats, clickhouse, joint, query_api, stop_merges: wanted.stop_merges })
}

fn addresses(reached: &Reached, wanted: &Wanted) -> Addresses {
    let Reached { nats, clickhouse, joint: Joint { webhook, metrics }, query_api, .. } = reached;
    let query_api = match &wanted.query_api {
        Some((QueryApi::At(url), _)) => Some(url.clone()),
        _ => query_api.map(|address| format!("http://{address}")),
    };
    let metrics: Vec<String> =
        metrics.iter().map(|address| format!("http://{address}/metrics")).collect();
    let mut addresses = vec![
        ("VECTOR_WEBHOOK_URL", format!("http://{webhook}/events")),
        ("NATS_URL", nats.client.clone()),
        ("CLICKHOUSE_URL", format!("http://{}", clickhouse.http)),
        ("VECTOR_METRICS_URL", metrics.join(",")),
        ("NATS_MONITOR_URL", nats.monitor.clone()),
        ("CLICKHOUSE_NATIVE_ADDRESS", clickhouse.native.to_string()),
    ];
    addresses.extend(query_api.map(|url| ("QUERY_API_URL", url)));
    addresses
}
