//! Whether a pipeline sustains a rate, and which is the highest that it does. Pure: no clock, no
//! files, no network.
//!
//! A *plateau* is some time at one rate. [`judge::judge`] says of a plateau whether the rate was
//! sustained, with the criterion that failed, or what is missing for an answer. [`search::next`]
//! says, from all plateaus so far, what to try next, until it has found the highest sustained rate.
//! What is in between is up to a runner:
//!
//! 1. Ask [`search::next`] with the plateaus so far; at first there are none.
//! 2. On [`search::Step::Try`], wait until the pipeline is drained. Run the generator with `watch`
//!    beside it: a stage at half of the rate (of all tenants together) for
//!    [`search::SearchOptions::warm_up`], and one at the rate for this long. Reconcile the run.
//! 3. Make a [`plateau::Plateau`] of the second stage with [`recorded::plateau`], and go on with 1.
//!
//! ```rust
//! use capacity::search::{SearchOptions, Step, next};
//!
//! let plateaus = Vec::new(); // One more after each Step::Try.
//! let Step::Try { rate, duration, is_confirmation } = next(&SearchOptions::default(), &plateaus)
//! else {
//!     unreachable!("nothing was tried yet")
//! };
//! assert_eq!((rate.to_string().as_str(), duration.as_secs()), ("1,000/s", 180));
//! assert!(!is_confirmation);
//! ```
//!
//! A runner that does not keep all observations can judge each plateau once, keep the
//! [`search::Trial`]s, and ask [`search::next_of`].

pub mod bottleneck;
pub mod judge;
mod part;
pub mod plateau;
pub mod ramp;
pub mod recorded;
pub mod rules;
pub mod search;
pub mod trend;
pub mod units;
