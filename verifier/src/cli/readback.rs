//! `readback`: reads a run back through the query API.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use edges::clock::Clock;
use edges::exit::{Exit, chain};
use edges::shutdown::Shutdown;
use plans::plan::Plan;
use plans::quantity::parse_wait;
use queries::api::{Api, ApiArgs, AskLimits};
use queries::question::LIMIT_MAX;
use runs::readback::READBACK_FILE;
use runs::run_dir::RunDir;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use tell::output::{show, show_json};

use super::story::{tell, told};
use crate::earlier::Earlier;
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::readback::text::Text;
use crate::readback::{AskOptions, Chosen, ReadbackOptions, read_back};
use crate::recorded::Recorded;

/// Flags of `readback`.
#[derive(Debug, Args)]
pub(super) struct ReadbackArgs {
    /// Directory of the run. If each shard has its own directory, name all of them.
    #[arg(required = true, value_name = "RUN")]
    dirs: Vec<PathBuf>,
    #[command(flatten)]
    api: ApiArgs,
    /// Longest time to wait for the answer to a question.
    #[arg(long = "query-timeout", default_value = "65s", value_parser = parse_wait)]
    #[arg(value_name = "TIME")]
    timeout: Duration,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Run directory of another run whose events the table has too, like a seeded history; can be
    /// given several times. If events of it are shown to tenants that they do not belong to, that
    /// is found, and told with their tenant and run.
    #[arg(long, value_name = "DIR")]
    history: Vec<PathBuf>,
    /// The most tenants to read.
    #[arg(long, value_name = "COUNT")]
    tenants: Option<u32>,
    /// Share of the tenants to read, from 0 to 1. The run's seed chooses them.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = parse_share)]
    sample: f64,
    /// Also asks the platform for the events of tenants whose events no tenant can ask for: those
    /// of the global scope, and of users' own scopes. This reads all events of all runs in the
    /// period.
    #[arg(long)]
    platform: bool,
    /// Page sizes of the walks by cursor.
    #[arg(long, value_delimiter = ',', default_value = "100,1000", value_name = "SIZES")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    page_sizes: Vec<u32>,
    /// The most questions in a second.
    #[arg(long, default_value_t = 50.0, value_parser = parse_rate, value_name = "PER_SECOND")]
    rate: f64,
    /// How long events that are not shown yet are looked for again. A replica may be late.
    #[arg(long, default_value = "1m", value_parser = parse_wait, value_name = "TIME")]
    wait: Duration,
    /// Longest time that all of it may take. Scopes that are not read by then are unknown.
    #[arg(long, default_value = "1h", value_parser = parse_wait, value_name = "TIME")]
    total: Duration,
    /// How long the query API or the table may fail before a question is given up.
    #[arg(long, default_value = "1m", value_parser = parse_wait, value_name = "TIME")]
    patience: Duration,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ReadbackArgs) -> Result<Exit, VerifyError> {
    let mut runs = Recorded::open_all(&args.dirs)?;
    let run = match (runs.pop(), runs.len()) {
        (Some(run), 0) => run,
        (_, others) => return Err(VerifyError::OneRun { runs: others + 1 }),
    };
    let histories = args.history.iter().map(|path| Ok(RunDir::open(path)?.1));
    let histories: Vec<Plan> = histories.collect::<Result<_, VerifyError>>()?;
    let earlier: Vec<Earlier> =
        run.dirs.iter().map(|dir| Earlier::set_aside(dir.path(), &[READBACK_FILE], tell)).collect();
    let limits = AskLimits { timeout: args.timeout, ..AskLimits::default() };
    let api = Api::from_args(&args.api, limits)?;
    let shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
    let mut patience = Patience::new(Clock::system(), shutdown, args.patience, tell);
    let table = if args.clickhouse.urls.is_empty() {
        None
    } else {
        let targets = &run.plan.spec.targets;
        let connect = async || ClickHouse::connect(&args.clickhouse, targets).await;
        Some(patience.greet(connect).await?)
    };
    let options = ReadbackOptions {
        ask: AskOptions { rate: args.rate, patience: args.patience, total: args.total },
        wait: args.wait,
        page_sizes: args.page_sizes.clone(),
        chosen: Chosen {
            tenants_max: args.tenants,
            share: args.sample,
            with_platform: args.platform,
        },
    };
    let runs = (&run, &histories[..]);
    let readback = Box::pin(read_back(runs, &api, table.as_ref(), &options, &mut patience)).await?;
    let mut exit = readback.verdict.exit();
    for (dir, earlier) in run.dirs.iter().zip(&earlier) {
        match dir.write_json(READBACK_FILE, &readback) {
            Ok(()) => earlier.forget(READBACK_FILE),
            Err(error) => {
                tell(&chain(&error));
                exit = exit.untold();
            }
        }
    }
    let shown = if args.json { show_json(&readback) } else { show(Text(&readback)) };
    Ok(told(shown, exit))
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    let is_share = share > 0.0 && share <= 1.0;
    is_share.then_some(share).ok_or_else(|| "it must be above 0 and at most 1".to_owned())
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    let is_rate = (0.01..=10_000.0).contains(&rate);
    is_rate.then_some(rate).ok_or_else(|| "it must be from 0.01 to 10000".to_owned())
}
