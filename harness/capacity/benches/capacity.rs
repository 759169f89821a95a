//! Measures how near the search comes to the true limit of simulated pipelines.
//!
//! Prints `bench capacity …` for a thousand seeds. `AUDITSTORM_BENCH_SEEDS` sets how many there
//! are, and `-- --seed 7` prints the course of one.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "capacity/searched.rs"]
mod searched;
#[path = "capacity/simulated.rs"]
mod simulated;

use searched::{Figures, Searched, search, search_by_backlog};

/// Percent of the answers that are within 5 % of the limit.
const WITHIN_MIN: f64 = 99.0;
/// Percent above the limit.
const ABOVE_MAX: f64 = 2.0;
const PLATEAUS_MAX: usize = 12;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--seed") {
        let searched = search(args[at + 1].parse().expect("a number"));
        searched.course.iter().for_each(|line| println!("{line}"));
        println!("{:?} of the limit, {} plateaus", searched.answer, searched.plateaus);
        return;
    }
    let seeds = std::env::var("AUDITSTORM_BENCH_SEEDS")
        .map_or(1_000, |text| text.parse::<u64>().expect("a number of seeds"));
    let all: Vec<Searched> = (0..seeds).map(search).collect();
    for it in all.iter().filter(|it| !it.is_within()) {
        println!("seed {}: {:?} of the limit, {} plateaus", it.seed, it.answer, it.plateaus);
    }
    let ours = Figures::of(&all);
    let peer = Figures::of(&(0..seeds).map(search_by_backlog).collect::<Vec<_>>());
    println!("{seeds} seeds, median of {} plateaus", ours.plateaus_median);
    let percent = |it: &Figures| 100.0 * share(it.within, it.searches);
    let above = |it: &Figures| 100.0 * it.above_max.max(0.0);
    line("capacity", "% within 5 %", (percent(&ours), percent(&peer)), WITHIN_MIN, |it| {
        it >= WITHIN_MIN
    });
    line("capacity-above", "% above", (above(&ours), above(&peer)), ABOVE_MAX, |it| {
        it <= ABOVE_MAX
    });
    let plateaus = [&ours, &peer].map(|it| share(it.plateaus_max, 1));
    let bar = share(PLATEAUS_MAX, 1);
    line("capacity-plateaus", "plateaus", (plateaus[0], plateaus[1]), bar, |it| it <= bar);
}

fn line(name: &str, unit: &str, (ours, peer): (f64, f64), bar: f64, is_ok: impl Fn(f64) -> bool) {
    let ratio = ours / peer.max(f64::MIN_POSITIVE);
    let verdict = if is_ok(ours) { "ok" } else { "short" };
    println!(
        "bench {name} ours={ours:.1} {unit} peer=backlog-of-1000:{peer:.1} {unit} \
         ratio={ratio:.2} bar={bar} {verdict}"
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts of searches")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
