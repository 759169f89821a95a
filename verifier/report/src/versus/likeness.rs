//! Decides whether two runs are alike enough to be compared. Pure.

use plans::spec::Span;
use runs::report::verdict::Verdict;

use crate::versus::side::Side;

/// Returns why two runs cannot be compared, or nothing if they can.
pub(crate) fn differences(base: &Side, run: &Side) -> Vec<String> {
    let mut reasons = Vec::new();
    if base.plan.spec.run_id == run.plan.spec.run_id {
        reasons.push(format!("both are the same run: {}", run.plan.spec.run_id));
    }
    let mut differ = |is_so: bool, what: &str, one: &dyn ToString, other: &dyn ToString| {
        if is_so {
            reasons.push(format!("{what}: {} and {}", one.to_string(), other.to_string()));
        }
    };
    let (old, new) = (&base.plan.spec, &run.plan.spec);
    differ(
        old.profile_sha256 != new.profile_sha256,
        "they have different profiles",
        &format!("{} ({:.12})", base.plan.profile_name, old.profile_sha256),
        &format!("{} ({:.12})", run.plan.profile_name, new.profile_sha256),
    );
    differ(old.scale != new.scale, "they have different scales", &old.scale, &new.scale);
    let (one, other) = (span(old.span), span(new.span));
    differ(one != other, "they cover different times", &one, &other);
    let (one, other) = (old.shards, new.shards);
    differ(one != other, "they have different numbers of shards", &one, &other);
    let cores = [base, run].map(|side| side.report.environment.cores);
    let [one, other] = cores;
    differ(one != other, "the machines have different numbers of cores", &one, &other);
    for (side, name) in [(base, "base"), (run, "run")] {
        reasons.extend(unfit(side).into_iter().map(|why| format!("the {name} {why}")));
    }
    reasons
}

/// Returns why a run cannot be compared with any other.
fn unfit(side: &Side) -> Vec<String> {
    let mut reasons = Vec::new();
    if side.report.verdict == Verdict::Unknown {
        let why = side.report.reasons.first().map_or("", String::as_str);
        reasons.push(format!("could not be checked: {why}"));
    }
    let summaries = &side.records.summaries;
    let is_live = side.plan.spec.span == Span::Live;
    if is_live && summaries.len() != side.records.shards as usize {
        reasons.push("is incomplete: a generator has not written its summary".to_owned());
    }
    if summaries.iter().any(|it| it.saturated) {
        reasons.push("was saturated: its generator did not keep its schedule".to_owned());
    }
    if summaries.iter().any(|it| it.stopped || it.aborted.is_some()) {
        reasons.push("is incomplete: it was stopped early".to_owned());
    }
    reasons
}

/// Returns the differences between two runs that may explain a change, or that are what is being
/// compared.
pub(crate) fn notes(base: &Side, run: &Side) -> Vec<String> {
    let told = |what: &str, one: &str, other: &str| {
        (one != other).then(|| format!("{what}: {one} before, {other} now"))
    };
    let (old, new) = (&base.report, &run.report);
    let nats = |side: &Side| side.report.environment.nats_version.clone().unwrap_or_default();
    let target = |side: &Side| side.plan.spec.targets.webhook.clone().unwrap_or_default();
    [
        told("auditstorm", &old.tool_version, &new.tool_version),
        told(
            "ClickHouse",
            &old.environment.clickhouse_version,
            &new.environment.clickhouse_version,
        ),
        told("NATS", &nats(base), &nats(run)),
        told(
            "operating system",
            &old.environment.operating_system,
            &new.environment.operating_system,
        ),
        told("webhook", &target(base), &target(run)),
        told("seed", &base.plan.spec.seed.to_string(), &run.plan.spec.seed.to_string()),
        told("verdict", old.verdict.as_str(), new.verdict.as_str()),
    ]
    .into_iter()
    .flatten()
    .collect()
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
    use uuid::Uuid;

    use super::*;
    use crate::versus::side::tests::side;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Side), expected: &str) {
        let (base, mut run) = (side(|_| (100, 20.0)), other());
        assert_eq!(differences(&base, &run), Vec::<String>::new());
        change(&mut run);
        let reasons = differences(&base, &run);
        assert!(reasons.len() == 1 && reasons[0].contains(expected), "{reasons:?}");
    }

    /// Makes another run that is like the first.
    fn other() -> Side {
        let mut run = side(|_| (100, 20.0));
        run.plan.spec.run_id = Uuid::from_u128(8);
        run
    }

    #[test]
    fn unlike_runs_are_refused_with_the_reason() {
        check(|it| it.plan.spec.profile_sha256 = "f00".to_owned(), "different profiles: x (");
        check(
            |it| it.plan.spec.scale.duration_us = Some(8_000_000),
            "they have different scales: none and --duration 8s",
        );
        check(|it| it.plan.spec.run_id = Uuid::from_u128(7), "both are the same run: 00000000-");
        check(|it| it.plan.spec.shards = 2, "numbers of shards: 1 and 2");
        check(|it| it.report.environment.cores += 1, "different numbers of cores");
        check(|it| it.report.verdict = Verdict::Unknown, "the run could not be checked");
        check(|it| it.records.summaries[0].saturated = true, "the run was saturated");
        check(|it| it.records.summaries[0].stopped = true, "it was stopped early");
        check(|it| it.records.summaries.clear(), "has not written its summary");
        let history = |events| span(Span::history(1, events, 5));
        assert_eq!(history(7), span(Span::history(1, 7, 9)));
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn versions_seeds_and_verdicts_are_told_and_refuse_nothing() {
        let (base, mut run) = (side(|_| (100, 20.0)), other());
        assert!(notes(&base, &run).is_empty());
        run.plan.spec.seed = 7;
        run.report.environment.clickhouse_version = "27.1".to_owned();
        assert_eq!(differences(&base, &run), Vec::<String>::new());
        assert_eq!(notes(&base, &run).len(), 2);
    }
}
