//! Makes a plan, from which every event of a run follows, out of a profile, as a user writes it.
//! Pure.
//!
//! ```rust
//! use events::identity::{Seq, TenantIndex};
//! use plans::plan::Plan;
//! use plans::spec::{RunOptions, Span};
//! use uuid::Uuid;
//!
//! let profile = "name: small\nstages: [{duration: 10s, rate: 5/s, tenants: 2}]\n";
//! let start_us = 1_790_000_000_000_000;
//! let options = RunOptions::new(Uuid::from_u128(7), start_us, Span::Live);
//! let plan = Plan::parse(profile, "small.yaml", options).unwrap();
//!
//! assert_eq!(plan.script.planned(), 2 * 50);
//! // The last event of the second tenant, without those before it.
//! assert!(plan.script.facts(TenantIndex(1), Seq(49)).is_ok());
//! assert!(plan.script.facts(TenantIndex(1), Seq(50)).is_err());
//! ```

pub mod condition;
pub mod filter;
pub mod metric;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod queries;
pub mod query_plan;
pub mod samples;
pub mod scale;
pub mod spec;
pub mod threshold;
pub mod written;
