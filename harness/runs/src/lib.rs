//! What is recorded of a run: its directory, its ledger, its seconds, and what was seen meanwhile.
//!
//! No network: a copied directory can be judged anywhere.

pub mod json_lines;
pub mod latency;
pub mod ledger;
pub mod measured;
pub mod observation;
pub mod outcome;
pub mod ranges;
pub mod record;
pub mod report;
pub mod run_dir;
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
