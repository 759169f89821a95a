//! How a program tells what it does: lines, a live screen, metrics over HTTP. None of it can hold
//! the program up.

pub mod metrics;
pub mod output;
pub mod screen;
