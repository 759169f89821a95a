//! Checks pages, and walks from page to page, by what the events were planned to say. Pure.

use std::collections::{BTreeMap, HashSet};

use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use runs::ranges::RangeSet;
pub use runs::readback::ReadFault as Fault;
use uuid::Uuid;

use crate::order::{Order, Place};
use crate::page::{Page, Shown};
use crate::question::Question;

/// A fault, and the event that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub fault: Fault,
    /// The event, if the fault is one of an event.
    pub audit_id: Option<Uuid>,
    /// Another event that is part of it: for an event out of order, the older one before it.
    pub beside: Option<Uuid>,
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
    /// The events of the run that are shown to whom they belong, and were not shown before, in the
    /// order of the page.
    pub own: Vec<(TenantIndex, Seq)>,
    /// Events that are not of this run, whose content nobody knows here.
    pub foreign: u64,
    /// How far down in the order the page goes. A row below may be on a later page.
    pub reached: Option<Reached>,
    pub next: Next,
}

/// A place in the order that a page has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// The exact place of an event of the run.
    Place(Place),
    /// The millisecond of an event that is not of this run.
    Millis(i64),
}

/// Checks one page that stands for itself.
pub fn check_page(script: &Script, question: &Question, page: &Page) -> Step {
    Walk::new(script, question.clone()).take(page)
}

/// Checks the pages of one question, from the first on.
#[derive(Debug)]
pub struct Walk<'s> {
    script: &'s Script,
    question: Question,
    order: Order,
    columns: Columns,
    /// The event before, in the order that is promised.
    last: Option<Last>,
    seen: BTreeMap<TenantIndex, RangeSet>,
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
    /// Its place, if it is an event of the run that is shown as it was sent.
    place: Option<Place>,
}

/// Pages in a row that may be empty and yet lead on.
const EMPTY_PAGES_MAX: u32 = 3;

impl<'s> Walk<'s> {
    /// Begins a walk.
    pub fn new(script: &'s Script, question: Question) -> Self {
        let order = Order::of(&question.scope, &question.filter);
        Self {
            script,
            question,
            order,
            columns: Columns::default(),
            last: None,
            seen: BTreeMap::new(),
            seen_foreign: HashSet::new(),
            turns: HashSet::new(),
            empty_pages: 0,
        }
    }

    /// The events of the run that all pages so far have rightly shown.
    pub fn seen(&self) -> &BTreeMap<TenantIndex, RangeSet> {
        &self.seen
    }

    /// Events shown so far that are not of this run.
    pub fn foreign(&self) -> u64 {
        self.seen_foreign.len() as u64
    }

    /// Checks the next page.
    pub fn take(&mut self, page: &Page) -> Step {
        let mut findings = Vec::new();
        let (mut own, mut foreign, mut leaked, mut admitted) = (Vec::new(), 0, 0, 0);
        if page.events.len() > self.question.limit as usize {
            findings.push(Finding { fault: Fault::OverLimit, audit_id: None, beside: None });
        }
        for shown in &page.events {
            match self.look(shown, &mut findings) {
                Look::Own(tenant, seq) => {
                    admitted += 1;
                    own.push((tenant, seq));
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
        let next = self.turn(page);
        if next == Next::Endless {
            let audit_id = page.events.last().and_then(|shown| shown.id);
            findings.push(Finding { fault: Fault::Endless, audit_id, beside: None });
        }
        let reached = self.last.as_ref().map(|last| match &last.place {
            Some(place) => Reached::Place(place.clone()),
            None => Reached::Millis(last.timestamp_ms),
        });
        Step { findings, own, foreign, reached, next }
    }

    /// Decides how the walk goes on.
    fn turn(&mut self, page: &Page) -> Next {
        let Some(cursor) = &page.next else { return Next::End };
        let Some(last) = page.events.last() else {
            self.empty_pages += 1;
            let goes_on = self.empty_pages <= EMPTY_PAGES_MAX;
            return if goes_on { Next::Page(cursor.clone()) } else { Next::Endless };
        };
        self.empty_pages = 0;
        // The cursor itself is different each time, because the time of its issue is in it.
        if self.turns.insert(last.id) { Next::Page(cursor.clone()) } else { Next::Endless }
    }

    fn look(&mut self, shown: &Shown, findings: &mut Vec<Finding>) -> Look {
        let mut find = |fault, beside| {
            findings.push(Finding { fault, audit_id: shown.id, beside });
        };
        let shown_ms = shown.received.map(|at| at.div_euclid(1_000));
        let own = shown.id.and_then(|id| Some((id, self.script.locate(id)?)));
        let Some((id, (tenant, seq))) = own else {
            return self.look_at_foreign(shown, shown_ms, findings);
        };
        let is_tenant = self.script.world().tenants().len() > usize::from(tenant.0);
        let facts = is_tenant.then(|| self.script.facts(tenant, seq));
        let Some(Ok(facts)) = facts else {
            find(Fault::Unplanned, None);
            return Look::Unplanned;
        };
        self.columns.fill(&facts);
        if !self.question.scope.admits(&self.columns) {
            find(Fault::Leaked, None);
            return Look::Leaked;
        }
        let seen = self.seen.entry(tenant).or_default();
        if seen.contains(seq.0) {
            find(Fault::Repeated, None);
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
        Look::Own(tenant, seq)
    }

    /// Looks at an event that is not of this run. Only its own time can be judged.
    fn look_at_foreign(
        &mut self,
        shown: &Shown,
        shown_ms: Option<i64>,
        findings: &mut Vec<Finding>,
    ) -> Look {
        let mut find = |fault, beside| {
            findings.push(Finding { fault, audit_id: shown.id, beside });
        };
        if let Some(id) = shown.id
            && !self.seen_foreign.insert(id)
        {
            find(Fault::Repeated, None);
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
    Own(TenantIndex, Seq),
    /// An event of the run that was shown before.
    Again,
    Foreign,
    Leaked,
    Unplanned,
}
