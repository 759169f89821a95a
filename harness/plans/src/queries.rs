//! The section `queries` of a profile: who asks for events while they are written. Pure.

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::quantity::{Micros, RateRamp, Share, UsersRamp};
use crate::written::Written;

/// Who asks for events, how often, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Queries {
    /// The stages, which follow one after the other from the start of the run.
    #[garde(dive, custom(are_of_one_model))]
    pub stages: Vec<QueryStage>,
    /// The shortest time that a user thinks about an answer before the next question.
    #[serde(default = "default_think_min")]
    #[garde(dive)]
    pub think_min: Written<Micros>,
    /// The longest such time.
    #[serde(default = "default_think_max")]
    #[garde(dive, custom(is_not_below(&self.think_min)))]
    pub think_max: Written<Micros>,
    /// Time after which a request without an answer has failed.
    #[serde(default = "default_timeout")]
    #[garde(dive)]
    pub timeout: Written<Micros>,
    /// The most requests at once, if the stages have a rate. Users have one each.
    #[serde(default = "default_connections")]
    #[garde(range(min = 1, max = 4_096))]
    pub connections: u32,
    /// How often events of one tenant, of the platform, and across tenants are asked for.
    #[serde(default)]
    #[garde(dive, custom(is_anything))]
    pub scopes: Scopes,
    /// Share of the answers that are searched for what must be there: what the same user saw
    /// before, and what a check of an earlier run saw in the table. Without it, one in twenty; with
    /// few users, all.
    #[serde(default)]
    #[garde(dive)]
    pub compare: Option<Written<Share>>,
    /// Questions that are asked instead of the built-in ones of the same scope.
    #[serde(default)]
    #[garde(dive, length(max = 64), custom(have_names_of_their_own))]
    pub templates: Vec<Template>,
}

/// A period in which the number of users, or the rate of queries, moves in a straight line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct QueryStage {
    /// Duration, like `30s`, `15m` or `1h30m`.
    #[garde(dive)]
    pub duration: Written<Micros>,
    /// Number of users, each of whom waits for an answer and thinks before asking again: `500`, or
    /// `0 -> 500`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub users: Option<Written<UsersRamp>>,
    /// Queries per second of all together, which wait for no answer: `20/s`, or `0/s -> 20/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[garde(dive)]
    pub rate: Option<Written<RateRamp>>,
}

/// Relative weights of the scopes that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct Scopes {
    #[garde(range(max = 1_000))]
    pub tenant: u32,
    #[garde(range(max = 1_000))]
    pub platform: u32,
    #[garde(range(max = 1_000))]
    pub complex: u32,
}

impl Default for Scopes {
    fn default() -> Self {
        Self { tenant: 60, platform: 30, complex: 10 }
    }
}

/// Whose events a question is about, and how hard it is. Latencies are told apart by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryScope {
    /// Of one organization or project.
    #[default]
    Tenant,
    /// Of all tenants, along an index of the table.
    Platform,
    /// Of all tenants, by what no index helps much with.
    Complex,
}

impl QueryScope {
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Platform, Self::Complex];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Platform => "platform",
            Self::Complex => "complex",
        }
    }
}

/// A question that a profile asks itself. Those of a scope take turns by chance, each as often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Name of the question, for reports.
    #[garde(length(min = 1, max = 32), custom(is_template_name))]
    pub name: String,
    #[garde(skip)]
    pub scope: QueryScope,
    /// What the events must be; without it, all are asked for.
    #[serde(default)]
    #[garde(skip)]
    pub filter: Filter,
    /// How far back from the moment of asking the events may lie.
    #[garde(dive, custom(is_in_window))]
    pub range: Written<Micros>,
    /// The most events of a page.
    #[serde(default = "default_limit")]
    #[garde(range(min = 1, max = 1_000))]
    pub limit: u32,
    /// The most pages that are read.
    #[serde(default = "one")]
    #[garde(range(min = 1, max = 100))]
    pub pages: u32,
}

impl Queries {
    /// Whether one of the values of its stages could not be read.
    fn has_wrong_stage(stages: &[QueryStage]) -> bool {
        stages.iter().any(|stage| {
            stage.duration.is_wrong()
                || stage.users.as_ref().is_some_and(Written::is_wrong)
                || stage.rate.as_ref().is_some_and(Written::is_wrong)
        })
    }

    /// How long all its stages take, in µs; nothing, if that could not be read.
    pub(crate) fn duration_us(&self) -> Option<u64> {
        let durations = self.stages.iter().map(|stage| stage.duration.get().us());
        (!Self::has_wrong_stage(&self.stages)).then(|| durations.sum())
    }
}

fn are_of_one_model<C>(stages: &[QueryStage], _context: &C) -> garde::Result {
    let error = |text: &str| Err(garde::Error::new(text));
    if stages.is_empty() || stages.len() > 100 {
        return error("queries have 1 to 100 stages");
    }
    if stages.iter().any(|stage| stage.users.is_some() == stage.rate.is_some()) {
        return error("a stage of queries has either `users` or `rate`");
    }
    if stages.iter().any(|stage| stage.users.is_some() != stages[0].users.is_some()) {
        return error("all stages of queries have `users`, or all have `rate`");
    }
    if Queries::has_wrong_stage(stages) {
        return Ok(());
    }
    let most = |stage: &QueryStage| {
        let users = stage.users.as_ref().map_or(0, |users| u64::from(users.get().most()));
        let (first, last) = stage.rate.as_ref().map_or((0, 0), |rate| rate.get().milli());
        (users, first.max(last))
    };
    if stages.iter().any(|stage| most(stage).1 > RATE_MILLI_MAX) {
        return error("queries have a rate of at most 10000/s");
    }
    if stages.iter().all(|stage| most(stage) == (0, 0)) {
        return error("nobody asks anything: write users or a rate above zero");
    }
    Ok(())
}

const RATE_MILLI_MAX: u64 = 10_000_000;

fn is_not_below<C>(
    min: &Written<Micros>,
) -> impl FnOnce(&Written<Micros>, &C) -> garde::Result + '_ {
    move |max, _context| {
        let is_wrong = min.is_wrong() || max.is_wrong();
        if is_wrong || max.get().us() >= min.get().us() {
            return Ok(());
        }
        Err(garde::Error::new("shorter than think_min"))
    }
}

fn is_anything<C>(scopes: &Scopes, _context: &C) -> garde::Result {
    match scopes.tenant + scopes.platform + scopes.complex {
        0 => Err(garde::Error::new("at least one scope needs a weight above zero")),
        _ => Ok(()),
    }
}

fn have_names_of_their_own<C>(templates: &[Template], _context: &C) -> garde::Result {
    let twice = |at: usize| templates[..at].iter().any(|it| it.name == templates[at].name);
    match (0..templates.len()).find(|at| twice(*at)) {
        Some(at) => {
            Err(garde::Error::new(format!("two templates are called {}", templates[at].name)))
        }
        None => Ok(()),
    }
}

fn is_template_name<C>(name: &str, _context: &C) -> garde::Result {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(garde::Error::new("a template's name has lower-case letters, digits and hyphens"))
}

/// The query API refuses longer ranges.
fn is_in_window<C>(range: &Written<Micros>, _context: &C) -> garde::Result {
    if range.is_wrong() || (1_000_000..=THIRTY_DAYS_US).contains(&range.get().us()) {
        return Ok(());
    }
    Err(garde::Error::new("write a range from 1s to 30d"))
}

const THIRTY_DAYS_US: u64 = 30 * 86_400_000_000;

fn default_think_min() -> Written<Micros> {
    Micros::of_us(500_000).into()
}

fn default_think_max() -> Written<Micros> {
    Micros::of_seconds(2).into()
}

fn default_timeout() -> Written<Micros> {
    Micros::of_seconds(30).into()
}

fn default_connections() -> u32 {
    64
}

fn default_limit() -> u32 {
    100
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;

    const EVENTS: &str = "name: x\nstages: [{duration: 10s, rate: 1/s, tenants: 1}]\n";

    /// Compares the messages, without the excerpts around them.
    #[track_caller]
    fn check(queries: &str, expected: &[&str]) {
        let text = format!("{EVENTS}queries:\n{queries}");
        let error = Profile::parse(&text, "x.yaml").unwrap_err().to_string();
        let messages: Vec<_> =
            error.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        assert_eq!(messages, expected, "{error}");
    }

    const USERS: &str = "  stages: [{duration: 10s, users: 5}]\n";

    #[test]
    fn mistakes_are_shown_where_they_are() {
        check(
            "  stages: [{duration: 10s, users: 5, rate: 1/s}]\n",
            &["line 4 column 11: a stage of queries has either `users` or `rate` for \
               `queries.stages`"],
        );
        check(
            "  stages: [{duration: 5s, users: 5}, {duration: 5s, rate: 1/s}]\n",
            &["line 4 column 11: all stages of queries have `users`, or all have `rate` for \
               `queries.stages`"],
        );
        check(
            "  stages: [{duration: 5s, users: 0}]\n",
            &["line 4 column 11: nobody asks anything: write users or a rate above zero for \
               `queries.stages`"],
        );
        check(
            "  stages: [{duration: 5s, users: many}]\n  think_max: 1\n",
            &[
                "line 4 column 34: \"many\" is no number of users: write a whole number, like 50 \
                 for `queries.stages[0].users`",
                "line 5 column 14: \"1\" is no duration: write numbers with units, like 500ms, \
                 30s, 15m or 1h30m for `queries.think_max`",
            ],
        );
        check(
            "  stages: [{duration: 11s, users: 5}]\n",
            &["line 4 column 3: the stages of queries take longer than those of the events for \
               `queries`"],
        );
        check(
            &format!("{USERS}  think_min: 3s\n"),
            &["line 4 column 3: shorter than think_min for `queries.think_max`"],
        );
        check(
            &format!("{USERS}  scopes: {{tenant: 0, platform: 0, complex: 0}}\n"),
            &["line 5 column 11: at least one scope needs a weight above zero for \
               `queries.scopes`"],
        );
        check(
            &format!("{USERS}  user: 7\n"),
            &["line 5 column 3: unknown field `user`, expected one of stages, think_min, \
               think_max, timeout, connections, scopes, compare, templates"],
        );
    }

    #[test]
    fn questions_are_checked_as_well() {
        let template = |rest: &str| {
            format!("{USERS}  templates:\n  - {{name: mine, scope: tenant, range: 1h{rest}}}\n")
        };
        check(
            &template(", limit: 1001, pages: 0"),
            &[
                "line 6 column 51: greater than 1000 for `queries.templates[0].limit`",
                "line 6 column 64: lower than 1 for `queries.templates[0].pages`",
            ],
        );
        let message = Profile::parse(
            &format!("{EVENTS}queries:\n{}", template(", filter: {color: red}")),
            "x",
        )
        .unwrap_err()
        .to_string();
        assert!(message.contains("a filter has no field \"color\""), "{message}");
        let text = template("").replace("mine", "My Own").replace("1h", "31d");
        check(
            &text,
            &[
                "line 6 column 12: a template's name has lower-case letters, digits and hyphens \
                 for `queries.templates[0].name`",
                "line 6 column 42: write a range from 1s to 30d for `queries.templates[0].range`",
            ],
        );
    }
}
