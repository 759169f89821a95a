//! A part of a plateau, or of a ramp, and its backlogs. Pure.

use crate::plateau::Plateau;
use crate::rules::JudgeOptions;
use crate::trend::{Point, blocks};

/// A part of what was observed that is judged.
pub(crate) struct Part<'p> {
    pub(crate) plateau: &'p Plateau,
    /// From when to when, in s from the start of the plateau.
    pub(crate) window: (f64, f64),
    /// By what a backlog is multiplied at a moment, where the rate is not constant: a backlog that
    /// rises with the rate is none that grows.
    pub(crate) scale: &'p dyn Fn(f64) -> f64,
    /// How long was observed, and would have to be.
    pub(crate) observed_s: f64,
    pub(crate) needed_s: f64,
}

impl Part<'_> {
    /// The averages of a backlog in the blocks of a window.
    pub(crate) fn blocks(
        &self,
        mut backlog: Vec<Point>,
        window: (f64, f64),
        options: &JudgeOptions,
    ) -> Vec<Point> {
        for point in &mut backlog {
            point.1 *= (self.scale)(point.0);
        }
        blocks(&backlog, window, options.block_s())
    }
}
