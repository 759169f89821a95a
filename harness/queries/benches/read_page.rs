//! Measures how fast a page of an answer is read, compared with parsing all of it as JSON.
//!
//! Prints `bench read-page …`. `AUDITSTORM_BENCH_EVENTS` sets how many events a page has.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use events::identity::{Seq, TenantIndex};
use events::render::{Form, render};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use queries::page::read_answer;
use uuid::Uuid;

const ROUNDS: usize = 9;
const PAGES: usize = 50;
/// MB a second on one core.
const BAR: f64 = 500.0;

fn main() {
    let events = std::env::var("AUDITSTORM_BENCH_EVENTS")
        .map_or(1_000, |text| text.parse::<u64>().expect("a number of events"));
    let body = body(events);
    let bytes = body.len() * PAGES;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(bytes, || {
            let page = read_answer(black_box(body.clone())).expect("it is an answer");
            assert_eq!(page.events.len() as u64, events);
        }));
        peer.push(rate(bytes, || {
            let value: serde_json::Value =
                serde_json::from_slice(black_box(&body)).expect("it is JSON");
            black_box(value);
        }));
    }
    let (ours, peer) = (median(ours), median(peer));
    let verdict = if ours >= BAR { "ok" } else { "short" };
    println!(
        "bench read-page ours={ours:.0} MB/s peer=serde_json:{peer:.0} MB/s ratio={:.1} \
         bar={BAR} {verdict}",
        ours / peer
    );
}

/// An answer with a page of events.
fn body(events: u64) -> Bytes {
    let text = "name: x\nmix: cluster\nstages: [{duration: 10000s, rate: 100/s, tenants: 1}]\n";
    let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000_000_000, Span::Live);
    let plan = Plan::parse(text, "x", options).expect("it is a profile");
    let mut body =
        br#"{"kind":"AuditLogQuery","spec":{"limit":1000},"status":{"results":["#.to_vec();
    for seq in 0..events {
        if seq > 0 {
            body.push(b',');
        }
        let facts = plan.script.facts(TenantIndex(0), Seq(seq)).expect("it is planned");
        render(&facts, Form::Item, &mut body);
    }
    body.extend_from_slice(br#"],"continue":"x","effectiveStartTime":"x"}}"#);
    body.into()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let begun = std::time::Instant::now();
    work();
    begun.elapsed()
}

#[expect(clippy::cast_precision_loss, reason = "figures for a person to read")]
fn rate(bytes: usize, read: impl Fn()) -> f64 {
    let took = timed(|| (0..PAGES).for_each(|_| read()));
    bytes as f64 / took.as_secs_f64() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
