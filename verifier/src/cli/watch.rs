//! `watch`: watches a run, and shows what it sees on a screen, in lines or as metrics.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use edges::address::read_listen;
use edges::clock::{Clock, micros};
use edges::exit::Exit;
use edges::shutdown::{Shutdown, Stop};
use plans::plan::Plan;
use plans::quantity::parse_wait;
use runs::run_dir::RunDir;
use stores::clickhouse::ClickHouseArgs;
use stores::jetstream::NatsArgs;
use tell::exporter::MetricsServer;
use tell::output;
use tell::screen::{Screen, is_ours};

use crate::error::VerifyError;
use crate::vectors::VectorArgs;
use crate::watch::draw::draw;
use crate::watch::lines::Lines;
use crate::watch::metrics::Metrics;
use crate::watch::view::{Gatherer, View};
use crate::watch::{
    EndingOptions, Look, Meter, ResourceArgs, Servers, WatchEnd, WatchOptions, WatchSummary, open,
    watch,
};

/// Flags of `watch`.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Directory of the run. It may not exist yet.
    dir: PathBuf,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Ends the watch after this time, whatever the run does.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_wait)]
    duration: Option<Duration>,
    /// Continues until no message waits for the consumer and the table has not grown for 10 s.
    #[arg(long)]
    until_still: bool,
    /// After the end of the run, the longest time to wait until its events are visible.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_wait)]
    linger: Duration,
    /// At the start, the longest time to wait for the run's directory and for the servers.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_wait)]
    wait: Duration,
    /// Time between two looks at the pipeline.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Serves metrics for Prometheus at this address, under /metrics; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", value_parser = read_listen)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    vectors: VectorArgs,
    /// Prints nothing but errors.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    resources: ResourceArgs,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let in_limits = Duration::from_millis(100)..=Duration::from_mins(1);
    let interval = parse_wait(text)?;
    in_limits.contains(&interval).then_some(interval).ok_or("take 100ms to 1m".to_owned())
}

/// Runs the command.
pub(super) async fn run(args: &WatchArgs) -> Result<Exit, VerifyError> {
    let clock = Clock::system();
    let mut shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
    let begun = tokio::select! {
        begun = begin(args, clock) => begun?,
        () = shutdown.asked(Stop::Drain) => return Ok(Exit::Stopped),
    };
    let (dir, plan, servers, mut teller) = begun;
    let options = WatchOptions {
        interval: args.interval,
        ending: EndingOptions {
            until: args.duration.map(|duration| clock.now() + micros(duration)),
            linger: args.linger,
            until_still: args.until_still,
        },
    };
    let tell = |look: &Look| teller.tell(look);
    let watching = watch((dir.clone(), plan), servers, options, clock, shutdown, tell);
    let summary = Box::pin(watching).await?;
    match summary.end {
        WatchEnd::Stopped => Ok(Exit::Stopped),
        WatchEnd::Over => {
            teller.finish(&summary, dir.path());
            Ok(Exit::Done)
        }
    }
}

/// Connects to everything that a watch needs.
async fn begin(
    args: &WatchArgs,
    clock: Clock,
) -> Result<(RunDir, Plan, Servers, Teller), VerifyError> {
    let meter = Meter::new(&args.resources)?;
    let deadline = clock.now() + micros(args.wait);
    let (dir, plan) = open(&args.dir, &clock, deadline).await?;
    let connecting = Servers::connect(&plan, &args.clickhouse, &args.nats, &clock, deadline);
    let servers = Servers { vectors: args.vectors.urls(), meter, ..connecting.await? };
    let gatherer = Gatherer::new(&plan, servers.table.table.to_string());
    let teller = Teller::begin(args, gatherer, servers.names()).await?;
    Ok((dir, plan, servers, teller))
}

/// Shows each look.
struct Teller {
    gatherer: Gatherer,
    progress: Shown,
    metrics: Option<(Metrics, MetricsServer)>,
    servers: Vec<String>,
}

enum Shown {
    Screen(Screen<View>),
    Lines(Lines),
    Nothing,
}

impl Teller {
    async fn begin(
        args: &WatchArgs,
        gatherer: Gatherer,
        servers: Vec<String>,
    ) -> Result<Self, VerifyError> {
        let metrics = match args.metrics {
            Some(address) => Some(serve(address, args.quiet).await?),
            None => None,
        };
        // Last, because nothing else may write to standard error once a screen is shown.
        let progress = match args.quiet {
            true => Shown::Nothing,
            false if is_ours() => {
                Screen::start(draw).map_or_else(|_| Shown::Lines(Lines::default()), Shown::Screen)
            }
            false => Shown::Lines(Lines::default()),
        };
        Ok(Self { gatherer, progress, metrics, servers })
    }

    fn tell(&mut self, look: &Look) {
        let view = self.gatherer.view(&look.observation, &look.silent, look.phase);
        if let Some((metrics, _)) = &self.metrics {
            metrics.tell(&view, &self.servers);
        }
        match &mut self.progress {
            Shown::Screen(screen) => screen.show(view),
            Shown::Lines(lines) => {
                if let Some(line) = lines.line(&view) {
                    output::tell(line);
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Gives the terminal back, and prints which servers did not answer and how many samples were
    /// not seen.
    fn finish(self, summary: &WatchSummary, dir: &Path) {
        let is_quiet = matches!(self.progress, Shown::Nothing);
        drop(self.progress);
        for line in summary.errors.lines().iter().filter(|_| !is_quiet) {
            output::tell(format_args!("no answer from {line}"));
        }
        let missed = summary.samples_missed;
        if missed > 0 && !is_quiet {
            let text = "sampled events were not visible when the watch ended";
            let hint = format!("`auditstorm-verifier reconcile {}` says why", dir.display());
            output::tell(format_args!("{missed} {text}; {hint}"));
        }
    }
}

async fn serve(
    address: SocketAddr,
    is_quiet: bool,
) -> Result<(Metrics, MetricsServer), VerifyError> {
    let (metrics, registry) = Metrics::new();
    let server = MetricsServer::start(address, registry)
        .await
        .map_err(|source| VerifyError::Metrics { address, source })?;
    if !is_quiet {
        output::tell(format_args!("metrics on http://{}/metrics", server.address()));
    }
    Ok((metrics, server))
}
