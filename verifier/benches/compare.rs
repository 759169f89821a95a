//! Measures how often `compare` is wrong: how many equal runs it calls worse, and how many worse
//! runs it misses.
//!
//! Runs take a minute each, so most pairs are made of a model that is fitted to real runs. The
//! real ones are in `compare/runs.txt`: what 2 × 24 s of `smoke` at two rates measured, again and
//! again in sandboxes of their own, on two busy cores. A run of the model takes a real run by lot,
//! with all by which its quantities differ from those of the other runs, as they do together; each
//! block of its seconds is that of a run taken by lot. Where 30 % of a quantity would not matter,
//! its level is raised until they do.
//!
//! A comparison is what a gate does: five bases and a run, and if that is suspected or not judged,
//! two more runs at most. Worse runs are made of those of a calm machine: on one that is too busy
//! nothing is judged. Prints `bench compare-false …` and `bench compare-found …`; the other figures
//! are above them. `-- --collect DIR…` writes what run directories measured, in the form of
//! `runs.txt`; `-- --pairs DIR…` compares all of them with each other.
#![expect(clippy::print_stdout, reason = "the figures are the result")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot run ends there")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use events::draw::Draw;
use report::versus::judgement::{Measure, judge};
use report::versus::measured::Measured;
use report::versus::quantity::{Quantity, Resource};
use report::versus::{Comparison, Outcome, measured_in, unfit_in};

const RUNS: &str = include_str!("compare/runs.txt");
const BASES: usize = 5;
const RUNS_MAX: usize = 3;
const BLOCK_SECONDS: i64 = 5;
const PLANTED: f64 = 0.3;
const FALSE_MAX: f64 = 0.01;
const FOUND_MIN: f64 = 0.95;

/// What one real run measured.
#[derive(Debug, Clone)]
struct Run {
    /// Runs of one group have the same key.
    group: String,
    /// By name of the quantity: the smallest change that matters, and what was measured.
    of: BTreeMap<Quantity, (f64, Measured)>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let dirs = |from: usize| args[from..].iter().map(PathBuf::from).collect::<Vec<_>>();
    match args.first().map(String::as_str) {
        Some("--collect") => print!("{}", dirs(1).iter().map(|dir| told(dir)).collect::<String>()),
        Some("--pairs") => compare_all(&dirs(1)),
        _ => bench(),
    }
}

fn bench() {
    let pairs = std::env::var("AUDITSTORM_BENCH_PAIRS").map(|it| it.parse().unwrap());
    let pairs: u64 = pairs.unwrap_or(200);
    let runs = read(RUNS);
    let mut groups: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in &runs {
        groups.entry(&run.group).or_default().push(run);
    }
    for (name, group) in &groups {
        print_spread(name, group);
        print_real(name, group);
    }
    let all: Vec<Vec<&Run>> = groups.into_values().collect();
    let calm: Vec<Vec<&Run>> = all.iter().map(|group| calm(group)).collect();
    let tally = |groups: &[Vec<&Run>], bases, planted: Option<&Planted>, number: u64| {
        let mut tally = Tally::default();
        for pair in 0..pairs {
            let group = &groups[usize::try_from(pair).unwrap() % groups.len()];
            tally.add(gate(group, bases, number * 1_000_000 + pair, planted));
        }
        tally
    };
    let (wrong, calm_wrong) = (tally(&all, BASES, None, 1), tally(&calm, BASES, None, 2));
    println!("equal runs, {BASES} bases each: {wrong}");
    println!("equal runs of a calm machine, {BASES} bases each: {calm_wrong}");
    println!("equal runs, one base each: {}", tally(&all, 1, None, 3));
    let most = wrong.regressions().max(calm_wrong.regressions());
    let mut least: f64 = 1.0;
    for (number, planted) in (4..).zip(Planted::all()) {
        let found = tally(&calm, BASES, Some(&planted), number);
        println!("{}, {BASES} bases each: {found}", planted.told());
        let single = tally(&calm, 1, Some(&planted), number + 100);
        println!("{}, one base each: {single}", planted.told());
        if planted.noise == Noise::Stays {
            least = least.min(found.regressions());
        }
    }
    print_line("compare-false", most, FALSE_MAX, most <= FALSE_MAX);
    print_line("compare-found", least, FOUND_MIN, least >= FOUND_MIN);
}

/// What is made worse by 30 %.
#[derive(Debug, Clone)]
struct Planted {
    quantity: Quantity,
    noise: Noise,
}

/// What becomes of the noise of a quantity whose level is raised until 30 % matter.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Noise {
    /// As many ms or cores. The real runs are so: at five times the rate their webhook takes three
    /// times as long, and varies by as many ms.
    Stays,
    /// As many percent.
    Grows,
}

impl Planted {
    fn all() -> Vec<Self> {
        let stays = |quantity| Self { quantity, noise: Noise::Stays };
        let grows = |quantity| Self { quantity, noise: Noise::Grows };
        let cpu = || Quantity::Used("clickhouse".to_owned(), Resource::Cpu);
        vec![
            stays(Quantity::Acknowledged),
            stays(Quantity::Ingested),
            stays(Quantity::Webhook(95)),
            stays(Quantity::EndToEnd(95)),
            stays(cpu()),
            grows(Quantity::Webhook(95)),
            grows(cpu()),
        ]
    }

    fn told(&self) -> String {
        match self.noise {
            Noise::Stays => format!("30 % worse {}", self.quantity),
            Noise::Grows => format!("30 % worse {}, if noise grows with the level", self.quantity),
        }
    }
}

/// Does what a gate does: compares a run with some bases, and runs again while that is suspected
/// or cannot be judged.
fn gate(group: &[&Run], bases: usize, pair: u64, planted: Option<&Planted>) -> Outcome {
    let mut draw = Draw::new(7, pair, 0);
    let bases: Vec<Run> = (0..bases).map(|_| modelled(group, &mut draw, planted, 1.0)).collect();
    let mut runs = Vec::new();
    loop {
        let factor = match planted.map(|it| &it.quantity) {
            Some(Quantity::Acknowledged | Quantity::Ingested) => 1.0 - PLANTED,
            _ => 1.0 + PLANTED,
        };
        runs.push(modelled(group, &mut draw, planted, factor));
        let outcome = outcome(&bases, &runs);
        let is_open = matches!(outcome, Outcome::Suspected | Outcome::NotJudged);
        if !is_open || runs.len() == RUNS_MAX {
            return outcome;
        }
    }
}

fn outcome(bases: &[Run], runs: &[Run]) -> Outcome {
    let measure = |quantity: &Quantity| {
        let of = |group: &[Run]| -> Vec<Measured> {
            group.iter().map(|run| run.of.get(quantity).cloned().unwrap_or_default().1).collect()
        };
        let floor = runs[0].of[quantity].0;
        Measure { quantity: quantity.clone(), floor, bases: of(bases), runs: of(runs) }
    };
    Outcome::of(&judge(&runs[0].of.keys().map(measure).collect::<Vec<_>>()))
}

/// Makes a run: its values are those of one real run, and each block of its seconds is that of
/// another. The planted quantity, if there is one, is at a level at which 30 % matter, times the
/// factor.
fn modelled(group: &[&Run], draw: &mut Draw, planted: Option<&Planted>, factor: f64) -> Run {
    let real = group[below(draw, group.len())];
    let blocks: Vec<&Run> = (0..100).map(|_| group[below(draw, group.len())]).collect();
    let model = |(quantity, (floor, measured)): (&Quantity, &(f64, Measured))| {
        let value = measured.value.unwrap();
        let mut level = (0.0, 1.0);
        if let Some(planted) = planted.filter(|it| it.quantity == *quantity) {
            let typical = typical(group, quantity);
            let wanted = typical.max(floor / PLANTED * 1.5);
            level = match planted.noise {
                Noise::Stays => ((wanted - typical) * factor, factor),
                Noise::Grows => (0.0, wanted / typical * factor),
            };
        }
        let at_level = |it: f64| it * level.1 + level.0;
        let mut by_second = BTreeMap::new();
        for second in measured.by_second.keys() {
            let block = usize::try_from(second.div_euclid(BLOCK_SECONDS)).unwrap_or(0);
            let Some((_, other)) = blocks[block % blocks.len()].of.get(quantity) else { continue };
            let Some(samples) = other.by_second.get(second) else { continue };
            let ratio = if other.value > Some(0.0) { value / other.value.unwrap() } else { 1.0 };
            let made = samples.iter().map(|it| (at_level(it.0 * ratio), it.1)).collect();
            by_second.insert(*second, made);
        }
        let value = Some(at_level(value));
        (quantity.clone(), (*floor, Measured { value, by_second, ..measured.clone() }))
    };
    Run { group: real.group.clone(), of: real.of.iter().map(model).collect() }
}

/// The geometric mean of a quantity.
fn typical(group: &[&Run], quantity: &Quantity) -> f64 {
    let values = logarithms(group, quantity);
    (values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap())).exp()
}

fn logarithms(group: &[&Run], quantity: &Quantity) -> Vec<f64> {
    let value = |run: &&Run| run.of.get(quantity)?.1.value.filter(|it| *it > 0.0);
    group.iter().filter_map(value).map(f64::ln).collect()
}

/// The runs on a machine that was not too busy for them.
fn calm<'r>(group: &[&'r Run]) -> Vec<&'r Run> {
    let is_calm = |run: &&&Run| run.of[&Quantity::Ingested].1.error <= 0.0;
    group.iter().filter(is_calm).copied().collect()
}

/// Prints how much the quantities of real runs vary, with and without those of a busy machine.
fn print_spread(name: &str, group: &[&Run]) {
    let calm = calm(group);
    println!("{} real runs of {name}, {} of them on a calm machine", group.len(), calm.len());
    for quantity in group[0].of.keys() {
        let sd = |group: &[&Run]| {
            let values = logarithms(group, quantity);
            let count = f64::from(u32::try_from(values.len()).unwrap());
            let mean = values.iter().sum::<f64>() / count;
            let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
            (squares / (count - 1.0).max(1.0)).sqrt()
        };
        println!("  {quantity}: spread {:.3}, of all {:.3}", sd(&calm), sd(group));
    }
}

/// Compares real runs with each other, and each with the five before it.
fn print_real(name: &str, group: &[&Run]) {
    let (mut pairs, mut several) = (Tally::default(), Tally::default());
    let owned: Vec<Run> = group.iter().map(|run| (*run).clone()).collect();
    for (at, run) in owned.iter().enumerate() {
        for (_, base) in owned.iter().enumerate().filter(|(other, _)| *other != at) {
            pairs.add(outcome(std::slice::from_ref(base), std::slice::from_ref(run)));
        }
        if at >= BASES {
            several.add(outcome(&owned[at - BASES..at], std::slice::from_ref(run)));
        }
    }
    println!("all pairs of real runs of {name}: {pairs}");
    println!("each real run of {name} against the {BASES} before it: {several}");
}

/// Compares run directories with each other, and each with the five before it.
fn compare_all(dirs: &[PathBuf]) {
    let (mut pairs, mut several) = (Tally::default(), Tally::default());
    let of = |bases: &[PathBuf], run: &PathBuf| {
        Comparison::of(bases, std::slice::from_ref(run)).map(|it| it.outcome).ok()
    };
    for (at, run) in dirs.iter().enumerate() {
        for base in dirs.iter().filter(|it| *it != run) {
            if let Some(outcome) = of(std::slice::from_ref(base), run) {
                pairs.add(outcome);
            }
        }
        let before = at.checked_sub(BASES).map(|from| &dirs[from..at]);
        if let Some(outcome) = before.and_then(|bases| of(bases, run)) {
            several.add(outcome);
        }
    }
    println!("all pairs: {pairs}");
    println!("each against the {BASES} before it: {several}");
}

/// How many comparisons had which outcome.
#[derive(Debug, Default)]
struct Tally {
    all: u32,
    regressions: u32,
    suspected: u32,
    not_judged: u32,
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        self.all += 1;
        match outcome {
            Outcome::Regression => self.regressions += 1,
            Outcome::Suspected => self.suspected += 1,
            Outcome::NotJudged => self.not_judged += 1,
            Outcome::NoRegression => {}
        }
    }

    /// The share of regressions.
    fn regressions(&self) -> f64 {
        f64::from(self.regressions) / f64::from(self.all.max(1))
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { all, regressions, suspected, not_judged } = self;
        let none = all - regressions - suspected - not_judged;
        write!(
            f,
            "{regressions} regressions, {suspected} suspected, {not_judged} not judged, {none} \
             none, of {all}"
        )
    }
}

/// Writes what a run directory measured: a line of its group, and one of each quantity.
fn told(dir: &Path) -> String {
    let name = dir.file_name().unwrap().to_string_lossy();
    let mut text = format!("run {}\n", name.rsplit_once('-').map_or(&*name, |it| it.0));
    let is_fit = unfit_in(dir).is_ok_and(|reasons| reasons.is_empty());
    let Some(measured) = measured_in(dir).ok().filter(|_| is_fit) else { return String::new() };
    for (quantity, floor, Measured { value, error, by_second, .. }) in measured {
        let Some(value) = value else { continue };
        write!(text, "{quantity}|{floor}|{value:.5}|{error:.3}|").unwrap();
        for (second, samples) in by_second {
            let step = samples.len().div_ceil(SAMPLES_MAX).max(1);
            for (value, weight) in samples.iter().step_by(step) {
                let value = short(*value);
                match weight.total_cmp(&1.0) {
                    std::cmp::Ordering::Equal => write!(text, "{second}:{value} ").unwrap(),
                    _ => write!(text, "{second}:{value}*{weight} ").unwrap(),
                }
            }
        }
        text.push('\n');
    }
    text
}

const SAMPLES_MAX: usize = 4;

/// A number with four digits.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap()
}

fn read(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(group) = line.strip_prefix("run ") {
            runs.push(Run { group: group.to_owned(), of: BTreeMap::new() });
            continue;
        }
        let fields: Vec<&str> = line.split('|').collect();
        let [name, floor, value, error, samples] = fields[..] else { panic!("{line}") };
        let mut by_second: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in samples.split_whitespace() {
            let (second, value) = sample.split_once(':').unwrap();
            let (value, weight) = value.split_once('*').unwrap_or((value, "1"));
            let sample = (value.parse().unwrap(), weight.parse().unwrap());
            by_second.entry(second.parse().unwrap()).or_default().push(sample);
        }
        let measured = Measured {
            value: Some(value.parse().unwrap()),
            error: error.parse().unwrap(),
            by_second,
            ..Measured::default()
        };
        let run = runs.last_mut().unwrap();
        run.of.insert(quantity(name), (floor.parse().unwrap(), measured));
    }
    runs
}

fn quantity(name: &str) -> Quantity {
    let percent = |text: &str| text.rsplit_once('p').unwrap().1.parse().unwrap();
    match name.split_once('.') {
        Some(("cpu", part)) => Quantity::Used(part.to_owned(), Resource::Cpu),
        Some((_, part)) => Quantity::Used(part.to_owned(), Resource::Memory),
        None if name.starts_with("webhook") => Quantity::Webhook(percent(name)),
        None if name.starts_with("end to end") => Quantity::EndToEnd(percent(name)),
        None => match name {
            "acknowledged" => Quantity::Acknowledged,
            "ingested" => Quantity::Ingested,
            _ => Quantity::Errors,
        },
    }
}

fn below(draw: &mut Draw, end: usize) -> usize {
    draw.below(u32::try_from(end).unwrap()) as usize
}

fn print_line(name: &str, ours: f64, bar: f64, is_met: bool) {
    let verdict = if is_met { "ok" } else { "short" };
    println!(
        "bench {name} ours={:.1} % peer=limit:{:.0} % ratio={:.3} bar=1 {verdict}",
        ours * 100.0,
        bar * 100.0,
        ours / bar
    );
}
