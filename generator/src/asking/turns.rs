//! Whose turn it is to ask, and when. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use events::identity::Seq;
use events::timeline::{Timeline, UnixMicros};
use plans::query_plan::{Arrivals, Asker, QueryPlan};
use uuid::Uuid;

/// The part of all queries that a lane asks: every `count`-th user or query, from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: u32,
    pub(crate) count: u32,
}

/// Who asks when.
#[derive(Debug)]
pub(crate) enum Turns {
    Users(Users),
    Rate(Rate),
}

/// One question that is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) asker: Asker,
    /// Counts the questions of the asker from 0.
    pub(crate) number: u64,
    pub(crate) due: UnixMicros,
    /// The asker's place among those of the lane.
    pub(crate) slot: usize,
}

/// Users who wait for their answer, and think about it.
#[derive(Debug)]
pub(crate) struct Users {
    users: Vec<User>,
    /// When the next question of a user is due, by slot.
    waiting: BinaryHeap<Reverse<(UnixMicros, usize)>>,
}

#[derive(Debug)]
struct User {
    index: u32,
    sessions: Vec<Range<UnixMicros>>,
    asked: u64,
}

/// Queries at a rate.
#[derive(Debug)]
pub(crate) struct Rate {
    timeline: Timeline,
    next: u64,
    step: u64,
}

impl Turn {
    /// What the query is called in the log of a server. No other of the run is called so.
    pub(crate) fn name(&self, run_id: Uuid) -> String {
        let number = self.number;
        match self.asker {
            Asker::User(user) => format!("auditstorm-{run_id}-user-{user}-{number}"),
            Asker::Anybody => format!("auditstorm-{run_id}-rate-{number}"),
        }
    }
}

impl Turns {
    pub(crate) fn new(plan: &QueryPlan, part: Part) -> Self {
        match plan.arrivals() {
            Arrivals::Rate(timeline) => {
                Self::Rate(Rate { timeline, next: part.index.into(), step: part.count.into() })
            }
            Arrivals::Users(users) => {
                let own = (part.index..users).step_by(part.count as usize);
                let user = |index| User { index, sessions: plan.sessions(index), asked: 0 };
                let users = Users { users: own.map(user).collect(), waiting: BinaryHeap::new() };
                let mut turns = Self::Users(users);
                for slot in 0..turns.askers() {
                    turns.wait(plan, slot, UnixMicros::MIN);
                }
                turns
            }
        }
    }

    /// How many askers the lane has: its users, or one for all queries at a rate.
    pub(crate) fn askers(&self) -> usize {
        match self {
            Self::Users(users) => users.users.len(),
            Self::Rate(_) => 1,
        }
    }

    /// When the next question is due; `None` if nobody is to ask before a query has ended.
    pub(crate) fn next_at(&self) -> Option<UnixMicros> {
        match self {
            Self::Users(users) => users.waiting.peek().map(|Reverse((at, _))| *at),
            Self::Rate(rate) => rate.timeline.due(Seq(rate.next)).ok(),
        }
    }

    /// Takes the next question.
    pub(crate) fn take(&mut self) -> Option<Turn> {
        match self {
            Self::Users(Users { users, waiting }) => {
                let Reverse((due, slot)) = waiting.pop()?;
                let user = &mut users[slot];
                user.asked += 1;
                let asker = Asker::User(user.index);
                Some(Turn { asker, number: user.asked - 1, due, slot })
            }
            Self::Rate(rate) => {
                let (number, due) = (rate.next, rate.timeline.due(Seq(rate.next)).ok()?);
                rate.next += rate.step;
                Some(Turn { asker: Asker::Anybody, number, due, slot: 0 })
            }
        }
    }

    /// Lets a user think, after an answer or at the beginning, and then ask again, if there is any
    /// time left for it. At a rate, nobody waits.
    pub(crate) fn wait(&mut self, plan: &QueryPlan, slot: usize, answered: UnixMicros) {
        let Self::Users(Users { users, waiting }) = self else { return };
        let user = &users[slot];
        // The draws of a question that will not be asked: a wait has its own.
        let mut draw = plan.draw(Asker::User(user.index), WAITS + user.asked);
        let think_us = plan.think_us(&mut draw);
        let at = |session: &Range<UnixMicros>| answered.max(session.start).saturating_add(think_us);
        let session = user.sessions.iter().find(|session| at(session) < session.end);
        if let Some(session) = session {
            waiting.push(Reverse((at(session), slot)));
        }
    }
}

const WAITS: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};

    use super::*;

    const START: UnixMicros = 1_790_000_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn plan(stages: &str) -> QueryPlan {
        let text = format!(
            "name: x\nstages: [{{duration: 60s, rate: 1/s, tenants: 3}}]\nqueries:\n  \
             stages: [{stages}]\n  think_min: 1s\n  think_max: 3s\n"
        );
        let options = RunOptions::new(Uuid::from_u128(7), START, Span::Live);
        Plan::parse(&text, "x", options).unwrap().queries.unwrap()
    }

    const WHOLE: Part = Part { index: 0, count: 1 };

    /// Asks everything, each answer taking a while. Returns who asked what when.
    fn all(plan: &QueryPlan, part: Part, takes_us: i64) -> Vec<Turn> {
        let mut turns = Turns::new(plan, part);
        let mut taken = Vec::new();
        while let Some(turn) = turns.take() {
            turns.wait(plan, turn.slot, turn.due + takes_us);
            taken.push(turn);
        }
        taken
    }

    #[test]
    fn a_user_waits_for_the_answer_and_thinks_before_asking_again() {
        let plan = plan("{duration: 60s, users: 4}");
        let turns = all(&plan, WHOLE, 5 * SECOND);
        for user in 0..4 {
            let own: Vec<_> = turns.iter().filter(|turn| turn.asker == Asker::User(user)).collect();
            assert!((7..=10).contains(&own.len()), "{}", own.len());
            assert!(own[0].due - START <= 3 * SECOND);
            for (number, pair) in (0..).zip(own.windows(2)) {
                let waited = pair[1].due - pair[0].due;
                assert!((6 * SECOND..=8 * SECOND).contains(&waited), "{waited}");
                assert_eq!((pair[0].number, pair[1].number), (number, number + 1));
            }
        }
        assert!(turns.iter().all(|turn| turn.due < plan.end()));
        assert_eq!(turns, all(&plan, WHOLE, 5 * SECOND));
    }

    #[test]
    fn a_slow_answer_makes_a_user_ask_less_and_never_after_the_end() {
        let plan = plan(
            "{duration: 30s, users: 1}, {duration: 10s, users: 0}, \
                         {duration: 20s, users: 1}",
        );
        assert_eq!(all(&plan, WHOLE, 70 * SECOND).len(), 1);
        let turns = all(&plan, WHOLE, SECOND);
        let is_away = |turn: &Turn| (30 * SECOND..40 * SECOND).contains(&(turn.due - START));
        assert!(!turns.iter().any(is_away), "{turns:?}");
        assert!(turns.last().unwrap().due - START > 50 * SECOND);
    }

    #[test]
    fn parts_have_all_askers_between_them() {
        let by_due = |plan: &QueryPlan| {
            let parts = (0..3).flat_map(|index| all(plan, Part { index, count: 3 }, SECOND));
            let key = |turn: Turn| (format!("{:?}", turn.asker), turn.number, turn.due);
            let mut parts: Vec<_> = parts.map(key).collect();
            let mut whole: Vec<_> = all(plan, WHOLE, SECOND).into_iter().map(key).collect();
            parts.sort();
            whole.sort();
            assert_eq!(parts, whole);
            whole.len()
        };
        assert!(by_due(&plan("{duration: 20s, users: 0 -> 7}")) > 20);
        assert_eq!(by_due(&plan("{duration: 20s, rate: 0/s -> 10/s}")), 100);
    }
}
