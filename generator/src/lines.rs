//! The story of a run where there is no terminal: a line every ten seconds, in logfmt. Pure.
//!
//! A line covers the time since the one before it; what ends in `_total` is since the start.

use plans::metric::{Measure, Metric, Source};
use runs::measured::{count_of_second, of_second, percentiles_of_second};
use runs::record::{Second, milliseconds};
use runs::tally::Tally;

use crate::view::{About, Moment};

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
        let at = serde_json::to_string(&part.at).expect("a calendar has this year");
        let elapsed_s = milliseconds(moment.now - self.about.start) / 1_000.0;
        let mut fields = vec![
            ("at".to_owned(), at.trim_matches('"').to_owned()),
            ("elapsed_s".to_owned(), format!("{elapsed_s:.0}")),
        ];
        let so_far = moment.so_far();
        let mut totals = Vec::new();
        for metric in Metric::counts() {
            let count = |stretch| count_of_second(&metric, stretch).unwrap_or(0);
            let (key, total) = (key(&metric), count(&so_far));
            if total > 0 || metric.is_always_shown() {
                totals.push((format!("{key}_total"), total.to_string()));
                fields.push((key, count(part).to_string()));
            }
        }
        for metric in Metric::from(Source::Latency) {
            let p99_ms = percentiles_of_second(&metric, part).map_or(0.0, |it| it.p99_ms);
            fields.push((key(&metric), format!("{p99_ms:.1}")));
        }
        for metric in Metric::from(Source::Level) {
            let value = of_second(&metric, part).unwrap_or(0.0);
            let decimals = usize::from(metric.measure() == Measure::Time);
            fields.push((key(&metric), format!("{value:.decimals$}")));
        }
        fields.push(("saturated".to_owned(), moment.saturated.to_string()));
        fields.append(&mut totals);
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        fields.join(" ")
    }
}

/// The key of a metric. Some have keys from before there was a list of metrics.
fn key(metric: &Metric) -> String {
    match (metric, metric.source(), metric.measure()) {
        (Metric::Attempted, ..) => "sent".to_owned(),
        (Metric::RequestsInFlight, ..) => "in_flight".to_owned(),
        (Metric::DueToAcknowledged, ..) => "p99_ms".to_owned(),
        (_, Source::Latency, _) => format!("{metric}_p99_ms"),
        (_, Source::Level, Measure::Time) => format!("{metric}_max_ms"),
        _ => metric.to_string(),
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
            requests=20
            request_bytes=900000
            p99_ms=8.2
            sent_to_acknowledged_p99_ms=7.0
            due_to_sent_p99_ms=1.2
            lateness_max_ms=0.0
            blocked_max_ms=0.0
            in_flight=2
            saturated=false
            planned_total=2000
            sent_total=1800
            acknowledged_total=1400
            refused_total=0
            unknown_total=400
            requests_total=40
            request_bytes_total=1800000"#]]
        .assert_eq(&told[1].replace(' ', "\n"));
    }
}
