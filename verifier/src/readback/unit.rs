//! What is read back as one: the tenants that a scope shows. Pure.

use std::collections::BTreeMap;

use events::identity::{Seq, TenantIndex};
use events::script::Script;
use events::timeline::UnixMicros;
use queries::question::{Scope, UnixSeconds};
use runs::ranges::{RangeSet, TenantRanges};
use runs::readback::{ReadFinding, WalkKind};
use serde::{Deserialize, Serialize};

/// What one scope must show.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) scope: Scope,
    /// The events that must be readable.
    pub(crate) stored: TenantRanges,
    /// Acknowledged events that are not stored.
    pub(crate) not_stored: u64,
    /// Events that the table has more than once.
    pub(crate) doubled: TenantRanges,
    /// The period to read: from a second to before another.
    pub(crate) period: (UnixSeconds, UnixSeconds),
}

/// What reading one scope has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitResult {
    pub(crate) scope: String,
    pub(crate) stored: u64,
    pub(crate) readable: u64,
    pub(crate) not_stored: u64,
    pub(crate) late: u64,
    pub(crate) foreign: u64,
    /// Stored, but not as they were sent, so that no query for them finds them.
    pub(crate) stored_otherwise: u64,
    pub(crate) walks: Vec<WalkResult>,
    /// Why it was not read to the end.
    pub(crate) unread: Option<String>,
}

/// What a walk through one scope has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalkResult {
    pub(crate) walk: WalkKind,
    pub(crate) page_size: u32,
    pub(crate) pages: u64,
    pub(crate) stored: u64,
    pub(crate) shown: u64,
    pub(crate) findings: Vec<ReadFinding>,
}

impl Unit {
    /// How many events must be readable.
    pub(crate) fn stored_count(&self) -> u64 {
        self.stored.iter().map(|(_, seqs)| seqs.count()).sum()
    }
}

/// Events by tenant.
pub(crate) type Events = BTreeMap<TenantIndex, RangeSet>;

/// Stored events that were not shown.
pub(crate) fn missing(stored: &TenantRanges, shown: &Events) -> Events {
    let none = RangeSet::new();
    let rest = |(tenant, seqs): (TenantIndex, &RangeSet)| {
        let rest = seqs.difference(shown.get(&tenant).unwrap_or(&none));
        (!rest.is_empty()).then_some((tenant, rest))
    };
    stored.iter().filter_map(rest).collect()
}

/// The events of one set that are not in another.
pub(crate) fn without(events: &Events, others: &Events) -> Events {
    let none = RangeSet::new();
    let rest = |(tenant, seqs): (&TenantIndex, &RangeSet)| {
        let rest = seqs.difference(others.get(tenant).unwrap_or(&none));
        (!rest.is_empty()).then_some((*tenant, rest))
    };
    events.iter().filter_map(rest).collect()
}

/// Adds events to others.
pub(crate) fn add(events: &mut Events, more: &Events) {
    for (tenant, seqs) in more {
        let all = events.entry(*tenant).or_default();
        *all = all.union(seqs);
    }
}

/// The events that are in both.
pub(crate) fn both(one: &Events, other: &Events) -> Events {
    let none = RangeSet::new();
    let both = |(tenant, seqs): (&TenantIndex, &RangeSet)| {
        let both = seqs.intersection(other.get(tenant).unwrap_or(&none));
        (!both.is_empty()).then_some((*tenant, both))
    };
    one.iter().filter_map(both).collect()
}

pub(crate) fn count(events: &Events) -> u64 {
    events.values().map(RangeSet::count).sum()
}

/// All events, one by one.
pub(crate) fn each(events: &Events) -> impl Iterator<Item = (TenantIndex, Seq)> + '_ {
    events.iter().flat_map(|(tenant, seqs)| seqs.iter().map(|seq| (*tenant, Seq(seq))))
}

/// When the youngest of some events was due.
pub(crate) fn youngest(script: &Script, events: &Events) -> Option<UnixMicros> {
    let due = |(tenant, seqs): (&TenantIndex, &RangeSet)| {
        let last = seqs.ranges().last()?.end - 1;
        script.timeline(*tenant).due(Seq(last)).ok()
    };
    events.iter().filter_map(due).max()
}

/// The period in which a run can be read now: the API takes no time in its future, and the complete
/// walk asks for a second more than it needs.
pub(crate) fn readable_period(
    script: &Script,
    (start, end): (UnixMicros, UnixMicros),
    now: UnixMicros,
) -> (UnixSeconds, UnixSeconds) {
    let (from, until) = queries::expected::period_of(script, start, end);
    (from, until.min(UnixSeconds::of(now).plus(-CLOCK_SECONDS)))
}

/// How many seconds the server's clock may be behind ours.
pub(crate) const CLOCK_SECONDS: i64 = 2;
