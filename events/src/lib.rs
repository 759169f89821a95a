//! Audit events as pure functions: `event = f(plan, tenant, seq)`.
//!
//! This library makes the events of simulated Kubernetes control planes. It knows no clock, file,
//! socket or environment, and no state passes from one event to the next: whoever has the plan
//! can make any event again, alone, in any order.

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
