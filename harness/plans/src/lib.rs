//! From a profile, as somebody writes it, to a plan, from which every event of a run follows. Pure.

pub mod condition;
pub mod plan;
pub mod profile;
pub mod quantity;
pub mod samples;
pub mod scale;
pub mod spec;
pub mod threshold;
pub mod written;
