//! The pipeline under test on one machine: real NATS `JetStream`, real `ClickHouse`, and between
//! them Vector, or a relay that does what Vector does and can be told to misbehave.
//!
//! Everything here is behind the program `auditstorm-sandbox`: it starts itself again as guard, as
//! `ClickHouse` server, as relay and as query API, so other programs cannot use this library
//! instead.

mod archive;
mod chdb;
mod cli;
mod clickhouse;
mod clickhouse_server;
mod clock;
mod command;
mod control;
mod down;
mod duration;
mod error;
mod fault;
mod fault_error;
mod fault_log;
mod fetching;
mod guard;
mod keeper;
mod nats_server;
mod order;
mod owner;
mod parts;
mod process;
mod prometheus;
mod query_api;
mod query_api_server;
mod read_fault;
mod relay;
mod relay_server;
mod report;
mod setup;
mod share;
mod stack;
mod stop_signals;
mod up;
mod vector;

use std::path::Path;

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

pub use crate::cli::Cli;
use crate::cli::Command;
use crate::control::{Act, Order};
pub use crate::error::SandboxError;
use crate::fault::FaultPlan;
pub use crate::fault::{Fault, FaultKind, Place};
pub use crate::fault_error::FaultError;
use crate::query_api::{QueryApiOptions, ReadPlan};
pub use crate::read_fault::ReadFault;
use crate::relay::RelayOptions;
pub use crate::report::say_error;
use crate::setup::SetupOptions;
pub use crate::share::Share;

/// Does what the flags say, and returns the exit code.
///
/// # Errors
///
/// Returns why it cannot be done; [`SandboxError::exit_code`] is the exit code then.
pub fn run(cli: Cli) -> Result<u8, SandboxError> {
    match cli.command {
        Command::Setup { into, named } => {
            let cli::Named { nats_server, clickhouse } = named;
            setup::setup(&SetupOptions { home: into, nats_server, clickhouse })?;
        }
        Command::Up(up) => return one_thread()?.block_on(up::up(up)),
        Command::Down { dir } => one_thread()?.block_on(down::down(&dir))?,
        Command::Restart { target, down_for } => give(target, Act::Restart(down_for))?,
        Command::Stop { target } => give(target, Act::Stop)?,
        Command::Start { target } => give(target, Act::Start)?,
        Command::Guard { parent, command } => {
            let (program, args) = command.split_first().expect("the flag is required");
            guard::guard(parent, Path::new(program), args)?;
        }
        Command::Clickhouse { library, data, http_port, tcp_port, query_log } => {
            let ports = chdb::Ports { http: http_port, tcp: tcp_port };
            let log = if query_log { chdb::QueryLog::Kept } else { chdb::QueryLog::Off };
            chdb::serve(&library, &data, ports, log)?;
        }
        Command::Relay(flags) => run_relay(flags)?,
        Command::QueryApi(flags) => run_query_api(flags)?,
    }
    Ok(0)
}

fn give(target: cli::Target, act: Act) -> Result<(), SandboxError> {
    let cli::Target { dir, part } = target;
    one_thread()?.block_on(order::order(&dir, Order { part, act }))
}

/// A runtime whose work, and so every start of a child, is done by the thread that calls it: the
/// kernel kills the children when the thread that started them ends.
fn one_thread() -> Result<Runtime, SandboxError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(SandboxError::io("start", Path::new("the runtime")))
}

/// Logs to standard error in logfmt, as the other programs do: what `RUST_LOG` says, else what is
/// done. A variable that is not understood is as none.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logfmt = tracing_logfmt::builder().with_span_name(false).with_span_path(false);
    let logs = logfmt.subscriber_builder().with_env_filter(filter);
    logs.with_writer(std::io::stderr).init();
}

/// One thread for what comes in, one for what goes out.
fn two_threads() -> Result<Runtime, SandboxError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(SandboxError::io("start", Path::new("the runtime")))
}

fn run_relay(flags: cli::Relay) -> Result<(), SandboxError> {
    log();
    let plan = FaultPlan::new(&flags.faults, flags.seed)?;
    two_threads()?.block_on(relay::relay(RelayOptions {
        nats: flags.nats,
        clickhouse: flags.clickhouse,
        listen: flags.listen,
        metrics: flags.metrics,
        address_file: flags.address_file,
        faults_file: flags.faults_file,
        batch_wait: flags.batch_wait,
        part: flags.part,
        buffer: flags.buffer,
        retry_max: flags.retry_max,
        plan,
    }))
}

fn run_query_api(flags: cli::QueryApiFlags) -> Result<(), SandboxError> {
    log();
    let plan = ReadPlan::new(&flags.read_faults(), flags.seed)?;
    two_threads()?.block_on(query_api::query_api(QueryApiOptions {
        clickhouse: flags.clickhouse,
        listen: flags.listen,
        address_file: flags.address_file,
        faults_file: flags.faults_file,
        plan,
    }))
}
