//! Measures how fast events are made, compared with copying the same number of bytes in memory.
//!
//! Prints `bench make-events …`. `AUDITSTORM_BENCH_EVENTS` sets how many events a round makes.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::hint::black_box;
use std::time::Duration;

use events::identity::{RunMark, Seq, TenantIndex};
use events::render::{Form, render};
use events::script::{Days, Script};
use events::timeline::{Arrival, Curve, Stage, Timeline};
use events::world::{Character, World};
use uuid::Uuid;

const ROUNDS: usize = 7;
const BODY_BYTES: usize = 512 << 10;
const MEMORY_BYTES: usize = 256 << 20;
const TENANTS: u16 = 50;
const BAR: f64 = 0.25;

fn main() {
    let events = std::env::var("AUDITSTORM_BENCH_EVENTS")
        .map_or(500_000, |text| text.parse::<u64>().expect("a number of events"));
    let script = script();
    let bytes_once = make(&script, events);
    // This is larger than any cache. A smaller source would stay in the cache and measure that.
    let source = vec![b'x'; MEMORY_BYTES];
    let mut target = vec![0; MEMORY_BYTES];
    let copies = bytes_once.div_ceil(MEMORY_BYTES);
    let mut ours = Vec::new();
    let mut peer = Vec::new();
    for _ in 0..ROUNDS {
        ours.push(rate(bytes_once, timed(|| assert_eq!(make(&script, events), bytes_once))));
        peer.push(rate(
            copies * MEMORY_BYTES,
            timed(|| {
                for _ in 0..copies {
                    black_box(&mut target).copy_from_slice(black_box(&source));
                }
            }),
        ));
    }
    let (ours, peer) = (median(ours), median(peer));
    let ratio = ours / peer;
    let verdict = if ratio >= BAR && ours >= 1.0 { "ok" } else { "short" };
    println!(
        "bench make-events ours={ours:.2} GB/s peer=memcpy:{peer:.2} GB/s ratio={ratio:.3} \
         bar={BAR} {verdict}"
    );
}

fn script() -> Script {
    let stage = Stage {
        duration_us: 100_000_000_000,
        rate_milli: (100_000, 100_000),
        tenants: (TENANTS.into(), TENANTS.into()),
    };
    let start = 1_790_000_000_000_000;
    let timelines = (0..TENANTS)
        .map(TenantIndex)
        .map(|tenant| {
            let curve = Curve::of_stages(&[stage], tenant);
            Timeline::live(curve, start, Arrival::Jittered, 1, tenant)
        })
        .collect();
    let world = World::new(1, &[Character::default(); TENANTS as usize]);
    Script::new(RunMark::of(Uuid::nil()), world, timelines, Days::Flow)
}

/// Makes events in bodies of half a megabyte, the size of a batch. Returns how many bytes.
fn make(script: &Script, events: u64) -> usize {
    let mut body = Vec::with_capacity(2 * BODY_BYTES);
    let mut bytes = 0;
    for index in 0..events {
        let tenant = TenantIndex(u16::try_from(index % u64::from(TENANTS)).expect("a tenant"));
        let facts = script.facts(tenant, Seq(index / u64::from(TENANTS))).expect("it is planned");
        render(&facts, Form::Item, &mut body);
        if body.len() > BODY_BYTES {
            bytes += black_box(&body).len();
            body.clear();
        }
    }
    bytes + body.len()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let begun = std::time::Instant::now();
    work();
    begun.elapsed()
}

#[expect(clippy::cast_precision_loss, reason = "figures for a person to read")]
fn rate(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
