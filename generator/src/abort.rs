//! Conditions under which a run gives up by itself. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use plans::quantity::parse_duration;
use runs::latency::{Latencies, percentiles};
use runs::tally::Tally;

/// A condition like `acknowledged_rate<99%`, over the last ten seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct AbortCondition {
    text: String,
    measure: Measure,
    is_below: bool,
    /// A share from 0 to 1, or a time in ms.
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    AcknowledgedRate,
    RefusedRate,
    UnknownRate,
    P95,
    P99,
    Lateness,
}

const MEASURES: [(&str, Measure); 6] = [
    ("acknowledged_rate", Measure::AcknowledgedRate),
    ("refused_rate", Measure::RefusedRate),
    ("unknown_rate", Measure::UnknownRate),
    ("p95", Measure::P95),
    ("p99", Measure::P99),
    ("lateness", Measure::Lateness),
];

impl Measure {
    fn is_share(self) -> bool {
        matches!(self, Self::AcknowledgedRate | Self::RefusedRate | Self::UnknownRate)
    }
}

impl fmt::Display for AbortCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for AbortCondition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || MEASURES.map(|(name, _)| name).join(", ");
        let wrong = || {
            format!(
                "write it like acknowledged_rate<99%, p95>10s or lateness>1s; measures are {}",
                names()
            )
        };
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (name, limit) = (text[..at].trim(), text[at + 1..].trim());
        let measure = MEASURES.iter().find(|(known, _)| *known == name).ok_or_else(wrong)?.1;
        let limit = match limit.strip_suffix('%') {
            Some(percent) if measure.is_share() => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                (0.0..=100.0).contains(&percent).then_some(percent / 100.0).ok_or_else(wrong)?
            }
            None if !measure.is_share() => milliseconds(parse_duration(limit)?),
            _ => return Err(wrong()),
        };
        let is_below = text.as_bytes()[at] == b'<';
        Ok(Self { text: text.to_owned(), measure, is_below, limit })
    }
}

/// Watches a run for its conditions.
#[derive(Debug)]
pub struct Watchdog {
    conditions: Vec<AbortCondition>,
    recent: VecDeque<Sample>,
    pub(crate) tripped: Option<String>,
}

/// What one second says.
#[derive(Debug)]
struct Sample {
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    latencies: Latencies,
    lateness_max_us: i64,
}

impl Watchdog {
    pub fn new(conditions: Vec<AbortCondition>) -> Self {
        Self { conditions, recent: VecDeque::new(), tripped: None }
    }

    /// Takes in a second. Says whether the run is to be given up: from the tenth second on, when a
    /// condition holds over the last ten.
    pub(crate) fn watch(&mut self, tally: &Tally) -> bool {
        if self.conditions.is_empty() || self.tripped.is_some() {
            return false;
        }
        self.recent.push_back(Sample {
            acknowledged: tally.events.acknowledged + tally.events.spoiled,
            refused: tally.events.refused,
            unknown: tally.events.unknown,
            latencies: tally.latencies(),
            lateness_max_us: tally.lateness_max_us,
        });
        if self.recent.len() < WINDOW_SECONDS {
            return false;
        }
        self.recent.drain(..self.recent.len() - WINDOW_SECONDS);
        let holds = |condition: &&AbortCondition| {
            self.measured(condition.measure).is_some_and(|value| {
                let limit = condition.limit;
                if condition.is_below { value < limit } else { value > limit }
            })
        };
        self.tripped = self.conditions.iter().find(holds).map(ToString::to_string);
        self.tripped.is_some()
    }

    /// What is measured over the window; nothing, where nothing has ended in it.
    fn measured(&self, measure: Measure) -> Option<f64> {
        let sum = |of: fn(&Sample) -> u64| self.recent.iter().map(of).sum::<u64>();
        let ended = sum(|it| it.acknowledged + it.refused + it.unknown);
        if measure == Measure::Lateness {
            let late = self.recent.iter().map(|it| it.lateness_max_us).max()?;
            return Some(milliseconds(late.unsigned_abs()));
        }
        if ended == 0 {
            return None;
        }
        let share = |part: u64| Some(ratio(part, ended));
        match measure {
            Measure::AcknowledgedRate => share(sum(|it| it.acknowledged)),
            Measure::RefusedRate => share(sum(|it| it.refused)),
            Measure::UnknownRate => share(sum(|it| it.unknown)),
            Measure::P95 | Measure::P99 | Measure::Lateness => {
                let mut all = Latencies::new();
                self.recent.iter().for_each(|sample| all.add(&sample.latencies));
                let felt = percentiles(&all.due_to_acknowledged);
                let (value, beyond) = match measure {
                    Measure::P95 => (felt.p95_ms, 0.05),
                    _ => (felt.p99_ms, 0.01),
                };
                // What is not acknowledged has taken longer than anything that is.
                let missed = ratio(ended - sum(|it| it.acknowledged), ended);
                Some(if missed > beyond { f64::INFINITY } else { value })
            }
        }
    }
}

const WINDOW_SECONDS: usize = 10;

#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of ten seconds are exact in an f64")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{BUSY, OK, tally};

    #[test]
    fn conditions_are_read_as_they_are_written() {
        for good in ["acknowledged_rate<99%", "p95 > 10s", "lateness>500ms", "unknown_rate>0.5%"] {
            assert_eq!(good.parse::<AbortCondition>().unwrap().to_string(), good);
        }
        for bad in ["", "acknowledged_rate", "speed<9%", "p95>10", "p95>5%", "refused_rate>2s"] {
            assert!(bad.parse::<AbortCondition>().is_err(), "{bad}");
        }
        assert!("unknown_rate>101%".parse::<AbortCondition>().is_err());
    }

    #[track_caller]
    fn check(condition: &str, bad_seconds: usize, expected_at: Option<usize>) {
        let mut watchdog = Watchdog::new(vec![condition.parse().unwrap()]);
        let seconds = (0..40).position(|second| {
            let outcome = if (12..12 + bad_seconds).contains(&second) { BUSY } else { OK };
            watchdog.watch(&tally(&[(0, 100, outcome)]))
        });
        assert_eq!(seconds, expected_at);
    }

    #[test]
    fn a_run_is_given_up_when_ten_seconds_together_are_bad() {
        check("acknowledged_rate<99%", 0, None);
        check("acknowledged_rate<99%", 1, Some(12));
        check("acknowledged_rate<75%", 2, None);
        check("acknowledged_rate<75%", 3, Some(14));
        check("unknown_rate>50%", 20, Some(17));
        check("p99>7ms", 0, Some(9));
        check("p99>1h", 1, Some(12));
    }
}
