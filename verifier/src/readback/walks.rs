//! Walks through all events of one scope: by windows of time, and by the API's cursor.

use std::time::Duration;

use edges::clock::micros;
use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use events::timeline::UnixMicros;
use queries::check::{Fault, Finding, Next, Reached, Walk, check_content};
use queries::door::Door;
use queries::order::Order;
use queries::question::{Filter, IdRange, LIMIT_MAX, Question, UnixSeconds, WINDOW_SECONDS_MAX};
use queries::windows::{Window, Windows};
use runs::ranges::RangeSet;
use runs::readback::{Blame, ReadFinding, WalkKind};
use uuid::Uuid;

use super::asking::{Asking, Unanswered};
use super::known::{KnownRuns, Owner};
use super::unit::{
    Events, Unit, UnitResult, WalkResult, add, both, count, each, missing, without, youngest,
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
    runs: KnownRuns<'_>,
    unit: &Unit,
    options: &WalkOptions,
) -> Result<UnitResult, Unanswered> {
    let (script, result) = (runs.script(), result_of(unit));
    let mut reading = Reading { asking, runs, script, unit, options, result };
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
    runs: KnownRuns<'r>,
    /// The run that is read back.
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

impl<'r, D: Door> Reading<'r, '_, D> {
    async fn read(&mut self) -> Result<(), Unanswered> {
        let by_windows = self.by_windows().await?;
        let unseen = missing(&self.unit.stored, &by_windows.events);
        let mut by_cursor = Vec::new();
        let mut failed = Ok(());
        for page_size in self.options.page_sizes.clone() {
            match self.by_cursor_twice(page_size).await {
                Ok((shown, lost)) => by_cursor.push((page_size, shown, lost)),
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        // What a later walk shows can be read: a replica was late with it.
        let mut late = Events::new();
        for (_, shown, _) in &by_cursor {
            add(&mut late, &self.young(&both(&unseen, &shown.events)));
        }
        self.result.late += count(&late);
        let unseen = without(&unseen, &late);
        let of_nobody = if self.options.with_table { Blame::Reader } else { Blame::Unknown };
        let mut unread = unseen.clone();
        self.conclude(WalkKind::Windows, LIMIT_MAX, by_windows, &unseen, |_| of_nobody);
        for (page_size, shown, lost) in by_cursor {
            let lost = without(&lost, &late);
            let blame = |(tenant, seq): (TenantIndex, Seq)| {
                let is_unseen = unseen.get(&tenant).is_some_and(|seqs| seqs.contains(seq.0));
                if is_unseen { of_nobody } else { Blame::Paging }
            };
            add(&mut unread, &lost);
            self.conclude(WalkKind::Cursor, page_size, shown, &lost, blame);
        }
        if failed.is_ok() {
            self.result.readable = self.result.stored - count(&unread);
        }
        failed
    }

    /// Reads all by cursor, and once more if that may help. Returns also what was not shown.
    async fn by_cursor_twice(&mut self, page_size: u32) -> Result<(Shown, Events), Unanswered> {
        let shown = self.by_cursor(page_size).await?;
        let mut lost = missing(&self.unit.stored, &shown.events);
        let shown = self.once_more(page_size, shown, &mut lost).await?;
        Ok((shown, lost))
    }

    /// Those of some events that are so young that a replica may have come late with them.
    fn young(&self, events: &Events) -> Events {
        let old_until = self.asking.clock.now() - YOUNG_US;
        let young = |(tenant, seqs): (&TenantIndex, &RangeSet)| {
            let first = self.script.timeline(*tenant).count_before(old_until);
            let young = seqs.intersection(&RangeSet::of(first..u64::MAX));
            (!young.is_empty()).then_some((*tenant, young))
        };
        events.iter().filter_map(young).collect()
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
            let step = self.begin(&question).take(&page);
            // One event of each page is looked at in full, at another place each time.
            let sample = usize::try_from(shown.pages).unwrap_or(0) % page.events.len().max(1);
            shown.findings.extend(check_content(self.script, &page, sample));
            shown.pages += 1;
            shown.foreign += step.foreign;
            windows.take(step.oldest, page.next.is_some());
            shown.findings.extend(step.findings);
            for (tenant, seq) in step.own {
                shown.events.entry(tenant).or_default().insert(seq.0..seq.0 + 1);
            }
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

    fn begin(&self, question: &Question) -> Walk<'r> {
        Walk::among(self.runs.scripts(), question.clone())
    }

    /// Walks from the first page of a question to the last.
    async fn walk(&mut self, question: Question, shown: &mut Shown) -> Result<(), Unanswered> {
        let mut walk = self.begin(&question);
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
        let of = |fault, audit_id: Option<Uuid>, beside, blame| {
            let leaked = audit_id.filter(|_| fault == Fault::Leaked);
            let Owner { tenant, run } =
                leaked.map_or_else(Owner::default, |id| self.runs.owner(id));
            let scope = scope.clone();
            ReadFinding { fault, walk, page_size, scope, audit_id, beside, blame, tenant, run }
        };
        let unreachable = each(unseen).map(|(tenant, seq)| {
            let audit_id = Some(self.script.audit_id(tenant, seq));
            of(Fault::Unreachable, audit_id, None, Some(blame((tenant, seq))))
        });
        let Shown { pages, foreign, findings, .. } = shown;
        let on_pages = findings.into_iter().filter(|it| !self.is_excused(it, unseen));
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
    /// knows how often; or a walk ended above an event that a replica was late with.
    fn is_excused(&self, finding: &Finding, unseen: &Events) -> bool {
        let own = finding.audit_id.and_then(|id| self.script.locate(id));
        match finding.fault {
            Fault::Repeated => own.is_none_or(|(tenant, seq)| {
                self.unit.doubled.get(tenant).is_some_and(|seqs| seqs.contains(seq.0))
            }),
            Fault::EndedEarly => own.is_some_and(|(tenant, seq)| {
                unseen.get(&tenant).is_none_or(|seqs| !seqs.contains(seq.0))
            }),
            _ => false,
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use edges::clock::Clock;
    use edges::shutdown::Shutdown;
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use queries::error::AskError;
    use queries::expected::{Expected, Part};
    use queries::page::{Page, Shown};
    use queries::question::Scope;
    use runs::ranges::TenantRanges;

    use super::*;
    use crate::readback::asking::AskOptions;

    const START: UnixMicros = 1_790_000_000_000_000;

    /// How many of the newest events a question is not shown: one of the walk by windows or by
    /// cursor, and the how manieth of them.
    type Hidden = fn(WalkKind, u64) -> u64;

    /// Shows all events of a run but the newest.
    struct Late<'p> {
        plan: &'p Plan,
        asked: [AtomicU64; 2],
        hidden: Hidden,
    }

    impl Door for Late<'_> {
        async fn ask(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
            // Only the walk by windows has conditions.
            let is_plain = question.filter == Filter::default();
            let kind = if is_plain { WalkKind::Cursor } else { WalkKind::Windows };
            let number = self.asked[usize::from(is_plain)].fetch_add(1, Ordering::Relaxed);
            let hidden = (self.hidden)(kind, number);
            let script = &self.plan.script;
            let mut expected = Expected::new(script);
            let all = expected.answer(question, &Part::default(), &all(self.plan, hidden), 10_000);
            let (all, limit) = (all.unwrap(), question.limit as usize);
            // A cursor says how many events are still to come.
            let from = cursor.map_or(0, |left| all.len() - left.parse::<usize>().unwrap());
            let end = from + limit;
            let shown = all.iter().skip(from).take(limit).map(|due| Shown {
                id: Some(due.audit_id),
                received: Some(script.facts(due.tenant, due.seq).unwrap().received),
            });
            let next = (all.len() > end).then(|| (all.len() - end).to_string());
            Ok(Page { events: shown.collect(), next, ..Page::default() })
        }

        fn place(&self) -> &'static str {
            "nowhere"
        }
    }

    /// All events of a run without the newest of each tenant.
    fn all(plan: &Plan, hidden: u64) -> TenantRanges {
        let count = |tenant| plan.script.timeline(tenant).count();
        let of = |tenant| (tenant, RangeSet::of(0..count(tenant).saturating_sub(hidden)));
        plan.script.tenants().map(of).collect()
    }

    /// Reads the first tenant of a run that ended a while ago.
    fn read(ended_ago: Duration, hidden: Hidden) -> UnitResult {
        let text = "name: x\nstages: [{duration: 20s, rate: 5/s, tenants: 4}]\n";
        let options = RunOptions::new(Uuid::from_u128(7), START, Span::Live);
        let plan = Plan::parse(text, "x", options).unwrap();
        let world = plan.script.world();
        let scoped = |tenant| Scope::of_tenant(world.tenant(tenant)).map(|scope| (tenant, scope));
        let (tenant, scope) = plan.script.tenants().find_map(scoped).unwrap();
        let whole = all(&plan, 0);
        let stored = whole.iter().filter(|(of, _)| *of == tenant);
        let stored = stored.map(|(of, seqs)| (of, seqs.clone())).collect();
        let second = UnixSeconds::of(START);
        let period = (second.plus(-60), second.plus(60));
        let (not_stored, doubled) = (0, TenantRanges::new());
        let unit = Unit { scope, stored, not_stored, doubled, period };
        let door = Late { plan: &plan, asked: [AtomicU64::new(0), AtomicU64::new(0)], hidden };
        let now = plan.end + micros(ended_ago);
        let options =
            WalkOptions { page_sizes: vec![30, 1_000], wait_until: now, with_table: true };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (_asks, shutdown) = Shutdown::manual();
            let ask = AskOptions {
                rate: 1_000.0,
                patience: Duration::from_secs(1),
                total: Duration::from_mins(10),
            };
            let clock = Clock::starting_at(now);
            let mut asking = Asking::new(&door, clock, shutdown, ask, |_| {});
            let runs = KnownRuns { own: &plan, histories: &[] };
            read_unit(&mut asking, runs, &unit, &options).await.unwrap()
        })
    }

    #[track_caller]
    fn check(
        (ended_ago, hidden): (Duration, Hidden),
        (readable, late): (u64, u64),
        expected: &[Fault],
    ) {
        let result = read(ended_ago, hidden);
        let findings = result.walks.iter().flat_map(|walk| &walk.findings);
        let mut kinds: Vec<Fault> = findings.map(|finding| finding.fault).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!((result.stored, result.readable, result.late), (100, readable, late));
        assert_eq!(kinds, expected, "{:?}", result.walks);
        assert_eq!(result.walks.len(), 3);
    }

    #[test]
    fn what_only_a_later_walk_shows_was_late_and_is_not_lost() {
        use WalkKind::{Cursor, Windows};
        let soon = Duration::from_secs(5);
        check((soon, |_, _| 0), (100, 0), &[]);
        // The walk by windows looks again for it.
        check((soon, |kind, asked| 40 * u64::from(kind == Windows && asked == 0)), (100, 40), &[]);
        check((soon, |kind, _| 40 * u64::from(kind == Windows)), (100, 40), &[]);
        // Not even the first page by cursor shows it, and when the page comes again it does.
        let later = |kind: WalkKind, asked: u64| 40 * u64::from(kind == Windows || asked == 0);
        check((soon, later), (100, 40), &[]);
        // A replica that has not come late answers, and then one that has nothing yet.
        check((soon, |kind, asked| 100 * u64::from(kind == Cursor && asked == 0)), (100, 0), &[]);
        let lost = [Fault::Unreachable];
        check((soon, |_, _| 40), (60, 0), &lost);
        check((soon, |_, _| 100), (0, 0), &[Fault::Unreachable, Fault::EndedEarly]);
        // What is an hour old is no matter of a late replica.
        let old = Duration::from_hours(1);
        check((old, |kind, _| 40 * u64::from(kind == Windows)), (60, 0), &lost);
    }
}
