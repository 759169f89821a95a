//! Watches the pipeline while a run goes on: what is seen goes to a screen, to Prometheus, and
//! into the run's directory.
//!
//! A watch is a witness. A server that does not answer is a fact to be written down, and no reason
//! to end. It talks to nobody who sends: which events to look for follows from the plan, and when
//! they were acknowledged from the generator's files.

mod backlog;
mod draw;
mod ending;
mod lines;
mod metrics;
mod processes;
mod resources;
mod servers;
mod table;
mod tracker;
mod view;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use edges::address::read_listen;
use edges::clock::{Clock, micros};
use edges::exit::Exit;
use edges::shutdown::{Shutdown, Stop};
use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::quantity::parse_wait;
use runs::json_lines::Tail;
use runs::observation::Observation;
use runs::record::Second;
use runs::run_dir::{RunDir, RunDirError};
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::NatsArgs;
use tell::metrics::MetricsServer;
use tell::output;
use tell::screen::{Screen, is_ours};
use tokio::task::JoinHandle;

use self::backlog::Backlog;
use self::ending::{Ending, EndingOptions};
use self::lines::Lines;
use self::metrics::Metrics;
use self::resources::{Meter, ResourceArgs};
use self::servers::{Servers, connect};
use self::table::read_visible;
use self::tracker::Tracker;
use self::view::{Gatherer, View};
use crate::error::VerifyError;
use crate::vectors::VectorArgs;

/// Flags of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Directory of the run; it need not be there yet.
    dir: PathBuf,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    /// Ends after as long, whatever the run does.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_wait)]
    duration: Option<Duration>,
    /// Goes on until nothing waits for the consumer and the table has not grown for ten seconds.
    #[arg(long)]
    until_still: bool,
    /// Once the run is over, waits at most as long for what it sent to become visible.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_wait)]
    linger: Duration,
    /// How long to wait, at the start, for the run's directory and for servers to answer.
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
    /// Tells nothing but errors.
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

/// Watches a run until it is over, or the user asks to stop.
///
/// # Errors
///
/// Returns [`VerifyError`] if there is no run or no sandbox, a server does not answer at the start,
/// or the run's directory or the metrics' address cannot be had.
pub(crate) async fn watch(args: &WatchArgs, clock: Clock) -> Result<Exit, VerifyError> {
    let mut shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
    let begun = tokio::select! {
        begun = begin(args, clock) => begun?,
        () = shutdown.asked(Stop::Drain) => return Ok(Exit::Stopped),
    };
    let Begun { dir, plan, servers, teller } = begun;
    let plan = Arc::new(plan);
    let tracker = Arc::new(Mutex::new(Tracker::new(&plan, clock.now())));
    let poller = Poller {
        server: servers.table.clone(),
        plan: Arc::clone(&plan),
        tracker: Arc::clone(&tracker),
        clock,
    };
    let watcher = Watcher {
        ending: Ending::new(
            &plan,
            EndingOptions {
                until: args.duration.map(|duration| clock.now() + micros(duration)),
                linger: args.linger,
                until_still: args.until_still,
            },
        ),
        backlog: Backlog::new(plan.start, plan.spec.shards),
        tails: (0..plan.spec.shards).map(|shard| Tail::new(dir.timeline(shard))).collect(),
        poller: Stopped(tokio::spawn(poller.poll())),
        dir,
        plan,
        servers,
        tracker,
        teller,
        clock,
        interval: args.interval,
    };
    Box::pin(watcher.watch(shutdown)).await
}

/// All that a watch needs, ready.
struct Begun {
    dir: RunDir,
    plan: Plan,
    servers: Servers,
    teller: Teller,
}

async fn begin(args: &WatchArgs, clock: Clock) -> Result<Begun, VerifyError> {
    let meter = Meter::new(&args.resources)?;
    let deadline = clock.now() + micros(args.wait);
    let (dir, plan) = open(&args.dir, &clock, deadline).await?;
    let (table, stream) = connect(&plan, &args.clickhouse, &args.nats, &clock, deadline).await?;
    let gatherer = Gatherer::new(&plan, table.table.to_string());
    let servers = Servers { table, stream, vectors: args.vectors.urls(), meter };
    let teller = Teller::begin(args, gatherer, &servers).await?;
    Ok(Begun { dir, plan, servers, teller })
}

/// Opens a run's directory, as soon as there is one.
async fn open(
    path: &Path,
    clock: &Clock,
    deadline: UnixMicros,
) -> Result<(RunDir, Plan), VerifyError> {
    loop {
        match RunDir::open(path) {
            Err(RunDirError::NoRun { .. }) if clock.now() < deadline => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Asks the table again and again for the samples that wait.
struct Poller {
    server: ClickHouse,
    plan: Arc<Plan>,
    tracker: Arc<Mutex<Tracker>>,
    clock: Clock,
}

impl Poller {
    /// Polls for good. A table that is slow to answer is asked less often.
    async fn poll(self) {
        loop {
            let begun = self.clock.now();
            let question = {
                let mut tracker = lock(&self.tracker);
                tracker.advance(&self.plan, begun);
                tracker.question()
            };
            if let Some(question) = question {
                let visible = read_visible(&self.server, &question, POLL_LIMIT).await;
                // No answer says nothing of what is not there.
                if let Ok(visible) = visible {
                    let times = (begun, self.clock.now());
                    lock(&self.tracker).see(&self.plan, &question, &visible, times);
                }
            }
            let took = self.clock.now() - begun;
            self.clock.sleep_until(begun + micros(POLL_EVERY).max(2 * took)).await;
        }
    }
}

/// A task that ends with whoever holds this.
struct Stopped(JoinHandle<()>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock(tracker: &Mutex<Tracker>) -> std::sync::MutexGuard<'_, Tracker> {
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the pipeline once an interval.
struct Watcher {
    dir: RunDir,
    plan: Arc<Plan>,
    servers: Servers,
    tracker: Arc<Mutex<Tracker>>,
    tails: Vec<Tail>,
    backlog: Backlog,
    teller: Teller,
    ending: Ending,
    poller: Stopped,
    clock: Clock,
    interval: Duration,
}

impl Watcher {
    async fn watch(mut self, mut shutdown: Shutdown) -> Result<Exit, VerifyError> {
        self.follow_timelines();
        let mut next = self.clock.now();
        loop {
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = shutdown.asked(Stop::Drain) => return Ok(Exit::Stopped),
            }
            // After a look that took long, those that it held up are left out.
            next = (next + micros(self.interval)).max(self.clock.now());
            let is_over = tokio::select! {
                is_over = self.look() => is_over?,
                () = shutdown.asked(Stop::Drain) => return Ok(Exit::Stopped),
            };
            if is_over {
                let missed = lock(&self.tracker).take(self.clock.now()).waiting;
                drop(self.poller);
                self.teller.finish(missed, self.dir.path());
                return Ok(Exit::Done);
            }
        }
    }

    /// Looks once, and writes it down. Says whether the watch is over.
    async fn look(&mut self) -> Result<bool, VerifyError> {
        let look = Box::pin(self.servers.look(&self.clock, self.look_limit())).await;
        // What was acknowledged before the stream was asked is compared with what it has taken.
        let backlog_min = self.backlog.see(self.clock.now(), look.stream.as_ref());
        self.follow_timelines();
        if self.ending.may_be_closed(&self.dir, &self.plan, self.clock.now()) {
            self.read_ledger();
        }
        let now = self.clock.now();
        // What becomes visible after this is told by the next look: so there must be one.
        let (is_all_visible, freshness) = {
            let mut tracker = lock(&self.tracker);
            tracker.advance(&self.plan, now);
            (tracker.is_done(), tracker.take(now))
        };
        let observation = Observation {
            at: MicroTime(now),
            stream: look.stream,
            table: look.table,
            freshness,
            clocks: look.clocks,
            resources: look.resources,
            backlog_min,
            held: look.held,
        };
        self.dir.append_observation(&observation)?;
        let grown = self.tails.iter().map(Tail::position).sum();
        self.ending.see(&observation, grown);
        self.teller.tell(&observation, &look.silent, &self.ending);
        Ok(self.ending.is_over(now, is_all_visible))
    }

    /// A server that is slower than that counts as silent: looks keep to their beat.
    fn look_limit(&self) -> Duration {
        (2 * self.interval).clamp(LOOK_LIMITS.0, LOOK_LIMITS.1)
    }

    /// Takes in which samples were acknowledged, as the generators wrote it down.
    fn follow_timelines(&mut self) {
        for (index, tail) in self.tails.iter_mut().enumerate() {
            // What cannot be read now is read later, or is missing in the record.
            let seconds: Vec<Second> = tail.read().unwrap_or_default();
            for second in &seconds {
                self.backlog.take(index, second);
            }
            let mut tracker = lock(&self.tracker);
            for sample in seconds.into_iter().flat_map(|second| second.acknowledged_samples) {
                tracker.acknowledge(sample);
            }
        }
    }

    /// Once the ledger is closed, only what was acknowledged is awaited.
    fn read_ledger(&mut self) {
        let read = || self.dir.read_ledger(&self.plan);
        let Ok(ledger) = tokio::task::block_in_place(read) else { return };
        if ledger.closed {
            self.follow_timelines();
            self.ending.close(self.clock.now());
            let now = self.clock.now();
            let mut tracker = lock(&self.tracker);
            // All that was sent was due by now, and is waited for by now.
            tracker.advance(&self.plan, now);
            tracker.keep(|tenant, seq| {
                ledger.accounts[usize::from(tenant.0)].acknowledged.contains(seq.0)
            });
            tracker.stop();
        }
    }
}

/// Who is told what is seen.
struct Teller {
    gatherer: Gatherer,
    progress: Progress,
    metrics: Option<(Metrics, MetricsServer)>,
    servers: Vec<String>,
}

enum Progress {
    Screen(Screen<View>),
    Lines(Lines),
    Nothing,
}

impl Teller {
    async fn begin(
        args: &WatchArgs,
        gatherer: Gatherer,
        servers: &Servers,
    ) -> Result<Self, VerifyError> {
        let metrics = match args.metrics {
            Some(address) => Some(serve(address, args.quiet).await?),
            None => None,
        };
        // Last, because from here on standard error is not to be written to.
        let progress = match args.quiet {
            true => Progress::Nothing,
            false if is_ours() => Screen::start(draw::draw)
                .map_or_else(|_| Progress::Lines(Lines::default()), Progress::Screen),
            false => Progress::Lines(Lines::default()),
        };
        Ok(Self { gatherer, progress, metrics, servers: servers.names() })
    }

    fn tell(&mut self, observation: &Observation, silent: &[String], ending: &Ending) {
        let view = self.gatherer.view(observation, silent, ending.phase());
        if let Some((metrics, _)) = &self.metrics {
            metrics.tell(&view, &self.servers);
        }
        match &mut self.progress {
            Progress::Screen(screen) => screen.show(view),
            Progress::Lines(lines) => {
                if let Some(line) = lines.line(&view) {
                    output::tell(line);
                }
            }
            Progress::Nothing => {}
        }
    }

    /// Gives the terminal back, and tells of samples that were not seen.
    fn finish(self, missed: u64, dir: &Path) {
        let is_quiet = matches!(self.progress, Progress::Nothing);
        drop(self.progress);
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

const OPEN_PAUSE: Duration = Duration::from_millis(100);
const POLL_EVERY: Duration = Duration::from_millis(150);
const POLL_LIMIT: Duration = Duration::from_secs(5);
const LOOK_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
