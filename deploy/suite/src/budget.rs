//! The error budget: how many events a suite may lose, and how many it has lost. Pure.
//!
//! The windows of burn-rate alerts need weeks. A suite takes hours, so its own runs are the period:
//! the budget is exact, in events.

use events::event::MicroTime;
use plans::quantity::parse_milli;
use runs::report::LossWindow;
use serde::{Deserialize, Serialize};

use crate::results::{Checked, ScenarioResult};

/// The error budget of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The share of acknowledged events that must be stored, in thousandths of a percent: 99,900.
    pub objective_milli_percent: u64,
    /// Events of all checked runs.
    pub acknowledged: u64,
    /// Events that may be lost: the share that the objective leaves, rounded down.
    pub allowed: u64,
    pub lost: u64,
    /// Acknowledged events that were not seen, and are not proven to be lost. They may use up more
    /// of the budget.
    pub not_seen: u64,
    /// When the budget was used.
    pub burns: Vec<Burn>,
}

/// A period in which events were lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Burn {
    pub scenario: String,
    pub from: MicroTime,
    pub until: MicroTime,
    pub events: u64,
    /// The share of the budget that it used: above 1, more than all of it. `None` without a budget.
    pub of_budget: Option<f64>,
}

/// Computes the budget of all runs that were checked; `None` without any.
pub(crate) fn budget(scenarios: &[ScenarioResult]) -> Option<Budget> {
    let runs: Vec<(&str, &Checked)> = scenarios
        .iter()
        .flat_map(|it| it.runs.iter().map(move |run| (it.name.as_str(), run)))
        .filter_map(|(name, run)| Some((name, run.checked.as_ref()?)))
        .collect();
    if runs.is_empty() {
        return None;
    }
    let written = runs.iter().flat_map(|(_, run)| &run.thresholds).filter_map(|threshold| {
        let limit = threshold.condition.strip_prefix("rate>=")?.strip_suffix('%')?;
        let is_it = threshold.metric == "ingested";
        is_it.then(|| parse_milli(limit)).flatten().filter(|limit| *limit <= ALL)
    });
    let objective_milli_percent = written.max().unwrap_or(PUBLISHED);
    let sum = |of: fn(&Checked) -> u64| runs.iter().map(|(_, run)| of(run)).sum::<u64>();
    let acknowledged = sum(|run| run.totals.acknowledged);
    let left = u128::from(acknowledged) * u128::from(ALL - objective_milli_percent);
    let allowed = u64::try_from(left / u128::from(ALL)).unwrap_or(u64::MAX);
    let burn = |scenario: &str, window: &LossWindow| Burn {
        scenario: scenario.to_owned(),
        from: window.from,
        until: window.until,
        events: window.events,
        of_budget: share(window.events, allowed),
    };
    let windows =
        runs.iter().flat_map(|(name, run)| run.loss_windows.iter().map(move |it| (name, it)));
    Some(Budget {
        objective_milli_percent,
        acknowledged,
        allowed,
        lost: sum(|run| run.totals.lost),
        not_seen: sum(|run| run.totals.not_seen),
        burns: windows.map(|(name, window)| burn(name, window)).collect(),
    })
}

/// A part of something, or `None` if there is nothing.
pub(crate) fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| report::figures::as_f64(part) / report::figures::as_f64(of))
}

const ALL: u64 = 100_000;
/// The published objective, 99.9 %.
const PUBLISHED: u64 = 99_900;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::scenario;

    #[test]
    fn a_budget_is_exact_and_of_all_runs_together() {
        let mut one = scenario("one", 10_500, 3);
        let other = scenario("other", 10_499, 0);
        let found = budget(&[one.clone(), other.clone()]).unwrap();
        assert_eq!((found.objective_milli_percent, found.acknowledged), (99_900, 20_999));
        assert_eq!((found.allowed, found.lost), (20, 3));
        assert_eq!(found.burns[0].of_budget, Some(0.15));
        // The strictest objective counts.
        one.runs[0].checked.as_mut().unwrap().thresholds[0].condition = "rate>=99.95%".to_owned();
        let stricter = budget(&[one, other]).unwrap();
        assert_eq!((stricter.objective_milli_percent, stricter.allowed), (99_950, 10));
        assert_eq!(budget(&[]), None);
    }
}
