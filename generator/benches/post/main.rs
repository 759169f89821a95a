//! What posting events or questions costs, against k6 and wrk posting to the same nginx, and the
//! memory that it takes.
//!
//! `-- single`, `-- batch` or `-- memory` prints `bench post-single …`, `bench post-batch …` or
//! `bench generator-memory …`. `-- query` prints `bench query …` and `bench query-memory …`: ours
//! checks every answer against the plan, k6 parses it. The costs are user and system time of the
//! sender's process alone, from its start to its end, so they hold at any rate and beside any other
//! work; what shares the machine with all senders shows in none of the ratios.
//!
//! The peers come from `make bench-setup`. `AUDITSTORM_BENCH_SECONDS` makes it one short round,
//! which does without them, and then says so.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

mod asking;
mod ours;
mod peers;
mod process;

use crate::asking::{Asked, Askers, Asking};
use crate::ours::{Load, Ours};
use crate::peers::{Peers, Posted, Settings, Sink};

const ROUNDS: usize = 5;
const SECONDS: u32 = 5;
const MEMORY_SECONDS: u32 = 20;
const QUERY_SECONDS: u32 = 10;

/// The same for all senders: enough to keep nginx busy, few enough to stay in the caches.
const CONNECTIONS: u32 = 16;
const BATCH_EVENTS: u32 = 400;
const PAGE_EVENTS: u32 = 100;
/// A fraction of what one core asks and checks, so that no question waits.
const QUERY_RATE: u32 = 500;
/// As many as the profile `query-storm` has.
const QUERY_USERS: u32 = 500;

const BAR_SINGLE_K6: f64 = 8.0;
const BAR_SINGLE_WRK: f64 = 0.45;
const BAR_BATCH_K6: f64 = 15.0;
const BAR_BATCH_MAKING: f64 = 1.3;
const BAR_QUERY_K6: f64 = 8.0;
const LIMIT_MEMORY_MB: f64 = 64.0;

fn main() {
    let seconds = std::env::var("AUDITSTORM_BENCH_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    let peers = Peers::find();
    assert!(peers.is_some() || seconds.is_some(), "no k6, wrk or nginx: run `make bench-setup`");
    let sink = peers.as_ref().map_or_else(Sink::threads, Sink::nginx);
    let rounds = seconds.map_or(ROUNDS, |_| 1);
    let bench = Bench { peers, sink, rounds };
    match std::env::args().nth(1).as_deref() {
        Some("single") => bench.single(seconds.unwrap_or(SECONDS)),
        Some("batch") => bench.batch(seconds.unwrap_or(SECONDS)),
        Some("memory") => bench.memory(seconds.unwrap_or(MEMORY_SECONDS)),
        Some("query") => bench.query(seconds.unwrap_or(QUERY_SECONDS)),
        other => panic!("{other:?} is none of single, batch, memory, query"),
    }
}

struct Bench {
    peers: Option<Peers>,
    sink: Sink,
    rounds: usize,
}

/// CPU-seconds per event, a value for each round.
#[derive(Default)]
struct Costs {
    ours: Vec<f64>,
    k6: Vec<f64>,
    wrk: Vec<f64>,
    making: Vec<f64>,
}

impl Bench {
    /// Single events. The rate is three quarters of what nginx takes with its one worker: high
    /// enough for starting to cost nothing, low enough to be posted on time.
    fn single(&self, seconds: u32) {
        let settings = Settings { seconds, connections: CONNECTIONS, events: 1 };
        let Some(costs) = self.measure(Load { rate: 900, tenants: 50, settings }) else { return };
        let (ours, unit) = (rate(costs.ours), "events/cpu-s");
        print_line("post-single", unit, ours, "k6", rate(costs.k6), Bar::AtLeast(BAR_SINGLE_K6));
        print_line("post-single", unit, ours, "wrk", rate(costs.wrk), Bar::AtLeast(BAR_SINGLE_WRK));
    }

    /// Lists of 400 events, at half of what one core makes and posts.
    fn batch(&self, seconds: u32) {
        let settings = Settings { seconds, connections: CONNECTIONS, events: BATCH_EVENTS };
        let load = Load { rate: 10_000, tenants: 50, settings };
        let Some(costs) = self.measure(load) else { return };
        let (ours_us, making_us) = (median(costs.ours) * 1e6, median(costs.making) * 1e6);
        let posting_us = median(costs.wrk) * 1e6;
        println!("making {making_us:.3} us/event, wrk posting {posting_us:.3} us/event");
        let (ours, k6) = (1e6 / ours_us, rate(costs.k6));
        let bar = Bar::AtLeast(BAR_BATCH_K6);
        print_line("post-batch", "events/cpu-s", ours, "k6", k6, bar);
        let (peer, bar) = (making_us + posting_us, Bar::AtMost(BAR_BATCH_MAKING));
        print_line("post-batch", "us/event", ours_us, "making+wrk", peer, bar);
    }

    /// The most memory of any round, at 50,000 events a second of 500 control planes.
    fn memory(&self, seconds: u32) {
        let load = Load { rate: 100, tenants: 500, settings: Settings::defaults(seconds) };
        let peaks = (0..self.rounds).map(|_| Ours::post(&self.sink, load).memory_bytes_max);
        print_memory("generator-memory", peaks);
    }

    /// Questions for a page each, and then the most memory of any round of many users.
    fn query(&self, seconds: u32) {
        let settings = Settings { seconds, connections: CONNECTIONS, events: PAGE_EVENTS };
        let asking = Asking { askers: Askers::Rate(QUERY_RATE), settings };
        let mut costs = Costs::default();
        for _ in 0..self.rounds {
            let ours = asking.ask(&self.sink);
            let Some(peers) = &self.peers else {
                println!("{} questions answered; no peers here to measure against", ours.queries);
                break;
            };
            let k6 = peers.k6("k6-query.js", &self.sink.questions(), settings);
            assert_same_answers(&ours, &k6);
            costs.ours.push(ours.cpu_s / whole(ours.queries));
            costs.k6.push(k6.cpu_s / whole(k6.requests));
        }
        if !costs.k6.is_empty() {
            let (ours, k6, bar) = (rate(costs.ours), rate(costs.k6), Bar::AtLeast(BAR_QUERY_K6));
            print_line("query", "queries/cpu-s", ours, "k6", k6, bar);
        }
        let asking = Asking { askers: Askers::Users(QUERY_USERS), settings };
        let peaks = (0..self.rounds).map(|_| asking.ask(&self.sink).memory_bytes_max);
        print_memory("query-memory", peaks);
    }

    /// Lets all senders post in turn; `None` where there is only us.
    fn measure(&self, load: Load) -> Option<Costs> {
        let (url, settings) = (&self.sink.events(), load.settings);
        let Some(peers) = &self.peers else {
            let ours = Ours::post(&self.sink, load);
            println!("{} events posted; no peers here to measure against", ours.events);
            return None;
        };
        let mut costs = Costs::default();
        let body = load.body();
        for _ in 0..self.rounds {
            let ours = Ours::post(&self.sink, load);
            let k6 = peers.k6("k6-post.js", url, settings);
            let wrk = peers.wrk(url, body.path(), settings);
            assert_same_size(&ours, &k6, settings);
            costs.making.push(load.making_cpu_s() / whole(ours.events));
            costs.ours.push(ours.cpu_s / whole(ours.events));
            costs.k6.push(per_event(&k6, settings));
            costs.wrk.push(per_event(&wrk, settings));
        }
        Some(costs)
    }
}

fn per_event(posted: &Posted, settings: Settings) -> f64 {
    posted.cpu_s / (whole(posted.requests) * f64::from(settings.events))
}

/// Events of different sizes cannot be compared. k6 counts the heads of requests with the bodies.
fn assert_same_size(ours: &Ours, k6: &Posted, settings: Settings) {
    let head_bytes = 170.0;
    let theirs = whole(k6.bytes_sent) / whole(k6.requests) - head_bytes;
    let ratio = theirs / f64::from(settings.events) / (whole(ours.bytes) / whole(ours.events));
    assert!((0.9..1.1).contains(&ratio), "an event of k6 is {ratio} times as large as ours");
}

/// Neither can those who read answers of different sizes. k6 counts the heads with the bodies.
fn assert_same_answers(ours: &Asked, k6: &Posted) {
    let theirs = whole(k6.bytes_received) / whole(k6.requests);
    let ratio = theirs / (whole(ours.bytes) / whole(ours.queries));
    assert!((0.95..1.05).contains(&ratio), "an answer to k6 is {ratio} times as large as ours");
}

/// What a ratio must reach, or must not exceed.
#[derive(Debug, Clone, Copy)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

fn print_line(name: &str, unit: &str, ours: f64, peer: &str, theirs: f64, bar: Bar) {
    let ratio = ours / theirs;
    let (bar, is_ok) = match bar {
        Bar::AtLeast(bar) => (bar, ratio >= bar),
        Bar::AtMost(bar) => (bar, ratio <= bar),
    };
    let digits = if ours < 100.0 { 3 } else { 0 };
    let verdict = if is_ok { "ok" } else { "short" };
    println!(
        "bench {name} ours={ours:.digits$} {unit} peer={peer}:{theirs:.digits$} {unit} \
         ratio={ratio:.3} bar={bar} {verdict}"
    );
}

fn print_memory(name: &str, peaks: impl Iterator<Item = u64>) {
    let megabytes = whole(peaks.max().expect("there is a round")) / 1e6;
    print_line(name, "MB", megabytes, "limit", LIMIT_MEMORY_MB, Bar::AtMost(1.0));
}

fn rate(costs: Vec<f64>) -> f64 {
    1.0 / median(costs)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "figures for a person to read")]
fn whole(number: u64) -> f64 {
    number as f64
}
