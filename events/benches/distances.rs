//! Measures how far the mixes are from the published shares and sizes that they follow.
//!
//! For each mix, this prints the total variation distance of the shares of verb and resource, and
//! of the shares of status codes. For each level, it prints the sizes of events beside those of a
//! real capture. `AUDITSTORM_BENCH_EVENTS` sets how many events are drawn.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::cast_precision_loss, reason = "figures for a person to read")]

use std::collections::BTreeMap;

use events::catalog::{Outcome, Resource, Verb, outcomes};
use events::identity::{RunMark, Seq, TenantIndex};
use events::mix::Mix;
use events::policy::{Level, Policy};
use events::render::{Form, render};
use events::script::{Days, Script};
use events::timeline::{Arrival, Curve, Stage, Timeline};
use events::world::{Character, World};
use uuid::Uuid;

const TENANTS: u16 = 40;
const DISTANCE_MAX: f64 = 0.05;
const SIZE_OFF_MAX: f64 = 0.1;

/// Bytes of an event at p50 and p95, by level, in a capture of a real control plane: 20,909 events
/// of Kubernetes 1.36, which audited everything.
const PUBLISHED_BYTES: [(Level, [f64; 2]); 3] = [
    (Level::Metadata, [1_203.0, 1_608.0]),
    (Level::Request, [1_742.0, 4_650.0]),
    (Level::RequestResponse, [2_919.0, 11_083.0]),
];

fn main() {
    let events = std::env::var("AUDITSTORM_BENCH_EVENTS")
        .map_or(400_000, |text| text.parse::<u64>().expect("a number of events"));
    for mix in Mix::ALL {
        shares(mix, events);
    }
    for (level, published) in PUBLISHED_BYTES {
        sizes(level, published, events / 4);
    }
}

fn shares(mix: Mix, events: u64) {
    let script = script(mix, Policy::All(Level::Metadata));
    let mut kinds = BTreeMap::<(Verb, Resource), u64>::new();
    let mut codes = BTreeMap::<u16, u64>::new();
    for (tenant, seq) in coordinates(events) {
        let facts = script.facts(tenant, seq).expect("it is planned");
        *kinds.entry((facts.verb, facts.resource)).or_default() += 1;
        *codes.entry(facts.outcome.code()).or_default() += 1;
    }
    let mut expected_kinds = BTreeMap::<(Verb, Resource), f64>::new();
    let mut expected_codes = BTreeMap::<u16, f64>::new();
    for (share, kind, _) in mix.shares() {
        let share = f64::from(*share) / 100_000.0;
        *expected_kinds.entry((kind.verb, kind.resource)).or_default() += share;
        for (part, outcome) in outcomes(mix, kind.verb) {
            let code = Outcome::code(*outcome);
            *expected_codes.entry(code).or_default() += share * f64::from(*part) / 10_000.0;
        }
    }
    let name = format!("{mix:?}").to_lowercase();
    line(&name, "verb-resource", total_variation(&kinds, &expected_kinds));
    line(&name, "status", total_variation(&codes, &expected_codes));
}

fn line(mix: &str, what: &str, distance: f64) {
    let verdict = if distance <= DISTANCE_MAX { "ok" } else { "short" };
    println!("distance {mix} {what} total-variation={distance:.4} bar={DISTANCE_MAX} {verdict}");
}

/// Returns half the sum of the differences between shares: the total variation distance.
fn total_variation<K: Ord + Copy>(seen: &BTreeMap<K, u64>, expected: &BTreeMap<K, f64>) -> f64 {
    let total = seen.values().sum::<u64>() as f64;
    let keys: std::collections::BTreeSet<K> = seen.keys().chain(expected.keys()).copied().collect();
    let share = |key: &K| seen.get(key).copied().unwrap_or(0) as f64 / total;
    let difference = |key: K| (share(&key) - expected.get(&key).copied().unwrap_or(0.0)).abs();
    keys.into_iter().map(difference).sum::<f64>() / 2.0
}

fn sizes(level: Level, published: [f64; 2], events: u64) {
    let script = script(Mix::Cluster, Policy::All(level));
    let mut bytes = Vec::new();
    let mut sizes: Vec<usize> = coordinates(events)
        .map(|(tenant, seq)| {
            bytes.clear();
            render(&script.facts(tenant, seq).expect("planned"), Form::Item, &mut bytes);
            bytes.len()
        })
        .collect();
    sizes.sort_unstable();
    for (percent, published) in [50, 95].into_iter().zip(published) {
        let ours = sizes[sizes.len() * percent / 100] as f64;
        let off = ours / published - 1.0;
        let verdict = if off.abs() <= SIZE_OFF_MAX { "ok" } else { "short" };
        println!(
            "distance cluster {} p{percent}={ours} bytes published={published} off={:+.1}% \
             bar={:.0}% {verdict}",
            level.as_str(),
            off * 100.0,
            SIZE_OFF_MAX * 100.0
        );
    }
}

fn coordinates(events: u64) -> impl Iterator<Item = (TenantIndex, Seq)> {
    (0..events).map(|index| {
        let tenant = u16::try_from(index % u64::from(TENANTS)).expect("a tenant");
        (TenantIndex(tenant), Seq(index / u64::from(TENANTS)))
    })
}

fn script(mix: Mix, policy: Policy) -> Script {
    let stage = Stage {
        duration_us: 10_000_000_000,
        rate_milli: (10_000, 10_000),
        tenants: (TENANTS.into(), TENANTS.into()),
    };
    let timelines = (0..TENANTS)
        .map(TenantIndex)
        .map(|tenant| {
            let curve = Curve::of_stages(&[stage], tenant);
            Timeline::live(curve, 1_790_000_000_000_000, Arrival::Jittered, 1, tenant)
        })
        .collect();
    let world = World::new(1, &[Character { mix, policy, combs: false }; TENANTS as usize]);
    Script::new(RunMark::of(Uuid::nil()), world, timelines, Days::Flow)
}
