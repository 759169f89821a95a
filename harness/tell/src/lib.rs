//! How a program tells what it does: lines, logs, a live screen, metrics over HTTP. None of them
//! can hold the program up.
//!
//! ```rust
//! use prometheus_client::encoding::text::encode;
//! use prometheus_client::metrics::counter::Counter;
//! use tell::exporter::{Adder, process_registry};
//!
//! let sent = Counter::<u64>::default();
//! let mut registry = process_registry();
//! Adder::to(&mut registry).metric("events_sent", "Events that were sent", &sent);
//! sent.inc_by(3);
//!
//! let mut page = String::new();
//! encode(&mut page, &registry).unwrap();
//! assert!(page.contains("events_sent_total 3"));
//! ```

pub mod exporter;
pub mod logs;
pub mod output;
pub mod screen;
