//! Profiles: what a run does, as a person writes it.
//!
//! A profile is YAML. [`Profile::parse`] checks its form and all its rules, and shows every
//! mistake with line, column and field. What has passed becomes a [`crate::plan::Plan`] without
//! further errors.

use std::path::{Path, PathBuf};

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::quantity::{parse_duration, parse_ramp, parse_rate, parse_tenants};

/// A profile as written, with every rule checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the profile, for reports.
    #[garde(length(min = 1, max = 64))]
    pub name: String,
    /// All names, users, times and outcomes follow from it.
    #[serde(default = "default_seed")]
    #[garde(skip)]
    pub seed: u64,
    /// What the events are about.
    #[serde(default)]
    #[garde(skip)]
    pub mix: Mix,
    /// How the events of a tenant follow each other.
    #[serde(default)]
    #[garde(skip)]
    pub arrival: Arrival,
    /// What happens, one stage after the other.
    #[garde(dive, custom(has_events))]
    pub stages: Vec<Stage>,
    /// How events are sent.
    #[serde(default)]
    #[garde(dive)]
    pub send: Send,
}

/// Which users, verbs and resources the events have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// Human traffic, operators and controllers: get 40, list 30, update 15, create 10, delete 5
    /// percent.
    #[default]
    Seed,
}

/// How the events of a tenant follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    Even,
    #[default]
    Jittered,
}

/// A stretch of time; `->` moves a rate or a count in a straight line over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Like `30s`, `15m` or `1h30m`.
    #[garde(custom(is_duration))]
    pub duration: String,
    /// Events per second of each tenant: `100/s`, or `100/s -> 1000/s`.
    #[garde(custom(is_rate))]
    pub rate: String,
    /// Tenants: `50`, or `50 -> 200`.
    #[garde(custom(is_tenants))]
    pub tenants: String,
}

/// A stage in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageNumbers {
    pub duration_us: u64,
    /// Thousandths of an event per second and tenant, at start and end.
    pub rate_milli: (u64, u64),
    /// Tenants at start and end.
    pub tenants: (u32, u32),
}

impl Stage {
    /// Reads the numbers of a stage.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the first field that is.
    pub fn numbers(&self) -> Result<StageNumbers, String> {
        Ok(StageNumbers {
            duration_us: parse_duration(&self.duration)?,
            rate_milli: parse_ramp(&self.rate, parse_rate)?,
            tenants: parse_ramp(&self.tenants, parse_tenants)?,
        })
    }
}

/// How events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Send {
    /// Most events of a batch. 1 sends each event alone, without a list around it.
    #[garde(range(min = 1, max = 10_000))]
    pub batch_events: u32,
    /// How long the first event of a batch waits for others at most.
    #[garde(custom(is_duration))]
    pub batch_age: String,
    /// Connections, over which tenants are spread evenly.
    #[garde(range(min = 1, max = 4_096))]
    pub connections: u32,
    /// How long an answer may take before its outcome is unknown.
    #[garde(custom(is_duration))]
    pub timeout: String,
    /// How late a batch may begin to be sent before the run is saturated: its own fault.
    #[garde(custom(is_duration))]
    pub lateness_max: String,
}

impl Default for Send {
    fn default() -> Self {
        Self {
            batch_events: 400,
            batch_age: "1s".to_owned(),
            connections: 32,
            timeout: "30s".to_owned(),
            lateness_max: "1s".to_owned(),
        }
    }
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "no profile is called {name:?}: write the path of a YAML file, or one of: {}",
        builtin_names().join(", ")
    )]
    NoSuchProfile { name: String },
    #[error("cannot read the profile {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Every mistake, each with line, column, field and the lines around it.
    #[error("the profile {origin} is wrong:\n{mistakes}")]
    Invalid { origin: String, mistakes: String },
}

impl Profile {
    /// Checks the text of a profile. `origin` is where it is from, for messages.
    ///
    /// # Errors
    ///
    /// Returns [`ProfileError::Invalid`] with all broken rules at once, or with the first mistake
    /// in form.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        serde_saphyr::from_str_valid(text).map_err(|error| ProfileError::Invalid {
            origin: origin.to_owned(),
            mistakes: error
                .render_with_formatter(&serde_saphyr::UserMessageFormatter)
                .replace("<input>", origin)
                .replace("validation error: ", ""),
        })
    }
}

/// The text of a profile and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileText {
    pub text: String,
    pub origin: String,
}

/// Finds a profile: one that is built in, by its name, or a file, by its path.
///
/// # Errors
///
/// Returns [`ProfileError`] if there is neither.
pub fn read_profile(name: &str) -> Result<ProfileText, ProfileError> {
    if let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        return Ok(ProfileText { text: (*text).to_owned(), origin: name.to_owned() });
    }
    let path = Path::new(name);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(ProfileText { text, origin: name.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !name.contains('/') => {
            Err(ProfileError::NoSuchProfile { name: name.to_owned() })
        }
        Err(source) => Err(ProfileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The profiles that are built in, by name, with their texts.
pub const BUILTIN: [(&str, &str); 2] = [
    ("demo", include_str!("../../profiles/demo.yaml")),
    ("smoke", include_str!("../../profiles/smoke.yaml")),
];

fn builtin_names() -> Vec<&'static str> {
    BUILTIN.iter().map(|(name, _)| *name).collect()
}

fn default_seed() -> u64 {
    42
}

fn checked<T>(parsed: Result<T, String>) -> garde::Result {
    parsed.map(|_| ()).map_err(garde::Error::new)
}

fn is_duration<C>(text: &str, _context: &C) -> garde::Result {
    checked(parse_duration(text))
}

fn is_rate<C>(text: &str, _context: &C) -> garde::Result {
    checked(parse_ramp(text, parse_rate))
}

fn is_tenants<C>(text: &str, _context: &C) -> garde::Result {
    checked(parse_ramp(text, parse_tenants).and_then(|ramp| match ramp {
        (0, 0) => Err("a stage needs at least one tenant".to_owned()),
        ramp => Ok(ramp),
    }))
}

/// A plan of no events cannot be run, and one of too many cannot be numbered.
fn has_events<C>(stages: &[Stage], _context: &C) -> garde::Result {
    if stages.is_empty() || stages.len() > 1_000 {
        return Err(garde::Error::new("a profile has 1 to 1000 stages"));
    }
    let mut most = 0u128;
    for stage in stages {
        // Where there are no numbers, the stage's own rules say what is wrong.
        let Ok(StageNumbers { duration_us, rate_milli, .. }) = stage.numbers() else {
            return Ok(());
        };
        most += u128::from(duration_us) * u128::from(rate_milli.0.max(rate_milli.1));
    }
    if most == 0 {
        return Err(garde::Error::new("all rates are zero: there is no event to send"));
    }
    // Thousandths of an event per second, times µs.
    if most / 1_000_000_000 >= u128::from(events::identity::SEQ_END) {
        return Err(garde::Error::new("a tenant would have more than 2^40 events"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const GOOD: &str = "name: x\nstages:\n  - duration: 1s\n    rate: 1/s\n    tenants: 1\n";

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let error = Profile::parse(text, "x.yaml").unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    /// Only the lines that say what is wrong, without the excerpts around them.
    #[track_caller]
    fn check_messages(text: &str, expected: &[&str]) {
        let error = Profile::parse(text, "x.yaml").unwrap_err().to_string();
        let messages: Vec<_> =
            error.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(messages, expected, "{error}");
    }

    #[test]
    fn builtin_profiles_are_valid_and_bear_their_names() {
        for (name, text) in BUILTIN {
            assert_eq!(Profile::parse(text, name).unwrap().name, name);
        }
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        check(
            &GOOD.replace("tenants: 1", "tenants: 0"),
            &expect![[r#"
            the profile x.yaml is wrong:
            error: line 5 column 14: a stage needs at least one tenant for `stages[0].tenants`
             --> x.yaml:5:14
              |
            3 |   - duration: 1s
            4 |     rate: 1/s
            5 |     tenants: 0
              |              ^ a stage needs at least one tenant for `stages[0].tenants`"#]],
        );
    }

    #[test]
    fn each_broken_rule_gets_one_message() {
        check_messages(
            &GOOD.replace("rate", "rat"),
            &["line 4 column 5: unknown field `rat`, expected one of duration, rate, tenants"],
        );
        check_messages(
            &GOOD.replace("1/s", "-5/s"),
            &["line 4 column 11: \"-5/s\" is negative for `stages[0].rate`"],
        );
        check_messages(
            &GOOD.replace("duration: 1s", "duration: 0s"),
            &["line 3 column 15: a stage needs a duration above zero for `stages[0].duration`"],
        );
        check_messages(
            &GOOD.replace("duration: 1s", "duration: 10"),
            &["line 3 column 15: \"10\" is no duration: write numbers with units, like 500ms, \
               30s, 15m or 1h30m for `stages[0].duration`"],
        );
        check_messages(
            &GOOD.replace("1/s", "100 per second"),
            &["line 4 column 11: \"100 per second\" is no rate: write a number and a unit, like \
               100/s, 6000/min or 20/h for `stages[0].rate`"],
        );
        check_messages(
            &GOOD.replace("tenants: 1", "tenants: 50 -> 65537"),
            &["line 5 column 14: 65537 tenants are more than the 65536 that a run can have for \
               `stages[0].tenants`"],
        );
        check_messages(
            &GOOD.replace("1/s", "0/s"),
            &["line 3 column 3: all rates are zero: there is no event to send for `stages`"],
        );
        check_messages(
            "name: x\nstages: []\n",
            &["line 2 column 9: a profile has 1 to 1000 stages for `stages`"],
        );
    }

    #[test]
    fn all_broken_rules_are_shown_at_once() {
        let text = GOOD.replace("1/s", "1/day").replace("tenants: 1", "tenants: many")
            + "send: {batch_events: 0}\n";
        check_messages(
            &text,
            &[
                "line 6 column 22: lower than 1 for `send.batch_events`",
                "line 4 column 11: \"1/day\" is no rate: write a number and a unit, like 100/s, \
             6000/min or 20/h for `stages[0].rate`",
                "line 5 column 14: \"many\" is no number of tenants: write a whole number, like 50 \
             for `stages[0].tenants`",
            ],
        );
    }

    #[test]
    fn an_unknown_profile_is_told_from_an_unreadable_file() {
        let message = read_profile("smoek").unwrap_err().to_string();
        assert!(message.contains("one of: demo, smoke"), "{message}");
        assert!(matches!(read_profile("./no.yaml"), Err(ProfileError::Unreadable { .. })));
    }
}
