//! The generator as a program, and against targets that behave badly.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

mod command;
mod emitted;
mod limits;
mod observed;
mod sending;
mod targets;
