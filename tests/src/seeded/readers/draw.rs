//! Draws what happens to a run that users read, from its seed alone. Pure.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::oracle::Fault;
use crate::seeded::accounts::Account;
use crate::seeded::disturbance::{Act, At, Disturbance, Part};
use crate::seeded::draw::{GATE, Load, Run, Storm, draw_relay, millis};
use crate::seeded::oracle::Counted;
use crate::seeded::tap::{Retention, StreamForm};

/// A storm with one run that users query while its events are written, and that is read back then.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Its faults are those of the reader, and what does no harm to readers.
    pub storm: Storm,
    /// Faults that must be found.
    pub faults: Vec<Fault>,
    pub page_sizes: Vec<u32>,
    /// Whether the platform is asked for what no tenant may see.
    pub with_platform: bool,
    /// Whether the run is read back while its last events are still on their way.
    pub is_read_at_once: bool,
}

/// The run lasts at least this long, so that parts can be killed meanwhile.
const LOAD_MIN: Duration = Duration::from_secs(5);
const LOAD_MAX: Duration = Duration::from_secs(8);

impl Reading {
    /// Draws what happens.
    pub fn draw(seed: u64) -> Self {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let faults = draw_faults(&mut draw);
        let has = |fault| faults.contains(&fault);
        let delay = if draw.random_bool(0.4) {
            millis(&mut draw, Duration::from_millis(200), GATE.delay_max)
        } else {
            Duration::ZERO
        };
        let relay = draw_relay(&mut draw, &GATE);
        let acts = draw_acts(&mut draw);
        let stream = StreamForm {
            retention: Retention::Limits,
            ack_wait: millis(&mut draw, Duration::from_secs(2), GATE.ack_wait_max),
        };
        let batch_wait = millis(&mut draw, Duration::from_millis(200), Duration::from_secs(1));
        let profile = draw_profile(&mut draw, has(Fault::Paging));
        let orders = faults.iter().map(|fault| order(*fault, &mut draw)).collect::<Vec<_>>();
        let harmless = draw_harmless(&mut draw, delay, has(Fault::Stale));
        let page_sizes = draw_page_sizes(&mut draw, has(Fault::Paging));
        // Whoever has no scope, and whoever sees all, are shown the same: victims of the one are
        // not told apart from those of the other.
        let with_platform = draw.random_bool(0.3) && !has(Fault::Paging) && !has(Fault::Scope);
        // What was on its way when the table was asked is no matter of the reader.
        let is_still = has(Fault::Paging) || has(Fault::Stale) || is_disturbed(&acts);
        let is_read_at_once = draw.random_bool(0.4) && !is_still;
        let storm = Storm {
            seed,
            faults: [orders, harmless].concat(),
            kept: None,
            batch_wait,
            delay,
            relay,
            stream,
            acts,
            replica: None,
            runs: vec![run(profile)],
        };
        Self { storm, faults, page_sizes, with_platform, is_read_at_once }
    }
}

/// Whether a part is killed while the run is read back.
fn is_disturbed(acts: &[Act]) -> bool {
    acts.iter().any(|act| matches!(act.at, At::Check { .. }))
}

fn run(profile: String) -> Run {
    Run {
        index: 0,
        load: Load::Live { profile, killed_after: None },
        account: Account::Full,
        counted: Counted::Logical,
        is_deep: false,
        is_blind: false,
        sender_clock: 0,
        checker_clock: 0,
    }
}

fn draw_faults(draw: &mut ChaCha8Rng) -> Vec<Fault> {
    const JOINED: [Fault; 4] = [Fault::Paging, Fault::Scope, Fault::Leak, Fault::Reorder];
    let count = [0, 0, 0, 1, 1, 2, 2, 2][draw.random_range(0..8)];
    let first = draw.random_range(0..JOINED.len());
    let step = draw.random_range(1..JOINED.len());
    // Of events that are not there yet, none is left for another fault.
    if draw.random_bool(0.1) {
        return vec![Fault::Stale];
    }
    (0..count).map(|index| JOINED[(first + index * step) % JOINED.len()]).collect()
}

/// The order for a fault, as `--fault` takes it.
fn order(fault: Fault, draw: &mut ChaCha8Rng) -> String {
    match fault {
        Fault::Paging => "paging:real".to_owned(),
        Fault::Scope => "scope:open".to_owned(),
        Fault::Leak => format!("leak:{:.3}", draw.random_range(0.01..0.1)),
        Fault::Stale => "stale:60m".to_owned(),
        Fault::Reorder => "reorder".to_owned(),
    }
}

/// What makes answers late or lets them fail, and must not be taken for a fault.
fn draw_harmless(draw: &mut ChaCha8Rng, delay: Duration, is_stale: bool) -> Vec<String> {
    let mut orders = Vec::new();
    if !delay.is_zero() {
        orders.push(format!("delay:aggregator:{}ms", delay.as_millis()));
    }
    if draw.random_bool(0.4) {
        let code = [503, 500, 429][draw.random_range(0..3)];
        orders.push(format!("error:{code}:{:.3}", draw.random_range(0.01..0.1)));
    }
    if draw.random_bool(0.4) {
        let wait = draw.random_range(100..800);
        orders.push(format!("slow:{wait}ms:{:.3}", draw.random_range(0.02..0.1)));
    }
    let late = draw.random_range(500..4_000);
    if draw.random_bool(0.3) && !is_stale {
        orders.push(format!("stale:{late}ms"));
    }
    orders
}

fn draw_acts(draw: &mut ChaCha8Rng) -> Vec<Act> {
    const PARTS: [Part; 4] = [Part::ClickHouse, Part::Relay, Part::QueryApi, Part::QueryApi];
    let count = [0, 1, 1, 2][draw.random_range(0..4)];
    let mut acts: Vec<Act> = Vec::new();
    for _ in 0..count {
        let part = PARTS[draw.random_range(0..PARTS.len())];
        let lasts = millis(draw, Duration::from_millis(300), Duration::from_secs(3));
        let after = millis(draw, Duration::ZERO, Duration::from_secs(4));
        let is_late = draw.random_bool(0.4) && part != Part::Relay;
        let at = if is_late {
            At::Check { before: Duration::ZERO, after: after / 4 }
        } else {
            At::Load(after)
        };
        let what = Disturbance::Away(part);
        // A part that is down cannot be killed.
        if acts.iter().all(|act| act.what != what) {
            acts.push(Act { what, at, lasts });
        }
    }
    acts
}

/// A page of the real server's must have more events than a second, or its pages never end.
fn draw_page_sizes(draw: &mut ChaCha8Rng, is_real: bool) -> Vec<u32> {
    let sizes: &[u32] = if is_real { &[70, 100, 130, 333] } else { &[15, 40, 100, 333, 1_000] };
    let first = draw.random_range(0..sizes.len());
    let step = draw.random_range(0..sizes.len());
    let mut sizes = vec![sizes[first], sizes[(first + step) % sizes.len()]];
    sizes.dedup();
    sizes
}

fn draw_profile(draw: &mut ChaCha8Rng, is_real: bool) -> String {
    let lasts = millis(draw, LOAD_MIN, LOAD_MAX).as_millis();
    let mix = if is_real { "seed" } else { ["seed", "cluster"][draw.random_range(0..2)] };
    let skew = if is_real { 0.0 } else { draw.random_range(0.0..1.2) };
    let rate = |draw: &mut ChaCha8Rng| draw.random_range(3..20);
    format!(
        "name: seeded\nseed: {}\nmix: {mix}\nskew: {skew:.2}\n\
         stages: [{{duration: {lasts}ms, rate: {}/s -> {}/s, tenants: {}}}]\n\
         send: {{batch_events: {}, batch_age: {}ms, timeout: 5s, lateness_max: 300s}}\n\
         queries:\n  stages: [{{duration: {lasts}ms, {}}}]\n  \
         think_min: 50ms\n  think_max: 400ms\n  timeout: 10s\n  \
         scopes: {{tenant: {}, platform: {}, complex: {}}}\n{}thresholds: {{}}\n",
        draw.random_range(0..1_000_000),
        rate(draw),
        rate(draw),
        draw.random_range(2..10),
        draw.random_range(1..200),
        draw.random_range(50..800),
        draw_askers(draw),
        draw.random_range(1..10),
        draw.random_range(0..10),
        draw.random_range(0..4),
        draw_templates(draw),
    )
}

fn draw_askers(draw: &mut ChaCha8Rng) -> String {
    let (from, to) = (draw.random_range(0..4), draw.random_range(1..5));
    if draw.random_bool(0.7) {
        format!("users: {from} -> {to}")
    } else {
        format!("rate: {from}/s -> {}/s", to * 2)
    }
}

/// Now and then questions that have many pages, while rows come in.
fn draw_templates(draw: &mut ChaCha8Rng) -> String {
    let (limit, pages) = (draw.random_range(5..120), draw.random_range(2..9));
    let scope = ["tenant", "platform"][draw.random_range(0..2)];
    if draw.random_bool(0.5) {
        return String::new();
    }
    format!(
        "  templates:\n  - {{name: pages, scope: {scope}, range: 1h, limit: {limit}, \
         pages: {pages}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_follows_from_the_seed_alone() {
        for seed in 0..50 {
            assert_eq!(Reading::draw(seed), Reading::draw(seed));
        }
        assert_ne!(Reading::draw(1).storm.runs[0].load, Reading::draw(2).storm.runs[0].load);
    }

    #[test]
    fn fifty_seeds_have_everything_in_them() {
        let readings: Vec<Reading> = (0..50).map(Reading::draw).collect();
        let count = |is: &dyn Fn(&Reading) -> bool| readings.iter().filter(|it| is(it)).count();
        for fault in Fault::ALL {
            assert!(count(&|it| it.faults.contains(&fault)) >= 2, "{fault:?}");
        }
        assert!(count(&|it| it.faults.is_empty()) >= 15);
        assert!(count(&|it| it.faults.len() == 2) >= 3);
        for part in [Part::ClickHouse, Part::Relay, Part::QueryApi] {
            let away = |act: &Act| act.what == Disturbance::Away(part);
            assert!(count(&|it| it.storm.acts.iter().any(away)) >= 5, "{part:?}");
        }
        assert!(count(&|it| is_disturbed(&it.storm.acts)) >= 5);
        for order in ["delay", "error", "slow", "stale"] {
            let is_ordered =
                |it: &Reading| it.storm.faults.iter().any(|fault| fault.starts_with(order));
            assert!(count(&is_ordered) >= 5, "{order}");
        }
        assert!(count(&|it| it.is_read_at_once) >= 5);
        assert!(count(&|it| it.with_platform) >= 5);
        let profile = |it: &Reading| match &it.storm.runs[0].load {
            Load::Live { profile, .. } => profile.clone(),
            Load::History { .. } => String::new(),
        };
        for words in ["users: ", "stages: [{duration: ", "templates:", "mix: cluster", "->"] {
            assert!(count(&|it| profile(it).contains(words)) >= 10, "{words}");
        }
        let at_a_rate = |it: &Reading| profile(it).matches("rate: ").count() == 2;
        assert!(count(&at_a_rate) >= 5);
    }
}
