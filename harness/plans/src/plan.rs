//! A plan: a profile and the data of one run, from which every event of the run follows.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike as _};
use events::draw::Draw;
use events::identity::{RunMark, SEQ_END, TenantIndex};
use events::policy::{self, Policy};
use events::rhythm::Rhythm;
use events::script::{DAY_US, Days, Script};
use events::timeline::{self, Curve, Timeline, UnixMicros};
use events::world::{Character, World};

use crate::profile::{
    Apiserver, Arrival, Beat, Faults, Level, Mix, OTHERS, Profile, ProfileError, SenderKind,
};
use crate::quantity::{Micros, RATE_MILLI_MAX};
use crate::query_plan::QueryPlan;
use crate::spec::{DeliveryPath, RunOptions, RunSpec, Span};
use crate::threshold::{Threshold, Thresholds};
use crate::written::Written;

/// A run, ready to be sent or checked.
#[derive(Debug, Clone)]
pub struct Plan {
    pub spec: RunSpec,
    pub profile_name: String,
    pub script: Script,
    pub send: SendPlan,
    pub faults: Faults,
    /// The classes of tenants, which reports show separately.
    pub classes: Classes,
    /// The conditions that the run must meet.
    pub thresholds: Vec<Threshold>,
    /// Who asks for the events while they are written, if anybody does. A history has none.
    pub queries: Option<QueryPlan>,
    /// Start of the period in which events are due.
    pub start: UnixMicros,
    pub end: UnixMicros,
    /// Events that are due from this moment on go through the pipeline. Earlier ones go straight
    /// into the table.
    pub piped_from: UnixMicros,
}

/// The class of each tenant. A class is an index into the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Names of the classes. There is at least one. The last class has the tenants that are in no
    /// class of the profile.
    pub names: Vec<String>,
    /// The index of each tenant's class.
    pub of_tenant: Vec<u8>,
}

impl Classes {
    /// Puts all tenants into one class.
    pub fn one(tenants: usize) -> Self {
        Self { names: vec!["all".to_owned()], of_tenant: vec![0; tenants] }
    }

    /// Returns the class of a tenant of the plan.
    pub fn of(&self, tenant: TenantIndex) -> usize {
        self.of_tenant[usize::from(tenant.0)].into()
    }
}

/// How events are sent: [`crate::profile::Sending`], with durations in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendPlan {
    pub batch_events: u32,
    pub batch_age_us: i64,
    pub connections: u32,
    pub timeout: Duration,
    pub lateness_max_us: i64,
    /// The audit backend of each tenant's API server; `None` if batches are sent directly.
    pub backend: Option<Backend>,
}

/// How an API server's audit backend sends: [`crate::profile::Apiserver`], with durations in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    pub buffer_events: u64,
    pub batch_events: u64,
    pub batch_wait_us: i64,
    /// Time after which the throttle admits another batch.
    pub throttle_us: i64,
    pub throttle_burst: u32,
    pub attempts: u32,
    pub initial_backoff_us: i64,
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

    /// Makes the plan of a run from the text of a profile. `origin` says where the text is from.
    ///
    /// # Errors
    ///
    /// Returns [`ProfileError`] if the profile is not valid.
    pub fn parse(text: &str, origin: &str, options: RunOptions) -> Result<Self, ProfileError> {
        let profile = Profile::parse(text, origin)?;
        Ok(Self::new(RunSpec::new(text, &profile, options), &profile))
    }

    /// Makes the plan of a run of a valid profile.
    pub fn new(spec: RunSpec, profile: &Profile) -> Self {
        let stages = spec.scale.stages(profile);
        let tenants = stages.iter().map(|stage| stage.tenants.0.max(stage.tenants.1)).max();
        let tenants = tenants.expect("a valid profile has a stage");
        let start = spec.start.0;
        let classes = classes(profile, tenants);
        let rates = rates(profile, &classes, spec.seed);
        let rhythm = rhythm(profile);
        let (timelines, start, end, piped_from, days) = match spec.span {
            Span::Live => {
                let duration_us: u64 = stages.iter().map(|stage| stage.duration_us).sum();
                let end = start + signed(duration_us);
                let timelines = live_timelines(&stages, &rates, start, &spec, profile);
                (timelines, start, end, start, Days::Flow)
            }
            Span::History { days, events, replay_days, .. } => {
                let first = start - i64::from(days) * DAY_US;
                let piped_from = start - i64::from(replay_days.min(days)) * DAY_US;
                let timelines = history_timelines(days, events, &rates, first, spec.seed);
                (timelines, first, start, piped_from, Days::Apart)
            }
        };
        let timelines = timelines
            .into_iter()
            .zip(tenant_indexes(tenants))
            .map(|(timeline, tenant)| timeline.with_rhythm(rhythm, end, spec.seed, tenant))
            .collect();
        let world = World::new(spec.seed, &characters(profile, &classes));
        let script = Script::new(RunMark::of(spec.run_id), world, timelines, days);
        let profile_name = profile.name.clone();
        let (written, is_live) = (profile.thresholds.as_ref(), spec.span == Span::Live);
        let mut thresholds = Thresholds::of_run(written, is_live);
        let queries = profile.queries.as_ref().filter(|_| is_live);
        let queries = queries.map(|queries| QueryPlan::new(profile, queries, &spec));
        thresholds.extend(queries.iter().flat_map(|_| Thresholds::of_queries(written)));
        Self {
            spec,
            profile_name,
            script,
            send: send_plan(profile),
            faults: profile.faults.clone(),
            classes,
            thresholds,
            queries,
            start,
            end,
            piped_from,
        }
    }

    /// The way that the events take to the table.
    pub fn path(&self) -> DeliveryPath {
        if self.piped_from <= self.start {
            DeliveryPath::Pipeline
        } else if self.piped_from >= self.end {
            DeliveryPath::Bulk
        } else {
            DeliveryPath::Both
        }
    }

    /// A moment before which no event of the run was sent.
    pub fn not_sent_before(&self) -> UnixMicros {
        match self.spec.span {
            Span::Live => self.start,
            Span::History { planned_at, .. } => planned_at.0,
        }
    }
}

/// Returns the class of each tenant. The classes take the first tenants, in their order. Each has
/// the same share of the tenants as in the profile.
fn classes(profile: &Profile, tenants: u32) -> Classes {
    if profile.classes.is_empty() {
        return Classes::one(tenants as usize);
    }
    let mut names: Vec<_> = profile.classes.iter().map(|class| class.name.clone()).collect();
    names.push(OTHERS.to_owned());
    let written = profile.most_tenants();
    let sizes = profile.classes.iter().map(|class| {
        let part = u64::from(class.tenants) * u64::from(tenants) / u64::from(written.max(1));
        usize::try_from(part).expect("at most 65,536 tenants").max(1)
    });
    let of_class = |(class, size): (u8, usize)| std::iter::repeat_n(class, size);
    let others = u8::try_from(profile.classes.len()).expect("at most 16 classes");
    let in_classes = (0..others).zip(sizes).flat_map(of_class);
    let of_tenant = in_classes.chain(std::iter::repeat(others)).take(tenants as usize).collect();
    Classes { names, of_tenant }
}

fn characters(profile: &Profile, classes: &Classes) -> Vec<Character> {
    let combs = profile.rhythm.contains(&Beat::Combs);
    let character = |mix: Mix, level: Level| Character {
        mix: match mix {
            Mix::Seed => events::mix::Mix::Seed,
            Mix::Cluster => events::mix::Mix::Cluster,
        },
        policy: match level {
            Level::Metadata => Policy::All(policy::Level::Metadata),
            Level::Request => Policy::All(policy::Level::Request),
            Level::RequestResponse => Policy::All(policy::Level::RequestResponse),
            Level::Policy => Policy::Example,
        },
        combs,
    };
    let of_tenant = |class: &u8| match profile.classes.get(usize::from(*class)) {
        Some(class) => {
            character(class.mix.unwrap_or(profile.mix), class.level.unwrap_or(profile.level))
        }
        None => character(profile.mix, profile.level),
    };
    classes.of_tenant.iter().map(of_tenant).collect()
}

fn rhythm(profile: &Profile) -> Rhythm {
    let has = |beat| profile.rhythm.contains(&beat);
    Rhythm { combs: has(Beat::Combs), bursts: has(Beat::Bursts) }
}

/// Returns each tenant's rate as a multiple of the mean, in millionths. It follows a Zipf law over
/// ranks, which the seed assigns to tenants, and is multiplied by the factor of the tenant's class.
fn rates(profile: &Profile, classes: &Classes, seed: u64) -> Vec<u64> {
    let tenants = u32::try_from(classes.of_tenant.len()).expect("at most 65,536 tenants");
    let weights: Vec<f64> =
        (1..=tenants).map(|rank| 1.0 / power(f64::from(rank), profile.skew)).collect();
    let mean = weights.iter().sum::<f64>() / f64::from(tenants);
    let mut ranks: Vec<usize> = (0..weights.len()).collect();
    ranks.sort_by_key(|rank| Draw::new(seed, RANK_STREAM, *rank as u64).bits());
    let of_class = |class: u8| profile.classes.get(usize::from(class)).map_or(1.0, |it| it.rate);
    ranks
        .into_iter()
        .zip(&classes.of_tenant)
        .map(|(rank, class)| millionths(weights[rank] / mean * of_class(*class)))
        .collect()
}

const RANK_STREAM: u64 = 5 << 32;

/// Raises a number to a power from 0 to 2, using only square roots and products. These are rounded
/// exactly, so the result is the same on every machine. `powf` does not promise that.
fn power(base: f64, exponent: f64) -> f64 {
    let mut result = 1.0;
    let mut rest = exponent;
    let mut root = base;
    while rest >= 1.0 {
        result *= base;
        rest -= 1.0;
    }
    for _ in 0..30 {
        root = root.sqrt();
        rest *= 2.0;
        if rest >= 1.0 {
            result *= root;
            rest -= 1.0;
        }
    }
    result
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and rates are far below that"
)]
fn millionths(factor: f64) -> u64 {
    (factor * 1e6).round() as u64
}

fn live_timelines(
    stages: &[timeline::Stage],
    rates: &[u64],
    start: UnixMicros,
    spec: &RunSpec,
    profile: &Profile,
) -> Vec<Timeline> {
    let arrival = match profile.arrival {
        Arrival::Even => timeline::Arrival::Even,
        Arrival::Jittered => timeline::Arrival::Jittered,
    };
    let tenants = u32::try_from(rates.len()).expect("at most 65,536 tenants");
    // A sequence number has 40 bits. If a busy tenant of a long run would need more, its rate is
    // lowered.
    let whole_us: u64 = stages.iter().map(|stage| stage.duration_us).sum();
    let enough = (u128::from(SEQ_END) - 1) * 1_000_000_000 / u128::from(whole_us.max(1));
    let rate_max = u64::try_from(enough).unwrap_or(u64::MAX).min(RATE_MILLI_MAX);
    tenant_indexes(tenants)
        .zip(rates)
        .map(|(tenant, rate)| {
            let own: Vec<_> = stages.iter().map(|stage| at_rate(stage, *rate, rate_max)).collect();
            let curve = Curve::of_stages(&own, tenant);
            Timeline::live(curve, start, arrival, spec.seed, tenant)
        })
        .collect()
}

/// Returns a stage at a tenant's own rate. `rate` is a multiple of the mean, in millionths.
fn at_rate(stage: &timeline::Stage, rate: u64, rate_max: u64) -> timeline::Stage {
    let own = |milli: u64| {
        let scaled = u128::from(milli) * u128::from(rate) / 1_000_000;
        u64::try_from(scaled).unwrap_or(u64::MAX).min(rate_max)
    };
    let rate_milli = (own(stage.rate_milli.0), own(stage.rate_milli.1));
    timeline::Stage { rate_milli, ..*stage }
}

/// Divides the events among the tenants in proportion to their rates. Events that are left over go
/// to the tenants with the largest remainders.
fn history_timelines(
    days: u32,
    events: u64,
    rates: &[u64],
    first: UnixMicros,
    seed: u64,
) -> Vec<Timeline> {
    let weekday = DateTime::from_timestamp_micros(first)
        .map_or(0, |start| start.weekday().num_days_from_monday());
    let curve = Arc::new(Curve::of_history(days, weekday));
    let tenants = u32::try_from(rates.len()).expect("at most 65,536 tenants");
    tenant_indexes(tenants)
        .zip(shares(events, rates))
        .map(|(tenant, count)| Timeline::history(Arc::clone(&curve), first, count, seed, tenant))
        .collect()
}

/// Splits a number in proportion to weights. The parts add up to the number.
fn shares(whole: u64, weights: &[u64]) -> Vec<u64> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let exact = |weight: &u64| u128::from(whole) * u128::from(*weight);
    let mut parts: Vec<u64> = weights
        .iter()
        .map(|weight| u64::try_from(exact(weight) / total).expect("a part of a u64"))
        .collect();
    let left = whole - parts.iter().sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|index| std::cmp::Reverse(exact(&weights[*index]) % total));
    for index in by_remainder.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        parts[index] += 1;
    }
    parts
}

fn tenant_indexes(tenants: u32) -> impl Iterator<Item = TenantIndex> {
    (0..tenants).map(|index| TenantIndex(u16::try_from(index).expect("at most 65,536 tenants")))
}

fn send_plan(profile: &Profile) -> SendPlan {
    let send = &profile.send;
    SendPlan {
        batch_events: send.batch_events,
        batch_age_us: micros(&send.batch_age),
        connections: send.connections,
        timeout: Duration::from_micros(send.timeout.get().us()),
        lateness_max_us: micros(&send.lateness_max),
        backend: (send.sender == SenderKind::Apiserver).then(|| backend(&profile.apiserver)),
    }
}

fn backend(written: &Apiserver) -> Backend {
    Backend {
        buffer_events: written.buffer_events.into(),
        batch_events: written.batch_events.into(),
        batch_wait_us: micros(&written.batch_wait),
        throttle_us: 1_000_000 / i64::from(written.throttle_qps),
        throttle_burst: written.throttle_burst,
        attempts: written.attempts,
        initial_backoff_us: micros(&written.initial_backoff),
    }
}

fn micros(written: &Written<Micros>) -> i64 {
    signed(written.get().us())
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("at most a thousand years")
}

#[cfg(test)]
pub(crate) mod tests {
    use events::script::midnight;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn live_plan(rate: &str, tenants: &str, duration: &str) -> Plan {
        let text = format!(
            "name: x\nstages:\n  - {{duration: {duration}, rate: {rate}, tenants: {tenants}}}\n"
        );
        plan_of(&text, Span::Live)
    }

    fn plan_of(text: &str, span: Span) -> Plan {
        let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000_000_000, span);
        Plan::parse(text, "x", options).unwrap()
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
        let plan = plan_of(text, Span::history(90, 1_000_003, 0));
        assert_eq!(plan.script.planned(), 1_000_003);
        assert_eq!((plan.end - plan.start) / DAY_US, 90);
        assert_eq!(plan.end, midnight(1_790_000_000_000_000));
    }

    #[test]
    fn skewed_tenants_have_the_same_mean_rate() {
        let text = "name: x\nskew: 1.05\nstages: [{duration: 100s, rate: 100/s, tenants: 50}]\n";
        let plan = plan_of(text, Span::Live);
        let counts: Vec<_> =
            plan.script.tenants().map(|tenant| plan.script.timeline(tenant).count()).collect();
        assert!(plan.script.planned().abs_diff(500_000) < 50, "{}", plan.script.planned());
        let most = *counts.iter().max().unwrap();
        assert!((100_000..130_000).contains(&most), "{most}");
        assert!(!counts.is_sorted_by(|a, b| a >= b), "ranks are dealt out: {counts:?}");
        let history = plan_of(text, Span::history(3, 999_999, 0));
        assert_eq!(history.script.planned(), 999_999);
    }

    #[test]
    fn classes_take_the_first_tenants_and_have_their_own_rate_and_mix() {
        let text = "name: x\nstages: [{duration: 10s, rate: 10/s, tenants: 5}]\nclasses:\n\
                    - {name: noisy, tenants: 2, rate: 10, mix: cluster}\n\
                    - {name: quiet, tenants: 1, rate: 0.1, level: policy}\n";
        let plan = plan_of(text, Span::Live);
        let count = |tenant| plan.script.timeline(TenantIndex(tenant)).count();
        assert_eq!([0, 1, 2, 3, 4].map(count), [1_000, 1_000, 10, 100, 100]);
        assert_eq!(plan.classes.of_tenant, [0, 0, 1, 2, 2]);
        assert_eq!(plan.classes.names, ["noisy", "quiet", "others"]);
        let of = |tenant| plan.script.world().tenant(TenantIndex(tenant)).character;
        assert_eq!(of(1).mix, events::mix::Mix::Cluster);
        assert_eq!((of(2).mix, of(2).policy), (events::mix::Mix::Seed, Policy::Example));
    }

    #[test]
    fn powers_are_those_of_mathematics() {
        for (base, exponent) in [(2.0, 0.5), (65_536.0, 1.05), (7.0, 2.0), (3.0, 0.0)] {
            let off = power(base, exponent) / f64::powf(base, exponent) - 1.0;
            assert!(off.abs() < 1e-8, "{base}^{exponent}");
        }
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
