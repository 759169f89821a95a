//! Checks pages, and walks from page to page, by what the events were planned to say. Pure.

use std::collections::{BTreeMap, HashSet};

use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use events::timeline::UnixMicros;
use runs::ranges::RangeSet;
pub use runs::readback::ReadFault as Fault;
use uuid::Uuid;

use crate::content::Content;
use crate::order::{Order, Place};
use crate::page::{Page, Shown};
use crate::question::Question;

/// A fault, and the event that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub fault: Fault,
    /// The event, if the fault is one of an event.
    pub audit_id: Option<Uuid>,
    /// Another event that is part of it: for an event out of order, the older one before it. For an
    /// event that is repeated right after itself, its own.
    pub beside: Option<Uuid>,
}

impl Finding {
    /// Whether an event is shown twice in a row, as a table does that has it twice and has not
    /// folded it yet. Pages that lead back show others in between.
    pub fn is_twin(&self) -> bool {
        self.fault == Fault::Repeated && self.beside.is_some() && self.beside == self.audit_id
    }
}

/// How a walk goes on after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// With the page of this cursor.
    Page(String),
    /// Not at all: that was the last page.
    End,
    /// Not at all: the pages lead back to where they were.
    Endless,
}

/// What a page showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub findings: Vec<Finding>,
    /// The events of the first run that are shown to whom they belong, and were not shown before,
    /// in the order of the page.
    pub own: Vec<(TenantIndex, Seq)>,
    /// Events that are not of the first run: of another one, and shown to whom they belong, or of
    /// none, so that nobody knows here what they say.
    pub foreign: u64,
    /// When the oldest event was received that is not one of others, as the page says.
    pub oldest: Option<UnixMicros>,
    /// How far down in the order the page goes. A row below may be on a later page.
    pub reached: Option<Reached>,
    pub next: Next,
}

/// A place in the order that a page has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// The exact place of an event of one of the runs.
    Place(Place),
    /// The millisecond of an event that is of none.
    Millis(i64),
}

/// Checks one page that stands for itself.
pub fn check_page(script: &Script, question: &Question, page: &Page) -> Step {
    Walk::new(script, question.clone()).take(page)
}

/// Compares one event of a page in full with what was sent, if it is one of this run.
pub fn check_content(script: &Script, page: &Page, index: usize) -> Option<Finding> {
    let id = page.events.get(index)?.id?;
    let (tenant, seq) = script.locate(id)?;
    script.world().tenants().get(usize::from(tenant.0))?;
    let facts = script.facts(tenant, seq).ok()?;
    let mut columns = Columns::default();
    columns.fill(&facts);
    let content = Content::of(page, index)?;
    let is_changed = !content.differences(&columns).is_empty();
    is_changed.then_some(Finding { fault: Fault::Changed, audit_id: Some(id), beside: None })
}

/// Checks the pages of one question, from the first on.
#[derive(Debug)]
pub struct Walk<'s> {
    /// The runs whose events are known: the one that it is about, and then others.
    scripts: Vec<&'s Script>,
    question: Question,
    order: Order,
    columns: Columns,
    /// The event before, in the order that is promised.
    last: Option<Last>,
    /// The ID of the event before, whatever was wrong with it.
    previous: Option<Uuid>,
    /// By run.
    seen: Vec<BTreeMap<TenantIndex, RangeSet>>,
    seen_foreign: HashSet<Uuid>,
    /// The last events of the pages that had a next one: the place that a cursor leads to.
    turns: HashSet<Option<Uuid>>,
    empty_pages: u32,
}

/// The event before another one.
#[derive(Debug, Clone)]
struct Last {
    audit_id: Option<Uuid>,
    timestamp_ms: i64,
    /// Its place, if it is an event of a known run that is shown as it was sent.
    place: Option<Place>,
}

/// Pages in a row that may be empty and yet lead on.
const EMPTY_PAGES_MAX: u32 = 3;

impl<'s> Walk<'s> {
    /// Begins a walk that knows the events of one run.
    pub fn new(script: &'s Script, question: Question) -> Self {
        Self::among(vec![script], question)
    }

    /// Begins a walk that knows the events of several runs: of the one that it is about, and of
    /// others that the table has too.
    pub fn among(scripts: Vec<&'s Script>, question: Question) -> Self {
        let order = Order::of(&question.scope, &question.filter);
        let seen = vec![BTreeMap::new(); scripts.len()];
        Self {
            scripts,
            question,
            order,
            columns: Columns::default(),
            last: None,
            previous: None,
            seen,
            seen_foreign: HashSet::new(),
            turns: HashSet::new(),
            empty_pages: 0,
        }
    }

    /// The events of the first run that all pages so far have rightly shown.
    pub fn seen(&self) -> &BTreeMap<TenantIndex, RangeSet> {
        &self.seen[0]
    }

    /// Whether a page so far has rightly shown an event of the run with this index.
    pub fn has_shown(&self, run: usize, tenant: TenantIndex, seq: Seq) -> bool {
        self.seen[run].get(&tenant).is_some_and(|seqs| seqs.contains(seq.0))
    }

    /// Events shown so far that are not of the first run: see [`Step::foreign`].
    pub fn foreign(&self) -> u64 {
        let of_others = self.seen[1..].iter().flat_map(BTreeMap::values).map(RangeSet::count);
        self.seen_foreign.len() as u64 + of_others.sum::<u64>()
    }

    /// Checks the next page.
    pub fn take(&mut self, page: &Page) -> Step {
        let mut findings = Vec::new();
        let (mut own, mut foreign, mut leaked, mut admitted) = (Vec::new(), 0, 0, 0);
        let mut news = 0;
        let mut oldest: Option<UnixMicros> = None;
        let foreign_before = self.seen_foreign.len();
        if page.events.len() > self.question.limit as usize {
            findings.push(Finding { fault: Fault::OverLimit, audit_id: None, beside: None });
        }
        for shown in &page.events {
            let look = self.look(shown, &mut findings);
            if !matches!(look, Look::Leaked | Look::Unplanned) {
                oldest = oldest.into_iter().chain(shown.received).min();
            }
            match look {
                Look::Known(run, tenant, seq) => {
                    admitted += 1;
                    news += 1;
                    if run == 0 {
                        own.push((tenant, seq));
                    } else {
                        foreign += 1;
                    }
                }
                Look::Again => admitted += 1,
                Look::Foreign => foreign += 1,
                Look::Leaked => leaked += 1,
                Look::Unplanned => {}
            }
        }
        if leaked > admitted && leaked > 1 {
            findings.retain(|finding| finding.fault != Fault::Leaked);
            findings.push(Finding { fault: Fault::ScopeIgnored, audit_id: None, beside: None });
        }
        let next = self.turn(page, news + self.seen_foreign.len() - foreign_before);
        if next == Next::Endless {
            let audit_id = page.events.last().and_then(|shown| shown.id);
            findings.push(Finding { fault: Fault::Endless, audit_id, beside: None });
        }
        let reached = self.last.as_ref().map(|last| match &last.place {
            Some(place) => Reached::Place(place.clone()),
            None => Reached::Millis(last.timestamp_ms),
        });
        Step { findings, own, foreign, oldest, reached, next }
    }

    /// Decides how the walk goes on. `news` are events that no page before has shown: a page with
    /// some does not lead back, even if it ends with the same event as another one, as pages may
    /// into which events of others are put.
    fn turn(&mut self, page: &Page, news: usize) -> Next {
        let Some(cursor) = &page.next else { return Next::End };
        let Some(last) = page.events.last() else {
            self.empty_pages += 1;
            let goes_on = self.empty_pages <= EMPTY_PAGES_MAX;
            return if goes_on { Next::Page(cursor.clone()) } else { Next::Endless };
        };
        self.empty_pages = 0;
        // The cursor itself is different each time, because the time of its issue is in it.
        let is_first = self.turns.insert(last.id);
        if is_first || news > 0 { Next::Page(cursor.clone()) } else { Next::Endless }
    }

    fn look(&mut self, shown: &Shown, findings: &mut Vec<Finding>) -> Look {
        let mut find = |fault, beside| {
            findings.push(Finding { fault, audit_id: shown.id, beside });
        };
        let twin = shown.id.filter(|id| self.previous == Some(*id));
        self.previous = shown.id;
        let shown_ms = shown.received.map(|at| at.div_euclid(1_000));
        let known = shown.id.and_then(|id| {
            let located = |(run, script): (usize, &&'s Script)| Some((run, script.locate(id)?));
            Some((id, self.scripts.iter().enumerate().find_map(located)?))
        });
        let Some((id, (run, (tenant, seq)))) = known else {
            return self.look_at_foreign(shown, shown_ms, twin, findings);
        };
        let script = self.scripts[run];
        let is_tenant = script.world().tenants().len() > usize::from(tenant.0);
        let facts = is_tenant.then(|| script.facts(tenant, seq));
        let Some(Ok(facts)) = facts else {
            find(Fault::Unplanned, None);
            return Look::Unplanned;
        };
        self.columns.fill(&facts);
        if !self.question.scope.admits(&self.columns) {
            find(Fault::Leaked, None);
            return Look::Leaked;
        }
        let seen = self.seen[run].entry(tenant).or_default();
        if seen.contains(seq.0) {
            find(Fault::Repeated, twin);
            return Look::Again;
        }
        seen.insert(seq.0..seq.0 + 1);
        let is_changed = shown.received != Some(facts.received);
        if is_changed {
            find(Fault::Changed, None);
        }
        if !self.question.is_in_period(self.columns.timestamp_ms) {
            find(Fault::OutsidePeriod, None);
        }
        if !self.question.filter.holds(&self.columns, id) {
            find(Fault::OutsideFilter, None);
        }
        // An event that is shown with another time stands where that time belongs.
        let timestamp_ms = match shown_ms {
            Some(millis) if is_changed => millis,
            _ => self.columns.timestamp_ms,
        };
        let place = (!is_changed).then(|| self.order.place(&self.columns, id));
        if let Some(before) = self.follow(Last { audit_id: Some(id), timestamp_ms, place }) {
            find(Fault::OutOfOrder, before);
        }
        Look::Known(run, tenant, seq)
    }

    /// Looks at an event that is of none of the runs. Only its own time can be judged.
    fn look_at_foreign(
        &mut self,
        shown: &Shown,
        shown_ms: Option<i64>,
        twin: Option<Uuid>,
        findings: &mut Vec<Finding>,
    ) -> Look {
        let mut find = |fault, beside| {
            findings.push(Finding { fault, audit_id: shown.id, beside });
        };
        if let Some(id) = shown.id
            && !self.seen_foreign.insert(id)
        {
            find(Fault::Repeated, twin);
            return Look::Foreign;
        }
        if let Some(timestamp_ms) = shown_ms {
            if !self.question.is_in_period(timestamp_ms) {
                find(Fault::OutsidePeriod, None);
            }
            let last = Last { audit_id: shown.id, timestamp_ms, place: None };
            if let Some(before) = self.follow(last) {
                find(Fault::OutOfOrder, before);
            }
        }
        Look::Foreign
    }

    /// Takes the next event in the order. If it should stand before the last one, this returns the
    /// last one's ID.
    #[expect(clippy::option_option, reason = "an event before may have no ID that is one")]
    fn follow(&mut self, next: Last) -> Option<Option<Uuid>> {
        let before = self.last.as_ref().filter(|last| match (&last.place, &next.place) {
            (Some(last), Some(next)) => next > last,
            _ => next.timestamp_ms > last.timestamp_ms,
        });
        let before = before.map(|last| last.audit_id);
        self.last = Some(next);
        before
    }
}

/// What an event turned out to be.
enum Look {
    /// An event of the run with this index.
    Known(usize, TenantIndex, Seq),
    /// An event of a known run that was shown before.
    Again,
    Foreign,
    Leaked,
    Unplanned,
}

#[cfg(test)]
mod tests {
    use plans::spec::{RunOptions, Span};

    use super::*;
    use crate::question::{Condition, Scope, TextField};
    use crate::testing::{START, all, page, plan, question, scoped, truth};

    /// The right answer of a tenant, and the events of others.
    fn right(plan: &plans::plan::Plan) -> (Question, Vec<Shown>, Vec<Shown>) {
        let (tenant, scope) = scoped(plan);
        let events = truth(plan, &question(Scope::Platform), &all(plan));
        let shown_of = |is_own: bool| {
            let of = events.iter().filter(|(_, of, ..)| (*of == tenant) == is_own);
            of.map(|(.., shown)| *shown).collect()
        };
        let question = question(scope);
        let own = truth(plan, &question, &all(plan));
        (question, own.into_iter().map(|(.., shown)| shown).collect(), shown_of(false))
    }

    fn kinds(step: &Step) -> Vec<Fault> {
        step.findings.iter().map(|finding| finding.fault).collect()
    }

    #[test]
    fn a_right_walk_has_no_findings_and_shows_every_event_once() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        let mut walk = Walk::new(&plan.script, question);
        let pages: Vec<&[Shown]> = own.chunks(100).collect();
        for (index, events) in pages.iter().enumerate() {
            let is_last = index + 1 == pages.len();
            let step = walk.take(&page(events, (!is_last).then_some("c")));
            assert_eq!((step.findings.len(), step.own.len()), (0, events.len()));
            assert_eq!(step.next == Next::End, is_last);
        }
        assert_eq!(walk.seen().values().map(RangeSet::count).sum::<u64>(), own.len() as u64);
    }

    #[test]
    fn two_neighbours_that_changed_places_are_one_finding_with_both() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        for at in 0..50 {
            let mut events = own[..60].to_vec();
            events.swap(at, at + 1);
            let step = check_page(&plan.script, &question, &page(&events, None));
            let (audit_id, beside) = (own[at].id, own[at + 1].id);
            assert_eq!(step.findings, [Finding { fault: Fault::OutOfOrder, audit_id, beside }]);
        }
    }

    #[test]
    fn an_event_of_another_tenant_is_leaked_and_a_page_of_them_ignores_the_scope() {
        let plan = plan();
        let (question, own, others) = right(&plan);
        let mut events = own[..20].to_vec();
        events.insert(7, others[3]);
        events.insert(1, others[900]);
        let step = check_page(&plan.script, &question, &page(&events, None));
        let found: Vec<_> = step.findings.iter().map(|it| (it.fault, it.audit_id)).collect();
        assert_eq!(found, [(Fault::Leaked, others[900].id), (Fault::Leaked, others[3].id)]);
        assert_eq!(step.own.len(), 20);
        let open = [&own[..3], &others[..20]].concat();
        let step = check_page(&plan.script, &question, &page(&open, None));
        assert!(kinds(&step).contains(&Fault::ScopeIgnored), "{:?}", step.findings);
        assert!(!kinds(&step).contains(&Fault::Leaked), "{:?}", step.findings);
    }

    #[test]
    fn each_other_fault_has_its_own_finding() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        let check = |question: &Question, events: &[Shown], expected: &[Fault]| {
            let step = check_page(&plan.script, question, &page(events, None));
            assert_eq!(kinds(&step), expected);
        };
        let twice = [&own[..9], &own[4..5]].concat();
        check(&question, &twice, &[Fault::Repeated]);
        let few = Question { limit: 5, ..question.clone() };
        check(&few, &own[..6], &[Fault::OverLimit]);
        let second = crate::question::UnixSeconds::of(own[9].received.unwrap()).plus(1);
        let late = Question { from: second, ..question.clone() };
        let inside = own.iter().filter(|shown| shown.received.unwrap() >= second.micros()).count();
        check(&late, &own[..=inside], &[Fault::OutsidePeriod]);
        let filter = question.filter.clone().and(Condition::is(TextField::Verb, "no such verb"));
        check(&Question { filter, ..question.clone() }, &own[..1], &[Fault::OutsideFilter]);
        let other_time = Shown { received: own[0].received.map(|at| at + 1), ..own[0] };
        check(&question, &[other_time], &[Fault::Changed]);
        let (tenant, _) = scoped(&plan);
        let beyond = plan.script.audit_id(tenant, Seq(1 << 39));
        let elsewhere = plan.script.audit_id(TenantIndex(999), Seq(0));
        for id in [beyond, elsewhere] {
            check(&question, &[Shown { id: Some(id), ..own[0] }], &[Fault::Unplanned]);
        }
    }

    #[test]
    fn an_event_that_follows_itself_is_a_twin_and_one_that_comes_again_later_is_not() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        let twins = |events: &[Shown]| {
            let step = check_page(&plan.script, &question, &page(events, None));
            assert!(step.findings.iter().all(|it| it.fault == Fault::Repeated), "{step:?}");
            step.findings.iter().map(Finding::is_twin).collect::<Vec<_>>()
        };
        let twice = [&own[..3], &own[2..5]].concat();
        assert_eq!(twins(&twice), [true]);
        let thrice = [&own[..3], &own[2..3], &own[2..5]].concat();
        assert_eq!(twins(&thrice), [true, true]);
        let back = [&own[..3], &own[1..5]].concat();
        assert_eq!(twins(&back), [false, false]);
    }

    #[test]
    fn foreign_events_take_places_and_are_judged_by_their_own_times_only() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        let foreign =
            |number: u128, received| Shown { id: Some(Uuid::from_u128(number)), received };
        let mut events = own[..10].to_vec();
        events.insert(5, foreign(1, own[5].received));
        events.insert(2, Shown { id: None, received: None });
        let step = check_page(&plan.script, &question, &page(&events, None));
        assert_eq!((step.findings.len(), step.foreign, step.own.len()), (0, 2, 10));
        events.push(foreign(2, own[0].received));
        events.push(foreign(1, own[0].received));
        let step = check_page(&plan.script, &question, &page(&events, None));
        assert_eq!(kinds(&step), [Fault::OutOfOrder, Fault::Repeated]);
    }

    #[test]
    fn pages_that_end_with_the_same_event_of_another_tenant_do_not_lead_back() {
        let plan = plan();
        let (question, own, others) = right(&plan);
        let mut walk = Walk::new(&plan.script, question);
        for events in own.chunks(20).take(5) {
            let events = [events, &others[..1]].concat();
            let step = walk.take(&page(&events, Some("a")));
            assert_eq!(kinds(&step), [Fault::Leaked]);
            assert_eq!(step.next, Next::Page("a".to_owned()));
        }
    }

    #[test]
    fn events_of_another_known_run_are_foreign_where_they_belong_and_leaked_elsewhere() {
        let plan = plan();
        let (tenant, _) = scoped(&plan);
        let options = RunOptions::new(Uuid::from_u128(8), START, Span::Live);
        let text = "name: x\nmix: cluster\nstages: [{duration: 20m, rate: 1/s, tenants: 10}]\n";
        let other = plans::plan::Plan::parse(text, "x", options).unwrap();
        let (question, ..) = right(&plan);
        // The two runs have tenants of the same names.
        let theirs = truth(&other, &question, &all(&other));
        let theirs: Vec<Shown> = theirs.iter().map(|(.., shown)| *shown).collect();
        let stranger = other.script.tenants().find(|it| *it != tenant).unwrap();
        let facts = other.script.facts(stranger, Seq(40)).unwrap();
        let stranger = Shown { id: Some(facts.audit_id), received: Some(facts.received) };
        let events = [&theirs[..9], &[stranger], &theirs[9..20]].concat();
        let mut walk = Walk::among(vec![&plan.script, &other.script], question.clone());
        let step = walk.take(&page(&events, None));
        let leaked = Finding { fault: Fault::Leaked, audit_id: stranger.id, beside: None };
        assert_eq!((&step.findings[..], step.foreign, step.own.len()), (&[leaked][..], 20, 0));
        assert_eq!(walk.foreign(), 20);
        // Who knows one run alone cannot tell them.
        let step = check_page(&plan.script, &question, &page(&events, None));
        assert!(!kinds(&step).contains(&Fault::Leaked), "{:?}", step.findings);
        assert_eq!(step.foreign, 21);
    }

    #[test]
    fn pages_that_lead_back_or_nowhere_end_the_walk() {
        let plan = plan();
        let (question, own, _) = right(&plan);
        let mut walk = Walk::new(&plan.script, question.clone());
        assert_eq!(walk.take(&page(&own[..10], Some("a"))).next, Next::Page("a".to_owned()));
        assert_eq!(walk.take(&page(&own[5..15], Some("b"))).next, Next::Page("b".to_owned()));
        // The cursor is another one, and yet leads to the same place.
        let step = walk.take(&page(&own[8..10], Some("c")));
        assert_eq!(kinds(&step).pop(), Some(Fault::Endless));
        assert_eq!(step.next, Next::Endless);
        let mut walk = Walk::new(&plan.script, question);
        for _ in 0..EMPTY_PAGES_MAX {
            assert!(matches!(walk.take(&page(&[], Some("a"))).next, Next::Page(_)));
        }
        assert_eq!(walk.take(&page(&[], Some("a"))).next, Next::Endless);
    }
}
