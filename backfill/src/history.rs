//! The flags that describe a history, its plan, and the run directory that records it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use clap::Args;
use edges::clock::Clock;
use events::script::DAY_US;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::profile::{Profile, read_profile};
use plans::quantity::{parse_count, parse_moment};
use plans::spec::{EVENTS_MAX, RunOptions, RunSpec, Span, Targets};
use runs::ledger::{Durability, Ledger, LedgerWriter};
use runs::run_dir::{RunDir, RunDirError};
use uuid::Uuid;

use crate::error::BackfillError;

/// Flags that describe a history. The same flags always give the same history.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Name of a built-in profile, or path of a YAML file. The history has its tenants and its
    /// seed.
    pub profile: String,
    /// Number of events.
    #[arg(long, value_parser = parse_events)]
    pub events: u64,
    /// Number of whole days (UTC). The last one is yesterday, or ends before `--now`.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    pub days: u32,
    /// Sends the last N days through the pipeline, beginning with the oldest of them. Without a
    /// number, N is 30 [default: no days].
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "30")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=3_660))]
    pub replay_from_day: Option<u32>,
    /// Loads the days up to N days ago straight into the table, and sends the others through the
    /// pipeline. This says the same as --replay-from-day with the same N. Without a number, N is
    /// 30.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "30")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=3_660))]
    pub bulk_until_day: Option<u32>,
    /// Seed to use instead of the profile's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Run ID [default: a new one].
    #[arg(long = "run-id", value_name = "UUID")]
    pub id: Option<Uuid>,
    /// The history ends at the last midnight (UTC) before this time, like 2026-01-31T12:00:00Z. A
    /// run that is continued keeps its time [default: now].
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub now: Option<UnixMicros>,
}

/// A history, and the place where it is recorded.
#[derive(Debug)]
pub struct Recorded {
    pub plan: Plan,
    pub dir: RunDir,
    /// What an earlier process has done. It is empty in a new run.
    pub before: Ledger,
    pub ledger: Arc<LedgerWriter>,
}

impl Recorded {
    /// Events that were acknowledged before.
    pub fn acknowledged_before(&self) -> u64 {
        self.before.accounts.iter().map(|account| account.acknowledged.count()).sum()
    }
}

impl HistoryArgs {
    /// How many of the last days go through the pipeline.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError::Gap`] if two flags contradict each other.
    pub fn replay_days(&self) -> Result<u32, BackfillError> {
        match (self.bulk_until_day, self.replay_from_day) {
            (Some(until), Some(from)) if until != from => {
                Err(BackfillError::Gap { bulk_until: until, replay_from: from })
            }
            (until, from) => Ok(until.or(from).unwrap_or(0).min(self.days)),
        }
    }

    /// Makes the plan of a new history.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if the profile or the flags are wrong.
    #[expect(clippy::disallowed_methods, reason = "a new run has a new ID")]
    pub fn plan(&self, targets: Targets, clock: &Clock) -> Result<Plan, BackfillError> {
        let text = read_profile(&self.profile)?;
        let profile = Profile::parse(&text.text, &text.origin)?;
        let now = self.now.unwrap_or(clock.now());
        if now > clock.now() {
            return Err(BackfillError::EndsInFuture { now: rfc3339(now) });
        }
        if now < i64::from(self.days + 1) * DAY_US {
            return Err(BackfillError::BeginsTooEarly { days: self.days });
        }
        let span = Span::History {
            days: self.days,
            events: self.events,
            replay_days: self.replay_days()?,
            planned_at: events::event::MicroTime(clock.now()),
        };
        let run_id = self.id.unwrap_or_else(Uuid::new_v4);
        let options = RunOptions { seed: self.seed, targets, ..RunOptions::new(run_id, now, span) };
        Ok(Plan::new(RunSpec::new(&text.text, &profile, options), &profile))
    }

    /// Records a new history in a directory, or continues the same history if the directory has it.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError`] if the directory has another history, or cannot be used.
    pub fn record(
        &self,
        plan: Plan,
        out: Option<&Path>,
        clock: &Clock,
        durability: Durability,
    ) -> Result<Recorded, BackfillError> {
        let own = ["runs", &plan.spec.run_id.to_string()].iter().collect::<PathBuf>();
        let path = out.unwrap_or(&own);
        match RunDir::open(path) {
            Err(RunDirError::NoRun { .. }) => {
                let dir = RunDir::create(path, &plan.spec)?;
                let ledger = Arc::new(dir.create_ledger(&plan.spec, 0, durability)?);
                let before = Ledger::empty(&plan.script);
                Ok(Recorded { plan, dir, before, ledger })
            }
            Err(error) => Err(error.into()),
            Ok((dir, found)) => {
                self.compare(path, &plan.spec, &found.spec)?;
                let since = found.not_sent_before();
                if clock.now() < since - CLOCK_TOLERANCE_US {
                    let (now, planned_at) = (rfc3339(clock.now()), rfc3339(since));
                    return Err(BackfillError::ClockJumped { now, planned_at });
                }
                take_up(dir, found, durability)
            }
        }
    }

    /// Makes sure that the recorded run matches the flags.
    fn compare(&self, path: &Path, given: &RunSpec, found: &RunSpec) -> Result<(), BackfillError> {
        // If a flag was not given, the recorded value applies.
        let facts = |spec: &RunSpec| {
            let end = self.now.map(|_| rfc3339(spec.start.0)).unwrap_or_default();
            let id = self.id.map(|_| spec.run_id.to_string()).unwrap_or_default();
            [facts(spec), vec![("end", end), ("run ID", id)]].concat()
        };
        let differing =
            facts(given).into_iter().zip(facts(found)).find(|(given, found)| given != found);
        match differing {
            None => Ok(()),
            Some(((what, given), (_, found))) => {
                let path = path.to_owned();
                Err(BackfillError::OtherHistory { path, what, given, found })
            }
        }
    }
}

/// Named facts that are equal if two runs are the same history.
fn facts(spec: &RunSpec) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let (days, events, replayed) = match spec.span {
        Span::Live => (0, 0, 0),
        Span::History { days, events, replay_days, .. } => (days, events, replay_days),
    };
    vec![
        ("profile", format!("the one with hash {}", &spec.profile_sha256[..12])),
        ("seed", spec.seed.to_string()),
        ("number of days", days.to_string()),
        ("number of events", events.to_string()),
        ("number of replayed days", replayed.to_string()),
        ("ClickHouse", text(&spec.targets.clickhouse)),
        ("table", text(&spec.targets.table)),
        ("column mapping", format!("{:?}", spec.targets.columns)),
        ("webhook", text(&spec.targets.webhook)),
    ]
}

/// Opens a recorded run to continue it.
fn take_up(dir: RunDir, plan: Plan, durability: Durability) -> Result<Recorded, BackfillError> {
    // The ledger is opened before it is read, because another process that writes to it must have
    // ended.
    let ledger = Arc::new(dir.open_ledger(&plan.spec, 0, durability)?);
    let before = dir.read_ledger(&plan)?;
    Ok(Recorded { plan, dir, before, ledger })
}

/// Reads the number of events in a history.
fn parse_events(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err("a history needs at least one event".to_owned()),
        events @ 1..=EVENTS_MAX => Ok(events),
        _ => Err(format!("a history has {EVENTS_MAX} events at most")),
    }
}

fn rfc3339(at: UnixMicros) -> String {
    let time = DateTime::from_timestamp_micros(at).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// How far the clock may be corrected while a history is loaded.
const CLOCK_TOLERANCE_US: i64 = 60_000_000;
