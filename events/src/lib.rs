//! Audit events as pure functions: `event = f(plan, tenant, seq)`.
//!
//! This library makes the events of simulated Kubernetes control planes. It uses no clock, file,
//! socket or environment, and an event depends on no other event. So whoever has the plan can make
//! any event again, alone and in any order.
//!
//! Whoever knows the run can read from the ID of an event which event it is:
//!
//! ```rust
//! use events::identity::{RunMark, Seq, TenantIndex};
//! use uuid::Uuid;
//!
//! let run = RunMark::of(Uuid::from_u128(7));
//! let id = run.audit_id(TenantIndex(3), Seq(1_000));
//! assert_eq!(id.get_version_num(), 4); // It looks like a random UUID.
//! assert_eq!(run.locate(id), Some((TenantIndex(3), Seq(1_000))));
//!
//! let other_run = RunMark::of(Uuid::from_u128(8));
//! assert_eq!(other_run.locate(id), None);
//! ```

pub mod actor;
pub mod alias;
pub mod catalog;
mod clock_face;
pub mod draw;
pub mod event;
pub mod facts;
pub mod identity;
pub mod mix;
pub mod names;
mod objects;
pub mod policy;
pub mod prose;
pub mod render;
pub mod rhythm;
pub mod row;
mod scene;
pub mod script;
pub mod story;
pub mod time;
pub mod timeline;
pub mod vocabulary;
mod week;
pub mod world;
