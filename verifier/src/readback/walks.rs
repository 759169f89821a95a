//! Walks through all events of one scope: by windows of time, and by the API's cursor.

use std::time::Duration;

use edges::clock::micros;
use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use events::timeline::UnixMicros;
use queries::check::{Fault, Finding, Next, Reached, Walk, check_content, check_page};
use queries::door::Door;
use queries::order::Order;
use queries::question::{Filter, IdRange, LIMIT_MAX, Question, UnixSeconds, WINDOW_SECONDS_MAX};
use queries::windows::{Window, Windows};
use runs::readback::{Blame, ReadFinding, WalkKind};
use uuid::Uuid;

use super::asking::{Asking, Unanswered};
use super::unit::{
    Events, Unit, UnitResult, WalkResult, add, both, count, each, missing, youngest,
};

/// How scopes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalkOptions {
    /// Page sizes of the walks by cursor.
    pub(crate) page_sizes: Vec<u32>,
    /// Until when events that are not shown are looked for again.
    pub(crate) wait_until: UnixMicros,
    /// Whether `stored` is what the table has.
    pub(crate) with_table: bool,
}

/// Reads one scope in all ways. If it cannot be read to the end, the result says why.
///
/// # Errors
///
/// Returns [`Unanswered`] if nothing more can be asked at all.
pub(crate) async fn read_unit<D: Door>(
    asking: &mut Asking<'_, D>,
    script: &Script,
    unit: &Unit,
    options: &WalkOptions,
) -> Result<UnitResult, Unanswered> {
    let mut reading = Reading { asking, script, unit, options, result: result_of(unit) };
    match reading.read().await {
        Ok(()) => {}
        Err(Unanswered::Failed(error)) => reading.result.unread = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(reading.result)
}

fn result_of(unit: &Unit) -> UnitResult {
    UnitResult {
        scope: unit.scope.to_string(),
        stored: unit.stored_count(),
        not_stored: unit.not_stored,
        ..UnitResult::default()
    }
}

/// Reads one scope.
struct Reading<'r, 'd, D> {
    asking: &'r mut Asking<'d, D>,
    script: &'r Script,
    unit: &'r Unit,
    options: &'r WalkOptions,
    result: UnitResult,
}

/// What a walk has shown so far.
#[derive(Debug, Default)]
struct Shown {
    events: Events,
    pages: u64,
    foreign: u64,
    findings: Vec<Finding>,
}

impl<D: Door> Reading<'_, '_, D> {
    async fn read(&mut self) -> Result<(), Unanswered> {
        let by_windows = self.by_windows().await?;
        let mut readable = by_windows.events.clone();
        let unseen = missing(&self.unit.stored, &by_windows.events);
        let of_nobody = if self.options.with_table { Blame::Reader } else { Blame::Unknown };
        let blame = |_| of_nobody;
        self.conclude(WalkKind::Windows, LIMIT_MAX, by_windows, &unseen, blame);
        for page_size in self.options.page_sizes.clone() {
            let shown = self.by_cursor(page_size).await?;
            let mut lost = missing(&self.unit.stored, &shown.events);
            let shown = self.once_more(page_size, shown, &mut lost).await?;
            let blame = |(tenant, seq): (TenantIndex, Seq)| {
                let is_unseen = unseen.get(&tenant).is_some_and(|seqs| seqs.contains(seq.0));
                if is_unseen { of_nobody } else { Blame::Paging }
            };
            readable = both(&readable, &shown.events);
            self.conclude(WalkKind::Cursor, page_size, shown, &lost, blame);
        }
        let unread = missing(&self.unit.stored, &readable);
        self.result.readable = self.result.stored - count(&unread);
        Ok(())
    }

    /// Reads all by windows, and looks again for what was not shown, as long as that may help.
    async fn by_windows(&mut self) -> Result<Shown, Unanswered> {
        let mut shown = Shown::default();
        let windows =
            Windows::new(self.unit.scope.clone(), Filter::default(), self.unit.period, LIMIT_MAX);
        self.read_windows(windows, &mut shown).await?;
        let mut wait = FIRST_WAIT;
        let before = count(&shown.events);
        loop {
            let unseen = missing(&self.unit.stored, &shown.events);
            let Some(youngest) = youngest(self.script, &unseen) else { break };
            let now = self.asking.clock.now();
            let is_first = wait == FIRST_WAIT;
            let may_come =
                now + micros(wait) < self.options.wait_until && now - youngest < YOUNG_US;
            if !may_come && !is_first {
                break;
            }
            self.asking.sleep(wait).await?;
            wait = (wait * 2).min(WAIT_MAX);
            let open = self.windows_of(&unseen);
            let scope = self.unit.scope.clone();
            let windows = Windows::resume(scope, Filter::default(), open, LIMIT_MAX);
            self.read_windows(windows, &mut shown).await?;
        }
        self.result.late = count(&shown.events) - before;
        Ok(shown)
    }

    async fn read_windows(
        &mut self,
        mut windows: Windows,
        shown: &mut Shown,
    ) -> Result<(), Unanswered> {
        while let Some(question) = windows.question() {
            let page = self.asking.ask(&question, None).await?;
            let step = check_page(self.script, &question, &page);
            // One event of each page is looked at in full, at another place each time.
            let sample = usize::try_from(shown.pages).unwrap_or(0) % page.events.len().max(1);
            shown.findings.extend(check_content(self.script, &page, sample));
            shown.pages += 1;
            shown.foreign += step.foreign;
            windows.take(step.oldest, page.next.is_some());
            for (tenant, seq) in step.own() {
                shown.events.entry(*tenant).or_default().insert(seq.0..seq.0 + 1);
            }
            shown.findings.extend(step.findings);
        }
        if let Some(window) = windows.unread().first() {
            let second = window.from.rfc3339();
            let why = format!("the second {second} has more events than can be told apart by ID");
            self.result.unread.get_or_insert(why);
        }
        Ok(())
    }

    /// The seconds in which some events were received.
    fn windows_of(&self, unseen: &Events) -> Vec<Window> {
        let (from, until) = self.unit.period;
        let whole = || vec![Window { from, until, ids: IdRange::ALL }];
        if count(unseen) > SECONDS_MAX * 100 {
            return whole();
        }
        let received = each(unseen).filter_map(|(tenant, seq)| {
            let facts = self.script.facts(tenant, seq).ok()?;
            Some(UnixSeconds::of(facts.received))
        });
        let mut seconds: Vec<UnixSeconds> = received.collect();
        seconds.sort_unstable();
        seconds.dedup();
        if seconds.len() as u64 > SECONDS_MAX {
            return whole();
        }
        let window =
            |second: UnixSeconds| Window { from: second, until: second.plus(1), ids: IdRange::ALL };
        seconds.into_iter().map(window).collect()
    }

    /// Reads all by cursor, from page to page.
    async fn by_cursor(&mut self, page_size: u32) -> Result<Shown, Unanswered> {
        let mut shown = Shown::default();
        let (from, mut until) = self.unit.period;
        while from < until {
            let start = from.max(until.plus(-WINDOW_SECONDS_MAX));
            let scope = self.unit.scope.clone();
            let question = Question::all(scope, start, until, page_size);
            self.walk(question, &mut shown).await?;
            until = start;
        }
        Ok(shown)
    }

    /// Walks from the first page of a question to the last.
    async fn walk(&mut self, question: Question, shown: &mut Shown) -> Result<(), Unanswered> {
        let mut walk = Walk::new(self.script, question.clone());
        let mut cursor = None;
        let mut reached = None;
        let mut end = None;
        let rows = self.result.stored + shown.foreign;
        let pages_max = PAGES_BESIDE + rows * PAGES_FACTOR / u64::from(question.limit.max(1));
        for _ in 0..pages_max {
            let page = self.asking.ask(&question, cursor.as_deref()).await?;
            let step = walk.take(&page);
            shown.pages += 1;
            shown.findings.extend(step.findings);
            reached = step.reached.or(reached);
            match step.next {
                Next::Page(next) => cursor = Some(next),
                next => {
                    end = Some(next);
                    break;
                }
            }
        }
        shown.foreign += walk.foreign();
        add(&mut shown.events, walk.seen());
        let beside = None;
        shown.findings.extend(match end {
            Some(Next::End) => {
                let early = self.first_below(&question, reached.as_ref(), walk.seen());
                let fault = Fault::EndedEarly;
                early.map(|audit_id| Finding { fault, audit_id: Some(audit_id), beside })
            }
            // The walk has said so itself.
            Some(Next::Endless | Next::Page(_)) => None,
            None => Some(Finding { fault: Fault::Endless, audit_id: None, beside }),
        });
        Ok(())
    }

    /// The first event that should have been shown below the end of a walk.
    fn first_below(
        &self,
        question: &Question,
        reached: Option<&Reached>,
        seen: &Events,
    ) -> Option<Uuid> {
        let order = Order::of(&question.scope, &question.filter);
        let mut columns = Columns::default();
        let unseen = missing(&self.unit.stored, seen);
        let below = each(&unseen).filter_map(|(tenant, seq)| {
            let facts = self.script.facts(tenant, seq).ok()?;
            columns.fill(&facts);
            let place = order.place(&columns, facts.audit_id);
            let is_below = match reached {
                None => true,
                Some(Reached::Place(end)) => place < *end,
                Some(Reached::Millis(end)) => place.timestamp_ms < *end,
            };
            let is_asked = question.is_in_period(place.timestamp_ms);
            (is_below && is_asked).then_some((place, facts.audit_id))
        });
        below.max().map(|(_, audit_id)| audit_id)
    }

    /// Walks once more, if events that were not shown are so young that a replica may have come
    /// late with them: only what no walk shows is unreachable.
    async fn once_more(
        &mut self,
        page_size: u32,
        shown: Shown,
        lost: &mut Events,
    ) -> Result<Shown, Unanswered> {
        let now = self.asking.clock.now();
        let youngest = youngest(self.script, lost);
        if youngest.is_none_or(|youngest| now - youngest >= YOUNG_US) {
            return Ok(shown);
        }
        let again = self.by_cursor(page_size).await?;
        let mut first = shown;
        *lost = both(lost, &missing(&self.unit.stored, &again.events));
        add(&mut first.events, &again.events);
        first.pages += again.pages;
        for finding in again.findings {
            if !first.findings.contains(&finding) {
                first.findings.push(finding);
            }
        }
        Ok(first)
    }

    /// Puts down what a walk has shown.
    fn conclude(
        &mut self,
        walk: WalkKind,
        page_size: u32,
        shown: Shown,
        unseen: &Events,
        blame: impl Fn((TenantIndex, Seq)) -> Blame,
    ) {
        let scope = self.unit.scope.to_string();
        let of = |fault, audit_id, beside, blame| ReadFinding {
            fault,
            walk,
            page_size,
            scope: scope.clone(),
            audit_id,
            beside,
            blame,
        };
        let unreachable = each(unseen).map(|(tenant, seq)| {
            let audit_id = Some(self.script.audit_id(tenant, seq));
            of(Fault::Unreachable, audit_id, None, Some(blame((tenant, seq))))
        });
        let Shown { pages, foreign, findings, .. } = shown;
        let on_pages = findings.into_iter().filter(|finding| !self.is_excused(finding));
        let on_pages = on_pages.map(|it| of(it.fault, it.audit_id, it.beside, None));
        let findings = unreachable.chain(on_pages).collect();
        let result = WalkResult {
            walk,
            page_size,
            pages,
            stored: self.result.stored,
            shown: self.result.stored - count(unseen),
            findings,
        };
        self.result.foreign += foreign;
        self.result.walks.push(result);
    }

    /// Whether a finding is none of the reader's: the table has the event more than once, or nobody
    /// knows how often.
    fn is_excused(&self, finding: &Finding) -> bool {
        if finding.fault != Fault::Repeated {
            return false;
        }
        let own = finding.audit_id.and_then(|id| self.script.locate(id));
        own.is_none_or(|(tenant, seq)| {
            self.unit.doubled.get(tenant).is_some_and(|seqs| seqs.contains(seq.0))
        })
    }
}

/// Pages that a walk may have beyond those that its events need.
const PAGES_BESIDE: u64 = 1_000;
/// A walk that goes on for so many times its events is given up.
const PAGES_FACTOR: u64 = 10;

/// An event may be late in a replica for so long.
const YOUNG_US: i64 = 600_000_000;

/// Single seconds that are looked at again one by one.
const SECONDS_MAX: u64 = 64;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(5);
