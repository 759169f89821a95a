//! What a generator's files say of its run: a record a second, and a summary at its end.

use std::collections::BTreeMap;
use std::fmt;

use crate::latency::{Latencies, Percentiles, decoded, encoded, percentiles};
use crate::outcome::Outcome;
use crate::queries::QuerySummary;
use crate::tally::Tally;
use edges::clock::milliseconds;
use edges::errors::ErrorCounts;
use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::metric::Metric;
use plans::plan::{Classes, Plan};
use plans::samples::AcknowledgedSample;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When the second ended.
    pub at: MicroTime,
    /// Events that became due in it.
    pub planned: u64,
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub spoiled: u64,
    /// Those of `sent` for which no request could be begun after all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsent: u64,
    pub dropped: u64,
    pub requests: u64,
    pub bytes: u64,
    /// Requests without an answer at its end.
    pub in_flight: u64,
    pub lateness_max_ms: f64,
    pub blocked_max_ms: f64,
    pub due_to_acknowledged: Percentiles,
    pub sent_to_acknowledged: Percentiles,
    pub due_to_sent: Percentiles,
    /// Counts of the list of metrics that have no field of their own, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<String, u64>,
    /// Those of the events that are watched which were acknowledged in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledged_samples: Vec<AcknowledgedSample>,
}

/// A run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub run_id: Uuid,
    pub profile: String,
    /// The generator was late by more than the profile allows, or had no file, port, memory or
    /// name to send with: what this run says about the pipeline's capacity is void.
    pub saturated: bool,
    /// The user stopped the run before its end.
    pub stopped: bool,
    /// The condition for which the run was given up before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// Events of this process: of all tenants, unless the run is shared among several.
    pub planned: u64,
    pub unsent: u64,
    /// Those of the unsent that API servers dropped because their buffers were full.
    pub dropped: u64,
    pub attempted: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Acknowledged, but sent on purpose in a way in which they cannot be stored as they are.
    pub spoiled: u64,
    /// Requests that could not be begun, because this machine lacked something.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_tried: u64,
    /// Where the webhook last redirected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Why requests had no answer, by address and kind.
    #[serde(default, skip_serializing_if = "ErrorCounts::is_empty")]
    pub errors: ErrorCounts,
    pub requests: u64,
    /// Requests for batches that were acknowledged before.
    pub resent: u64,
    pub bytes: u64,
    pub duration_s: f64,
    /// The longest that a batch waited for the generator itself.
    pub lateness_max_ms: f64,
    /// The longest that a batch waited for a free connection: for the target's answers.
    pub blocked_max_ms: f64,
    /// Events by how their request ended.
    pub outcomes: BTreeMap<String, u64>,
    pub due_to_acknowledged: Percentiles,
    pub sent_to_acknowledged: Percentiles,
    pub due_to_sent: Percentiles,
    /// Latencies by class of tenants.
    pub classes: BTreeMap<String, ClassLatencies>,
    /// The queries that were asked beside the events, if any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<QuerySummary>,
}

/// The latencies of a class of tenants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassLatencies {
    pub due_to_acknowledged: Percentiles,
    pub sent_to_acknowledged: Percentiles,
    pub due_to_sent: Percentiles,
}

/// All latencies of a run, in a form that can be added to those of other runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histograms {
    pub due_to_acknowledged: String,
    pub sent_to_acknowledged: String,
    pub due_to_sent: String,
    /// By class of tenants.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, Histograms>,
}

impl Second {
    pub fn new(now: UnixMicros, planned: u64, tally: &Tally) -> Self {
        let latencies = ClassLatencies::new(&tally.latencies());
        Self {
            due_to_acknowledged: latencies.due_to_acknowledged,
            sent_to_acknowledged: latencies.sent_to_acknowledged,
            due_to_sent: latencies.due_to_sent,
            acknowledged_samples: tally.acknowledged_samples.clone(),
            ..Self::without_latencies(now, planned, tally)
        }
    }

    /// The same for a stretch of any length, without what takes time: its latencies are zero.
    pub fn without_latencies(now: UnixMicros, planned: u64, tally: &Tally) -> Self {
        let events = &tally.events;
        let by_name = |(metric, count): (&Metric, &u64)| (metric.to_string(), *count);
        Self {
            at: MicroTime(now),
            planned,
            sent: events.sent,
            acknowledged: events.acknowledged,
            refused: events.refused,
            unknown: events.unknown,
            spoiled: events.spoiled,
            unsent: events.unsent,
            dropped: tally.dropped,
            requests: tally.requests,
            bytes: tally.bytes,
            in_flight: tally.in_flight,
            lateness_max_ms: milliseconds(tally.lateness_max_us),
            blocked_max_ms: milliseconds(tally.blocked_max_us),
            due_to_acknowledged: Percentiles::default(),
            sent_to_acknowledged: Percentiles::default(),
            due_to_sent: Percentiles::default(),
            more: tally.more.iter().map(by_name).collect(),
            acknowledged_samples: Vec::new(),
        }
    }
}

impl ClassLatencies {
    fn new(latencies: &Latencies) -> Self {
        Self {
            due_to_acknowledged: percentiles(&latencies.due_to_acknowledged),
            sent_to_acknowledged: percentiles(&latencies.sent_to_acknowledged),
            due_to_sent: percentiles(&latencies.due_to_sent),
        }
    }
}

/// How and when a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub at: UnixMicros,
    pub stopped: bool,
    pub aborted: Option<String>,
}

impl Summary {
    pub fn new(plan: &Plan, planned: u64, total: &Tally, ending: Ending) -> Self {
        let events = &total.events;
        let latencies = ClassLatencies::new(&total.latencies());
        let of_class =
            |(name, of_class): (&String, &Latencies)| (name.clone(), ClassLatencies::new(of_class));
        let by_name = |(outcome, events): (&Outcome, &u64)| (outcome.name(), *events);
        Self {
            run_id: plan.spec.run_id,
            profile: plan.profile_name.clone(),
            saturated: total.is_saturated(plan.send.lateness_max_us),
            stopped: ending.stopped,
            aborted: ending.aborted,
            planned,
            unsent: planned - events.attempted(),
            dropped: total.dropped,
            attempted: events.attempted(),
            acknowledged: events.acknowledged,
            refused: events.refused,
            // What is still in flight when the user leaves at once has no answer.
            unknown: events.attempted() - events.acknowledged - events.refused - events.spoiled,
            spoiled: events.spoiled,
            not_tried: total.not_tried,
            location: total.location.clone(),
            errors: total.errors.clone(),
            requests: total.requests,
            resent: total.resent,
            bytes: total.bytes,
            duration_s: milliseconds(ending.at - plan.start) / 1_000.0,
            lateness_max_ms: milliseconds(total.lateness_max_us),
            blocked_max_ms: milliseconds(total.blocked_max_us),
            outcomes: total.outcomes.iter().map(by_name).collect(),
            due_to_acknowledged: latencies.due_to_acknowledged,
            sent_to_acknowledged: latencies.sent_to_acknowledged,
            due_to_sent: latencies.due_to_sent,
            classes: plan.classes.names.iter().zip(&total.latencies).map(of_class).collect(),
            queries: None,
        }
    }
}

impl Histograms {
    pub fn new(classes: &Classes, total: &Tally) -> Self {
        let of_class = |(name, of_class): (&String, &Latencies)| {
            (name.clone(), Self::of(of_class, BTreeMap::new()))
        };
        let classes = classes.names.iter().zip(&total.latencies).map(of_class).collect();
        Self::of(&total.latencies(), classes)
    }

    /// Returns the latencies of all tenants, and those of each class; `None` if they are damaged.
    pub fn decode(&self) -> Option<(Latencies, BTreeMap<String, Latencies>)> {
        let of_class = |(name, it): (&String, &Self)| Some((name.clone(), it.latencies()?));
        let classes = self.classes.iter().map(of_class).collect::<Option<_>>()?;
        Some((self.latencies()?, classes))
    }

    fn latencies(&self) -> Option<Latencies> {
        Some(Latencies {
            due_to_acknowledged: decoded(&self.due_to_acknowledged)?,
            sent_to_acknowledged: decoded(&self.sent_to_acknowledged)?,
            due_to_sent: decoded(&self.due_to_sent)?,
        })
    }

    fn of(latencies: &Latencies, classes: BTreeMap<String, Self>) -> Self {
        Self {
            due_to_acknowledged: encoded(&latencies.due_to_acknowledged),
            sent_to_acknowledged: encoded(&latencies.sent_to_acknowledged),
            due_to_sent: encoded(&latencies.due_to_sent),
            classes,
        }
    }
}

impl Summary {
    /// Whether events were sent that should be taken, and the target took none of them.
    pub fn is_all_in_vain(&self) -> bool {
        self.attempted > self.spoiled && self.acknowledged == 0
    }
}

impl Summary {
    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "latency in ms             p50       p95       p99     p99.9       max")?;
        let &Self { due_to_acknowledged, sent_to_acknowledged, due_to_sent, .. } = self;
        write!(f, "{}", ClassLatencies { due_to_acknowledged, sent_to_acknowledged, due_to_sent })?;
        if self.classes.len() > 1 {
            for (name, latencies) in &self.classes {
                write!(f, "of class {name}\n{latencies}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not_tried > 0 {
            writeln!(
                f,
                "SATURATED: this machine could not begin {} requests, see below; this run says \
                 nothing about the pipeline's capacity\n",
                self.not_tried
            )?;
        } else if self.saturated {
            writeln!(
                f,
                "SATURATED: the generator itself was up to {:.0} ms late; this run says nothing \
                 about the pipeline's capacity\n",
                self.lateness_max_ms
            )?;
        }
        if self.is_all_in_vain() {
            let most = self.outcomes.iter().max_by_key(|(_, events)| **events);
            let most = most.map_or("nothing", |(name, _)| name);
            let hint = Outcome::named(most).and_then(|it| it.hint(self.location.as_deref()));
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            writeln!(f, "NOTHING WAS ACKNOWLEDGED: what came most was {most}{hint}\n")?;
        }
        if self.stopped {
            writeln!(f, "stopped by the user before its end\n")?;
        }
        if let Some(condition) = &self.aborted {
            writeln!(f, "given up before its end: {condition} over ten seconds\n")?;
        }
        writeln!(f, "run {} of profile {}", self.run_id, self.profile)?;
        writeln!(f, "  planned       {:>12}", self.planned)?;
        writeln!(f, "  unsent        {:>12}", self.unsent)?;
        if self.dropped > 0 {
            writeln!(f, "    dropped by API servers, whose buffers were full: {}", self.dropped)?;
        }
        writeln!(f, "  attempted     {:>12}", self.attempted)?;
        writeln!(f, "  acknowledged  {:>12}", self.acknowledged)?;
        writeln!(f, "  refused       {:>12}", self.refused)?;
        writeln!(f, "  unknown       {:>12}", self.unknown)?;
        if self.spoiled > 0 {
            writeln!(f, "  spoiled       {:>12}", self.spoiled)?;
        }
        for (name, events) in self.outcomes.iter().filter(|(name, _)| !name.starts_with('2')) {
            let hint = Outcome::named(name).and_then(|it| it.hint(self.location.as_deref()));
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            writeln!(f, "    {name}: {events}{hint}")?;
        }
        let requests = self.requests;
        writeln!(f, "{requests} requests, {} bytes, {:.1} s", self.bytes, self.duration_s)?;
        if requests > 0 {
            self.write_latencies(f)?;
        }
        if !self.errors.is_empty() {
            writeln!(f, "requests without an answer")?;
            self.errors.lines().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        match &self.queries {
            Some(queries) => write!(f, "{queries}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ClassLatencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("due to acknowledged ", self.due_to_acknowledged),
            ("sent to acknowledged", self.sent_to_acknowledged),
            ("due to sent         ", self.due_to_sent),
        ];
        for (name, Percentiles { p50_ms, p95_ms, p99_ms, p99_9_ms, max_ms }) in rows {
            writeln!(
                f,
                "  {name}{p50_ms:>9.1} {p95_ms:>9.1} {p99_ms:>9.1} {p99_9_ms:>9.1} {max_ms:>9.1}"
            )?;
        }
        Ok(())
    }
}

/// Whether a number is left out of a record, as older versions did not write it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
