//! The search for the highest rate that a pipeline sustains, as a user writes it, and the profile
//! of each of its plateaus. Pure.

use std::str::FromStr;
use std::time::Duration;

use capacity::rules::JudgeOptions;
use capacity::search::SearchOptions;
use capacity::units::EventsPerSecond;
use garde::Validate;
use plans::profile::{Profile, Stage};
use plans::quantity::{Micros, RateRamp, TenantsRamp, parse_rate};
use plans::threshold::Thresholds;
use plans::written::Written;
use report::figures::as_f64;
use serde::{Deserialize, Serialize};

use crate::error::SuiteError;

/// A search, as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The profile whose tenants, events and way of sending are used. Its stages are not.
    #[garde(length(min = 1, max = 4096))]
    pub profile: String,
    /// The first rate, of all tenants together.
    #[serde(default = "first")]
    #[garde(dive)]
    pub from: Written<TotalRate>,
    /// The lowest rate that is of interest.
    #[serde(default = "lowest")]
    #[garde(dive)]
    pub at_least: Written<TotalRate>,
    /// The highest rate that is tried.
    #[serde(default = "highest")]
    #[garde(dive)]
    pub at_most: Written<TotalRate>,
    /// How long half of the rate is sent before each plateau.
    #[serde(default = "minutes::<1>")]
    #[garde(dive)]
    pub warm_up: Written<Micros>,
    /// How long a plateau lasts.
    #[serde(default = "minutes::<3>")]
    #[garde(dive)]
    pub plateau: Written<Micros>,
    /// How long a plateau lasts that confirms an answer.
    #[serde(default = "minutes::<10>")]
    #[garde(dive)]
    pub confirmation: Written<Micros>,
    /// The rate above the answer, which is not sustained, is higher by this share at most.
    #[serde(default = "precision")]
    #[garde(range(min = 0.01, max = 1.0))]
    pub precision: f64,
    /// The most plateaus.
    #[serde(default = "plateaus")]
    #[garde(range(min = 3, max = 100))]
    pub plateaus: usize,
    /// The longest time for all plateaus together, without what is between them.
    #[serde(default = "minutes::<120>")]
    #[garde(dive)]
    pub load_time: Written<Micros>,
    /// The longest that the pipeline collects events before it passes them on.
    #[serde(default = "seconds::<10>")]
    #[garde(dive)]
    pub batch_time: Written<Micros>,
    /// How long a request may hang or wait until the pipeline has tried it again.
    #[serde(default = "seconds::<60>")]
    #[garde(dive)]
    pub retry_time: Written<Micros>,
    /// The 95th percentile of the times from due to visible must be below.
    #[serde(default = "seconds::<10>")]
    #[garde(dive)]
    pub due_to_visible_p95: Written<Micros>,
    /// The 95th percentile of the webhook's latencies must be below.
    #[serde(default = "hundred_milliseconds")]
    #[garde(dive)]
    pub sent_to_acknowledged_p95: Written<Micros>,
    /// What the parts of the pipeline cost. By default, no costs are computed.
    #[serde(default)]
    #[garde(dive)]
    pub prices: Option<Prices>,
}

/// What the parts of a pipeline cost, in any currency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// A core for an hour.
    #[garde(range(min = 0.0, max = 1_000_000.0))]
    pub core_hour: f64,
    /// A gibibyte of memory for a month of 730 hours.
    #[garde(range(min = 0.0, max = 1_000_000.0))]
    pub gib_month: f64,
}

/// A rate of events, of all tenants together, in thousandths of an event a second: `1000/s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TotalRate(u64);

impl FromStr for TotalRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_rate(text)? {
            0 => Err("write a rate above 0".to_owned()),
            milli => Ok(Self(milli)),
        }
    }
}

impl std::fmt::Display for TotalRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/s", as_f64(self.0) / 1_000.0)
    }
}

impl TotalRate {
    fn per_s(self) -> EventsPerSecond {
        EventsPerSecond(as_f64(self.0) / 1_000.0)
    }
}

impl Capacity {
    /// How to search.
    pub(crate) fn options(&self) -> SearchOptions {
        let duration = |of: &Written<Micros>| Duration::from_micros(of.get().us());
        SearchOptions {
            judge: JudgeOptions {
                batch_time: duration(&self.batch_time),
                retry_time: duration(&self.retry_time),
                due_to_visible_p95_max: duration(&self.due_to_visible_p95),
                sent_to_acknowledged_p95_max: duration(&self.sent_to_acknowledged_p95),
            },
            start: self.from.get().per_s(),
            limits: (self.at_least.get().per_s(), self.at_most.get().per_s()),
            warm_up: duration(&self.warm_up),
            plateau: duration(&self.plateau),
            confirmation: duration(&self.confirmation),
            precision: self.precision,
            plateaus_max: self.plateaus,
            load_time_max: duration(&self.load_time),
            ..SearchOptions::default()
        }
    }

    /// Checks what its fields say together.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Search`] if no search is possible with them.
    pub(crate) fn check(&self) -> Result<(), SuiteError> {
        let options = self.options();
        let least = options.judge.plateau_min();
        let why = if options.plateau < least {
            format!(
                "a plateau of {} s is too short to be judged: with this batch_time and retry_time, \
                 it takes {} s",
                options.plateau.as_secs(),
                least.as_secs()
            )
        } else if options.confirmation < options.plateau {
            "a confirmation is at least as long as a plateau".to_owned()
        } else if options.limits.0 > options.limits.1 {
            "at_least is above at_most".to_owned()
        } else {
            return Ok(());
        };
        Err(SuiteError::Search { why })
    }

    /// The profile of a plateau: half of the rate at first, then the rate.
    pub(crate) fn profile_of(
        &self,
        base: &Profile,
        rate: EventsPerSecond,
        time: Duration,
    ) -> String {
        let tenants = base.most_tenants().max(1);
        let stage = |rate: f64, time: Duration| Stage {
            duration: Micros::of_us(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).into(),
            rate: RateRamp::flat_milli(milli_per_tenant(rate, tenants)).into(),
            tenants: TenantsRamp::flat(tenants).into(),
        };
        let profile = Profile {
            stages: vec![stage(rate.0 / 2.0, self.options().warm_up), stage(rate.0, time)],
            thresholds: Some(Thresholds::default()),
            queries: None,
            ..base.clone()
        };
        let text = serde_saphyr::to_string(&profile).expect("a profile has a form in YAML");
        format!("# A plateau of a search for the highest sustained rate.\n{text}")
    }
}

/// The rate of each tenant, in thousandths of an event a second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and have limits"
)]
fn milli_per_tenant(rate: f64, tenants: u32) -> u64 {
    (rate * 1_000.0 / f64::from(tenants)).round().max(1.0) as u64
}

fn first() -> Written<TotalRate> {
    TotalRate(1_000_000).into()
}

fn lowest() -> Written<TotalRate> {
    TotalRate(1_000).into()
}

fn highest() -> Written<TotalRate> {
    TotalRate(1_000_000_000).into()
}

fn precision() -> f64 {
    0.03
}

fn plateaus() -> usize {
    12
}

fn minutes<const N: u32>() -> Written<Micros> {
    Micros::of_seconds(N * 60).into()
}

fn seconds<const N: u32>() -> Written<Micros> {
    Micros::of_seconds(N).into()
}

fn hundred_milliseconds() -> Written<Micros> {
    Micros::of_us(100_000).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Capacity {
        serde_saphyr::from_str_valid(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_plateau_sends_half_of_its_rate_and_then_all_of_it() {
        let capacity = parse("profile: baseline\nwarm_up: 5s\n");
        let base = plans::profile::read_profile("baseline").unwrap().text;
        let base = Profile::parse(&base, "baseline").unwrap();
        let time = Duration::from_secs(30);
        let text = capacity.profile_of(&base, EventsPerSecond(1_234.5), time);
        let profile = Profile::parse(&text, "plateau").unwrap_or_else(|it| panic!("{it}"));
        let stages: Vec<_> = profile
            .stages
            .iter()
            .map(|it| (it.duration.get().us(), it.rate.get().milli().0, it.tenants.get().most()))
            .collect();
        assert_eq!(stages, [(5_000_000, 61_725, 10), (30_000_000, 123_450, 10)]);
        assert_eq!(profile.send, base.send);
        assert_eq!(profile.thresholds, Some(Thresholds::default()));
    }

    #[test]
    fn fields_that_allow_no_search_are_refused() {
        let check = |text: &str, expected: &str| {
            let message = parse(text).check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("profile: x\nplateau: 30s\n", "it takes 1");
        check("profile: x\nconfirmation: 1m\n", "at least as long as a plateau");
        check("profile: x\nat_least: 10/s\nat_most: 9/s\n", "at_least is above at_most");
        assert!(parse("profile: x\n").check().is_ok());
    }
}
