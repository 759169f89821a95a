//! Decides whether runs are alike enough to be compared. Pure.

use plans::spec::Span;
use runs::report::verdict::Verdict;

use crate::versus::key::Key;
use crate::versus::side::Side;

/// Returns why runs cannot be compared, or nothing if they can. Each reason is there once.
pub(crate) fn differences(bases: &[Side], runs: &[Side]) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    let mut add = |reason: String| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    let all: Vec<&Side> = bases.iter().chain(runs).collect();
    for (index, one) in all.iter().enumerate() {
        let run_id = one.plan.spec.run_id;
        if all[..index].iter().any(|it| it.plan.spec.run_id == run_id) {
            add(format!("two of them are the same run: {run_id}"));
        }
    }
    if let [first, others @ ..] = all.as_slice() {
        let key = key(first);
        others.iter().flat_map(|it| key.differences(&self::key(it))).for_each(&mut add);
    }
    for (group, name) in [(bases, "base"), (runs, "run")] {
        for side in group {
            let named = match group.len() {
                1 => format!("the {name}"),
                _ => format!("the {name} {}", side.dir.display()),
            };
            unfit(side).into_iter().map(|why| format!("{named} {why}")).for_each(&mut add);
        }
    }
    reasons
}

/// What a run must have in common with those that it is compared with.
pub(crate) fn key(side: &Side) -> Key {
    Key::of(&side.plan, &side.report, side.records.parts())
}

/// Returns why a run cannot be compared with any other.
pub(crate) fn unfit(side: &Side) -> Vec<String> {
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

/// Returns the differences between runs that may explain a change, or that are what is being
/// compared.
pub(crate) fn notes(bases: &[Side], runs: &[Side]) -> Vec<String> {
    type Fact = fn(&Side) -> String;
    let facts: [(&str, Fact); 8] = [
        ("auditstorm", |it| it.report.tool_version.clone()),
        ("ClickHouse", |it| it.report.environment.clickhouse_version.clone()),
        ("NATS", |it| it.report.environment.nats_version.clone().unwrap_or_default()),
        ("operating system", |it| it.report.environment.operating_system.clone()),
        ("webhook", |it| it.plan.spec.targets.webhook.clone().unwrap_or_default()),
        ("seed", |it| it.plan.spec.seed.to_string()),
        ("verdict", |it| it.report.verdict.as_str().to_owned()),
        ("watched parts", |it| key(it).parts.to_string()),
    ];
    let told = |(what, fact): (&str, Fact)| {
        let of = |group: &[Side]| {
            let mut texts: Vec<String> = group.iter().map(fact).collect();
            texts.sort_unstable();
            texts.dedup();
            texts.join(" or ")
        };
        let (before, now) = (of(bases), of(runs));
        (before != now).then(|| format!("{what}: {before} before, {now} now"))
    };
    facts.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::versus::side::tests::side;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Side), expected: &str) {
        let (bases, mut runs) = ([side(|_| (100, 20.0)), other(8)], [other(9)]);
        assert_eq!(differences(&bases, &runs), Vec::<String>::new());
        change(&mut runs[0]);
        let reasons = differences(&bases, &runs);
        assert!(reasons.len() == 1 && reasons[0].contains(expected), "{reasons:?}");
    }

    /// Makes another run that is like the first.
    fn other(number: u128) -> Side {
        let mut run = side(|_| (100, 20.0));
        run.plan.spec.run_id = Uuid::from_u128(number);
        run
    }

    #[test]
    fn unlike_runs_are_refused_with_the_reason() {
        check(|it| it.plan.spec.profile_sha256 = "f00".to_owned(), "different profiles: x (");
        check(
            |it| it.plan.spec.scale.duration_us = Some(8_000_000),
            "they have different scales: none and --duration 8s",
        );
        check(|it| it.plan.spec.run_id = Uuid::from_u128(7), "are the same run: 00000000-");
        check(|it| it.plan.spec.run_id = Uuid::from_u128(8), "are the same run: 00000000-");
        check(|it| it.plan.spec.shards = 2, "numbers of shards: 1 and 2");
        check(|it| it.report.environment.cores += 1, "different numbers of cores");
        check(|it| it.report.verdict = Verdict::Unknown, "the run could not be checked");
        check(|it| it.records.summaries[0].saturated = true, "the run was saturated");
        check(|it| it.records.summaries[0].stopped = true, "it was stopped early");
        check(|it| it.records.summaries.clear(), "has not written its summary");
    }

    #[test]
    fn a_base_that_is_unfit_is_named() {
        let (mut bases, runs) = ([side(|_| (100, 20.0)), other(8)], [other(9)]);
        bases[1].dir = "runs/y".into();
        bases[1].records.summaries[0].saturated = true;
        let expected = "the base runs/y was saturated: its generator did not keep its schedule";
        assert_eq!(differences(&bases, &runs), [expected]);
    }

    #[test]
    fn versions_seeds_and_verdicts_are_told_and_refuse_nothing() {
        let (mut bases, mut runs) = ([side(|_| (100, 20.0)), other(8)], [other(9)]);
        assert!(notes(&bases, &runs).is_empty());
        runs[0].plan.spec.seed = 7;
        runs[0].report.environment.clickhouse_version = "27.1".to_owned();
        bases[1].report.environment.clickhouse_version = "26.9".to_owned();
        assert_eq!(differences(&bases, &runs), Vec::<String>::new());
        let notes = notes(&bases, &runs);
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[0], "ClickHouse: 26.7.3.1 or 26.9 before, 27.1 now");
    }
}
