//! A lane of queries: it asks when somebody is to ask, and counts what became of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edges::errors::OneError;
use edges::shutdown::Shutdown;
use events::identity::{Seq, TenantIndex};
use events::timeline::UnixMicros;
use load::lane::{Free, Load, drive};
use load::sender::Sender;
use plans::query_plan::{Asker, QueryPlan};
use queries::door::Door as _;
use runs::queries::{QueryEnd, QueryTally, WRONG_ANSWERS_MAX};
use runs::ranges::TenantRanges;

use super::Reading;
use super::kinds::{Asked, Home, Kinds};
use super::turns::{Part, Turn, Turns};
use super::walk::{Known, Walked, walk};

/// What all lanes of queries share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The plan with its queries, and the clock.
    pub(crate) sender: Arc<Sender>,
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) reading: Reading,
}

/// The counts of a lane. The reporter takes them once a second, and sets them to zero.
pub(crate) type SharedQueryTally = Arc<Mutex<QueryTally>>;

/// Asks a part of a plan's queries, over so many connections, until all are asked and answered.
///
/// # Errors
///
/// Never: what goes wrong with a query is counted.
pub(crate) async fn run_lane(
    shared: Arc<Shared>,
    part: Part,
    connections: usize,
    tally: SharedQueryTally,
    shutdown: Shutdown,
) -> io::Result<()> {
    let Some(plan) = shared.sender.plan.queries.clone() else { return Ok(()) };
    let turns = Turns::new(&plan, part);
    let connections = match turns {
        // Each user waits for an answer, and needs no more than one.
        Turns::Users(_) => turns.askers(),
        Turns::Rate(_) => connections,
    };
    let home = |slot: usize| {
        let asker = Asker::User(part.index + part.count * u32::try_from(slot).unwrap_or(0));
        shared.kinds.home(&mut plan.draw(asker, HOMES))
    };
    let askers = (0..turns.askers()).map(|slot| Memory { home: home(slot), ..Memory::default() });
    let (askers, clock) = (askers.collect(), shared.sender.clock);
    let mut lane = Lane { shared, plan, turns, askers, tally };
    drive(&mut lane, vec![(); connections], clock, shutdown).await.map(drop)
}

/// The number of the draw that a user's tenant follows from.
const HOMES: u64 = 1 << 63;

struct Lane {
    shared: Arc<Shared>,
    plan: QueryPlan,
    turns: Turns,
    /// By slot.
    askers: Vec<Memory>,
    tally: SharedQueryTally,
}

/// What somebody who asks has to do with, and has seen.
#[derive(Debug, Default)]
struct Memory {
    /// The tenant that the person belongs to.
    home: Option<Home>,
    /// Events that were shown to the person, the last ones.
    seen: Arc<TenantRanges>,
}

impl Memory {
    /// Remembers what an answer showed. What it would be too much to remember is forgotten.
    fn add(&mut self, events: &[(TenantIndex, Seq)]) {
        if events.is_empty() {
            return;
        }
        let mut seen = if self.seen.count() < REMEMBERED_MAX {
            TenantRanges::clone(&self.seen)
        } else {
            TenantRanges::new()
        };
        for (tenant, seq) in events {
            seen.insert(*tenant, seq.0..seq.0 + 1);
        }
        self.seen = Arc::new(seen);
    }
}

/// Somebody who remembers as many events forgets them before adding more. Each takes 16 bytes.
const REMEMBERED_MAX: u64 = 1_000;

/// A question on its way.
struct Order {
    shared: Arc<Shared>,
    turn: Turn,
    asked: Asked,
    known: Option<Arc<TenantRanges>>,
}

/// A question that has its answer, or none.
struct Ended {
    turn: Turn,
    asked: Asked,
    walked: Walked,
}

impl Load for Lane {
    type Carrier = ();
    type Order = Order;
    type Ended = Ended;

    fn next_at(&self) -> Option<UnixMicros> {
        self.turns.next_at()
    }

    /// A query changes nothing, so nothing is written down before it.
    async fn permit(&self, _until: UnixMicros) -> io::Result<()> {
        Ok(())
    }

    fn begin(&mut self, free: Free<()>, _now: UnixMicros) -> io::Result<Order> {
        let turn = self.turns.take().expect("somebody is to ask");
        let Sender { plan, clock, .. } = &*self.shared.sender;
        let now = clock.now();
        let mut draw = self.plan.draw(turn.asker, turn.number);
        let is_compared = draw.chance(self.plan.compare_per_myriad);
        let memory = &self.askers[turn.slot];
        let home = match turn.asker {
            Asker::User(_) => memory.home,
            Asker::Anybody => self.shared.kinds.home(&mut draw),
        };
        let scripts = self.shared.reading.scripts(plan);
        let asked = self.shared.kinds.ask((&self.plan, &scripts), home, &mut draw, now);
        let known = is_compared.then(|| Arc::clone(&memory.seen));
        let could_begin = turn.due.max(free.since);
        lock(&self.tally).begin(asked.kind, now - could_begin);
        Ok(Order { shared: Arc::clone(&self.shared), turn, asked, known })
    }

    async fn send(Order { shared, turn, asked, known }: Order) -> Ended {
        let Sender { plan, clock, .. } = &*shared.sender;
        let kind = (&asked, &shared.kinds.names()[asked.kind]);
        let runs = (plan, &shared.reading.histories[..]);
        let door = &shared.reading.door;
        let witness = shared.reading.table.as_ref();
        let known = known.as_deref().map(|seen| Known { seen, witness });
        let walked = walk((runs, *clock), door, kind, &turn, known).await;
        Ended { turn, asked, walked }
    }

    fn settle(&mut self, Ended { turn, asked, walked }: Ended) -> Free<()> {
        let (now, kind) = (self.shared.sender.clock.now(), asked.kind);
        let mut tally = lock(&self.tally);
        let name = &self.shared.kinds.names()[kind];
        for page in &walked.pages {
            tally.slowest.offer(page.latency_ms(), || page.slow_query(name, &asked.question));
            if page.has_come() {
                tally.page(kind, page.rows, page.bytes, page.latency_us());
            }
        }
        if let Some(error) = &walked.failure {
            let cause = error.cause();
            *tally.failures.entry(cause.clone()).or_default() += 1;
            let (server, text) = (self.shared.reading.door.place().to_owned(), error.to_string());
            tally.errors.count(OneError { server, kind: cause, text }, now);
        }
        for wrong in &walked.wrong {
            for fault in wrong.faults.keys() {
                *tally.faults.entry(fault.clone()).or_default() += 1;
            }
        }
        if walked.is_witnessed {
            tally.witness(kind);
        }
        tally.end(
            kind,
            QueryEnd {
                is_answered: walked.failure.is_none(),
                is_wrong: !walked.wrong.is_empty(),
                is_compared: walked.is_compared,
            },
        );
        let room = WRONG_ANSWERS_MAX.saturating_sub(tally.wrong_answers.len());
        tally.wrong_answers.extend(walked.wrong.into_iter().take(room));
        drop(tally);
        self.askers[turn.slot].add(&walked.seen);
        self.turns.wait(&self.plan, turn.slot, now);
        Free { carrier: (), since: now }
    }

    /// No query is asked twice.
    fn give_up(&mut self) {}
}

fn lock(tally: &Mutex<QueryTally>) -> MutexGuard<'_, QueryTally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
