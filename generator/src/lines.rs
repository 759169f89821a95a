//! The story of a run where there is no terminal: a line every ten seconds, in logfmt. Pure.
//!
//! A line covers the time since the one before it; what ends in `_total` is since the start.

use runs::tally::Tally;

use crate::view::{About, Moment};
use runs::record::{Second, milliseconds};

/// Gathers seconds until they are worth a line.
#[derive(Debug)]
pub(crate) struct Lines {
    about: About,
    /// What was counted since the last line.
    part: Option<Tally>,
    planned: u64,
    seconds: u32,
}

impl Lines {
    pub(crate) fn new(about: About) -> Self {
        Self { about, part: None, planned: 0, seconds: 0 }
    }

    /// Takes in one more second, and returns a line if it is time for one.
    pub(crate) fn line(&mut self, moment: &Moment<'_>) -> Option<String> {
        self.seconds += 1;
        self.planned += moment.second.planned;
        match &mut self.part {
            Some(part) => {
                part.in_flight = 0;
                part.add(moment.tally);
            }
            part @ None => *part = Some(moment.tally.clone()),
        }
        if self.seconds < SECONDS_PER_LINE {
            return None;
        }
        let part = Second::new(moment.now, self.planned, &self.part.take()?);
        (self.planned, self.seconds) = (0, 0);
        Some(self.told(&part, moment))
    }

    fn told(&self, part: &Second, moment: &Moment<'_>) -> String {
        let Second { planned, sent, acknowledged, refused, unknown, in_flight, .. } = part;
        let total = &moment.total.events;
        let at = serde_json::to_string(&part.at).expect("a calendar has this year");
        let saturated = moment.saturated;
        format!(
            "at={} elapsed_s={:.0} planned={planned} sent={sent} acknowledged={acknowledged} \
             refused={refused} unknown={unknown} in_flight={in_flight} p99_ms={:.1} \
             lateness_max_ms={:.1} blocked_max_ms={:.1} saturated={saturated} \
             planned_total={} sent_total={} acknowledged_total={} refused_total={} \
             unknown_total={}{}",
            at.trim_matches('"'),
            milliseconds(moment.now - self.about.start) / 1_000.0,
            part.due_to_acknowledged.p99_ms,
            part.lateness_max_ms,
            part.blocked_max_ms,
            moment.planned,
            total.sent,
            total.acknowledged,
            total.refused,
            total.unknown,
            if total.unsent > 0 {
                format!(" unsent_total={}", total.unsent)
            } else {
                String::new()
            },
        )
    }
}

const SECONDS_PER_LINE: u32 = 10;

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::view::tests::{BUSY, OK, START, about, tally};
    use plans::plan::Classes;

    #[test]
    fn every_ten_seconds_there_is_a_line() {
        let mut lines = Lines::new(about());
        let mut total = Tally::new(1);
        let mut told = Vec::new();
        for elapsed in 1..=25 {
            let mut tally = tally(&[(1, 20, BUSY), (2, 70, OK)]);
            tally.lateness_max_us = if elapsed == 3 { 25_500 } else { 0 };
            tally.in_flight = 2;
            total.add(&tally);
            let now = START + elapsed * 1_000_000;
            let second = Second::new(now, 100, &tally);
            let planned = elapsed.unsigned_abs() * 100;
            let (second, tally, total, classes) = (&second, &tally, &total, &Classes::one(3));
            let moment = Moment { now, second, tally, total, planned, saturated: false, classes };
            told.extend(lines.line(&moment));
        }
        assert_eq!(told.len(), 2);
        expect![[r#"
            at=2026-09-21T14:13:40.000000Z
            elapsed_s=20
            planned=1000
            sent=900
            acknowledged=700
            refused=0
            unknown=200
            in_flight=2
            p99_ms=8.2
            lateness_max_ms=0.0
            blocked_max_ms=0.0
            saturated=false
            planned_total=2000
            sent_total=1800
            acknowledged_total=1400
            refused_total=0
            unknown_total=400"#]]
        .assert_eq(&told[1].replace(' ', "\n"));
    }
}
