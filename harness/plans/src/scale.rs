//! Factors and limits that make a profile larger or smaller for one run. They are recorded with the
//! run.

use std::fmt;

use clap::Args;
use events::timeline::Stage;
use serde::{Deserialize, Serialize};

use crate::profile::{Profile, Stage as WrittenStage};
use crate::quantity::{Micros, RATE_MILLI_MAX, USERS_MAX, parse_duration, parse_tenants};
use crate::queries::{Queries, QueryStage};

/// Flags that make a profile larger or smaller for one run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Scale")]
pub struct ScaleArgs {
    /// Multiplies all rates by this factor, and the number of users who query.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_factor)]
    #[arg(allow_negative_numbers = true)]
    pub rate_scale: f64,
    /// Multiplies all durations by this factor.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_factor)]
    #[arg(allow_negative_numbers = true)]
    pub time_scale: f64,
    /// Largest number of tenants, instead of the profile's. Other numbers of tenants change in
    /// proportion.
    #[arg(long, value_name = "N", value_parser = parse_tenants_above_zero)]
    #[arg(allow_negative_numbers = true)]
    pub tenants: Option<u32>,
    /// Duration of the whole run, like 90s, instead of the profile's. Stages change in proportion.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        conflicts_with = "time_scale"
    )]
    pub duration: Option<u64>,
}

impl ScaleArgs {
    /// Returns the changes that the flags ask for.
    pub fn scale(&self) -> Scale {
        Scale {
            rate: self.rate_scale,
            time: self.time_scale,
            tenants: self.tenants,
            duration_us: self.duration,
        }
    }
}

/// How a run changes the numbers of its profile. The default leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// Factor for all rates.
    pub rate: f64,
    /// Factor for all durations.
    pub time: f64,
    /// The largest number of tenants, instead of the profile's. Other numbers of tenants change in
    /// proportion.
    pub tenants: Option<u32>,
    /// Duration of the whole run in µs, instead of the profile's. Stages change in proportion.
    pub duration_us: Option<u64>,
}

impl Default for Scale {
    fn default() -> Self {
        Self { rate: 1.0, time: 1.0, tenants: None, duration_us: None }
    }
}

impl Scale {
    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a valid profile would take more than ten years with these changes.
    pub fn is_too_long(&self, profile: &Profile) -> bool {
        let stages = self.stages(profile).into_iter();
        stages.map(|stage| u128::from(stage.duration_us)).sum::<u128>() > TEN_YEARS_US
    }

    /// Returns the stages of a valid profile with these changes.
    pub fn stages(&self, profile: &Profile) -> Vec<Stage> {
        let most = profile.most_tenants();
        let time = self.time_factor(profile);
        let tenants = |count: u32| match self.tenants {
            Some(wanted) if count > 0 => {
                let scaled = u64::from(count) * u64::from(wanted) / u64::from(most);
                u32::try_from(scaled).expect("at most what is wanted").max(1)
            }
            _ => count,
        };
        let rate = |milli: u64| scaled(milli, self.rate).min(RATE_MILLI_MAX);
        let stage = |written: &WrittenStage| {
            let (rates, counts) = (written.rate.get().milli(), written.tenants.get().ends());
            Stage {
                duration_us: scaled(written.duration.get().us(), time).max(1),
                rate_milli: (rate(rates.0), rate(rates.1)),
                tenants: (tenants(counts.0), tenants(counts.1)),
            }
        };
        profile.stages.iter().map(stage).collect()
    }

    /// Returns the stages of a valid profile's queries with these changes: a number of users, or a
    /// rate, of which the other is 0. Where anybody asks, at least one user is left.
    pub fn query_stages(&self, profile: &Profile, queries: &Queries) -> Vec<QueryCounts> {
        let time = self.time_factor(profile);
        let user = |count: u32| match scaled(count.into(), self.rate) {
            0 if count > 0 => 1,
            users => u32::try_from(users).unwrap_or(USERS_MAX).min(USERS_MAX),
        };
        let rate = |milli: u64| scaled(milli, self.rate).min(RATE_MILLI_MAX);
        let stage = |written: &QueryStage| {
            let users = written.users.as_ref().map_or((0, 0), |users| users.get().ends());
            let rates = written.rate.as_ref().map_or((0, 0), |rate| rate.get().milli());
            QueryCounts {
                duration_us: scaled(written.duration.get().us(), time).max(1),
                users: (user(users.0), user(users.1)),
                rate_milli: (rate(rates.0), rate(rates.1)),
            }
        };
        queries.stages.iter().map(stage).collect()
    }

    /// The factor by which all durations change.
    fn time_factor(&self, profile: &Profile) -> f64 {
        let whole_us: u64 = profile.stages.iter().map(|stage| stage.duration.get().us()).sum();
        match self.duration_us {
            Some(duration_us) => ratio(duration_us, whole_us),
            None => self.time,
        }
    }
}

/// A stage of queries, as it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCounts {
    pub duration_us: u64,
    /// Users at the start and at the end.
    pub users: (u32, u32),
    /// Thousandths of a query per second, at the start and at the end.
    pub rate_milli: (u64, u64),
}

/// Writes the flags that ask for these changes, or `none`.
impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_other = |factor: f64| factor.total_cmp(&1.0).is_ne();
        let flags = [
            is_other(self.rate).then(|| format!("--rate-scale {}", self.rate)),
            is_other(self.time).then(|| format!("--time-scale {}", self.time)),
            self.tenants.map(|tenants| format!("--tenants {tenants}")),
            self.duration_us.map(|micros| format!("--duration {}", Micros::of_us(micros))),
        ];
        let flags: Vec<String> = flags.into_iter().flatten().collect();
        f.write_str(if flags.is_empty() { "none" } else { "" })?;
        f.write_str(&flags.join(" "))
    }
}

const TEN_YEARS_US: u128 = 10 * 366 * 86_400_000_000;

#[expect(clippy::cast_precision_loss, reason = "a year in µs is exact in an f64")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and products of two such numbers are exact enough to round"
)]
fn scaled(number: u64, factor: f64) -> u64 {
    (number as f64 * factor).round() as u64
}

fn parse_factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (0.001..=1_000.0).contains(factor));
    factor.ok_or_else(|| "write a number from 0.001 to 1000".to_owned())
}

fn parse_tenants_above_zero(text: &str) -> Result<u32, String> {
    match parse_tenants(text)? {
        0 => Err("a run needs at least one tenant".to_owned()),
        tenants => Ok(tenants),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name: x\nstages:\n\
        - {duration: 10m, rate: 100/s -> 1000/s, tenants: 50}\n\
        - {duration: 5m, rate: 1000/s, tenants: 20 -> 50}\n";

    #[track_caller]
    fn check(scale: Scale, expected: [Stage; 2]) {
        let profile = Profile::parse(TEXT, "x").unwrap();
        assert_eq!(scale.stages(&profile), expected);
    }

    fn stage(seconds: u64, rate: (u64, u64), tenants: (u32, u32)) -> Stage {
        let rate_milli = (rate.0 * 1_000, rate.1 * 1_000);
        Stage { duration_us: seconds * 1_000_000, rate_milli, tenants }
    }

    #[test]
    fn a_scale_is_told_by_the_flags_that_make_it() {
        let check = |scale: Scale, expected: &str| assert_eq!(scale.to_string(), expected);
        check(Scale::default(), "none");
        check(Scale { rate: 0.1, ..Scale::default() }, "--rate-scale 0.1");
        let all = Scale { rate: 2.0, time: 0.5, tenants: Some(5), duration_us: Some(8_000_000) };
        check(all, "--rate-scale 2 --time-scale 0.5 --tenants 5 --duration 8s");
    }

    #[test]
    fn stages_are_run_as_they_are_or_as_the_command_line_wants_them() {
        let own = [stage(600, (100, 1_000), (50, 50)), stage(300, (1_000, 1_000), (20, 50))];
        check(Scale::default(), own);
        let scale = Scale { rate: 0.1, time: 0.1, ..Scale::default() };
        check(scale, [stage(60, (10, 100), (50, 50)), stage(30, (100, 100), (20, 50))]);
        let scale = Scale { tenants: Some(5), duration_us: Some(90_000_000), ..Scale::default() };
        check(scale, [stage(60, (100, 1_000), (5, 5)), stage(30, (1_000, 1_000), (2, 5))]);
    }
}
