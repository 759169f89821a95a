//! Draws charts as SVG that takes its colours from the page. Pure.
//!
//! Plotters writes colours into every element. So each element is drawn in a colour that stands for
//! a role, and the colour is then replaced by a class. The style sheet of the page gives each class
//! its colours, for light and for dark mode.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::figures;
use crate::render::series::{Series, thinned, unbroken};

/// The contents of a chart, without its size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) scale: ValueScale,
    pub(crate) series: Vec<Series>,
}

/// The unit of the values, which decides how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Milliseconds,
    Cores,
    Bytes,
    Share,
}

/// How values are mapped to heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueScale {
    /// Linear, beginning at zero.
    Linear,
    Logarithmic,
}

/// What all charts over time have in common.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeAxis {
    /// Start and end, in seconds.
    pub(crate) span: (f64, f64),
    /// Times of marks, in seconds. They are drawn as vertical lines, numbered from 1.
    pub(crate) marks: Vec<f64>,
    /// When events were lost. These periods are shaded.
    pub(crate) losses: Vec<(f64, f64)>,
}

/// Each chart is drawn twice, for wide and for narrow screens, because labels would be unreadable
/// if a wide chart were scaled down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Wide,
    Narrow,
}

impl Width {
    fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (1_000, 220),
            Self::Narrow => (360, 200),
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        }
    }

    /// Into how many parts a chart divides its time. It shows the lowest and the highest value of
    /// each.
    fn parts(self) -> usize {
        match self {
            Self::Wide => 300,
            Self::Narrow => 150,
        }
    }

    fn ticks(self) -> f64 {
        match self {
            Self::Wide => 12.0,
            Self::Narrow => 5.0,
        }
    }
}

/// Draws values over time.
pub(crate) fn over_time(chart: &Chart, axis: &TimeAxis, width: Width) -> String {
    let (from, to) = axis.span;
    let x = Ticked { from, to, ticks: time_ticks(axis.span, width.ticks()) };
    let values = chart.series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let (y, height) = value_axis(values, chart.unit, chart.scale);
    let gap_max = ((to - from) / as_f64(width.parts()) * 3.0).max(GAP_SECONDS_MAX);
    let frame = Frame { title: chart.title, width, x_label: &figures::elapsed, unit: chart.unit };
    frame.draw(x, y, chart.scale, |it| {
        for &(from, until) in &axis.losses {
            // Even a very short window must be visible.
            let until = until.max(from + (axis.span.1 - axis.span.0) / 400.0);
            it.draw_series([Rectangle::new(
                [(from, height.start), (until, height.end)],
                LOSS.mix(0.25).filled(),
            )])?;
        }
        for (index, series) in chart.series.iter().enumerate() {
            let points: Vec<_> = thinned(&series.points, width.parts())
                .into_iter()
                .map(|(at, value)| (at, chart.scale.height(value)))
                .collect();
            for line in unbroken(&points, gap_max) {
                if let [alone] = line[..] {
                    it.draw_series([Circle::new(alone, 2, series_colour(index).filled())])?;
                } else {
                    let width = if series.points.len() > width.parts() { 1 } else { 2 };
                    let style = series_colour(index).stroke_width(width);
                    it.draw_series(LineSeries::new(line, style))?;
                }
            }
        }
        for (index, at) in axis.marks.iter().enumerate() {
            let line = [(*at, height.start), (*at, height.end)];
            it.draw_series([PathElement::new(line.to_vec(), MARK.stroke_width(1))])?;
            let style = ("sans-serif", 15, FontStyle::Bold).into_font().color(&MARK);
            let label = Text::new((index + 1).to_string(), (-4, -17), style);
            it.draw_series([EmptyElement::at((*at, height.end)) + label])?;
        }
        Ok(())
    })
}

/// Draws the distribution of latencies: the share of events in each band, over a logarithmic axis
/// in ms.
pub(crate) fn distribution(chart: &Chart, a_decade: i32, width: Width) -> String {
    let all = || chart.series.iter().flat_map(|series| &series.points);
    let step = 1.0 / f64::from(a_decade);
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), (ms, _)| {
        (low.min(ms.log10()), high.max(ms.log10() + step))
    });
    let x = Ticked { from: low, to: high, ticks: decades(low, high) };
    let (y, _) = value_axis(all().map(|(_, share)| *share), chart.unit, ValueScale::Linear);
    let label = |power: f64| figures::milliseconds(10f64.powf(power));
    let frame = Frame { title: chart.title, width, x_label: &label, unit: chart.unit };
    frame.draw(x, y, ValueScale::Linear, |it| {
        for (index, series) in chart.series.iter().enumerate() {
            let colour = series_colour(index);
            let bar = |&(ms, share): &(f64, f64)| {
                let from = ms.log10();
                Rectangle::new([(from, 0.0), (from + step, share)], colour.mix(0.45).filled())
            };
            it.draw_series(series.points.iter().map(bar))?;
        }
        Ok(())
    })
}

/// If records are further apart than this, the line is interrupted.
const GAP_SECONDS_MAX: f64 = 10.0;

/// Title, axes and labels of a chart.
struct Frame<'f> {
    title: &'f str,
    width: Width,
    x_label: &'f dyn Fn(f64) -> String,
    unit: Unit,
}

type Plane<'d> = ChartContext<'d, SVGBackend<'d>, Cartesian2d<Ticked, Ticked>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

impl Frame<'_> {
    fn draw(
        &self,
        x: Ticked,
        y: Ticked,
        scale: ValueScale,
        draw: impl FnOnce(&mut Plane<'_>) -> Drawn,
    ) -> String {
        let mut svg = String::new();
        self.draw_into(&mut svg, (x, y), scale, draw).expect("memory takes what is drawn into it");
        self.restyled(&svg)
    }

    fn draw_into(
        &self,
        svg: &mut String,
        (x, y): (Ticked, Ticked),
        scale: ValueScale,
        draw: impl FnOnce(&mut Plane<'_>) -> Drawn,
    ) -> Drawn {
        let area = SVGBackend::with_string(svg, self.width.size()).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(18)
            .margin_right(30)
            .margin_bottom(2)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        let y_label = |height: &f64| self.unit.label(scale.value(*height));
        chart
            .configure_mesh()
            .disable_x_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 15, &TEXT))
            .x_label_formatter(&|at| (self.x_label)(*at))
            .y_label_formatter(&y_label)
            .draw()?;
        draw(&mut chart)?;
        drop(chart);
        area.present()
    }

    /// Replaces colours by classes, and the fixed size in pixels by one that adapts to the page.
    fn restyled(&self, svg: &str) -> String {
        let (width, height) = self.width.size();
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        let mut text = format!(
            "<svg class=\"{}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{title}\"><title>{title}</title>{body}",
            self.width.class(),
            title = self.title,
        );
        for (colour, class) in roles() {
            let colour = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
            text = text
                .replace(&format!("stroke=\"{colour}\""), &format!("class=\"s-{class}\""))
                .replace(&format!("fill=\"{colour}\""), &format!("class=\"f-{class}\""));
        }
        for idle in [" opacity=\"1\"", " font-family=\"sans-serif\"", " stroke=\"none\""] {
            text = text.replace(idle, "");
        }
        text.replace(" \"/>", "\"/>").replace("\">\n", "\">").replace("\n</text>", "</text>")
    }
}

// These colours stand for roles. None of them is ever shown.
const TEXT: RGBColor = RGBColor(0, 0, 1);
const GRID: RGBColor = RGBColor(0, 0, 2);
const LOSS: RGBColor = RGBColor(0, 0, 3);
const MARK: RGBColor = RGBColor(0, 0, 4);
const SERIES_MAX: u8 = 8;

/// The class of a series. If there are more series than colours, the colours repeat.
pub(crate) fn series_class(index: usize) -> String {
    format!("c{}", index % usize::from(SERIES_MAX))
}

fn series_colour(index: usize) -> RGBColor {
    let colour = u8::try_from(index % usize::from(SERIES_MAX)).expect("it is a remainder");
    RGBColor(0, 1, colour)
}

fn roles() -> impl Iterator<Item = (RGBColor, String)> {
    let plain = [(TEXT, "text"), (GRID, "grid"), (LOSS, "loss"), (MARK, "mark")];
    let plain = plain.map(|(colour, class)| (colour, class.to_owned()));
    let series = (0..usize::from(SERIES_MAX)).map(|it| (series_colour(it), series_class(it)));
    plain.into_iter().chain(series)
}

/// A linear axis with ticks that the caller has chosen.
#[derive(Debug, Clone, PartialEq)]
struct Ticked {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Ranged for Ticked {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.from..self.to).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Ticked {
    fn format(value: &f64) -> String {
        figures::number(*value)
    }
}

impl ValueScale {
    fn height(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        }
    }

    fn value(self, height: f64) -> f64 {
        match self {
            Self::Linear => height,
            Self::Logarithmic => 10f64.powf(height),
        }
    }
}

impl Unit {
    fn label(self, value: f64) -> String {
        match self {
            Self::Count => figures::compact(value),
            Self::Milliseconds => figures::milliseconds(value),
            Self::Cores => figures::number(value),
            Self::Bytes => figures::bytes(value),
            Self::Share => figures::share(value),
        }
    }
}

/// Returns an axis on which all values fit, and its range.
fn value_axis(
    values: impl Iterator<Item = f64>,
    unit: Unit,
    scale: ValueScale,
) -> (Ticked, Range<f64>) {
    let (low, high) =
        values.fold((f64::MAX, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let (from, to, ticks) = match scale {
        ValueScale::Linear => {
            let step = round_step(high / 4.0, unit);
            let to = (high * 1.05).max(step);
            (0.0, to, multiples(step, 0.0, to))
        }
        ValueScale::Logarithmic => {
            let from = scale.height(low.min(high)).max(-3.0).floor();
            let to = scale.height(high).ceil().max(from + 1.0);
            (from, to, decades(from, to))
        }
    };
    (Ticked { from, to, ticks }, from..to)
}

/// Returns the smallest round number that is at least `least`.
fn round_step(least: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes {
        return least.max(1.0).log2().ceil().exp2();
    }
    let least = if least > 0.0 { least } else { 1.0 };
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= least * 0.999).unwrap_or(least)
}

/// Returns at most `most` ticks for a time axis, at round times.
fn time_ticks((from, to): (f64, f64), most: f64) -> Vec<f64> {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
        7_200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
    ];
    let step = steps.into_iter().find(|step| (to - from) / step <= most);
    multiples(step.unwrap_or((to - from) / most), from, to)
}

/// Returns the powers of ten within bounds that are powers of ten themselves. If there are fewer
/// than two, it returns round numbers between them.
fn decades(from: f64, to: f64) -> Vec<f64> {
    let whole = multiples(1.0, from, to);
    if whole.len() > 1 {
        return whole;
    }
    let (from, to) = (10f64.powf(from), 10f64.powf(to));
    let step = round_step((to - from) / 4.0, Unit::Milliseconds);
    multiples(step, from, to).into_iter().filter(|it| *it > 0.0).map(f64::log10).collect()
}

fn multiples(step: f64, from: f64, to: f64) -> Vec<f64> {
    let first = (from / step - 1e-9).ceil();
    let ticks = (0..TICKS_MAX).map(|index| (first + f64::from(index)) * step);
    ticks.take_while(|tick| *tick <= to + step * 1e-9).collect()
}

const TICKS_MAX: u32 = 50;

#[expect(clippy::cast_precision_loss, reason = "some hundred")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: ValueScale, points: &[(f64, f64)]) -> Chart {
        let series = Series { name: "p95".to_owned(), points: points.to_vec() };
        Chart { title: "Latency", unit: Unit::Milliseconds, scale, series: vec![series] }
    }

    fn axis(to: f64) -> TimeAxis {
        TimeAxis { span: (0.0, to), marks: vec![to / 2.0], losses: vec![(1.0, 1.0)] }
    }

    #[test]
    fn a_chart_has_no_colour_size_or_address_of_its_own() {
        let points: Vec<_> = (1..60).map(|at| (f64::from(at), f64::from(at) * 3.0)).collect();
        for scale in [ValueScale::Linear, ValueScale::Logarithmic] {
            let svg = over_time(&chart(scale, &points), &axis(60.0), Width::Wide);
            assert!(svg.starts_with("<svg class=\"wide\" viewBox=\"0 0 1000 220\" role=\"img\""));
            for class in ["s-c0", "f-text", "s-grid", "f-loss", "s-mark", "f-mark"] {
                assert!(svg.contains(&format!("class=\"{class}\"")), "no {class}: {svg}");
            }
            for never in ["=\"#", "http", "width=\"1000", "font-family", "NaN"] {
                assert!(!svg.contains(never), "{never} in {svg}");
            }
        }
    }

    #[test]
    fn what_is_flat_zero_alone_or_empty_can_be_drawn() {
        for points in [&[][..], &[(1.0, 0.0)], &[(1.0, 0.0), (2.0, 0.0)], &[(5.0, 7.0)]] {
            for scale in [ValueScale::Linear, ValueScale::Logarithmic] {
                let svg = over_time(&chart(scale, points), &axis(10.0), Width::Narrow);
                assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
            }
        }
        let svg = distribution(&chart(ValueScale::Linear, &[(3.0, 1.0)]), 10, Width::Wide);
        assert!(svg.contains("class=\"f-c0\""), "{svg}");
    }

    #[test]
    fn an_hour_has_few_points_in_little_text() {
        let points: Vec<_> = (0..3_600).map(|at| (f64::from(at), f64::from(at % 97))).collect();
        let svg = over_time(&chart(ValueScale::Linear, &points), &axis(3_600.0), Width::Wide);
        assert!(svg.len() < 12_000, "{} bytes", svg.len());
        for label in ["5:00", "30:00", "1:00:00"] {
            assert!(svg.contains(label), "{label} in {svg}");
        }
    }

    #[test]
    fn ticks_are_at_numbers_that_people_count_in() {
        let count = |high| value_axis([high].into_iter(), Unit::Count, ValueScale::Linear).0.ticks;
        assert_eq!(count(1_000.0), [0.0, 250.0, 500.0, 750.0, 1_000.0]);
        assert_eq!(count(0.0), [0.0, 1.0]);
        let bytes = value_axis([3e9].into_iter(), Unit::Bytes, ValueScale::Linear).0.ticks;
        assert_eq!(
            bytes.iter().map(|it| figures::bytes(*it)).collect::<Vec<_>>(),
            ["0 B", "1 GiB", "2 GiB"]
        );
        assert_eq!(time_ticks((0.0, 30.0), 5.0), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(time_ticks((-2.0, 95.0), 4.0), [0.0, 30.0, 60.0, 90.0]);
    }
}
