//! The story of a run where there is no terminal: a line every ten seconds, in logfmt. Pure.
//!
//! A line covers the time since the one before it; what ends in `_total` is since the start.

use edges::clock::milliseconds;
use plans::metric::{Measure, Metric, Source};
use runs::latency::percentiles;
use runs::measured::{count_of_second, of_second, percentiles_of_second};
use runs::queries::{KindTally, QueryCounts, QueryTally};
use runs::record::Second;
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
    /// Queries since the last line, if anybody asks.
    asked: Option<Box<QueryTally>>,
}

impl Lines {
    pub(crate) fn new(about: About) -> Self {
        Self { about, part: None, planned: 0, seconds: 0, asked: None }
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
        if let Some(queries) = moment.queries {
            match &mut self.asked {
                Some(asked) => asked.add(queries.tally),
                asked @ None => *asked = Some(Box::new(queries.tally.clone())),
            }
        }
        if self.seconds < SECONDS_PER_LINE {
            return None;
        }
        let part = Second::new(moment.now, self.planned, &self.part.take()?);
        (self.planned, self.seconds) = (0, 0);
        let asked = self.asked.take();
        Some(self.told(&part, asked.as_deref(), moment))
    }

    fn told(&self, part: &Second, asked: Option<&QueryTally>, moment: &Moment<'_>) -> String {
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
        if let (Some(asked), Some(queries)) = (asked, moment.queries) {
            fields.extend(of_queries(asked, queries.total));
        }
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        fields.join(" ")
    }
}

/// What a line says of queries: of those since the last line, and of all.
fn of_queries(part: &QueryTally, total: &QueryTally) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (counts, ending) in [(part.counts(), ""), (total.counts(), "_total")] {
        let QueryCounts { asked, answered, failed, wrong, .. } = counts;
        for (name, count) in
            [("asked", asked), ("answered", answered), ("failed", failed), ("wrong", wrong)]
        {
            fields.push((format!("queries_{name}{ending}"), count.to_string()));
        }
    }
    let p99_ms = percentiles(&KindTally::sum(&part.kinds).latency).p99_ms;
    fields.push(("queries_p99_ms".to_owned(), format!("{p99_ms:.1}")));
    fields.push(("queries_in_flight".to_owned(), total.in_flight.to_string()));
    fields
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
    use runs::queries::QueryEnd;

    #[test]
    fn a_line_tells_the_queries_since_the_last_one_and_since_the_start() {
        let (mut part, mut total) = (QueryTally::new(1), QueryTally::new(1));
        for is_answered in [true, true, false] {
            part.begin(0, 0);
            part.page(0, 10, 1_000, 20_000);
            part.end(0, QueryEnd { is_answered, is_wrong: !is_answered, is_compared: false });
        }
        part.begin(0, 0);
        total.add(&part);
        total.add(&part);
        let fields = of_queries(&part, &total).into_iter();
        let fields: Vec<_> = fields.map(|(key, value)| format!("{key}={value}")).collect();
        expect![[r#"
            queries_asked=4
            queries_answered=2
            queries_failed=1
            queries_wrong=1
            queries_asked_total=8
            queries_answered_total=4
            queries_failed_total=2
            queries_wrong_total=2
            queries_p99_ms=20.0
            queries_in_flight=2"#]]
        .assert_eq(&fields.join("\n"));
    }

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
            let (saturated, queries) = (false, None);
            let moment = Moment { now, second, tally, total, planned, saturated, classes, queries };
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
