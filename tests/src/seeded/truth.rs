//! Reads the truth about a run without the verifier: from ledger, records of faults, tap, and rows.

use std::collections::{BTreeMap, BTreeSet};

use events::identity::{RunMark, Seq, TenantIndex};
use runs::ranges::RangeSet;
use runs::run_dir::RunDir;
use serde_json::Value;
use uuid::Uuid;

use super::disturbance::{Disturbance, Part, Relay};
use super::draw::{Run, Storm};
use super::oracle::{Event, Events, Truth};
use super::{tables, tap};
use crate::stack::{Stack, wait_minutes};

/// The facts that all runs of a sandbox share, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number of rows of each audit ID, by table, as the full account counts them.
    rows: BTreeMap<String, BTreeMap<Uuid, u64>>,
    /// The victims of faults, by kind and place.
    victims: BTreeMap<(String, String), BTreeSet<Uuid>>,
}

impl Seen {
    /// Reads tables and the record of faults. Waits until ClickHouse answers.
    pub fn read(stack: &Stack) -> Self {
        let mut seen = None;
        wait_minutes(OUTAGE_MINUTES, "ClickHouse answers in full", || {
            seen = Self::try_read(stack);
            seen.is_some()
        });
        seen.expect("it was awaited")
    }

    /// Reads the same, or returns `None` if ClickHouse is down.
    pub fn try_read(stack: &Stack) -> Option<Self> {
        let mut rows = BTreeMap::new();
        for name in tables::tables() {
            let table = format!("audit.{name}");
            let sql = format!("SELECT audit_id, count() FROM {table} GROUP BY audit_id");
            let told = stack.try_ask(&sql).ok()?;
            let of_table = told.lines().map(|line| {
                let (id, count) = line.split_once('\t').unwrap();
                (id.parse().unwrap(), count.parse().unwrap())
            });
            rows.insert(table, of_table.collect());
        }
        Some(Self { rows, victims: victims(stack) })
    }

    /// The number of rows in all tables.
    pub fn count(&self) -> u64 {
        self.rows.values().flat_map(BTreeMap::values).sum()
    }

    /// The number of rows of each event of a run.
    pub fn rows(&self, run: &Run, mark: RunMark) -> BTreeMap<Event, u64> {
        let rows = self.rows[&run.table()].iter();
        rows.filter_map(|(id, count)| Some((locate(mark, *id)?, *count))).collect()
    }

    /// The events of a run that a kind of fault has hit so far.
    pub fn struck(&self, mark: RunMark, kind: &str, at: &str) -> Events {
        let ids = self.victims.get(&(kind.to_owned(), at.to_owned()));
        ids.into_iter().flatten().filter_map(|id| locate(mark, *id)).collect()
    }

    /// The events of a run that were dropped so far.
    pub fn dropped(&self, mark: RunMark) -> Events {
        &self.struck(mark, "drop", "sidecar") | &self.struck(mark, "drop", "aggregator")
    }
}

/// This is longer than any outage and its consequences.
const OUTAGE_MINUTES: u32 = 5;

fn victims(stack: &Stack) -> BTreeMap<(String, String), BTreeSet<Uuid>> {
    let mut victims: BTreeMap<_, BTreeSet<Uuid>> = BTreeMap::new();
    let text = std::fs::read_to_string(stack.path("sandbox/faults.jsonl")).unwrap_or_default();
    // A line that is still being written is not read yet.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let line: Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| line[key].as_str().unwrap().to_owned();
        // Some faults of the query API hit requests.
        let Some(id) = line["auditID"].as_str() else { continue };
        let id = id.parse().unwrap();
        victims.entry((word("fault"), word("at"))).or_default().insert(id);
    }
    victims
}

fn locate(mark: RunMark, id: Uuid) -> Option<Event> {
    mark.locate(id).map(|(TenantIndex(tenant), Seq(seq))| (tenant, seq))
}

/// What the record of a run says. It does not change after the run was sent.
#[derive(Debug)]
pub struct Sent {
    pub mark: RunMark,
    /// The part of the truth that does not depend on the stores.
    truth: Truth,
    /// Whether the sender has written its summary.
    pub has_summary: bool,
}

impl Sent {
    /// Reads a run's directory. Returns `None` if the sender died before it created one.
    pub fn read(stack: &Stack, storm: &Storm, run: &Run) -> Option<Self> {
        let (dir, plan) = RunDir::open(&run.path(stack)).ok()?;
        let ledger = dir.read_ledger(&plan).ok()?;
        let summary = std::fs::read_to_string(dir.summary(0)).ok();
        let summary: Option<Value> = summary.and_then(|text| serde_json::from_str(&text).ok());
        let mut truth = Truth {
            is_closed: ledger.closed,
            is_saturated: summary.as_ref().is_some_and(|it| it["saturated"] == true),
            folds: run.table() == "audit.audit_logs",
            remembers: storm.stream.retention == tap::Retention::Limits && !evicts(storm),
            lost_its_memory: loses_its_memory(storm),
            has_evicted: evicts(storm),
            ..Truth::default()
        };
        for (TenantIndex(tenant), account) in plan.script.tenants().zip(&ledger.accounts) {
            let add = |to: &mut Events, seqs: &RangeSet| {
                to.extend(seqs.iter().map(|seq| (tenant, seq)));
            };
            add(&mut truth.acknowledged, &account.acknowledged);
            add(&mut truth.unknown, &account.unknown());
            add(&mut truth.refused, &account.refused);
            add(&mut truth.spoiled, &account.spoiled);
            let timeline = plan.script.timeline(TenantIndex(tenant));
            add(&mut truth.bulk, &RangeSet::of(0..timeline.count_before(plan.piped_from)));
        }
        let mark = RunMark::of(plan.spec.run_id);
        Some(Self { mark, truth, has_summary: summary.is_some() })
    }

    /// Whether all acknowledged events are stored, except those that faults have dropped.
    pub fn is_all_there(&self, run: &Run, seen: &Seen) -> bool {
        let (rows, dropped) = (seen.rows(run, self.mark), seen.dropped(self.mark));
        self.truth.acknowledged.iter().all(|it| rows.contains_key(it) || dropped.contains(it))
    }

    /// The whole truth about the run.
    pub fn truth(&self, run: &Run, seen: &Seen, taken: &[Uuid]) -> Truth {
        let mut in_stream: BTreeMap<Event, u64> = BTreeMap::new();
        for event in taken.iter().filter_map(|id| locate(self.mark, *id)) {
            *in_stream.entry(event).or_default() += 1;
        }
        let rows = seen.rows(run, self.mark);
        // A NATS that was killed may have stored a message without republishing it to the tap.
        for event in rows.keys().filter(|event| !self.truth.bulk.contains(event)) {
            in_stream.entry(*event).or_insert(1);
        }
        Truth {
            rows,
            in_stream,
            dropped_before_stream: seen.struck(self.mark, "drop", "sidecar"),
            dropped_after_stream: seen.struck(self.mark, "drop", "aggregator"),
            corrupted: seen.struck(self.mark, "corrupt", "aggregator"),
            ..self.truth.clone()
        }
    }
}

/// Whether the relay loses events when it is killed. An honest relay finds them again.
fn loses_its_memory(storm: &Storm) -> bool {
    const RELAY_AWAY: Disturbance = Disturbance::Away(Part::Relay);
    storm.relay == Relay::Fast && storm.acts.iter().any(|act| act.what == RELAY_AWAY)
}

fn evicts(storm: &Storm) -> bool {
    storm.acts.iter().any(|act| matches!(act.what, Disturbance::Shrunk { .. }))
}
