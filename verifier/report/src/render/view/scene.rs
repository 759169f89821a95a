//! The parts of a page that show the course of a run: charts, marks and loss windows.

use events::event::MicroTime;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::spec::Span;
use runs::observation::Mark;
use runs::report::{LossWindow, Report};

use super::rows::hop_name;
use crate::figures::{self, grouped, shortened};
use crate::records::RunRecords;
use crate::render::chart::{
    Chart, TimeAxis, Unit, ValueScale, Width, distribution, over_time, series_class,
};
use crate::render::series::{Lens, Series, bands};

/// A chart with its title, legend and explanation, or the reason why there is none.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) title: &'static str,
    pub(crate) explanation: &'static str,
    pub(crate) legend: Vec<Legend>,
    pub(crate) svgs: Vec<String>,
    pub(crate) missing: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Legend {
    pub(crate) class: String,
    pub(crate) name: String,
}

#[derive(Debug)]
pub(crate) struct MarkRow {
    pub(crate) number: usize,
    pub(crate) elapsed: String,
    pub(crate) at: String,
    pub(crate) text: String,
}

#[derive(Debug)]
pub(crate) struct WindowRow {
    pub(crate) cause: &'static str,
    pub(crate) hop: &'static str,
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) events: String,
    pub(crate) marks: String,
}

/// What the charts of a page have in common.
pub(super) struct Scene<'r> {
    lens: Lens<'r>,
    axis: TimeAxis,
    report: &'r Report,
    is_live: bool,
}

impl<'r> Scene<'r> {
    pub(super) fn new(report: &'r Report, records: &'r RunRecords, plan: &Plan) -> Self {
        let is_live = plan.spec.span == Span::Live;
        let first = records.seconds.first().map(|second| second.at.0 - 1_000_000);
        let seen = records.observations.first().map(|seen| seen.at.0);
        // The events of a history are due long before the load is recorded.
        let origin: UnixMicros = match (is_live, first.into_iter().chain(seen).min()) {
            (false, Some(at)) => at,
            _ => plan.start,
        };
        let lens = Lens { records, origin };
        let span = lens.span();
        let losses = report.loss_windows.iter().filter(|_| is_live).map(|window| {
            (lens.elapsed(window.from.0).max(span.0), lens.elapsed(window.until.0).min(span.1))
        });
        let losses = losses.collect();
        let mut scene =
            Self { lens, axis: TimeAxis { span, marks: Vec::new(), losses }, report, is_live };
        let marks = scene.all_marks().iter().take(MARKS_MAX);
        let marks: Vec<f64> = marks.map(|mark| scene.lens.elapsed(mark.at.0)).collect();
        for at in &marks {
            scene.axis.span = (scene.axis.span.0.min(*at), scene.axis.span.1.max(*at));
        }
        scene.axis.marks = marks;
        scene
    }

    /// Marks count even if they were set after the report was written.
    fn all_marks(&self) -> &'r [Mark] {
        let recorded = &self.lens.records.marks;
        if recorded.is_empty() { &self.report.marks } else { recorded }
    }

    pub(super) fn window(&self, window: &LossWindow) -> WindowRow {
        let at = |at: MicroTime| {
            if !self.is_live {
                return figures::moment(at);
            }
            let elapsed = figures::elapsed(self.lens.elapsed(at.0));
            format!("{elapsed} ({})", figures::time_of_day(at))
        };
        let marks: Vec<_> = window.marks.iter().map(|mark| shortened(&mark.text)).collect();
        WindowRow {
            cause: window.cause.as_str(),
            hop: hop_name(window.hop),
            from: at(window.from),
            until: at(window.until),
            events: grouped(window.events),
            marks: marks.join("; "),
        }
    }

    pub(super) fn marks(&self) -> Vec<MarkRow> {
        let marks = self.all_marks().iter().take(MARKS_MAX).enumerate();
        let row = |(index, mark): (usize, &Mark)| MarkRow {
            number: index + 1,
            elapsed: figures::elapsed(self.lens.elapsed(mark.at.0)),
            at: figures::moment(mark.at),
            text: shortened(&mark.text),
        };
        marks.map(row).collect()
    }

    pub(super) fn cards(&self) -> Vec<Card> {
        let (lens, watched) = (&self.lens, self.unwatched());
        let unsent = self.unsent();
        let mut cards = vec![
            self.card(
                "Rate against plan",
                "Events a second, each in the second in which it was due or acknowledged.",
                (Unit::Count, ValueScale::Linear, lens.rates()),
                unsent.clone(),
            ),
            self.card(
                "Webhook latency",
                "From sending to the webhook's answer, for each second, on a logarithmic scale.",
                (Unit::Milliseconds, ValueScale::Logarithmic, lens.latencies()),
                unsent,
            ),
            self.distribution(),
            self.card(
                "From due to visible in the table",
                "Of sampled events, as seen while the run was watched.",
                (Unit::Milliseconds, ValueScale::Linear, lens.end_to_end()),
                watched.clone(),
            ),
            self.card(
                "Lag",
                "Messages in the stream that the consumer has not acknowledged.",
                (Unit::Count, ValueScale::Linear, lens.lag()),
                watched.clone(),
            ),
            self.card(
                "CPU of the parts",
                "Cores kept busy.",
                (Unit::Cores, ValueScale::Linear, lens.cpu()),
                watched.clone(),
            ),
            self.card(
                "Memory of the parts",
                "Resident memory.",
                (Unit::Bytes, ValueScale::Linear, lens.memory()),
                watched,
            ),
        ];
        if !lens.records.queries.seconds.is_empty() {
            cards.extend([
                self.card(
                    "Queries",
                    "Queries a second, each in the second in which it was asked or ended.",
                    (Unit::Count, ValueScale::Linear, lens.queries()),
                    None,
                ),
                self.card(
                    "Latency of answers",
                    "The 95th percentile of each second, by scope, on a logarithmic scale.",
                    (Unit::Milliseconds, ValueScale::Logarithmic, lens.query_latencies()),
                    None,
                ),
            ]);
        }
        cards
    }

    fn card(
        &self,
        title: &'static str,
        explanation: &'static str,
        (unit, scale, series): (Unit, ValueScale, Vec<Series>),
        missing: Option<String>,
    ) -> Card {
        let series: Vec<_> = series.into_iter().filter(|it| !it.points.is_empty()).collect();
        let nothing = "What watched the run did not see this.";
        let missing = missing.or_else(|| series.is_empty().then(|| nothing.to_owned()));
        let chart = Chart { title, unit, scale, series };
        let draw = |width| over_time(&chart, &self.axis, width);
        Card::new(&chart, explanation, missing, draw)
    }

    fn distribution(&self) -> Card {
        let latencies = self.lens.records.latencies.as_ref();
        let latencies = latencies.filter(|it| !it.sent_to_acknowledged.is_empty());
        let series = |name: &str, histogram| Series {
            name: name.to_owned(),
            points: bands(histogram, BANDS_A_DECADE),
        };
        let chart = Chart {
            title: "Latencies, how often",
            unit: Unit::Share,
            scale: ValueScale::Linear,
            series: latencies.map_or(Vec::new(), |it| {
                vec![
                    series("sent to acknowledged", &it.sent_to_acknowledged),
                    series("due to acknowledged", &it.due_to_acknowledged),
                ]
            }),
        };
        let missing = latencies.is_none().then(|| match self.unsent() {
            Some(why) => why,
            None => "Not all generators have ended in order and written their histograms.".into(),
        });
        let draw = |width| distribution(&chart, BANDS_A_DECADE, width);
        let explanation = "Share of the acknowledged events, by latency on a logarithmic scale.";
        Card::new(&chart, explanation, missing, draw)
    }

    /// Why the data is missing that only a generator writes.
    fn unsent(&self) -> Option<String> {
        let why = match (self.lens.records.seconds.is_empty(), self.is_live) {
            (false, _) => return None,
            (true, true) => "No generator has written a timeline into this directory.",
            (true, false) => "A load of a history has no schedule, and records no seconds.",
        };
        Some(why.to_owned())
    }

    /// Why the data is missing that only `watch` writes.
    fn unwatched(&self) -> Option<String> {
        let is_empty = self.lens.records.observations.is_empty();
        is_empty.then(|| {
            "Nobody watched the run: start `auditstorm-verifier watch RUN` beside the generator."
                .to_owned()
        })
    }
}

impl Card {
    /// Draws a chart for wide and for narrow pages, unless data is missing.
    fn new(
        chart: &Chart,
        explanation: &'static str,
        missing: Option<String>,
        draw: impl Fn(Width) -> String,
    ) -> Self {
        let svgs = match missing {
            None => [Width::Wide, Width::Narrow].map(draw).to_vec(),
            Some(_) => Vec::new(),
        };
        Self { title: chart.title, explanation, legend: legend(chart), svgs, missing }
    }
}

fn legend(chart: &Chart) -> Vec<Legend> {
    let named = chart.series.iter().enumerate();
    named.map(|(index, it)| Legend { class: series_class(index), name: it.name.clone() }).collect()
}

const MARKS_MAX: usize = 50;

/// How many bands of the latency histogram there are for each factor of ten.
const BANDS_A_DECADE: i32 = 12;
