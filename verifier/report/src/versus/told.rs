//! The parts of a comparison as text. Pure.

use crate::columns::{Left, Right, aligned};
use crate::figures;
use crate::versus::beside::Beside;
use crate::versus::judgement::{Compared, Outcome};
use crate::versus::quantity::Unit;
use crate::versus::spread::FREEDOM;

/// Explains in a comparison how it was made.
pub(crate) fn method(bases: usize) -> String {
    let between = match bases {
        1 => format!(
            "With one base, the noise between runs is not known: the published one is used, which \
             was measured on another machine. It weighs as much as {FREEDOM} more runs would."
        ),
        _ => format!(
            "The noise between runs is estimated from the {bases} bases and from the runs, \
             together with the published one, which weighs as much as {FREEDOM} more runs."
        ),
    };
    format!(
        "A change counts if it is larger than allowed, and at least as large as matters. It is \
         suspected if chance makes it so much worse in less than 10 % of comparisons. It is a \
         regression if chance does so to any of the measures in less than 0.5 %, or if runs after \
         the first are worse too, by more than chance does in 2 %. {between} The noise within the \
         runs comes from a bootstrap of their seconds in blocks of 10 s. Values of several runs \
         are geometric means."
    )
}

/// The table of all quantities.
pub(crate) fn table(measures: &[Compared]) -> String {
    let heads = [
        ("measure", Left),
        ("base", Right),
        ("run", Right),
        ("change", Right),
        ("95 % interval", Left),
        ("noise", Right),
        ("allowed", Right),
        ("matters", Right),
        ("outcome", Left),
    ];
    let cells = |it: &Compared| {
        let none = || "–".to_owned();
        let value = |value: Option<f64>| value.map_or_else(none, |value| say(it.unit, value));
        let change = |change: f64| say_change(it.unit, change);
        let interval = it
            .interval
            .map_or_else(none, |[low, high]| format!("{} to {}", change(low), change(high)));
        let noise = |noise: f64| change(noise).replacen('+', "±", 1);
        [
            it.name.to_string(),
            value(it.base),
            value(it.run),
            it.change.map_or_else(none, change),
            interval,
            it.noise.map_or_else(none, noise),
            change(it.allowed),
            if it.floor > 0.0 { say(it.unit, it.floor) } else { none() },
            it.outcome.as_str().to_owned(),
        ]
    };
    aligned(heads, measures.iter().map(cells))
}

impl Compared {
    /// Its name, base, run, change and outcome in words.
    pub fn in_words(&self) -> [String; 5] {
        let none = || "–".to_owned();
        let value = |value: Option<f64>| value.map_or_else(none, |value| say(self.unit, value));
        let change = self.change.map_or_else(none, |change| say_change(self.unit, change));
        let outcome = self.outcome.as_str().to_owned();
        [self.name.to_string(), value(self.base), value(self.run), change, outcome]
    }
}

/// The table of what is shown beside it.
pub(crate) fn beside_table(beside: &[Beside]) -> String {
    let heads = [("also measured", Left), ("base", Right), ("run", Right)];
    aligned(heads, beside.iter().map(Beside::cells))
}

/// The quantities with an outcome, and by how much each changed.
pub(crate) fn changes(measures: &[Compared], outcome: Outcome) -> Option<String> {
    let of_outcome = measures.iter().filter(|it| it.outcome == outcome);
    let told = of_outcome.map(|it| match it.change {
        Some(_) if it.is_open && outcome == Outcome::NotJudged => {
            format!("{}, because some samples were not seen", it.name)
        }
        Some(_) if it.blur.is_some() && outcome == Outcome::NotJudged => {
            format!("{}, because the generator itself was late", it.name)
        }
        Some(change) => format!("{} {}", it.name, say_change(it.unit, change)),
        None => format!("{} from nothing", it.name),
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn say(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", figures::number(value)),
        Unit::Milliseconds => figures::milliseconds(value),
        Unit::Cores => figures::cores(value),
        Unit::Bytes => figures::bytes(value),
        Unit::Share => figures::share(value),
    }
}

fn say_change(unit: Unit, change: f64) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    let points = if unit == Unit::Share { " pt" } else { " %" };
    let percent = change.abs() * 100.0;
    // Nobody reads the digits of a change to a multiple.
    match percent {
        1_000.0.. => format!("{sign}{}{points}", figures::number(percent)),
        _ => format!("{sign}{percent:.1}{points}"),
    }
}
