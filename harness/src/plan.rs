//! Plans: a profile with all that a run adds to it, from which every event follows.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike as _};
use events::event::MicroTime;
use events::identity::{RunMark, TenantIndex};
use events::script::{DAY_US, Days, Script, midnight};
use events::timeline::{self, Curve, Timeline, UnixMicros};
use events::world::World;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::profile::{Arrival, Profile, ProfileError, StageNumbers};
use crate::quantity::parse_duration;

/// What a run directory records of a run: its plan follows from it, wherever it is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that made the run.
    pub tool_version: String,
    pub run_id: Uuid,
    pub seed: u64,
    /// Live: when the first stage begins. History: the end of its last day.
    pub start: MicroTime,
    pub span: Span,
    /// The way its events took.
    pub path: DeliveryPath,
    pub profile_sha256: String,
    /// The profile in full, as written.
    pub profile: String,
    pub targets: Targets,
    /// How many ledgers together are the run.
    pub shards: u32,
}

/// The time that a run's events are due in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Span {
    /// The stages of the profile.
    Live,
    /// Whole days (UTC) before the start.
    History { days: u32, events: u64 },
}

/// The way that events took to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPath {
    /// Webhook, sidecar, NATS, aggregator.
    Pipeline,
    /// Straight into the table.
    Bulk,
}

/// Where a run's events went, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// A run, ready to be sent or checked.
#[derive(Debug, Clone)]
pub struct Plan {
    pub spec: RunSpec,
    pub profile_name: String,
    pub script: Script,
    pub send: SendPlan,
    /// The time that events are due in.
    pub start: UnixMicros,
    pub end: UnixMicros,
}

/// How events are sent: [`crate::profile::Send`] in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendPlan {
    pub batch_events: u32,
    pub batch_age_us: i64,
    pub connections: u32,
    pub timeout: Duration,
    pub lateness_max_us: i64,
}

/// What a person adds to a profile to make it a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    pub run_id: Uuid,
    /// Replaces the profile's seed.
    pub seed: Option<u64>,
    pub start: UnixMicros,
    pub span: Span,
    pub path: DeliveryPath,
    pub targets: Targets,
}

/// The version of `run.json`.
pub const RUN_FORMAT: u32 = 1;

impl RunSpec {
    /// Records a run of a valid profile.
    pub fn new(text: &str, profile: &Profile, options: RunOptions) -> Self {
        let start = match options.span {
            Span::Live => options.start,
            Span::History { .. } => midnight(options.start),
        };
        Self {
            format: RUN_FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: options.run_id,
            seed: options.seed.unwrap_or(profile.seed),
            start: MicroTime(start),
            span: options.span,
            path: options.path,
            profile_sha256: sha256_hex(text),
            profile: text.to_owned(),
            targets: options.targets,
            shards: 1,
        }
    }

    /// Whether the recorded profile is the one that the hash is of.
    pub fn has_its_profile(&self) -> bool {
        self.profile_sha256 == sha256_hex(&self.profile)
    }
}

impl Plan {
    /// Makes the plan of a recorded run.
    ///
    /// # Errors
    ///
    /// Returns [`ProfileError`] if the recorded profile is not valid for this version.
    pub fn of_spec(spec: RunSpec) -> Result<Self, ProfileError> {
        let profile = Profile::parse(&spec.profile, "of the run")?;
        Ok(Self::new(spec, &profile))
    }

    /// Makes the plan of a run of a valid profile.
    pub fn new(spec: RunSpec, profile: &Profile) -> Self {
        let stages: Vec<_> = profile.stages.iter().map(stage).collect();
        let tenants = stages.iter().map(|stage| stage.tenants.0.max(stage.tenants.1)).max();
        let tenants = tenants.expect("a valid profile has a stage");
        let start = spec.start.0;
        let (timelines, start, end, days) = match spec.span {
            Span::Live => {
                let duration_us: u64 = stages.iter().map(|stage| stage.duration_us).sum();
                let timelines = live_timelines(&stages, tenants, start, &spec, profile);
                (timelines, start, start + signed(duration_us), Days::Flow)
            }
            Span::History { days, events } => {
                let first = start - i64::from(days) * DAY_US;
                let timelines = history_timelines(days, events, tenants, first, spec.seed);
                (timelines, first, start, Days::Apart)
            }
        };
        let world = World::new(spec.seed, tenants);
        let script = Script::new(RunMark::of(spec.run_id), world, timelines, days);
        let profile_name = profile.name.clone();
        Self { spec, profile_name, script, send: send_plan(profile), start, end }
    }
}

fn live_timelines(
    stages: &[timeline::Stage],
    tenants: u32,
    start: UnixMicros,
    spec: &RunSpec,
    profile: &Profile,
) -> Vec<Timeline> {
    let arrival = match profile.arrival {
        Arrival::Even => timeline::Arrival::Even,
        Arrival::Jittered => timeline::Arrival::Jittered,
    };
    tenant_indexes(tenants)
        .map(|tenant| {
            let curve = Curve::of_stages(stages, tenant);
            Timeline::live(curve, start, arrival, spec.seed, tenant)
        })
        .collect()
}

/// Every tenant has its even share of the events; the first ones have what does not divide.
fn history_timelines(
    days: u32,
    events: u64,
    tenants: u32,
    first: UnixMicros,
    seed: u64,
) -> Vec<Timeline> {
    let weekday = DateTime::from_timestamp_micros(first)
        .map_or(0, |start| start.weekday().num_days_from_monday());
    let curve = Arc::new(Curve::of_history(days, weekday));
    let (share, rest) = (events / u64::from(tenants), events % u64::from(tenants));
    tenant_indexes(tenants)
        .map(|tenant| {
            let count = share + u64::from(u64::from(tenant.0) < rest);
            Timeline::history(Arc::clone(&curve), first, count, seed, tenant)
        })
        .collect()
}

fn tenant_indexes(tenants: u32) -> impl Iterator<Item = TenantIndex> {
    (0..tenants).map(|index| TenantIndex(u16::try_from(index).expect("at most 65,536 tenants")))
}

fn stage(written: &crate::profile::Stage) -> timeline::Stage {
    let StageNumbers { duration_us, rate_milli, tenants } =
        written.numbers().expect("a valid profile has valid stages");
    timeline::Stage { duration_us, rate_milli, tenants }
}

fn send_plan(profile: &Profile) -> SendPlan {
    let duration = |text: &str| parse_duration(text).expect("a valid profile has valid durations");
    let send = &profile.send;
    SendPlan {
        batch_events: send.batch_events,
        batch_age_us: signed(duration(&send.batch_age)),
        connections: send.connections,
        timeout: Duration::from_micros(duration(&send.timeout)),
        lateness_max_us: signed(duration(&send.lateness_max)),
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("at most a thousand years")
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes what is written to it");
        hex
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn live_plan(rate: &str, tenants: &str, duration: &str) -> Plan {
        let text = format!(
            "name: x\nstages:\n  - {{duration: {duration}, rate: {rate}, tenants: {tenants}}}\n"
        );
        plan_of(&text, Span::Live)
    }

    fn plan_of(text: &str, span: Span) -> Plan {
        let profile = Profile::parse(text, "x").unwrap();
        let options = RunOptions {
            run_id: Uuid::from_u128(7),
            seed: None,
            start: 1_790_000_000_000_000,
            span,
            path: DeliveryPath::Pipeline,
            targets: Targets::default(),
        };
        Plan::new(RunSpec::new(text, &profile, options), &profile)
    }

    #[test]
    fn a_live_run_has_the_events_under_its_rates() {
        assert_eq!(live_plan("100/s", "50", "20s").script.planned(), 100_000);
        let growth = live_plan("100/s", "50 -> 150", "20s").script.planned();
        assert!((199_900..=200_100).contains(&growth), "{growth}");
    }

    #[test]
    fn a_history_has_exactly_its_events_on_whole_days_before_the_start() {
        let text = "name: x\nstages: [{duration: 1s, rate: 1/s, tenants: 7}]\n";
        let plan = plan_of(text, Span::History { days: 90, events: 1_000_003 });
        assert_eq!(plan.script.planned(), 1_000_003);
        assert_eq!((plan.end - plan.start) / DAY_US, 90);
        assert_eq!(plan.end, midnight(1_790_000_000_000_000));
    }

    #[test]
    fn a_recorded_run_has_the_same_plan() {
        let plan = live_plan("10/s", "5", "10s");
        let json = serde_json::to_string(&plan.spec).unwrap();
        let again = Plan::of_spec(serde_json::from_str(&json).unwrap()).unwrap();
        assert_eq!(again.spec, plan.spec);
        assert!(again.spec.has_its_profile());
        let last = events::identity::Seq(99);
        for tenant in plan.script.tenants() {
            assert_eq!(
                again.script.timeline(tenant).due(last),
                plan.script.timeline(tenant).due(last)
            );
        }
    }
}
