//! How much a quantity varies from one run to the next of the same code on the same machine, if
//! nothing better is known. Pure.

use crate::versus::quantity::{Quantity, Resource};

/// The standard deviation between runs: of the logarithm of the value, so 0.1 is about 10 %; of a
/// share, in points.
pub(crate) fn published(quantity: &Quantity) -> f64 {
    match quantity {
        Quantity::Acknowledged => 0.01,
        Quantity::Ingested => 0.02,
        Quantity::Webhook(_) => 0.30,
        Quantity::EndToEnd(_) => 0.05,
        Quantity::Errors => 0.002,
        Quantity::Used(_, Resource::Cpu) => 0.06,
        Quantity::Used(_, Resource::Memory) => 0.05,
    }
}

/// So many runs the published spread is worth, beside those that are compared: see
/// [`crate::versus::judgement`].
pub(crate) const FREEDOM: u32 = 6;
