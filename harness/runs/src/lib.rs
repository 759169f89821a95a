//! The record of a run: its directory, its ledger, one record for each second, and what was seen
//! of the pipeline meanwhile. It uses no network, so a copied directory can be judged anywhere.
//!
//! What became of events is kept as exact sets of sequence numbers. Counts would not do, as a
//! duplicate would hide a loss:
//!
//! ```rust
//! use runs::ranges::RangeSet;
//!
//! let acknowledged = RangeSet::of(0..100);
//! let mut stored = RangeSet::new();
//! stored.insert(0..40);
//! stored.insert(41..100);
//! stored.insert(0..1); // Stored twice: there are 100 rows now.
//!
//! let lost = acknowledged.difference(&stored);
//! assert_eq!(lost.ranges(), [40..41]);
//! ```

pub mod json_lines;
pub mod latency;
pub mod leb128;
pub mod ledger;
pub mod measured;
pub mod observation;
pub mod outcome;
pub mod queries;
pub mod query_costs;
pub mod query_records;
pub mod ranges;
pub mod readback;
pub mod record;
pub mod report;
pub mod run_dir;
pub mod slow_queries;
pub mod tally;

#[cfg(test)]
mod testing {
    use plans::plan::Plan;
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    /// The plan of a live run of one stage.
    pub(crate) fn live_plan(rate: &str, tenants: &str, duration: &str) -> Plan {
        let stage = format!("{{duration: {duration}, rate: {rate}, tenants: {tenants}}}");
        let options = RunOptions::new(Uuid::from_u128(7), 1_790_000_000_000_000, Span::Live);
        Plan::parse(&format!("name: x\nstages: [{stage}]\n"), "x", options).unwrap()
    }
}
