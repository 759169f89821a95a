//! How much a quantity varies from one run to the next of the same code on the same machine, if
//! nothing better is known. Pure.
//!
//! Measured on 2026-11-30 with the sandbox, on two cores that others used too: 36 runs of `smoke`
//! of 24 s, at its own rate and at five times that, each in a sandbox of its own. In 16 of
//! them the machine was calm enough: the generator was late by less than 20 ms in 95 % of the
//! seconds. `make bench-compare` prints what they varied by. The figures here are rounded up.

use crate::versus::quantity::{Quantity, Resource};

/// The standard deviation between runs: of the logarithm of the value, so 0.1 is about 10 %; of a
/// share, in points. `level` is the value of the quantity.
pub fn published(quantity: &Quantity, level: f64) -> f64 {
    match quantity {
        Quantity::Acknowledged => 0.01,
        Quantity::Ingested => 0.02,
        // The webhook's p95 took about 3 ms at one rate and 9 ms at the other, and varied by 1 to
        // 2 ms at both; that is what a machine adds, so it is less in percent where there is more.
        Quantity::Webhook(percent) => {
            let added_ms = if *percent <= 95 { 2.0 } else { 5.0 };
            (LATENCY_LEAST + added_ms / level.max(added_ms)).min(LATENCY_MOST)
        }
        Quantity::EndToEnd(_) => 0.03,
        Quantity::Errors => 0.002,
        Quantity::Used(_, Resource::Cpu) => 0.08,
        Quantity::Used(_, Resource::Memory) => 0.04,
    }
}

const LATENCY_LEAST: f64 = 0.05;
const LATENCY_MOST: f64 = 0.5;

/// So many degrees of freedom the published spread is worth, beside the runs that are compared: see
/// [`crate::versus::judgement`].
pub(crate) const FREEDOM: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_adds_to_a_latency_is_less_of_a_longer_one() {
        let of = |percent, level| published(&Quantity::Webhook(percent), level);
        assert!((of(95, 50.0) - 0.09).abs() < 1e-9);
        assert!((of(99, 50.0) - 0.15).abs() < 1e-9);
        assert!([0.0, 0.1, 3.0].iter().all(|ms| (of(95, *ms) - LATENCY_MOST).abs() < 1e-9));
    }
}
