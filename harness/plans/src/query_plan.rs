//! Who asks for events when, and from which draws the questions follow. Pure.
//!
//! The n-th question of a user is the same in every run of a plan. When users ask depends on how
//! long the answers take; at a rate, the plan says that too.

use std::ops::Range;
use std::time::Duration;

use events::draw::{Draw, mix};
use events::identity::TenantIndex;
use events::timeline::{Arrival, Curve, Stage, Timeline, UnixMicros, active};

use crate::profile::Profile;
use crate::queries::{Queries, QueryScope, Scopes, Template};
use crate::scale::QueryCounts;
use crate::spec::RunSpec;

/// The queries of a run: [`Queries`], as they are run.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPlan {
    pub timeout: Duration,
    /// How often each scope is asked for.
    pub scopes: Scopes,
    pub templates: Vec<Template>,
    /// How many of 10,000 answers are searched for what must be there.
    pub compare_per_myriad: u32,
    connections: u32,
    stages: Vec<QueryCounts>,
    think_us: (u64, u64),
    start: UnixMicros,
    seed: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// One of the users, who has an answer before asking again.
    User(u32),
    /// Nobody in particular: queries come at a rate.
    Anybody,
}

/// How queries come.
#[derive(Debug, Clone)]
pub enum Arrivals {
    /// From so many users at most.
    Users(u32),
    /// When they are due, whatever became of those before.
    Rate(Timeline),
}

impl QueryPlan {
    pub(crate) fn new(profile: &Profile, queries: &Queries, spec: &RunSpec) -> Self {
        let stages = spec.scale.query_stages(profile, queries);
        let users = stages.iter().map(|stage| stage.users.0.max(stage.users.1)).max();
        let compare = queries.compare.as_ref().map(|share| share.get().value());
        let compare = compare.unwrap_or(match users {
            Some(1..=FEW_USERS) => 1.0,
            _ => ONE_IN_TWENTY,
        });
        Self {
            timeout: Duration::from_micros(queries.timeout.get().us()),
            scopes: queries.scopes,
            templates: queries.templates.clone(),
            compare_per_myriad: per_myriad(compare),
            connections: queries.connections,
            stages,
            think_us: (queries.think_min.get().us(), queries.think_max.get().us()),
            start: spec.start.0,
            seed: mix(spec.seed, QUERIES),
        }
    }

    pub fn arrivals(&self) -> Arrivals {
        let stages = self.stages.iter();
        match stages.map(|stage| stage.users.0.max(stage.users.1)).max().unwrap_or(0) {
            0 => Arrivals::Rate(self.timeline()),
            users => Arrivals::Users(users),
        }
    }

    /// The most requests at once.
    pub fn connections(&self) -> u32 {
        match self.arrivals() {
            Arrivals::Users(users) => users,
            Arrivals::Rate(_) => self.connections,
        }
    }

    /// Start of the first stage.
    pub fn start(&self) -> UnixMicros {
        self.start
    }

    /// End of the last stage: nobody asks after it.
    pub fn end(&self) -> UnixMicros {
        self.start + self.stages.iter().map(|stage| signed(stage.duration_us)).sum::<i64>()
    }

    /// The periods in which a user is there, in order, none touching the next.
    pub fn sessions(&self, user: u32) -> Vec<Range<UnixMicros>> {
        let user = TenantIndex(u16::try_from(user).expect("at most 10,000 users"));
        let mut sessions: Vec<Range<UnixMicros>> = Vec::new();
        let mut start = self.start;
        for stage in &self.stages {
            // Users come and go as tenants do.
            let tenants = stage.users;
            let like = Stage { duration_us: stage.duration_us, rate_milli: (1, 1), tenants };
            if let Some((from, to)) = active(&like, user) {
                let session = start + signed(from)..start + signed(to);
                match sessions.last_mut() {
                    Some(last) if last.end == session.start => last.end = session.end,
                    _ => sessions.push(session),
                }
            }
            start += signed(stage.duration_us);
        }
        sessions
    }

    /// The draws that a question follows from. Questions of an asker are counted from 0.
    pub fn draw(&self, asker: Asker, number: u64) -> Draw {
        let stream = match asker {
            Asker::User(user) => u64::from(user),
            Asker::Anybody => ANYBODY,
        };
        Draw::new(self.seed, stream, number)
    }

    /// Draws how long a user thinks, in µs.
    pub fn think_us(&self, draw: &mut Draw) -> i64 {
        let (min, max) = self.think_us;
        signed(min + draw.bits() % (max - min + 1))
    }

    /// Draws whose events are asked for.
    pub fn scope(&self, draw: &mut Draw) -> QueryScope {
        let Scopes { tenant, platform, complex } = self.scopes;
        draw.pick(&[
            (tenant, QueryScope::Tenant),
            (platform, QueryScope::Platform),
            (complex, QueryScope::Complex),
        ])
    }

    fn timeline(&self) -> Timeline {
        let stage = |counts: &QueryCounts| Stage {
            duration_us: counts.duration_us,
            rate_milli: counts.rate_milli,
            tenants: (1, 1),
        };
        let stages: Vec<Stage> = self.stages.iter().map(stage).collect();
        let curve = Curve::of_stages(&stages, TenantIndex(0));
        Timeline::live(curve, self.start, Arrival::Jittered, self.seed, TenantIndex(0))
    }
}

/// So few users that all of their answers are searched.
const FEW_USERS: u32 = 10;
const ONE_IN_TWENTY: f64 = 0.05;
const QUERIES: u64 = 20 << 32;
const ANYBODY: u64 = 1 << 32;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1 is at most 10,000 of 10,000"
)]
fn per_myriad(share: f64) -> u32 {
    (share * 10_000.0).round() as u32
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("at most a thousand years")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::plan::Plan;
    use crate::scale::Scale;
    use crate::spec::{RunOptions, Span};

    const START: UnixMicros = 1_790_000_000_000_000;

    fn plan_at(queries: &str, rate: f64) -> QueryPlan {
        let text = format!(
            "name: x\nstages: [{{duration: 100s, rate: 1/s, tenants: 3}}]\nqueries:\n{queries}"
        );
        let options = RunOptions {
            scale: Scale { rate, ..Scale::default() },
            ..RunOptions::new(Uuid::from_u128(7), START, Span::Live)
        };
        Plan::parse(&text, "x", options).unwrap().queries.unwrap()
    }

    fn plan(queries: &str) -> QueryPlan {
        plan_at(queries, 1.0)
    }

    const USERS: &str = "  stages:\n  - {duration: 40s, users: 0 -> 20}\n  \
                         - {duration: 20s, users: 20}\n  - {duration: 40s, users: 10 -> 0}\n";

    #[test]
    fn users_come_one_after_the_other_and_stay_while_their_number_does() {
        let plan = plan(USERS);
        assert!(matches!(plan.arrivals(), Arrivals::Users(20)));
        assert_eq!((plan.connections(), plan.end()), (20, START + 100_000_000));
        let sessions = |user: u32| -> Vec<(i64, i64)> {
            let sessions = plan.sessions(user).into_iter();
            sessions
                .map(|it| ((it.start - START) / 1_000_000, (it.end - START) / 1_000_000))
                .collect()
        };
        assert_eq!(sessions(0), [(1, 98)]);
        assert_eq!(sessions(9), [(19, 62)]);
        assert_eq!(sessions(10), [(21, 60)]);
        assert_eq!(sessions(19), [(39, 60)]);
        assert_eq!(sessions(20), []);
    }

    #[test]
    fn queries_at_a_rate_are_due_when_the_plan_says() {
        let text = "  stages: [{duration: 10s, rate: 0/s -> 20/s}, {duration: 10s, rate: 20/s}]\n";
        let Arrivals::Rate(timeline) = plan(text).arrivals() else { panic!("it has a rate") };
        assert_eq!(timeline.count(), 300);
        assert_eq!(timeline.count_before(START + 10_000_000), 100);
        let Arrivals::Rate(less) = plan_at(text, 0.1).arrivals() else { panic!("it has a rate") };
        assert_eq!(less.count(), 30);
    }

    #[test]
    fn a_smaller_run_has_fewer_users_and_never_none() {
        assert!(matches!(plan_at(USERS, 0.1).arrivals(), Arrivals::Users(2)));
        assert!(matches!(plan_at(USERS, 0.001).arrivals(), Arrivals::Users(1)));
    }

    #[test]
    fn scopes_and_waits_are_drawn_as_they_are_written() {
        let plan = plan(&format!("{USERS}  think_min: 1s\n  think_max: 3s\n"));
        let mut counts = [0_u32; 3];
        for number in 0..10_000 {
            let mut draw = plan.draw(Asker::User(3), number);
            counts[plan.scope(&mut draw) as usize] += 1;
            assert!((1_000_000..=3_000_000).contains(&plan.think_us(&mut draw)));
        }
        for (count, expected) in counts.into_iter().zip([6_000, 3_000, 1_000]) {
            assert!(count.abs_diff(expected) < 200, "{counts:?}");
        }
        let first = |asker, number| plan.draw(asker, number).bits();
        assert_eq!(first(Asker::User(1), 5), first(Asker::User(1), 5));
        assert_ne!(first(Asker::User(1), 5), first(Asker::User(2), 5));
        assert_ne!(first(Asker::User(0), 5), first(Asker::Anybody, 5));
    }

    #[test]
    fn all_answers_of_few_users_are_compared_and_one_in_twenty_of_many() {
        assert_eq!(plan(USERS).compare_per_myriad, 500);
        assert_eq!(plan_at(USERS, 0.5).compare_per_myriad, 10_000);
        let written = plan(&format!("{USERS}  compare: 0.2\n"));
        assert_eq!(written.compare_per_myriad, 2_000);
    }
}
