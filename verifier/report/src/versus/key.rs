//! Which runs can be compared: those with the same key. Pure, but for reading a directory.

use std::fmt;
use std::path::Path;

use plans::plan::Plan;
use plans::spec::Span;
use runs::report::Report;
use runs::run_dir::RunDir;
use serde::{Serialize, Serializer};

use crate::error::ShowError;
use crate::reconciled::read_report;

/// What two runs must have in common to be compared. Everything else may differ: it is what is
/// compared (versions of the parts, settings), or chance (seed, start).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    pub profile: String,
    pub profile_sha256: String,
    /// The flags that changed the profile's numbers, or `none`.
    pub scale: String,
    /// The stages of the profile, or the length of a history.
    pub span: String,
    pub shards: u32,
    /// Whether users queried beside the events.
    pub queries: bool,
    /// Cores of the machine that checked the run.
    pub cores: u64,
    /// The parts of the pipeline whose CPU and memory were watched: they tell one kind of pipeline
    /// from another.
    pub parts: Parts,
}

/// Names of watched parts, in alphabetical order; none if nobody watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parts(Vec<String>);

/// Returns the key of the run in a directory.
///
/// # Errors
///
/// Returns [`ShowError`] if there is no run, or it was not reconciled, or its files cannot be read.
pub fn key_of(dir: &Path) -> Result<Key, ShowError> {
    let (run, plan) = RunDir::open(dir)?;
    let report = read_report(dir)?;
    let observations = run.read_observations()?;
    let uses = observations.iter().flat_map(|seen| &seen.resources);
    let parts = uses.map(|it| it.part.as_str()).collect();
    Ok(Key::of(&plan, &report, parts))
}

impl Key {
    pub(crate) fn of(plan: &Plan, report: &Report, mut parts: Vec<&str>) -> Self {
        parts.sort_unstable();
        parts.dedup();
        let spec = &plan.spec;
        Self {
            profile: plan.profile_name.clone(),
            profile_sha256: spec.profile_sha256.clone(),
            scale: spec.scale.to_string(),
            span: span(spec.span),
            shards: spec.shards,
            queries: spec.targets.queries.is_some(),
            cores: report.environment.cores,
            parts: Parts(parts.into_iter().map(str::to_owned).collect()),
        }
    }

    /// Says in which parts two keys differ. A run that nobody watched differs from a watched one
    /// only as a baseline: what both measured can be compared.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut differ = |what: &str, one: &dyn ToString, other: &dyn ToString| {
            let (one, other) = (one.to_string(), other.to_string());
            if one != other {
                reasons.push(format!("{what}: {one} and {other}"));
            }
        };
        differ("they have different profiles", &self.profile(), &other.profile());
        differ("they have different scales", &self.scale, &other.scale);
        differ("they cover different times", &self.span, &other.span);
        differ("they have different numbers of shards", &self.shards, &other.shards);
        differ("one had queries beside its events", &self.queried(), &other.queried());
        differ("the machines have different numbers of cores", &self.cores, &other.cores);
        if !self.parts.0.is_empty() && !other.parts.0.is_empty() {
            differ("their pipelines have different parts", &self.parts, &other.parts);
        }
        reasons
    }

    fn profile(&self) -> String {
        format!("{} ({:.12})", self.profile, self.profile_sha256)
    }

    fn queried(&self) -> &'static str {
        if self.queries { "queries" } else { "no queries" }
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "not watched" } else { "" })?;
        f.write_str(&self.0.join("+"))
    }
}

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (profile, queries, shards) = (self.profile(), self.queried(), self.shards);
        let Self { scale, span, cores, parts, .. } = self;
        write!(
            f,
            "{profile}; scale {scale}; {span}; {shards} shards; {queries}; {cores} cores; {parts}"
        )
    }
}

/// Describes a span without the time at which it was planned, so that equal spans are equal texts.
fn span(span: Span) -> String {
    match span {
        Span::Live => "the stages of the profile".to_owned(),
        Span::History { days, events, replay_days, .. } => {
            format!("{events} events of {days} days, {replay_days} of them replayed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::side::tests::side;

    fn key() -> Key {
        let side = side(|_| (100, 20.0));
        Key::of(&side.plan, &side.report, vec!["relay", "nats", "relay"])
    }

    #[test]
    fn every_part_of_a_key_makes_two_runs_different() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut Key), expected: &str) {
            let mut other = key();
            change(&mut other);
            assert_ne!(key(), other);
            assert_ne!(key().to_string(), other.to_string());
            let reasons = key().differences(&other);
            assert!(reasons.len() == 1 && reasons[0].contains(expected), "{reasons:?}");
        }
        check(|it| it.profile = "y".to_owned(), "different profiles: x (");
        check(|it| it.profile_sha256 = "f00".to_owned(), "different profiles: x (");
        check(|it| it.scale = "--tenants 3".to_owned(), "scales: none and --tenants 3");
        check(|it| it.span = "another".to_owned(), "different times");
        check(|it| it.shards = 2, "numbers of shards: 1 and 2");
        check(|it| it.queries = true, "no queries and queries");
        check(|it| it.cores += 1, "different numbers of cores");
        check(
            |it| it.parts = Parts(vec!["nats".to_owned(), "vector".to_owned()]),
            "different parts: nats+relay and nats+vector",
        );
        let history = |events| span(Span::history(1, events, 5));
        assert_eq!(history(7), span(Span::history(1, 7, 9)));
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn an_unwatched_run_is_no_baseline_of_a_watched_one_but_can_be_compared() {
        let mut other = key();
        other.parts = Parts::default();
        assert_ne!(key(), other);
        assert_eq!(key().differences(&other), Vec::<String>::new());
        assert!(other.to_string().ends_with("; not watched"), "{other}");
    }
}
