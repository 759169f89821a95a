//! Profiles: descriptions of a load, as a user writes them.
//!
//! A profile is YAML. [`Profile::parse`] checks its form and all its rules, and shows every mistake
//! with line, column and field. A profile that passes becomes a [`crate::plan::Plan`], which cannot
//! fail any more.

use std::path::{Path, PathBuf};

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::quantity::{Micros, RateRamp, Share, TenantsRamp};
use crate::queries::Queries;
use crate::threshold::Thresholds;
use crate::written::Written;

/// A profile as it is written, after every rule was checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name of the profile, for reports.
    #[garde(length(min = 1, max = 64))]
    pub name: String,
    /// All names, users, times and outcomes follow from it.
    #[serde(default = "default_seed")]
    #[garde(skip)]
    pub seed: u64,
    /// Which users, verbs and resources the events have.
    #[serde(default)]
    #[garde(skip)]
    pub mix: Mix,
    /// How much of each request an event records.
    #[serde(default)]
    #[garde(skip)]
    pub level: Level,
    /// How the events of a tenant are spaced.
    #[serde(default)]
    #[garde(skip)]
    pub arrival: Arrival,
    /// Regular peaks, in addition to the rate.
    #[serde(default)]
    #[garde(skip)]
    pub rhythm: Vec<Beat>,
    /// How unequal the tenants are: the exponent of a Zipf law, from 0 (all equal) to 2. It moves
    /// events from tenant to tenant; the mean rate stays as the stages have it.
    #[serde(default)]
    #[garde(range(min = 0.0, max = 2.0), custom(is_number))]
    pub skew: f64,
    /// Tenants that differ from the others. The classes take the first tenants, in their order.
    #[serde(default)]
    #[garde(dive, length(max = 16), custom(have_names_of_their_own))]
    pub classes: Vec<TenantClass>,
    /// The stages, which follow one after the other.
    #[garde(dive, custom(has_work(self.queries.is_some())), custom(have_room_for(&self.classes)))]
    pub stages: Vec<Stage>,
    /// How events are sent.
    #[serde(default)]
    #[garde(dive)]
    pub send: Sending,
    /// How each tenant's API server sends, if the sender is `apiserver`.
    #[serde(default)]
    #[garde(dive)]
    pub apiserver: Apiserver,
    /// What a misbehaving client does. By default, nothing.
    #[serde(default)]
    #[garde(dive, custom(are_of_different_events))]
    pub faults: Faults,
    /// Conditions that the run must meet, by metric. Without this field, these are the published
    /// objectives; an empty map means no conditions.
    #[serde(default)]
    #[garde(dive)]
    pub thresholds: Option<Thresholds>,
    /// Who asks for events while they are written. By default, nobody.
    #[serde(default)]
    #[garde(dive, custom(end_with_the_events(&self.stages)))]
    pub queries: Option<Queries>,
}

/// Which users, verbs and resources the events have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// Human traffic, operators and controllers: get 40, list 30, update 15, create 10, delete 5
    /// percent.
    #[default]
    Seed,
    /// A busy control plane that audits everything: leases, status updates, events.
    Cluster,
}

/// How much of each request an event records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    #[default]
    Metadata,
    Request,
    RequestResponse,
    /// Each resource has the level that the example policy in the Kubernetes documentation gives
    /// it.
    Policy,
}

/// Regular peaks, in addition to the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beat {
    /// Leases every 2 and 10 seconds, and a busy first second of each minute.
    Combs,
    /// A rollout every ten minutes. Each tenant has it at its own time.
    Bursts,
}

/// Tenants that differ from the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct TenantClass {
    /// Name of the class, for reports.
    #[garde(length(min = 1, max = 32), custom(is_class_name))]
    pub name: String,
    /// How many tenants the class has.
    #[garde(range(min = 1, max = 65_536))]
    pub tenants: u32,
    /// A factor by which their rate is multiplied: 10, or 0.1.
    #[serde(default = "one")]
    #[garde(range(min = 0.001, max = 1_000.0), custom(is_number))]
    pub rate: f64,
    /// Their mix, if it differs from the profile's.
    #[serde(default)]
    #[garde(skip)]
    pub mix: Option<Mix>,
    /// Their level, if it differs from the profile's.
    #[serde(default)]
    #[garde(skip)]
    pub level: Option<Level>,
}

/// How the events of a tenant are spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    Even,
    #[default]
    Jittered,
}

/// A period of the run. `->` changes a rate or a number of tenants in a straight line over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Duration, like `30s`, `15m` or `1h30m`.
    #[garde(dive)]
    pub duration: Written<Micros>,
    /// Events per second of each tenant: `100/s`, or `100/s -> 1000/s`.
    #[garde(dive)]
    pub rate: Written<RateRamp>,
    /// Number of tenants: `50`, or `50 -> 200`.
    #[garde(dive)]
    pub tenants: Written<TenantsRamp>,
}

impl Stage {
    /// Whether one of its values could not be read.
    fn is_wrong(&self) -> bool {
        self.duration.is_wrong() || self.rate.is_wrong() || self.tenants.is_wrong()
    }
}

/// How events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Sending {
    /// What sends the events: the schedule alone, or a simulated API server.
    #[garde(skip)]
    pub sender: SenderKind,
    /// The most events in a batch. With 1, each event is sent alone, without a list around it.
    #[garde(range(min = 1, max = 10_000))]
    pub batch_events: u32,
    /// The longest time that the first event of a batch waits for others.
    #[garde(dive)]
    pub batch_age: Written<Micros>,
    /// Number of connections, over which the tenants are spread evenly.
    #[garde(range(min = 1, max = 4_096))]
    pub connections: u32,
    /// Time after which a batch without an answer counts as unknown.
    #[garde(dive)]
    pub timeout: Written<Micros>,
    /// If the generator itself begins to send a batch later than this, the run is saturated.
    #[garde(dive)]
    pub lateness_max: Written<Micros>,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            sender: SenderKind::Direct,
            batch_events: 400,
            batch_age: Micros::of_seconds(1).into(),
            connections: 32,
            timeout: Micros::of_seconds(30).into(),
            lateness_max: Micros::of_seconds(1).into(),
        }
    }
}

/// What sends the events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SenderKind {
    /// The schedule alone. Each batch is sent once. If no connection is free, it waits.
    #[default]
    Direct,
    /// A simulated audit backend of an API server, one for each tenant. It buffers, throttles,
    /// retries and drops events.
    Apiserver,
}

/// The settings of an API server's audit webhook backend, with the defaults of kube-apiserver.
///
/// Source: `k8s.io/apiserver/pkg/server/options/audit.go`, `k8s.io/apiserver/pkg/util/webhook`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Apiserver {
    /// The most events that wait for a batch. Any more are dropped
    /// (`--audit-webhook-batch-buffer-size`).
    #[garde(range(min = 1, max = 1_000_000))]
    pub buffer_events: u32,
    /// The most events in a batch (`--audit-webhook-batch-max-size`).
    #[garde(range(min = 1, max = 10_000))]
    pub batch_events: u32,
    /// Time that a batch waits for more events (`--audit-webhook-batch-max-wait`).
    #[garde(dive)]
    pub batch_wait: Written<Micros>,
    /// Batches a second, on average (`--audit-webhook-batch-throttle-qps`).
    #[garde(range(min = 1, max = 10_000))]
    pub throttle_qps: u32,
    /// The most batches at once (`--audit-webhook-batch-throttle-burst`).
    #[garde(range(min = 1, max = 10_000))]
    pub throttle_burst: u32,
    /// How often a batch is tried before it is dropped.
    #[garde(range(min = 1, max = 20))]
    pub attempts: u32,
    /// Time before the second attempt. Each further wait is one and a half times as long
    /// (`--audit-webhook-initial-backoff`).
    #[garde(dive)]
    pub initial_backoff: Written<Micros>,
}

impl Default for Apiserver {
    fn default() -> Self {
        Self {
            buffer_events: 10_000,
            batch_events: 400,
            batch_wait: Micros::of_seconds(30).into(),
            throttle_qps: 10,
            throttle_burst: 15,
            attempts: 5,
            initial_backoff: Micros::of_seconds(10).into(),
        }
    }
}

/// What a misbehaving client does, as shares from 0 to 1. Events that it spoils are counted apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Events that are first also sent in stage `RequestReceived`, with the same audit ID.
    #[garde(dive)]
    pub stages: Written<Share>,
    /// Batches that are sent again after they were acknowledged.
    #[garde(dive)]
    pub resent: Written<Share>,
    /// Batches whose body is cut off, so that it is not JSON.
    #[garde(dive)]
    pub malformed: Written<Share>,
    /// Events that are larger than one mebibyte.
    #[garde(dive)]
    pub oversized: Written<Share>,
    /// Events whose audit ID is not a UUID.
    #[garde(dive)]
    pub foreign_ids: Written<Share>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "no profile is called {name:?}: write the path of a YAML file, or one of: {}",
        builtin_names().join(", ")
    )]
    NoSuchProfile { name: String },
    #[error("there is no file {}", path.display())]
    NoSuchFile { path: PathBuf },
    #[error("the profile {origin} is empty")]
    Empty { origin: String },
    #[error("cannot read the profile {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Every mistake with its line, column and field, and the lines around it.
    #[error("the profile {origin} is wrong:\n{mistakes}")]
    Invalid { origin: String, mistakes: String },
}

impl Profile {
    /// The largest number of tenants that it has at any time.
    pub fn most_tenants(&self) -> u32 {
        self.stages.iter().map(|stage| stage.tenants.get().most()).max().unwrap_or(0)
    }

    /// Parses and checks the text of a profile. `origin` says in messages where it is from.
    ///
    /// # Errors
    ///
    /// Returns [`ProfileError::Invalid`] with all broken rules at once, or with the first mistake
    /// in form (see [`Written`]), and [`ProfileError::Empty`] if there are only comments.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        let is_empty = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if text.lines().all(is_empty) {
            return Err(ProfileError::Empty { origin: origin.to_owned() });
        }
        serde_saphyr::from_str_valid(text).map_err(|error| ProfileError::Invalid {
            origin: origin.to_owned(),
            mistakes: mistakes(&error, origin),
        })
    }
}

/// The mistakes of a YAML file, each with its line, column and field, and the lines around it.
/// `origin` says where the file is from.
pub fn mistakes(error: &serde_saphyr::Error, origin: &str) -> String {
    error
        .render_with_formatter(&serde_saphyr::UserMessageFormatter)
        .replace("<input>", origin)
        .replace("validation error: ", "")
}

/// The text of a profile, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileText {
    pub text: String,
    pub origin: String,
}

/// Finds a profile: a built-in one by its name, or a file by its path.
///
/// # Errors
///
/// Returns [`ProfileError`] if neither exists.
pub fn read_profile(name: &str) -> Result<ProfileText, ProfileError> {
    if let Some((_, text)) = BUILTIN.iter().find(|(builtin, _)| *builtin == name) {
        return Ok(ProfileText { text: (*text).to_owned(), origin: name.to_owned() });
    }
    let path = Path::new(name);
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(ProfileText { text, origin: name.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let has_ending = path.extension().is_some_and(|it| it == "yaml" || it == "yml");
            Err(if has_ending || name.contains('/') {
                ProfileError::NoSuchFile { path: path.to_owned() }
            } else {
                ProfileError::NoSuchProfile { name: name.to_owned() }
            })
        }
        Err(source) => Err(ProfileError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The built-in profiles, by name, with their texts.
pub const BUILTIN: [(&str, &str); 12] = [
    ("demo", include_str!("../../../profiles/demo.yaml")),
    ("smoke", include_str!("../../../profiles/smoke.yaml")),
    ("baseline", include_str!("../../../profiles/baseline.yaml")),
    ("steady-state", include_str!("../../../profiles/steady-state.yaml")),
    ("tenant-growth", include_str!("../../../profiles/tenant-growth.yaml")),
    ("write-storm", include_str!("../../../profiles/write-storm.yaml")),
    ("peak-load", include_str!("../../../profiles/peak-load.yaml")),
    ("query-storm", include_str!("../../../profiles/query-storm.yaml")),
    ("stress", include_str!("../../../profiles/stress.yaml")),
    ("spike", include_str!("../../../profiles/spike.yaml")),
    ("soak", include_str!("../../../profiles/soak.yaml")),
    ("history-90d", include_str!("../../../profiles/history-90d.yaml")),
];

fn builtin_names() -> Vec<&'static str> {
    BUILTIN.iter().map(|(name, _)| *name).collect()
}

fn default_seed() -> u64 {
    42
}

fn one() -> f64 {
    1.0
}

/// YAML has values like `.nan` that are of type number, and that a range does not exclude.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "rules take what they check by reference")]
fn is_number<C>(number: &f64, _context: &C) -> garde::Result {
    if number.is_finite() { Ok(()) } else { Err(garde::Error::new("write a number")) }
}

fn have_names_of_their_own<C>(classes: &[TenantClass], _context: &C) -> garde::Result {
    let twice = |at: usize| classes[..at].iter().any(|other| other.name == classes[at].name);
    match (0..classes.len()).find(|at| twice(*at)) {
        Some(at) => Err(garde::Error::new(format!("two classes are called {}", classes[at].name))),
        None => Ok(()),
    }
}

fn have_room_for<C>(classes: &[TenantClass]) -> impl FnOnce(&Vec<Stage>, &C) -> garde::Result + '_ {
    move |stages, _context| {
        let right = stages.iter().filter(|stage| !stage.is_wrong());
        let most = right.map(|stage| stage.tenants.get().most()).max().unwrap_or(u32::MAX);
        let wanted: u64 = classes.iter().map(|class| u64::from(class.tenants)).sum();
        if wanted > u64::from(most) {
            let message = format!("the classes have {wanted} tenants, the stages at most {most}");
            return Err(garde::Error::new(message));
        }
        Ok(())
    }
}

/// Nothing is recorded after the last event's stage.
fn end_with_the_events<C>(
    stages: &[Stage],
) -> impl FnOnce(&Option<Queries>, &C) -> garde::Result + '_ {
    move |queries, _context| {
        let asked_us = queries.as_ref().and_then(Queries::duration_us);
        let whole_us: u64 = stages.iter().map(|stage| stage.duration.get().us()).sum();
        if stages.iter().any(Stage::is_wrong) || asked_us.is_none_or(|us| us <= whole_us) {
            return Ok(());
        }
        Err(garde::Error::new("the stages of queries take longer than those of the events"))
    }
}

fn are_of_different_events<C>(faults: &Faults, _context: &C) -> garde::Result {
    let sum = |shares: &[&Written<Share>]| shares.iter().map(|it| it.get().value()).sum::<f64>();
    let events = sum(&[&faults.stages, &faults.oversized, &faults.foreign_ids]);
    if events > 1.0 || sum(&[&faults.malformed, &faults.resent]) > 1.0 {
        return Err(garde::Error::new("the shares of all events, or of all batches, exceed 1"));
    }
    Ok(())
}

/// The name is used as a label of metrics and as a key in reports.
fn is_class_name<C>(name: &str, _context: &C) -> garde::Result {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(is_plain) {
        return Err(garde::Error::new("a class's name has lower-case letters, digits and hyphens"));
    }
    if name == OTHERS {
        return Err(garde::Error::new("this is what tenants of no class are called"));
    }
    Ok(())
}

/// The name of the class of tenants that are in no class of the profile.
pub const OTHERS: &str = "others";

/// A plan without events and queries has nothing to do, and one with too many events has no
/// sequence numbers for them.
fn has_work<C>(has_queries: bool) -> impl FnOnce(&Vec<Stage>, &C) -> garde::Result {
    move |stages, _context| has_events(stages, has_queries)
}

fn has_events(stages: &[Stage], has_queries: bool) -> garde::Result {
    if stages.is_empty() || stages.len() > 1_000 {
        return Err(garde::Error::new("a profile has 1 to 1000 stages"));
    }
    // A value that could not be read has its own message.
    if stages.iter().any(Stage::is_wrong) {
        return Ok(());
    }
    let most_of = |stage: &Stage| {
        let (start, end) = stage.rate.get().milli();
        u128::from(stage.duration.get().us()) * u128::from(start.max(end))
    };
    let most: u128 = stages.iter().map(most_of).sum();
    if most == 0 && !has_queries {
        return Err(garde::Error::new("all rates are zero: there is no event to send"));
    }
    // The product of thousandths of an event per second and µs.
    if most / 1_000_000_000 >= u128::from(events::identity::SEQ_END) {
        return Err(garde::Error::new("a tenant would have more than 2^40 events"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::*;

    const GOOD: &str = "name: x\nstages:\n  - duration: 1s\n    rate: 1/s\n    tenants: 1\n";

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let error = Profile::parse(text, "x.yaml").unwrap_err();
        expected.assert_eq(&error.to_string());
    }

    /// Compares only the messages, without the excerpts around them.
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
            &["line 3 column 15: write a duration above zero for `stages[0].duration`"],
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
    fn mistakes_of_every_kind_of_value_are_shown_at_once() {
        let text = GOOD.replace("1/s", "1/s -> fast").replace("duration: 1s", "duration: -1s")
            + "skew: 3\nsend: {timeout: 10, batch_age: 0s}\n\
               apiserver: {initial_backoff: 400d}\nthresholds: {lost: [max<1]}\n";
        let write_units = "write numbers with units, like 500ms, 30s, 15m or 1h30m";
        check_messages(
            &text,
            &[
                "line 8 column 30: \"400d\" is longer than a year for `apiserver.initial_backoff`",
                "line 7 column 32: write a duration above zero for `send.batch_age`",
                &format!(
                    "line 7 column 17: \"10\" is no duration: {write_units} for `send.timeout`"
                ),
                "line 6 column 7: greater than 2 for `skew`",
                "line 3 column 15: \"-1s\" is negative for `stages[0].duration`",
                "line 4 column 11: \"fast\" is no rate: write a number and a unit, like 100/s, \
                 6000/min or 20/h for `stages[0].rate`",
                "line 9 column 21: \"max\" is nothing that lost has: write rate or count for \
                 `thresholds.lost[0]`",
            ],
        );
    }

    #[test]
    fn what_is_written_is_read_once_and_kept() {
        let text = GOOD.replace("1/s", "30/min -> 2/s").replace("tenants: 1", "tenants: 2 -> 5");
        let profile = Profile::parse(&(text + "send: {timeout: 1m30s}\n"), "x").unwrap();
        let Stage { duration, rate, tenants } = &profile.stages[0];
        assert_eq!(duration.get().us(), 1_000_000);
        assert_eq!(rate.get().milli(), (500, 2_000));
        assert_eq!((tenants.get().ends(), profile.most_tenants()), ((2, 5), 5));
        assert_eq!(profile.send.timeout.get(), "90s".parse().unwrap());
    }

    #[test]
    fn wrong_thresholds_are_shown_where_they_are() {
        check_messages(
            &(GOOD.to_owned()
                + "thresholds:\n  webhook: [\"p(95)<1s\", \"p(95)<5\"]\n  speed: [max<1]\n"),
            &[
                "line 8 column 10: \"speed\" is no metric: write one of planned, attempted, \
                 acknowledged, refused, unknown, spoiled, unsent, dropped, due_to_acknowledged, \
                 sent_to_acknowledged, due_to_sent, lateness, blocked, requests, request_bytes, \
                 retries, requests_in_flight, queries, queries.wrong, queries.tenant, \
                 queries.platform, queries.complex, due_to_visible, acknowledged_to_visible, \
                 ingested, lost, duplicated, lag, cpu.<part>, memory.<part> for `thresholds.speed`",
                "line 7 column 25: \"5\" is no limit here: write a number with µs, ms, s, m, h or \
                 d, like 100ms for `thresholds.webhook[1]`",
            ],
        );
    }

    #[test]
    fn an_empty_profile_is_called_empty() {
        for text in ["", "\n \n", "# name: x\n"] {
            let message = Profile::parse(text, "x.yaml").unwrap_err().to_string();
            assert_eq!(message, "the profile x.yaml is empty");
        }
    }

    #[test]
    fn shares_are_fractions() {
        let text = |share: &str| format!("{GOOD}faults:\n  malformed: {share}\n");
        let share = |written| {
            Profile::parse(&text(written), "x").map(|it| it.faults.malformed.get().value())
        };
        for (written, expected) in [("0.01", 0.01), ("1", 1.0), ("0", 0.0), ("1e-3", 0.001)] {
            assert!(
                share(written).is_ok_and(|share| (share - expected).abs() < 1e-12),
                "{written}"
            );
        }
        let place = "line 7 column 14";
        for wrong in ["1%", "few", ".nan"] {
            let message = share(wrong).unwrap_err().to_string();
            assert!(message.contains(place), "{message}");
            assert!(message.contains("a share between 0 and 1, like 0.01"), "{message}");
        }
        check_messages(&text("-1"), &[&format!("{place}: lower than 0 for `faults.malformed`")]);
        check_messages(&text("2"), &[&format!("{place}: greater than 1 for `faults.malformed`")]);
        let line = "line 7 column 14: write a share between 0 and 1, like 0.01 for \
                    `faults.malformed`";
        check_messages(
            &text("1%").replace("1/s", "1"),
            &[
                line,
                "line 4 column 11: \"1\" is no rate: write a number and a unit, like 100/s, \
                 6000/min or 20/h for `stages[0].rate`",
            ],
        );
    }

    const GUIDE: &str = include_str!("../../../docs/profiles.md");

    /// Calls `found` with the name and value of every field, except for the metrics of thresholds.
    fn for_each_field(value: &Value, found: &mut impl FnMut(&str, &Value)) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                found(name, value);
                if name != "thresholds" {
                    for_each_field(value, found);
                }
            }),
            Value::Array(items) => items.iter().for_each(|item| for_each_field(item, found)),
            _ => {}
        }
    }

    fn is_in_guide(field: &str, default: &str) -> bool {
        let field = format!("`{field}`");
        let of_field = |row: &str| row.split('|').nth(1).is_some_and(|cell| cell.contains(&field));
        GUIDE.lines().any(|row| of_field(row) && row.contains(default))
    }

    #[test]
    fn the_guide_has_every_field_with_its_default_and_a_valid_example_of_all() {
        let example = GUIDE.split("```").nth(1).unwrap().strip_prefix("yaml").unwrap();
        let profile = Profile::parse(example, "docs/profiles.md").unwrap();
        for_each_field(&serde_json::to_value(profile).unwrap(), &mut |field, _| {
            assert!(is_in_guide(field, ""), "docs/profiles.md has no row for {field}");
            assert!(example.contains(&format!("{field}:")), "its example has no {field}");
        });
        let default = serde_json::json!([Sending::default(), Apiserver::default()]);
        for_each_field(&default, &mut |field, value| {
            let default = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert!(is_in_guide(field, &format!("| `{default}` |")), "{field}: {default}");
        });
    }

    #[test]
    fn an_unknown_profile_is_told_from_an_unreadable_file() {
        let message = read_profile("smoek").unwrap_err().to_string();
        assert!(message.contains("one of: demo, smoke"), "{message}");
        for path in ["no.yaml", "no.yml", "./no"] {
            let message = read_profile(path).unwrap_err().to_string();
            assert_eq!(message, format!("there is no file {path}"));
        }
        assert!(matches!(read_profile("/"), Err(ProfileError::Unreadable { .. })));
    }
}
