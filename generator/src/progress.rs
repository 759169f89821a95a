//! One line a second on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Second;
use crate::tally::Tally;

/// The progress of a run, on standard error.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(planned: u64) -> Self {
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:24} {percent:>3}% {msg}")
            .expect("the template is valid");
        Self(ProgressBar::new(planned).with_style(style))
    }

    pub(crate) fn show(&self, total: &Tally, second: &Second) {
        self.0.set_position(total.acknowledged + total.refused + total.unknown);
        self.0.set_message(format!(
            "{}/s of {}/s planned, {} in flight, p99 {:.0} ms, {} refused, {} unknown",
            second.sent,
            second.planned,
            second.in_flight,
            second.due_to_acknowledged.p99_ms,
            total.refused,
            total.unknown,
        ));
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
