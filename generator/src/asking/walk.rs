//! Asks one question: reads the pages of its answer, and checks each.

use std::collections::{BTreeMap, BTreeSet};

use edges::clock::Clock;
use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::script::Script;
use plans::plan::Plan;
use queries::check::{Fault, Finding, Next, Reached, Step, Walk};
use queries::door::Door;
use queries::error::AskError;
use queries::expected::{Due, Expected, TooMany};
use queries::order::Place;
use queries::page::Page;
use queries::question::Question;
use runs::queries::{IDS_MAX, QueryKind, WrongAnswer, WrongEvent};
use runs::ranges::TenantRanges;
use uuid::Uuid;

use super::history::{History, scripts};
use super::kinds::Asked;
use super::timed::{NextPage, TimedPage};
use super::turns::Turn;
use super::witness::Witness;

/// What became of a question.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Each page that was asked for, whether or not it came.
    pub(crate) pages: Vec<TimedPage>,
    /// Why a page did not come.
    pub(crate) failure: Option<AskError>,
    /// Pages in which something is wrong.
    pub(crate) wrong: Vec<WrongAnswer>,
    /// Whether the answer was searched for all that must be there.
    pub(crate) is_compared: bool,
    /// Whether it was searched for what the table had before.
    pub(crate) is_witnessed: bool,
    /// Events of the run that were shown, of the first pages.
    pub(crate) seen: Vec<(TenantIndex, Seq)>,
}

/// What is known of an answer before it comes, beside what a check saw of histories.
#[derive(Debug)]
pub(crate) struct Known<'k, W> {
    /// Events that the same user saw before.
    pub(crate) seen: &'k TenantRanges,
    /// Whom to ask what the table has.
    pub(crate) witness: Option<&'k W>,
}

/// What the table had of an answer before it was asked for.
#[derive(Debug, Default)]
struct Before {
    /// The events of the run.
    events: TenantRanges,
    /// Where their rows stand.
    places: BTreeSet<Place>,
}

impl<W: Witness> Known<'_, W> {
    /// Asks what the table has of an answer.
    async fn look(&self, script: &Script, question: &Question) -> Option<Before> {
        let places = self.witness?.rows(question, None).await?;
        let mut before = Before::default();
        for place in places {
            if let Some((tenant, seq)) = script.locate(place.audit_id()) {
                before.events.insert(tenant, seq.0..seq.0 + 1);
                before.places.insert(place);
            }
        }
        Some(before)
    }

    /// Keeps those of some events that the table still has in the same places. A TTL, or somebody,
    /// may have deleted others before the answer was made.
    async fn keep_lasting(&self, question: &Question, events: &mut Vec<Due>) {
        let Some(witness) = self.witness.filter(|_| !events.is_empty()) else { return };
        let ids: Vec<Uuid> = events.iter().map(|due| due.audit_id).collect();
        let still = witness.rows(question, Some(&ids)).await.unwrap_or_default();
        events.retain(|due| still.contains(&due.place));
    }
}

/// Reads the pages of a question whose turn it is. With `known`, they are searched for what must be
/// there: these events, and those of histories.
pub(crate) async fn walk<W: Witness>(
    ((plan, histories), clock): ((&Plan, &[History]), Clock),
    door: &impl Door,
    (asked, kind): (&Asked, &QueryKind),
    turn: &Turn,
    known: Option<Known<'_, W>>,
) -> Walked {
    let question = &asked.question;
    let begun = clock.now();
    let before = match &known {
        Some(known) => known.look(&plan.script, question).await,
        None => None,
    };
    // That is none of the target's time.
    let due = turn.due + (clock.now() - begun);
    let mut walk = Walk::among(scripts(plan, histories), question.clone());
    let (mut cursor, mut after, mut last) = (None, None, None);
    let name = turn.name(plan.spec.run_id);
    let (is_compared, is_witnessed) = (known.is_some(), before.is_some());
    let mut walked = Walked { is_compared, is_witnessed, ..Walked::default() };
    for number in 1..=asked.pages {
        let due = (number == 1).then_some(due);
        let next = NextPage { number, due, name: format!("{name}-{number}"), after: last };
        let (timed, answer) = next.ask((door, clock), (question, cursor.as_deref())).await;
        let now = timed.answered;
        last = timed.last;
        walked.pages.push(timed);
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                walked.failure = Some(error);
                break;
            }
        };
        let mut step = walk.take(&page);
        // The pipeline delivers at least once, so a table may have an event twice for a while.
        step.findings.retain(|finding| !finding.is_twin());
        let mut absent = Absent::default();
        if let Some(known) = &known {
            let (runs, events) = ((plan, histories), (known.seen, before.as_ref()));
            absent = find_absent(runs, question, (&walk, after.as_ref(), &step), events);
            known.keep_lasting(question, &mut absent.overlooked).await;
        }
        walked.is_compared &= absent.is_all;
        walked.is_witnessed &= absent.is_all;
        if !step.findings.is_empty() || !absent.is_empty() {
            let (at, findings) = (MicroTime(now), &step.findings[..]);
            walked.wrong.push(wrong((at, kind), (question, number), &page, findings, &absent));
        }
        let room = SEEN_MAX.saturating_sub(walked.seen.len());
        walked.seen.extend(step.own.iter().take(room));
        after = step.reached;
        match step.next {
            Next::Page(next) => cursor = Some(next),
            Next::End | Next::Endless => break,
        }
    }
    walked
}

/// Events that a page should show and does not.
#[derive(Debug, Default)]
struct Absent {
    /// Those of the run, which the same user saw before.
    vanished: Vec<Due>,
    /// Those of histories, which a check saw in the table.
    missing: Vec<Due>,
    /// Others of the run, which the table had before the question was asked.
    overlooked: Vec<Due>,
    /// Whether nothing was too much to look at.
    is_all: bool,
}

impl Absent {
    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them, each with the word for its fault.
    fn iter(&self) -> impl Iterator<Item = (&'static str, &Due)> {
        let vanished = self.vanished.iter().map(|due| (VANISHED, due));
        let missing = self.missing.iter().map(|due| (MISSING, due));
        vanished.chain(missing).chain(self.overlooked.iter().map(|due| (OVERLOOKED, due)))
    }
}

/// Finds the events that a page should show and does not.
fn find_absent(
    (plan, histories): (&Plan, &[History]),
    question: &Question,
    (walk, after, step): (&Walk<'_>, Option<&Reached>, &Step),
    (seen, before): (&TenantRanges, Option<&Before>),
) -> Absent {
    let search = |run, script, stored| {
        let (mut expected, after) = (Expected::of_run(script, run), after.cloned());
        expected.missing(question, after, (walk, step), stored, KNOWN_MAX)
    };
    let mut absent = Absent { is_all: true, ..Absent::default() };
    match search(0, &plan.script, seen) {
        Ok(vanished) => absent.vanished = vanished,
        Err(TooMany { .. }) => absent.is_all = false,
    }
    match before.map(|before| (before, search(0, &plan.script, &before.events))) {
        Some((before, Ok(mut due))) => {
            // A row that is not as it was sent stands elsewhere in the answer.
            due.retain(|due| before.places.contains(&due.place) && !absent.vanished.contains(due));
            absent.overlooked = due;
        }
        Some((_, Err(TooMany { .. }))) => absent.is_all = false,
        None => {}
    }
    for (run, history) in (1..).zip(histories) {
        match history.stored().map(|stored| search(run, history.script(), stored)) {
            Some(Ok(missing)) => absent.missing.extend(missing),
            Some(Err(TooMany { .. })) => absent.is_all = false,
            None => {}
        }
    }
    absent
}

/// The most events of one answer that somebody remembers.
const SEEN_MAX: usize = 1_000;

/// The most events that are computed to find out what has vanished.
const KNOWN_MAX: u64 = 20_000;

/// Writes down what is wrong with a page.
fn wrong(
    (at, kind): (MicroTime, &QueryKind),
    (question, page_number): (&Question, u32),
    page: &Page,
    findings: &[Finding],
    absent: &Absent,
) -> WrongAnswer {
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    for finding in findings {
        *faults.entry(word(finding.fault)).or_default() += 1;
    }
    for (fault, _) in absent.iter() {
        *faults.entry(fault.to_owned()).or_default() += 1;
    }
    let event = |fault, audit_id, beside| WrongEvent { fault, audit_id, beside };
    let found = findings.iter().map(|it| event(word(it.fault), it.audit_id, it.beside));
    let gone = absent.iter().map(|(it, due)| event(it.to_owned(), Some(due.audit_id), None));
    let ids = |ids: &mut dyn Iterator<Item = Uuid>| ids.take(IDS_MAX).collect::<Vec<_>>();
    WrongAnswer {
        at,
        kind: kind.name.clone(),
        scope: kind.scope,
        question: question.to_json(),
        page: page_number,
        faults,
        events: found.chain(gone).take(IDS_MAX).collect(),
        expected: ids(&mut absent.iter().map(|(_, due)| due.audit_id)),
        got: ids(&mut page.events.iter().filter_map(|shown| shown.id)),
        got_count: page.events.len() as u64,
    }
}

/// An event that was seen before is not shown.
const VANISHED: &str = "vanished";

/// An event that a check saw in the table is not shown.
const MISSING: &str = "missing";

/// An event that the table had before the question was asked is not shown.
const OVERLOOKED: &str = "overlooked";

/// The word for a fault in counts and records.
fn word(fault: Fault) -> String {
    let word = serde_json::to_value(fault).expect("a fault is a word");
    word.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use events::timeline::UnixMicros;
    use plans::queries::QueryScope;
    use plans::query_plan::Asker;
    use plans::spec::{RunOptions, Span};
    use queries::expected::Part;
    use queries::page::Shown;
    use queries::question::{Scope, UnixSeconds};

    use super::*;

    const START: UnixMicros = 1_790_000_000_000_000;

    /// How long each question has waited before it is asked.
    const WAITED_US: UnixMicros = 3_600_000_000;

    /// Answers with these pages, one after the other.
    struct Fake(Mutex<VecDeque<Result<Page, AskError>>>);

    impl Door for Fake {
        async fn ask(&self, _: &Question, _: Option<&str>) -> Result<Page, AskError> {
            self.0.lock().unwrap().pop_front().expect("nobody asks for more")
        }

        fn place(&self) -> &'static str {
            "nowhere"
        }
    }

    /// What the table has, look by look.
    #[derive(Debug)]
    struct Looks(Mutex<VecDeque<Option<Vec<Place>>>>);

    impl Witness for Looks {
        async fn rows(&self, _: &Question, ids: Option<&[Uuid]>) -> Option<Vec<Place>> {
            let mut looks = self.0.lock().unwrap();
            assert_eq!(ids.is_none(), looks.len() == 2, "the second look asks for what is missing");
            looks.pop_front().expect("nobody looks more often")
        }
    }

    struct Case {
        plan: Plan,
        asked: Asked,
        /// All events that are the answer, in order.
        due: Vec<Due>,
        all: TenantRanges,
    }

    fn case() -> Case {
        case_of(7)
    }

    fn case_of(run: u128) -> Case {
        let text = "name: x\nstages: [{duration: 10s, rate: 20/s, tenants: 3}]\n";
        let options = RunOptions::new(Uuid::from_u128(run), START, Span::Live);
        let plan = Plan::parse(text, "x", options).unwrap();
        let second = UnixSeconds::of(START);
        let question = Question::all(Scope::Platform, second, second.plus(20), 50);
        let mut all = TenantRanges::new();
        for tenant in plan.script.tenants() {
            all.insert(tenant, 0..plan.script.timeline(tenant).count());
        }
        let mut expected = Expected::new(&plan.script);
        let due = expected.answer(&question, &Part::default(), &all, 10_000).unwrap();
        Case { plan, asked: Asked { kind: 0, question, pages: 2 }, due, all }
    }

    impl Case {
        fn page<'d>(&self, due: impl Iterator<Item = &'d Due>, next: Option<&str>) -> Page {
            let shown = |due: &Due| Shown {
                id: Some(due.audit_id),
                received: Some(self.plan.script.facts(due.tenant, due.seq).unwrap().received),
            };
            let next = next.map(str::to_owned);
            Page { events: due.map(shown).collect(), next, bytes: 100, ..Page::default() }
        }

        fn walk(&self, pages: Vec<Result<Page, AskError>>, known: Option<&TenantRanges>) -> Walked {
            self.walk_after(&[], pages, known)
        }

        fn walk_after(
            &self,
            histories: &[History],
            pages: Vec<Result<Page, AskError>>,
            known: Option<&TenantRanges>,
        ) -> Walked {
            let known = known.map(|seen| Known { seen, witness: None });
            self.walk_beside(histories, pages, known)
        }

        fn walk_beside(
            &self,
            histories: &[History],
            pages: Vec<Result<Page, AskError>>,
            known: Option<Known<'_, Looks>>,
        ) -> Walked {
            let kind = QueryKind { name: "all".to_owned(), scope: QueryScope::Platform };
            let (door, clock) = (Fake(Mutex::new(pages.into())), Clock::system());
            let (runs, kind) = ((&self.plan, histories), (&self.asked, &kind));
            let due = clock.now() - WAITED_US;
            let turn = Turn { asker: Asker::Anybody, number: 0, due, slot: 0 };
            let walk = walk((runs, clock), &door, kind, &turn, known);
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(walk)
        }
    }

    #[test]
    fn pages_are_read_up_to_their_most_and_what_they_show_is_remembered() {
        let case = case();
        let first = case.page(case.due[..50].iter(), Some("a"));
        let second = case.page(case.due[50..100].iter(), Some("b"));
        let walked = case.walk(vec![Ok(first), Ok(second)], Some(&case.all));
        assert!(walked.wrong.is_empty() && walked.failure.is_none(), "{walked:?}");
        assert!(walked.is_compared);
        assert_eq!((walked.pages.len(), walked.seen.len()), (2, 100));
        assert_eq!(walked.pages.iter().map(|page| page.rows).sum::<u64>(), 100);
        let last = case.walk(vec![Ok(case.page(case.due[..7].iter(), None))], None);
        assert_eq!((last.pages.len(), last.wrong.len(), last.is_compared), (1, 0, false));
    }

    #[test]
    fn a_first_page_takes_from_when_its_question_was_due_and_others_from_when_they_are_asked_for() {
        let case = case();
        let first = case.page(case.due[..50].iter(), Some("a"));
        let second = case.page(case.due[50..100].iter(), None);
        let walked = case.walk(vec![Ok(first), Ok(second)], None);
        let has_waited = walked.pages.iter().map(|page| page.latency_us() >= WAITED_US);
        assert_eq!(has_waited.collect::<Vec<_>>(), [true, false]);
        let kind = QueryKind { name: "all".to_owned(), scope: QueryScope::Platform };
        let of = |page: &TimedPage| page.slow_query(&kind, &case.asked.question);
        let [first, second] = [0, 1].map(|at| of(&walked.pages[at]));
        assert!(first.waited_ms >= 3_600_000.0 && second.waited_ms < 1.0, "{first:?} {second:?}");
        assert_eq!((first.after, second.after), (None, Some(case.due[49].audit_id)));
    }

    #[test]
    fn what_was_seen_before_and_is_not_shown_has_vanished() {
        let case = case();
        let without = |number: usize| {
            let shown = case.due[..51].iter().enumerate().filter(move |(at, _)| *at != number);
            case.page(shown.map(|(_, due)| due), Some("a"))
        };
        let more = || Ok(case.page(case.due[51..100].iter(), None));
        let nobody_knew = case.walk(vec![Ok(without(10)), more()], None);
        assert!(nobody_knew.wrong.is_empty(), "{nobody_knew:?}");
        let mut known = TenantRanges::new();
        for due in &case.due[8..12] {
            known.insert(due.tenant, due.seq.0..due.seq.0 + 1);
        }
        let walked = case.walk(vec![Ok(without(10)), more()], Some(&known));
        let [wrong] = &walked.wrong[..] else { panic!("{walked:?}") };
        assert_eq!(wrong.faults, BTreeMap::from([(VANISHED.to_owned(), 1)]));
        assert_eq!((wrong.page, &wrong.expected[..]), (1, &[case.due[10].audit_id][..]));
        assert_eq!((wrong.got.len(), wrong.got_count), (50, 50));
        // Events further down may be on pages that nobody has asked for yet.
        let beyond = case.walk(vec![Ok(without(50)), more()], Some(&known));
        assert!(beyond.wrong.is_empty(), "{beyond:?}");
    }

    /// The number of a wrong page, and how often each fault was found in it.
    type WrongPage = (u32, BTreeMap<String, u64>);

    /// Walks two pages without one of the events, after the table has shown some places, and then
    /// others. Returns what is found on each wrong page.
    fn overlooked(
        without: usize,
        looks: [Option<Vec<Place>>; 2],
        seen: &TenantRanges,
    ) -> (Walked, Vec<WrongPage>) {
        let case = case();
        let shown = case.due[..51].iter().enumerate().filter(|(at, _)| *at != without);
        let first = case.page(shown.map(|(_, due)| due), Some("a"));
        let pages = vec![Ok(first), Ok(case.page(case.due[51..100].iter(), Some("b")))];
        let witness = Looks(Mutex::new(looks.into()));
        let known = Known { seen, witness: Some(&witness) };
        let walked = case.walk_beside(&[], pages, Some(known));
        let found = walked.wrong.iter().map(|wrong| (wrong.page, wrong.faults.clone())).collect();
        (walked, found)
    }

    #[test]
    fn what_the_table_had_before_and_after_and_is_not_shown_was_overlooked() {
        let (case, nothing) = (case(), TenantRanges::new());
        let places = |range: std::ops::Range<usize>| {
            Some(case.due[range].iter().map(|due| due.place.clone()).collect::<Vec<_>>())
        };
        let fault = |word: &str| vec![(1, BTreeMap::from([(word.to_owned(), 1)]))];
        let (walked, found) = overlooked(10, [places(0..60), places(10..11)], &nothing);
        assert_eq!((found, walked.is_witnessed), (fault(OVERLOOKED), true));
        assert_eq!(walked.wrong[0].expected, [case.due[10].audit_id]);
        // It came after the look, or was deleted meanwhile, or nobody can say.
        let (walked, found) = overlooked(10, [places(11..60), None], &nothing);
        assert_eq!((found, walked.is_witnessed), (vec![], true));
        assert_eq!(overlooked(10, [places(0..60), Some(vec![])], &nothing).1, []);
        assert_eq!(overlooked(10, [places(0..60), None], &nothing).1, []);
        let (walked, found) = overlooked(10, [None, None], &nothing);
        assert_eq!((found, walked.is_witnessed, walked.is_compared), (vec![], false, true));
        // Below the last page that was asked for, it may come on another one.
        assert_eq!(overlooked(50, [places(100..101), None], &nothing).1, []);
        let found = overlooked(50, [places(0..60), places(50..51)], &nothing).1;
        assert_eq!(found, [(2, BTreeMap::from([(OVERLOOKED.to_owned(), 1)]))]);
        // The user has seen it before, so it has vanished, and is one fault.
        let mut seen = TenantRanges::new();
        let due = &case.due[10];
        seen.insert(due.tenant, due.seq.0..due.seq.0 + 1);
        assert_eq!(overlooked(10, [places(0..60), None], &seen).1, fault(VANISHED));
        // A row that is not as it was sent stands somewhere else.
        let mut other = places(0..60).unwrap();
        other[10].timestamp_ms -= 1;
        assert_eq!(overlooked(10, [Some(other), None], &nothing).1, []);
    }

    #[test]
    fn what_a_check_saw_of_a_history_must_be_shown_and_what_nobody_checked_need_not() {
        let (mut case, earlier) = (case(), case_of(8));
        case.asked.question.limit = 1_000;
        let history = |stored| [History::of(earlier.plan.clone(), stored)];
        let (nothing, checked) = (TenantRanges::new(), history(Some(earlier.all.clone())));
        let page = |without: usize| {
            let shown = earlier.due.iter().enumerate().filter(move |(at, _)| *at != without);
            Ok(earlier.page(shown.map(|(_, due)| due).take(50), Some("a")))
        };
        let end = || Ok(case.page([].iter(), None));
        let pages = |without| vec![page(without), end()];
        // The second page is the last one, and lacks all that is left.
        let walked = case.walk_after(&checked, pages(10), Some(&nothing));
        let [first, last] = &walked.wrong[..] else { panic!("{walked:?}") };
        assert_eq!(first.faults, BTreeMap::from([(MISSING.to_owned(), 1)]));
        assert_eq!(first.expected, [earlier.due[10].audit_id]);
        let left = earlier.due.len() as u64 - 51;
        assert_eq!((last.page, last.faults.get(MISSING)), (2, Some(&left)));
        assert!(walked.is_compared);
        let mut whole = vec![page(usize::MAX)];
        whole.push(Ok(earlier.page(earlier.due[50..].iter(), None)));
        assert!(case.walk_after(&checked, whole, Some(&nothing)).wrong.is_empty());
        for (histories, known) in [(history(None), Some(&nothing)), (checked, None)] {
            let walked = case.walk_after(&histories, pages(10), known);
            assert!(walked.wrong.is_empty(), "{walked:?}");
        }
    }

    #[test]
    fn an_event_of_a_history_that_is_shown_to_another_tenant_is_leaked() {
        let (mut case, earlier) = (case(), case_of(8));
        let world = earlier.plan.script.world();
        let scope = |tenant| Scope::of_tenant(world.tenant(tenant)).map(|scope| (tenant, scope));
        let (home, scope) = earlier.plan.script.tenants().find_map(scope).unwrap();
        case.asked.question.scope = scope;
        let stranger = earlier.due.iter().position(|due| due.tenant != home).unwrap();
        let shown = earlier.due[..40].iter().enumerate();
        let shown = shown.filter(|(at, due)| *at == stranger || due.tenant == home);
        let shown: Vec<&Due> = shown.map(|(_, due)| due).collect();
        let page = || vec![Ok(earlier.page(shown.iter().copied(), None))];
        let unknown = case.walk(page(), None);
        assert!(unknown.wrong.is_empty(), "nobody knows them: {unknown:?}");
        let histories = [History::of(earlier.plan.clone(), None)];
        let walked = case.walk_after(&histories, page(), None);
        let [wrong] = &walked.wrong[..] else { panic!("{walked:?}") };
        assert_eq!(wrong.faults, BTreeMap::from([("leaked".to_owned(), 1)]));
        assert_eq!(wrong.events[0].audit_id, Some(earlier.due[stranger].audit_id));
    }

    #[test]
    fn neighbours_that_changed_places_at_the_end_of_a_page_have_not_vanished() {
        let case = case();
        let order = (0..48).chain([49, 48]);
        let first = case.page(order.map(|at| &case.due[at]), Some("a"));
        let second = case.page(case.due[50..100].iter(), Some("b"));
        let walked = case.walk(vec![Ok(first), Ok(second)], Some(&case.all));
        let faults: Vec<_> = walked.wrong.iter().map(|wrong| wrong.faults.clone()).collect();
        assert_eq!(faults, [BTreeMap::from([("out_of_order".to_owned(), 1)])]);
    }

    #[test]
    fn an_event_that_the_table_has_twice_is_not_wrong_and_one_that_comes_back_is() {
        let case = case();
        let wrong = |order: &[usize]| {
            let page = case.page(order.iter().map(|at| &case.due[*at]), None);
            case.walk(vec![Ok(page)], None).wrong
        };
        assert!(wrong(&[0, 1, 1, 2]).is_empty());
        let back = wrong(&[0, 1, 2, 0]);
        assert_eq!(back[0].faults.get("repeated"), Some(&1), "{back:?}");
    }

    #[test]
    fn what_came_before_a_failure_is_still_judged() {
        let case = case();
        let first = case.page([1, 0, 2].iter().map(|at| &case.due[*at]), Some("a"));
        let failed = Err(AskError::Cut { fact: "x".to_owned() });
        let walked = case.walk(vec![Ok(first), failed], None);
        assert_eq!(walked.failure.map(|error| error.kind()), Some("cut"));
        let has_come: Vec<bool> = walked.pages.iter().map(TimedPage::has_come).collect();
        assert_eq!(has_come, [true, false]);
        assert!(walked.wrong[0].faults.contains_key("out_of_order"), "{:?}", walked.wrong);
        assert_eq!(walked.wrong[0].events[0].beside, Some(case.due[1].audit_id));
    }
}
