//! Which events of a run answer a question, computed from the plan alone. Pure.
//!
//! Whether an event must be shown depends on what became of it: only those that are known to be
//! stored must. Events whose outcome is unknown, or that are still on their way, may be shown or
//! not, and so are given to nobody here. Rows of other runs only take places on a page: the rows of
//! this run must be there down to the last row that is shown, or all of them, if there is no
//! further page.

use std::collections::{BTreeMap, BTreeSet};

use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::{DAY_US, Days, Script, midnight};
use events::timeline::UnixMicros;
use runs::ranges::{RangeSet, TenantRanges};
use uuid::Uuid;

use crate::check::{Next, Reached, Step, Walk};
use crate::order::{Order, Place};
use crate::question::{Question, UnixSeconds};

/// Finds the events that answer questions. It remembers which requests took long, so that it looks
/// at each event far from its due time once only.
#[derive(Debug)]
pub struct Expected<'s> {
    script: &'s Script,
    /// The index of the run among those that a walk knows.
    run: usize,
    columns: Columns,
    long: BTreeMap<TenantIndex, LongRequests>,
}

/// An event that belongs to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub tenant: TenantIndex,
    pub seq: Seq,
    pub audit_id: Uuid,
    pub place: Place,
}

/// A part of an answer in its order, from the newest place to the oldest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Only events that come after this place.
    pub after: Option<Reached>,
    /// Only events that do not come after this place. Of a millisecond, only those that are surely
    /// not after it: newer ones.
    pub down_to: Option<Reached>,
}

/// Too many events would have to be computed to answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} events would have to be computed")]
pub struct TooMany {
    pub limit: u64,
}

/// Requests of a tenant that took longer than [`SHORT_US`].
#[derive(Debug, Default)]
struct LongRequests {
    /// The events that were looked at.
    looked_at: RangeSet,
    /// The time at which each was received, in milliseconds, and its sequence number.
    found: BTreeSet<(i64, u64)>,
}

/// An event is due when its request ends. Most take less than this, in µs.
pub const SHORT_US: i64 = 1_000_000;

/// No request takes longer than this, in µs: shells are the longest.
pub const LONG_US_MAX: i64 = 1_900 * 1_000_000;

impl<'s> Expected<'s> {
    /// Begins without knowing anything.
    pub fn new(script: &'s Script) -> Self {
        Self::of_run(script, 0)
    }

    /// The same for a run that is not the first one of those that a walk knows.
    pub fn of_run(script: &'s Script, run: usize) -> Self {
        Self { script, run, columns: Columns::default(), long: BTreeMap::new() }
    }

    /// Returns those of the events in `stored` that belong to a part of the answer to a question,
    /// in the order of the answer.
    ///
    /// # Errors
    ///
    /// Returns [`TooMany`] if more than `limit` events would have to be computed.
    pub fn answer(
        &mut self,
        question: &Question,
        part: &Part,
        stored: &TenantRanges,
        limit: u64,
    ) -> Result<Vec<Due>, TooMany> {
        let order = Order::of(&question.scope, &question.filter);
        let period = part.period(question);
        let mut answer = Vec::new();
        let mut budget = limit;
        let script = self.script;
        for (tenant, seqs) in stored.iter() {
            if !question.scope.may_show(script.world().tenant(tenant)) {
                continue;
            }
            let seqs = self.candidates(tenant, seqs, period, &mut budget);
            for seq in seqs.ok_or(TooMany { limit })?.iter().map(Seq) {
                let Ok(facts) = script.facts(tenant, seq) else { continue };
                self.columns.fill(&facts);
                if !question.admits(&self.columns, facts.audit_id) {
                    continue;
                }
                let place = order.place(&self.columns, facts.audit_id);
                if part.has(&place) {
                    answer.push(Due { tenant, seq, audit_id: facts.audit_id, place });
                }
            }
        }
        answer.sort_unstable_by(|one, other| other.place.cmp(&one.place));
        Ok(answer)
    }

    /// Returns the events in `stored` that a page should have shown and that no page of its walk
    /// has: if neighbours have changed their places, one may be on the page before. `after` is how
    /// far the pages before it went.
    ///
    /// # Errors
    ///
    /// Returns [`TooMany`] if more than `limit` events would have to be computed.
    pub fn missing(
        &mut self,
        question: &Question,
        after: Option<Reached>,
        (walk, step): (&Walk<'_>, &Step),
        stored: &TenantRanges,
        limit: u64,
    ) -> Result<Vec<Due>, TooMany> {
        let is_last = step.next == Next::End;
        let down_to = if is_last { None } else { step.reached.clone() };
        let mut due = self.answer(question, &Part { after, down_to }, stored, limit)?;
        due.retain(|due| !walk.has_shown(self.run, due.tenant, due.seq));
        Ok(due)
    }

    /// The events of a tenant that may have been received in a period.
    fn candidates(
        &mut self,
        tenant: TenantIndex,
        seqs: &RangeSet,
        (from, until): (UnixMicros, UnixMicros),
        budget: &mut u64,
    ) -> Option<RangeSet> {
        let timeline = self.script.timeline(tenant);
        let first = timeline.count_before(from);
        let end = timeline.count_before(until.saturating_add(SHORT_US));
        let far = timeline.count_before(self.due_until(until));
        let near: RangeSet = seqs.overlapping(&(first..end)).collect();
        let later: RangeSet = seqs.overlapping(&(end..far.max(end))).collect();
        let long = self.long.entry(tenant).or_default();
        let new = later.difference(&long.looked_at);
        *budget = budget.checked_sub(near.count() + new.count())?;
        for seq in new.iter() {
            let Ok(facts) = self.script.facts(tenant, Seq(seq)) else { continue };
            if facts.completed - facts.received > SHORT_US {
                long.found.insert((facts.received.div_euclid(1_000), seq));
            }
        }
        long.looked_at = long.looked_at.union(&new);
        let received = (from.div_euclid(1_000), 0)..(until.div_euclid(1_000) + 1, 0);
        let found = long.found.range(received).map(|(_, seq)| *seq);
        let found: RangeSet = found.filter(|seq| later.contains(*seq)).collect();
        Some(near.union(&found))
    }

    /// A moment after which no event is due that was received before `until`.
    fn due_until(&self, until: UnixMicros) -> UnixMicros {
        let latest = until.saturating_add(LONG_US_MAX);
        match self.script.days() {
            // A request in a history starts on its own day.
            Days::Apart => latest.min(midnight(until.saturating_sub(1)) + DAY_US),
            Days::Flow => latest,
        }
    }
}

impl Part {
    /// The period in which the part's events were received.
    fn period(&self, question: &Question) -> (UnixMicros, UnixMicros) {
        let (mut from, mut until) = (question.from.micros(), question.until.micros());
        if let Some(down_to) = &self.down_to {
            from = from.max(down_to.millis() * 1_000);
        }
        if let Some(after) = &self.after {
            until = until.min(after.millis() * 1_000 + 1_000);
        }
        (from, until.max(from))
    }

    fn has(&self, place: &Place) -> bool {
        let is_after = self.after.as_ref().is_none_or(|after| match after {
            Reached::Place(after) => place < after,
            Reached::Millis(millis) => place.timestamp_ms < *millis,
        });
        let is_reached = self.down_to.as_ref().is_none_or(|down_to| match down_to {
            Reached::Place(down_to) => place >= down_to,
            Reached::Millis(millis) => place.timestamp_ms > *millis,
        });
        is_after && is_reached
    }
}

impl Reached {
    fn millis(&self) -> i64 {
        match self {
            Self::Place(place) => place.timestamp_ms,
            Self::Millis(millis) => *millis,
        }
    }
}

/// The seconds in which all requests of a run were received: from the first one's to after the last
/// one's.
pub fn period_of(
    script: &Script,
    start: UnixMicros,
    end: UnixMicros,
) -> (UnixSeconds, UnixSeconds) {
    let earliest = match script.days() {
        Days::Apart => start,
        Days::Flow => start - LONG_US_MAX,
    };
    (UnixSeconds::of(earliest), UnixSeconds::of(end).plus(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Condition, Filter, Scope, StatusTest, TextField, TextTest};
    use crate::testing::{START, all, page, plan, question, scoped, truth};

    fn filters() -> Vec<Filter> {
        let test = |field, test| Condition::Text { field, test, is_negated: false };
        vec![
            Filter::default(),
            Filter::new(vec![Condition::is(TextField::Verb, "watch")]),
            Filter::new(vec![
                test(TextField::Resource, TextTest::In(vec!["pods".into(), "leases".into()])),
                Condition::Status(StatusTest::Below(400)),
            ]),
            Filter::new(vec![test(TextField::Username, TextTest::StartsWith("system:".into()))]),
        ]
    }

    #[test]
    fn the_answer_is_that_of_looking_at_every_event() {
        let plan = plan();
        let (tenant, scope) = scoped(&plan);
        let mut stored = all(&plan);
        let mut without = RangeSet::of(0..plan.script.timeline(tenant).count());
        without.remove(100..200);
        stored = stored.iter().map(|(of, seqs)| (of, seqs.clone())).collect();
        let stored: TenantRanges = stored
            .iter()
            .map(|(of, seqs)| (of, if of == tenant { without.clone() } else { seqs.clone() }))
            .collect();
        let mut columns = Columns::default();
        columns.fill(&plan.script.facts(tenant, Seq(3)).unwrap());
        let scopes = [scope, Scope::Platform, Scope::User(columns.user_uid.clone())];
        let mut expected = Expected::new(&plan.script);
        let mut found = 0;
        for scope in scopes {
            for filter in filters() {
                for (from, until) in [(-3_600, 3_600), (200, 201), (599, 620), (-700, 0)] {
                    let at = |seconds| UnixSeconds(START / 1_000_000 + seconds);
                    let question = Question {
                        scope: scope.clone(),
                        filter: filter.clone(),
                        from: at(from),
                        until: at(until),
                        limit: 100,
                    };
                    let part = Part::default();
                    let answer = expected.answer(&question, &part, &stored, 1_000_000).unwrap();
                    let truth = truth(&plan, &question, &stored);
                    let ids: Vec<_> = answer.iter().map(|due| due.audit_id).collect();
                    let right: Vec<_> = truth.iter().map(|(.., it)| it.id.unwrap()).collect();
                    assert_eq!(ids, right, "{question:?}");
                    found += ids.len();
                }
            }
        }
        assert!(found > 10_000, "{found}");
    }

    #[test]
    fn what_pages_left_out_is_missing_on_the_page_where_it_belongs() {
        let plan = plan();
        let (_, scope) = scoped(&plan);
        let (question, stored) = (question(scope), all(&plan));
        let own: Vec<_> = truth(&plan, &question, &stored);
        let lost = [3, 50, 99, 100, 130];
        let shown: Vec<_> = own
            .iter()
            .enumerate()
            .filter(|(at, _)| !lost.contains(at))
            .map(|(_, (.., shown))| *shown)
            .collect();
        let mut walk = Walk::new(&plan.script, question.clone());
        let mut expected = Expected::new(&plan.script);
        let mut after = None;
        let mut found = Vec::new();
        for events in shown.chunks(50) {
            let is_last = events.last() == shown.last();
            let step = walk.take(&page(events, (!is_last).then_some("c")));
            let missing =
                expected.missing(&question, after.clone(), (&walk, &step), &stored, 1_000_000);
            let missing = missing.unwrap();
            found.extend(missing.into_iter().map(|due| Some(due.audit_id)));
            after.clone_from(&step.reached);
        }
        let right: Vec<_> = lost.iter().map(|at| own[*at].3.id).collect();
        assert_eq!(found, right);
    }

    #[test]
    fn only_so_many_events_are_computed_and_a_page_needs_few() {
        let plan = plan();
        let (_, scope) = scoped(&plan);
        let (question, stored) = (question(scope), all(&plan));
        let own: Vec<_> = truth(&plan, &question, &stored).into_iter().map(|it| it.3).collect();
        let mut walk = Walk::new(&plan.script, question.clone());
        let step = walk.take(&page(&own[..100], Some("c")));
        let mut expected = Expected::new(&plan.script);
        // The run takes 1,200 s. A page of the newest has some minutes of it.
        let none = expected.missing(&question, None, (&walk, &step), &stored, 600);
        assert_eq!(none, Ok(Vec::new()));
        let mut walk = Walk::new(&plan.script, question.clone());
        let whole = walk.take(&page(&own, None));
        let mut expected = Expected::new(&plan.script);
        let many = expected.missing(&question, None, (&walk, &whole), &stored, 600);
        assert_eq!(many, Err(TooMany { limit: 600 }));
    }
}
