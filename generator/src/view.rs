//! What a person sees of a run while it goes on: plain data, gathered second by second. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use edges::clock::milliseconds;
use edges::shutdown::Stop;
use events::identity::TenantIndex;
use events::timeline::UnixMicros;
use plans::plan::{Classes, Plan};
use plans::profile::Profile;
use runs::queries::{QueryCounts, QueryKind, QueryTally};
use runs::tally::{EventCounts, Tally};

use runs::record::Second;

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) profile: String,
    pub(crate) webhook: String,
    pub(crate) elapsed: Duration,
    /// From the first event's due time to the last one's.
    pub(crate) duration: Duration,
    /// What the plan is doing now, in words.
    pub(crate) stage: Option<String>,
    /// The user asked to stop: nothing new is begun.
    pub(crate) stopping: bool,
    pub(crate) saturated: bool,
    pub(crate) lateness_max_ms: f64,
    /// A longer lateness makes the run saturated.
    pub(crate) lateness_allowed_ms: f64,
    /// The last second.
    pub(crate) second: Second,
    /// All seconds so far, added up: without latencies.
    pub(crate) so_far: Second,
    pub(crate) connections: u32,
    /// The commonest first.
    pub(crate) outcomes: Vec<OutcomeView>,
    /// The last minutes, the newest last.
    pub(crate) history: Vec<RateView>,
    /// Those that sent most in the last seconds, first.
    pub(crate) tenants: Vec<TenantView>,
    /// Queries: all, and in the last second; nothing, if nobody asks.
    pub(crate) queries: Option<(QueryCounts, QueryCounts)>,
}

/// Events by how their request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutcomeView {
    pub(crate) name: String,
    pub(crate) events: u64,
    pub(crate) events_per_second: u64,
}

/// Events of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateView {
    pub(crate) planned: u64,
    pub(crate) acknowledged: u64,
}

/// A tenant's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantView {
    pub(crate) name: String,
    /// Over the last ten seconds.
    pub(crate) sent_per_second: u64,
    pub(crate) events: EventCounts,
}

/// What stays the same from the first second to the last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct About {
    pub(crate) profile: String,
    pub(crate) webhook: String,
    pub(crate) start: UnixMicros,
    pub(crate) end: UnixMicros,
    pub(crate) connections: u32,
    pub(crate) lateness_max_us: i64,
    /// Each stage's end, in µs after the start, with what it does.
    stages: Vec<(i64, String)>,
    /// Names of all tenants, by index.
    tenants: Vec<String>,
}

impl About {
    pub(crate) fn new(plan: &Plan, profile: &Profile) -> Self {
        let tenants = plan.script.world().tenants().iter();
        let name = |tenant: &events::world::Tenant| match tenant.scope_name.as_str() {
            "" => format!("{} {}", tenant.index.0, tenant.scope.as_str()),
            name => format!("{} {name}", tenant.index.0),
        };
        Self {
            profile: plan.profile_name.clone(),
            webhook: plan.spec.targets.webhook.clone().unwrap_or_default(),
            start: plan.start,
            end: plan.end,
            connections: plan.send.connections,
            lateness_max_us: plan.send.lateness_max_us,
            stages: stages(plan, profile),
            tenants: tenants.map(name).collect(),
        }
    }

    /// What the plan does at a moment; `None` after its end.
    fn stage(&self, now: UnixMicros) -> Option<String> {
        let count = self.stages.len();
        let at = self.stages.iter().position(|(end_us, _)| now - self.start < *end_us)?;
        Some(format!("stage {} of {count}: {}", at + 1, self.stages[at].1))
    }
}

/// The stages as they are run, whatever the command line made of them.
fn stages(plan: &Plan, profile: &Profile) -> Vec<(i64, String)> {
    let mut end_us = 0;
    let ramp = |first: String, last: String| {
        if first == last { first } else { format!("{first} -> {last}") }
    };
    #[expect(clippy::cast_precision_loss, reason = "a million a second is exact")]
    let rate = |milli: u64| format!("{}/s", milli as f64 / 1_000.0);
    let of_stage = |stage: events::timeline::Stage| {
        end_us += i64::try_from(stage.duration_us).expect("at most a thousand years");
        let rates = ramp(rate(stage.rate_milli.0), rate(stage.rate_milli.1));
        let tenants = ramp(stage.tenants.0.to_string(), stage.tenants.1.to_string());
        let seconds = stage.duration_us / 1_000_000;
        (end_us, format!("{rates} each, {tenants} tenants, {seconds} s"))
    };
    plan.spec.scale.stages(profile).into_iter().map(of_stage).collect()
}

/// A second of a run, as the reporter has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'r> {
    /// The second's end.
    pub(crate) now: UnixMicros,
    pub(crate) second: &'r Second,
    /// What was counted in this second.
    pub(crate) tally: &'r Tally,
    /// What was counted since the start.
    pub(crate) total: &'r Tally,
    /// Events due since the start.
    pub(crate) planned: u64,
    /// The generator itself was later than its profile allows.
    pub(crate) saturated: bool,
    /// The classes that the tallies have latencies of.
    pub(crate) classes: &'r Classes,
    /// The queries, if anybody asks.
    pub(crate) queries: Option<QueryMoment<'r>>,
}

/// The queries of a run at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryMoment<'r> {
    pub(crate) kinds: &'r [QueryKind],
    /// What was counted in the last second.
    pub(crate) tally: &'r QueryTally,
    /// What was counted since the start.
    pub(crate) total: &'r QueryTally,
}

impl Moment<'_> {
    /// All seconds so far, added up: without latencies.
    pub(crate) fn so_far(&self) -> Second {
        Second::without_latencies(self.now, self.planned, self.total)
    }
}

/// Remembers the last minutes, as far as a view shows them.
#[derive(Debug)]
pub(crate) struct Gatherer {
    about: About,
    history: VecDeque<RateView>,
    /// What each tenant sent in each of the last seconds.
    recent: VecDeque<Vec<(TenantIndex, u64)>>,
    /// The sum of that, by tenant.
    recent_sent: Vec<u64>,
}

impl Gatherer {
    pub(crate) fn new(about: About) -> Self {
        let recent_sent = vec![0; about.tenants.len()];
        Self { about, history: VecDeque::new(), recent: VecDeque::new(), recent_sent }
    }

    /// Takes in one more second, and returns what is to be seen at its end.
    pub(crate) fn view(&mut self, moment: &Moment<'_>, stop: Stop) -> View {
        self.remember(moment);
        let about = &self.about;
        let Moment { now, second, tally, total, saturated, .. } = *moment;
        let of_second = |outcome| tally.outcomes.get(outcome).copied().unwrap_or_default();
        let outcomes = total.outcomes.iter().map(|(outcome, events)| OutcomeView {
            name: outcome.name(),
            events: *events,
            events_per_second: of_second(outcome),
        });
        let mut outcomes: Vec<_> = outcomes.collect();
        outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.events));
        View {
            profile: about.profile.clone(),
            webhook: about.webhook.clone(),
            elapsed: between(about.start, now),
            duration: between(about.start, about.end),
            stage: about.stage(now),
            stopping: stop != Stop::No,
            saturated,
            lateness_max_ms: milliseconds(total.lateness_max_us),
            lateness_allowed_ms: milliseconds(about.lateness_max_us),
            second: second.clone(),
            so_far: moment.so_far(),
            connections: about.connections,
            outcomes,
            history: self.history.iter().copied().collect(),
            tenants: self.top_tenants(total),
            queries: moment.queries.map(|it| (it.total.counts(), it.tally.counts())),
        }
    }

    fn remember(&mut self, moment: &Moment<'_>) {
        let Second { planned, acknowledged, .. } = *moment.second;
        self.history.push_back(RateView { planned, acknowledged });
        if self.history.len() > HISTORY_SECONDS_MAX {
            self.history.pop_front();
        }
        let sent = moment.tally.tenants.iter().map(|(tenant, counts)| (*tenant, counts.sent));
        let sent: Vec<_> = sent.filter(|(_, sent)| *sent > 0).collect();
        for (tenant, sent) in &sent {
            self.recent_sent[usize::from(tenant.0)] += sent;
        }
        self.recent.push_back(sent);
        if self.recent.len() > RECENT_SECONDS_MAX {
            for (tenant, sent) in self.recent.pop_front().into_iter().flatten() {
                self.recent_sent[usize::from(tenant.0)] -= sent;
            }
        }
    }

    fn top_tenants(&self, total: &Tally) -> Vec<TenantView> {
        let seconds = self.recent.len().max(1) as u64;
        let mut ranked: Vec<_> = total.tenants.iter().collect();
        ranked.sort_by_key(|(tenant, _)| {
            (std::cmp::Reverse(self.recent_sent[usize::from(tenant.0)]), **tenant)
        });
        let top = ranked.into_iter().take(TENANTS_MAX);
        top.map(|(tenant, counts)| TenantView {
            name: self.about.tenants[usize::from(tenant.0)].clone(),
            sent_per_second: self.recent_sent[usize::from(tenant.0)] / seconds,
            events: *counts,
        })
        .collect()
    }
}

/// Zero, if the later moment has not come yet.
fn between(from: UnixMicros, to: UnixMicros) -> Duration {
    Duration::from_micros(u64::try_from(to - from).unwrap_or(0))
}

const HISTORY_SECONDS_MAX: usize = 600;
const RECENT_SECONDS_MAX: usize = 10;
const TENANTS_MAX: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    use hyper::StatusCode;
    use runs::outcome::Outcome;
    use runs::tally::Ended;

    use super::*;

    pub(crate) const START: UnixMicros = 1_790_000_000_000_000;
    const SECOND_US: i64 = 1_000_000;

    pub(crate) fn about() -> About {
        About {
            profile: "demo".to_owned(),
            webhook: "http://127.0.0.1:8080/events".to_owned(),
            start: START,
            end: START + 20 * SECOND_US,
            connections: 32,
            lateness_max_us: SECOND_US,
            stages: vec![
                (5 * SECOND_US, "10/s each, 3 tenants, 5s".to_owned()),
                (20 * SECOND_US, "10/s -> 90/s each, 3 tenants, 15s".to_owned()),
            ],
            tenants: ["0 global", "1 acme", "2 initech"].map(str::to_owned).to_vec(),
        }
    }

    /// Counts of a second in which all events had the same outcome.
    pub(crate) fn tally(sent: &[(u16, u64, Outcome)]) -> Tally {
        let mut tally = Tally::new(1);
        for (tenant, events, outcome) in sent {
            tally.begin(TenantIndex(*tenant), *events, events * 1_000);
            tally.end(TenantIndex(*tenant), *events, 0, Ended::at_once(*outcome));
            let latencies = &mut tally.latencies[0];
            latencies.due_to_sent.record_n(1_200, *events).unwrap();
            latencies.sent_to_acknowledged.record_n(7_000, *events).unwrap();
            latencies.due_to_acknowledged.record_n(8_200, *events).unwrap();
        }
        tally
    }

    pub(crate) const OK: Outcome = Outcome::Answered(StatusCode::OK);
    pub(crate) const BUSY: Outcome = Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE);

    /// What is seen after seconds of equal counts.
    pub(crate) fn view_after(seconds: i64, tally: &Tally) -> View {
        let mut gatherer = Gatherer::new(about());
        let mut total = Tally::new(1);
        let mut view = None;
        for elapsed in 1..=seconds {
            total.add(tally);
            let now = START + elapsed * SECOND_US;
            let second = Second::new(now, 100, tally);
            let planned = elapsed.unsigned_abs() * 100;
            let (second, total, classes) = (&second, &total, &Classes::one(3));
            let saturated = total.lateness_max_us > SECOND_US;
            let queries = None;
            let moment = Moment { now, second, tally, total, planned, saturated, classes, queries };
            view = Some(gatherer.view(&moment, Stop::No));
        }
        view.unwrap()
    }

    #[test]
    fn a_view_has_the_tenants_that_send_most_first() {
        let view = view_after(30, &tally(&[(1, 20, OK), (2, 70, OK), (0, 5, BUSY)]));
        let top: Vec<_> =
            view.tenants.iter().map(|top| (top.name.as_str(), top.sent_per_second)).collect();
        assert_eq!(top, [("2 initech", 70), ("1 acme", 20), ("0 global", 5)]);
        assert_eq!(view.tenants[0].events.acknowledged, 30 * 70);
        assert_eq!(view.tenants[2].events.unknown, 30 * 5);
    }

    #[test]
    fn a_view_tells_outcomes_stage_and_rates() {
        let view = view_after(6, &tally(&[(1, 20, BUSY), (2, 70, OK)]));
        let outcome = |name: &str, events, events_per_second| OutcomeView {
            name: name.to_owned(),
            events,
            events_per_second,
        };
        assert_eq!(view.outcomes, [outcome("200", 420, 70), outcome("503", 120, 20)]);
        let stage = "stage 2 of 2: 10/s -> 90/s each, 3 tenants, 15s";
        assert_eq!(view.stage.as_deref(), Some(stage));
        assert_eq!(view.history, [RateView { planned: 100, acknowledged: 70 }; 6]);
        assert!(view_after(25, &tally(&[])).stage.is_none());
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let view = view_after(700, &tally(&[(1, 20, OK)]));
        assert_eq!(view.history.len(), HISTORY_SECONDS_MAX);
        assert_eq!(view.tenants[0].sent_per_second, 20);
    }
}
