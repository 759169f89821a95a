//! Load on a webhook: batches that are posted when they are due, over few connections, and the
//! ledger's account of what became of them.

mod lane;
pub mod sender;
pub mod webhook;

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
