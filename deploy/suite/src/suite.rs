//! Suites: descriptions of a whole performance test, as a user writes them. Pure, but for reading
//! files.
//!
//! A suite is YAML. [`Suite::parse`] checks its form and all its rules, and shows every mistake
//! with line, column and field.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use garde::Validate;
use plans::profile::{self, Profile, ProfileText, read_profile};
use plans::quantity::{Micros, parse_count};
use plans::scale::Scale;
use plans::threshold::Thresholds;
use plans::written::Written;
use runs::report::cause::Hop;
use serde::{Deserialize, Serialize};

use crate::error::SuiteError;
use crate::order::Order;
use crate::search::Capacity;

/// A suite as it is written, after every rule was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Name of the suite, for reports and directories.
    #[garde(custom(is_name))]
    pub name: String,
    /// Flags for `auditstorm-sandbox up`, for when the suite runs on a sandbox. They change
    /// nothing elsewhere.
    #[serde(default)]
    #[garde(length(max = 32))]
    pub sandbox: Vec<String>,
    /// How long to wait for servers that are still starting.
    #[serde(default)]
    #[garde(dive)]
    pub ready: Ready,
    /// The history that must be in the table before the scenarios. By default, none.
    #[serde(default)]
    #[garde(dive)]
    pub seed: Option<SeedHistory>,
    /// The scenarios, which run one after the other.
    #[serde(default)]
    #[garde(dive, length(max = 64), custom(have_names_of_their_own))]
    #[garde(custom(are_some_unless(self.capacity.is_some())))]
    pub scenarios: Vec<Scenario>,
    /// A search for the highest rate that the pipeline sustains, after the scenarios. By default,
    /// none.
    #[serde(default)]
    #[garde(dive)]
    pub capacity: Option<Capacity>,
    /// How long the pipeline may take after each scenario until nothing waits in it any more.
    #[serde(default)]
    #[garde(dive)]
    pub recovery: Recovery,
    /// Whether the scenarios are compared with those of earlier suites.
    #[serde(default)]
    #[garde(skip)]
    pub compare: Compare,
    /// Where the directory of the suite is copied to at the end: a directory, or an address like
    /// `s3://bucket/folder`. By default, nowhere.
    #[serde(default)]
    #[garde(inner(length(min = 1, max = 4096)))]
    pub archive: Option<String>,
    /// Who is told of the verdict.
    #[serde(default)]
    #[garde(dive, length(max = 16))]
    pub notify: Vec<Notify>,
}

/// Whether the scenarios of a suite are compared with those of earlier suites of the same name in
/// the same folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// They are not.
    Off,
    /// The report shows it, and the verdict does not depend on it.
    #[default]
    Report,
    /// A regression is a threshold that was missed. One that may be chance is confirmed by another
    /// run of the scenario, or two.
    Gate,
}

/// A webhook that is told of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The form of the message.
    #[garde(skip)]
    pub form: NotifyForm,
    /// Name of the environment variable that holds the address, because the address is a secret.
    #[garde(custom(is_variable))]
    pub url_from: String,
}

/// The form of a message to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyForm {
    /// As Slack's incoming webhooks take it.
    Slack,
    /// A JSON object.
    Json,
}

/// How long to wait for the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Ready {
    /// The longest time until all servers answer.
    #[garde(dive)]
    pub within: Written<Micros>,
}

impl Default for Ready {
    fn default() -> Self {
        Self { within: Micros::of_seconds(300).into() }
    }
}

/// A history of events that is loaded straight into the table, once for all runs of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct SeedHistory {
    /// A built-in profile's name, or the path of a YAML file, seen from the suite's.
    #[garde(length(min = 1, max = 4096))]
    pub profile: String,
    /// How many events it has.
    #[garde(dive)]
    pub events: Written<Count>,
    /// Over how many days they are spread, up to yesterday.
    #[garde(range(min = 1, max = 3_650))]
    pub days: u32,
}

/// A number of events: a whole number above zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_count(&text.replace('_', ""))? {
            0 => Err("write a number above 0".to_owned()),
            count => Ok(Self(count)),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A load, what happens to the pipeline meanwhile, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Name of the scenario, for reports and directories. By default, that of its profile.
    #[serde(default)]
    #[garde(inner(custom(is_name)))]
    pub name: Option<String>,
    /// A built-in profile's name, or the path of a YAML file, seen from the suite's.
    #[garde(length(min = 1, max = 4096))]
    pub profile: String,
    /// Seed, instead of the profile's.
    #[serde(default)]
    #[garde(skip)]
    pub seed: Option<u64>,
    /// Multiplies all rates of the profile, and its number of users who query.
    #[serde(default = "one")]
    #[garde(range(min = 0.001, max = 1_000.0))]
    pub rate_scale: f64,
    /// Multiplies all durations of the profile.
    #[serde(default = "one")]
    #[garde(range(min = 0.001, max = 1_000.0), custom(is_alone_with(self.duration.is_some())))]
    pub time_scale: f64,
    /// Largest number of tenants, instead of the profile's.
    #[serde(default)]
    #[garde(range(min = 1, max = 65_536))]
    pub tenants: Option<u32>,
    /// Duration of the whole load, instead of the profile's.
    #[serde(default)]
    #[garde(dive)]
    pub duration: Option<Written<Micros>>,
    /// How often the scenario runs.
    #[serde(default = "once")]
    #[garde(range(min = 1, max = 100))]
    pub repeat: u32,
    /// Whether the profile's users query. They need a query API.
    #[serde(default = "yes")]
    #[garde(skip)]
    pub queries: bool,
    /// Whether the run is also read back through the query API.
    #[serde(default)]
    #[garde(skip)]
    pub readback: bool,
    /// Conditions that the run must meet, instead of the profile's.
    #[serde(default)]
    #[garde(dive)]
    pub thresholds: Option<Thresholds>,
    /// What is done to the pipeline while events are sent.
    #[serde(default)]
    #[garde(dive, length(max = 64))]
    pub faults: Vec<Fault>,
    /// The hops at which this pipeline may lose events when the faults happen, because it is known
    /// to keep them in memory there: `before_stream`, `in_stream`, `after_stream` or `in_table`.
    #[serde(default)]
    #[garde(skip)]
    pub may_lose: Vec<Hop>,
    /// The longest time that the check waits for a proof.
    #[serde(default = "eight_minutes")]
    #[garde(dive)]
    pub wait: Written<Micros>,
}

/// Something that is done to the pipeline on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, counted from the first event: like `30s`.
    #[garde(dive)]
    pub at: Written<Micros>,
    /// An order to the sandbox, like `restart clickhouse for 20s`, or a shell command.
    #[serde(rename = "do")]
    #[garde(dive)]
    pub order: Written<Order>,
}

/// How soon the pipeline must have recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Recovery {
    /// The longest time from the end of the load until all its events are visible and nothing
    /// waits in the pipeline.
    #[garde(dive)]
    pub within: Written<Micros>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { within: Micros::of_seconds(300).into() }
    }
}

/// The text of a suite, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteText {
    pub text: String,
    pub origin: String,
    /// The folder in which its profiles are looked for.
    pub folder: PathBuf,
}

impl Suite {
    /// Parses and checks the text of a suite. `origin` says in messages where it is from.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Invalid`] with all broken rules at once, or with the first mistake in
    /// form, and [`SuiteError::Empty`] if there are only comments.
    pub fn parse(text: &str, origin: &str) -> Result<Self, SuiteError> {
        let is_empty = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if text.lines().all(is_empty) {
            return Err(SuiteError::Empty { origin: origin.to_owned() });
        }
        let suite: Self =
            serde_saphyr::from_str_valid(text).map_err(|error| SuiteError::Invalid {
                origin: origin.to_owned(),
                mistakes: profile::mistakes(&error, origin),
            })?;
        Ok(suite)
    }
}

impl Scenario {
    /// Its name: its own, or else its profile's.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| profile_name(&self.profile))
    }

    /// How it changes the numbers of its profile.
    pub fn scale(&self) -> Scale {
        Scale {
            rate: self.rate_scale,
            time: self.time_scale,
            tenants: self.tenants,
            duration_us: self.duration.as_ref().map(|it| it.get().us()),
        }
    }

    /// The flags that change the numbers of its profile, for the programs that take one.
    pub(crate) fn scale_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let scale = self.scale();
        if let Some(seed) = self.seed {
            flags.push(format!("--seed={seed}"));
        }
        if scale.rate.to_bits() != 1.0_f64.to_bits() {
            flags.push(format!("--rate-scale={}", scale.rate));
        }
        if scale.time.to_bits() != 1.0_f64.to_bits() {
            flags.push(format!("--time-scale={}", scale.time));
        }
        flags.extend(scale.tenants.map(|tenants| format!("--tenants={tenants}")));
        flags.extend(self.duration.as_ref().map(|it| format!("--duration={}", it.get())));
        flags
    }

    /// A scenario that sends a profile as it is, under a name.
    pub(crate) fn plain(name: String) -> Self {
        Self {
            name: Some(name),
            profile: String::new(),
            seed: None,
            rate_scale: 1.0,
            time_scale: 1.0,
            tenants: None,
            duration: None,
            repeat: 1,
            queries: true,
            readback: false,
            thresholds: None,
            faults: Vec::new(),
            may_lose: Vec::new(),
            wait: eight_minutes(),
        }
    }

    /// The text of its profile, with its own thresholds if it has any.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Profile`] if there is no such profile, or it is wrong.
    pub(crate) fn profile_text(&self, folder: &Path) -> Result<String, SuiteError> {
        let wrong = |source| SuiteError::Profile { scenario: self.name().to_owned(), source };
        let ProfileText { text, origin } =
            read_profile(&found_from(folder, &self.profile)).map_err(wrong)?;
        let profile = Profile::parse(&text, &origin).map_err(wrong)?;
        let Some(thresholds) = &self.thresholds else { return Ok(text) };
        let own = Profile { thresholds: Some(thresholds.clone()), ..profile };
        let text = serde_saphyr::to_string(&own).expect("a profile has a form in YAML");
        Ok(format!("# The profile {origin}, with the thresholds of a suite.\n{text}"))
    }

    /// How long its load takes.
    ///
    /// # Errors
    ///
    /// As [`Self::profile_text`].
    pub(crate) fn load_time(&self, profile: &str) -> Result<Duration, SuiteError> {
        let wrong = |source| SuiteError::Profile { scenario: self.name().to_owned(), source };
        let profile = Profile::parse(profile, self.name()).map_err(wrong)?;
        let stages = self.scale().stages(&profile);
        Ok(Duration::from_micros(stages.iter().map(|stage| stage.duration_us).sum()))
    }

    /// Whether users query in it.
    pub(crate) fn has_queries(&self, profile: &str) -> bool {
        let profile = Profile::parse(profile, self.name());
        self.queries && profile.is_ok_and(|it| it.queries.is_some())
    }
}

/// A built-in profile's name as it is, and a path seen from a folder.
pub(crate) fn found_from(folder: &Path, profile: &str) -> String {
    if profile::BUILTIN.iter().any(|(name, _)| *name == profile) {
        return profile.to_owned();
    }
    let is_path = profile.contains('/') || Path::new(profile).extension().is_some();
    if is_path { folder.join(profile).display().to_string() } else { profile.to_owned() }
}

fn profile_name(profile: &str) -> &str {
    Path::new(profile).file_stem().and_then(|name| name.to_str()).unwrap_or(profile)
}

/// Finds a suite: a built-in one by its name, or a file by its path.
///
/// # Errors
///
/// Returns [`SuiteError`] if neither exists.
pub fn read_suite(name: &str) -> Result<SuiteText, SuiteError> {
    if let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        let (text, origin) = ((*text).to_owned(), name.to_owned());
        return Ok(SuiteText { text, origin, folder: PathBuf::from(".") });
    }
    let path = Path::new(name);
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let folder = edges::staged::folder_of(path).to_owned();
            Ok(SuiteText { text, origin: name.to_owned(), folder })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let known = BUILTIN.map(|(name, _)| name).join(", ");
            Err(SuiteError::NoSuchSuite { name: name.to_owned(), known })
        }
        Err(source) => Err(SuiteError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The built-in suites, by name, with their texts.
pub const BUILTIN: [(&str, &str); 7] = [
    ("capacity", include_str!("../suites/capacity.yaml")),
    ("demo", include_str!("../suites/demo.yaml")),
    ("smoke", include_str!("../suites/smoke.yaml")),
    ("nightly", include_str!("../suites/nightly.yaml")),
    ("weekly", include_str!("../suites/weekly.yaml")),
    ("resilience", include_str!("../suites/resilience.yaml")),
    ("soak", include_str!("../suites/soak.yaml")),
];

fn once() -> u32 {
    1
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn eight_minutes() -> Written<Micros> {
    Micros::of_seconds(480).into()
}

fn is_name<C>(name: &str, _context: &C) -> garde::Result {
    let is_good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 48 && name.chars().all(is_good) {
        return Ok(());
    }
    Err(garde::Error::new("use 1 to 48 of the characters a-z, 0-9 and -"))
}

fn are_some_unless<C>(has_search: bool) -> impl FnOnce(&Vec<Scenario>, &C) -> garde::Result {
    move |scenarios, _context| {
        if scenarios.is_empty() && !has_search {
            return Err(garde::Error::new("write at least one scenario, or `capacity`"));
        }
        match scenarios.iter().find(|it| has_search && it.name().starts_with("capacity")) {
            Some(it) => Err(garde::Error::new(format!(
                "plateaus of the search are called capacity-01 and so on: give {} another name",
                it.name()
            ))),
            None => Ok(()),
        }
    }
}

fn is_variable<C>(name: &str, _context: &C) -> garde::Result {
    let is_good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_good) {
        return Ok(());
    }
    Err(garde::Error::new(
        "write the name of an environment variable, like SLACK_WEBHOOK_URL; the address itself is \
         a secret",
    ))
}

fn is_alone_with<C>(has_duration: bool) -> impl FnOnce(&f64, &C) -> garde::Result {
    move |scale, _context| {
        if has_duration && scale.to_bits() != 1.0_f64.to_bits() {
            return Err(garde::Error::new("write time_scale or duration, not both"));
        }
        Ok(())
    }
}

fn have_names_of_their_own<C>(scenarios: &[Scenario], _context: &C) -> garde::Result {
    let twice = |at: usize| scenarios[..at].iter().any(|it| it.name() == scenarios[at].name());
    match (0..scenarios.len()).find(|at| twice(*at)) {
        Some(at) => {
            let name = scenarios[at].name();
            Err(garde::Error::new(format!("two scenarios are called {name}; give one a name")))
        }
        None => scenarios.iter().try_for_each(|it| is_name(it.name(), &())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_suites_are_right_and_so_are_their_profiles() {
        for (name, text) in BUILTIN {
            let suite = Suite::parse(text, name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(suite.name, name);
            for scenario in &suite.scenarios {
                let profile = scenario.profile_text(Path::new(".")).unwrap();
                assert!(scenario.load_time(&profile).unwrap() > Duration::ZERO);
            }
        }
    }

    #[test]
    fn every_mistake_is_shown_with_its_line_and_field() {
        let text = "name: My suite\nscenarios:\n  - profile: smoke\n    time_scale: 2\n    \
                    duration: 10s\n    faults: [{at: soon, do: restart moon}]\n  \
                    - profile: smoke\n";
        let message = Suite::parse(text, "my.yaml").unwrap_err().to_string();
        for part in [
            "use 1 to 48 of the characters",
            "write time_scale or duration, not both",
            "two scenarios are called smoke",
            "my.yaml:1",
            "scenarios[0].faults[0].at",
            "no part is called moon",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let unknown = Suite::parse("name: a\nscenario: []\n", "my.yaml").unwrap_err();
        assert!(unknown.to_string().contains("scenario"), "{unknown}");
        assert!(matches!(Suite::parse("# nothing\n", "x"), Err(SuiteError::Empty { .. })));
    }

    #[test]
    fn a_scenario_changes_the_thresholds_of_its_profile_and_nothing_else() {
        let text =
            "name: a\nscenarios:\n  - profile: query-storm\n    thresholds: {lag: ['max<5']}";
        let suite = Suite::parse(text, "a").unwrap();
        let scenario = &suite.scenarios[0];
        let changed = scenario.profile_text(Path::new(".")).unwrap();
        let changed = Profile::parse(&changed, "changed").unwrap_or_else(|it| panic!("{it}"));
        let text = read_profile("query-storm").unwrap().text;
        let original = Profile::parse(&text, "original").unwrap();
        assert_eq!(changed.thresholds, scenario.thresholds);
        assert_eq!(Profile { thresholds: original.thresholds.clone(), ..changed }, original);
    }

    #[test]
    fn profiles_are_looked_for_beside_the_suite() {
        let of = |profile| found_from(Path::new("/suites"), profile);
        assert_eq!(of("smoke"), "smoke");
        assert_eq!(of("mine.yaml"), "/suites/mine.yaml");
        assert_eq!(of("../mine.yaml"), "/suites/../mine.yaml");
        assert_eq!(of("/abs/mine.yaml"), "/abs/mine.yaml");
        assert_eq!(of("smok"), "smok", "so that the message names what there is");
    }
}
