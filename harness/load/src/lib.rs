//! Load on a webhook: posts batches when they are due, over few connections, and writes into the
//! ledger what became of them.
//!
//! ```rust
//! use std::time::Duration;
//!
//! use clap::Parser;
//! use load::webhook::{Webhook, WebhookArgs};
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     webhook: WebhookArgs,
//! }
//!
//! let cli = Cli::parse_from(["post", "--webhook", "http://vector-0:8080,http://vector-1:8080"]);
//! let webhook = Webhook::from_args(&cli.webhook, Duration::from_secs(30)).unwrap();
//! assert_eq!(webhook.addresses(), 2);
//! ```

pub mod lane;
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
