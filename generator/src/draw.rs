//! Draws a view. Pure: the same view and size, the same picture.
//!
//! On 80 columns and 24 lines or more there is room for all; below that, the lines that matter
//! most are kept, and what does not fit is cut off at the right and at the bottom.

use plans::metric::{Metric, Source};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Text};
use runs::measured::{count_of_second, percentiles_of_second};
use runs::queries::QueryCounts;
use tell::screen::picture::{LEVELS, clock, framed, per_second, short, short_ms};

use crate::view::{RateView, TenantView, View};

/// Fills the frame with a view.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    if area.width < FULL_WIDTH || area.height < FULL_HEIGHT {
        let mut counts = counts(view);
        counts.truncate(COUNTS_WHERE_SMALL);
        let lines = [head(view, area.width), counts, latency(view), delays(view)];
        frame.render_widget(Text::from(lines.concat()), area);
        return;
    }
    let head = head(view, area.width);
    let rows = [
        Constraint::Length(u16::try_from(head.len()).unwrap_or(u16::MAX)),
        Constraint::Min(CHART_HEIGHT),
        Constraint::Length(8),
        Constraint::Min(7),
    ];
    let [top, middle, numbers, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Text::from(head), top);
    let chart_area = framed(frame, middle, &chart_title(view, middle.width));
    chart(frame.buffer_mut(), chart_area, &view.history);

    let columns = [Constraint::Length(LEFT_WIDTH), Constraint::Min(0)];
    let [left, right] = Layout::horizontal(columns).areas(numbers);
    let area = framed(frame, left, "events: all, last second");
    frame.render_widget(Text::from(counts(view)), area);
    let area = framed(frame, right, "last second");
    frame.render_widget(Text::from([latency(view), delays(view)].concat()), area);

    let [left, right] = Layout::horizontal(columns).areas(bottom);
    let area = framed(frame, left, "outcomes: all, last second");
    frame.render_widget(Text::from(outcomes(view)), area);
    let area = framed(frame, right, "tenants that send most");
    frame.render_widget(Text::from(tenants(&view.tenants, area.width)), area);
}

/// What runs and how far it is, and first of all whether its numbers can be trusted.
fn head(view: &View, width: u16) -> Vec<Line<'static>> {
    let share = view.elapsed.as_secs_f64() / view.duration.as_secs_f64().max(1e-6);
    let percent = (share.min(1.0) * 100.0).floor();
    let left = view.duration.saturating_sub(view.elapsed);
    let time = format!("{} of {}, {} left", clock(view.elapsed), clock(view.duration), clock(left));
    let stage = match (&view.stage, view.stopping) {
        (_, true) => "stopping: nothing new is sent, answers are awaited",
        (Some(stage), false) => stage,
        (None, false) => "all is due; answers are awaited",
    };
    let name = format!("{} to {}", view.profile, view.webhook);
    let room = usize::from(width).saturating_sub(time.len() + 1);
    let name: String = name.chars().take(room).collect();
    let stage = Line::raw(format!("{percent:>3.0} % {stage}"));
    let lines = [state(view), Line::raw(format!("{name:<room$} {time}")).bold(), stage];
    lines.into_iter().chain(queries(view)).collect()
}

/// What is asked beside the events, if anything is.
fn queries(view: &View) -> Option<Line<'static>> {
    let (all, last) = view.queries?;
    let QueryCounts { answered, failed, wrong, .. } = all;
    let (answered, failed, rate) = (short(answered), short(failed), per_second(last.answered));
    let text = format!("queries: {answered} answered, {rate}; {failed} failed, {wrong} wrong");
    let style = if wrong > 0 { Style::new().fg(Color::Red) } else { Style::new() };
    Some(Line::styled(text, style))
}

fn state(view: &View) -> Line<'static> {
    let (late, allowed) = (view.lateness_max_ms, view.lateness_allowed_ms);
    if view.saturated {
        let text = match view.so_far.unsent {
            0 => format!(
                "SATURATED: the generator was up to {late:.0} ms late; this is its own limit"
            ),
            unsent => format!("SATURATED: this machine could not begin to send {unsent} events"),
        };
        return Line::styled(text, Style::new().fg(Color::White).bg(Color::Red).bold());
    }
    let text =
        format!("on time: the generator was at most {late:.0} ms late of {allowed:.0} allowed");
    Line::styled(text, Color::Green)
}

fn counts(view: &View) -> Vec<Line<'static>> {
    let row = |metric: Metric| {
        let [all, last] =
            [&view.so_far, &view.second].map(|it| count_of_second(&metric, it).unwrap_or(0));
        let style = match metric {
            Metric::Acknowledged => Style::new().fg(Color::Green),
            Metric::Refused => Style::new().fg(Color::Red),
            Metric::Unknown => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let style = if all > 0 { style } else { Style::new() };
        let name = metric.words();
        let told = if all < SHORT_FROM { all.to_string() } else { short(all) };
        let line = format!("{name:<14}{told:>8}{:>7}", per_second(last));
        (all > 0 || metric.is_always_shown()).then(|| Line::styled(line, style))
    };
    Metric::counts().filter_map(row).collect()
}

fn latency(view: &View) -> Vec<Line<'static>> {
    let row = |metric: Metric| {
        let latency = percentiles_of_second(&metric, &view.second)?;
        let [p50, p95, p99, max] =
            [latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms].map(short_ms);
        Some(Line::raw(format!("{:<20}{p50:>6}{p95:>7}{p99:>7}{max:>7}", metric.words())))
    };
    let title = format!("{:<20}{:>6}{:>7}{:>7}{:>7}", "latency in ms", "p50", "p95", "p99", "max");
    let rows = Metric::from(Source::Latency).filter_map(row);
    std::iter::once(Line::styled(title, Modifier::DIM)).chain(rows).collect()
}

fn delays(view: &View) -> Vec<Line<'static>> {
    let second = &view.second;
    let (late, blocked) = (short_ms(second.lateness_max_ms), short_ms(second.blocked_max_ms));
    vec![
        Line::raw(format!("{} requests in flight of {}", second.in_flight, view.connections)),
        Line::raw(format!("waited up to {late} ms for us, {blocked} for the target")),
    ]
}

fn outcomes(view: &View) -> Vec<Line<'static>> {
    let rows = view.outcomes.iter().map(|outcome| {
        let (events, rate) = (short(outcome.events), short(outcome.events_per_second));
        Line::raw(format!("{:<17}{events:>6}{rate:>6}", outcome.name))
    });
    rows.collect()
}

fn tenants(tenants: &[TenantView], width: u16) -> Vec<Line<'static>> {
    let name_width = usize::from(width).saturating_sub(36);
    let row = |name: &str, numbers: [&str; 4]| {
        let name: String = name.chars().take(name_width).collect();
        let [sent, acknowledged, refused, unknown] = numbers;
        format!("{name:<name_width$}{sent:>7}{acknowledged:>13}{refused:>8}{unknown:>8}")
    };
    let title = row("tenant", ["sent/s", "acknowledged", "refused", "unknown"]);
    let rows = tenants.iter().map(|tenant| {
        let events = &tenant.events;
        let numbers = [tenant.sent_per_second, events.acknowledged, events.refused, events.unknown]
            .map(short);
        Line::raw(row(&tenant.name, numbers.each_ref().map(String::as_str)))
    });
    std::iter::once(Line::styled(title, Modifier::DIM)).chain(rows).collect()
}

fn chart_title(view: &View, width: u16) -> String {
    let (planned, acknowledged) = (view.second.planned, view.second.acknowledged);
    let seconds = seconds_per_column(view.history.len(), width.saturating_sub(2));
    format!(
        "events per second: planned ░ {planned}, acknowledged █ {acknowledged}; \
         {seconds} s a column"
    )
}

/// Draws the acknowledged rate as bars, and what is missing to the planned one above them.
fn chart(buffer: &mut Buffer, area: Rect, history: &[RateView]) {
    let seconds = seconds_per_column(history.len(), area.width);
    let most = history.iter().map(|rate| rate.planned.max(rate.acknowledged)).max();
    let most = most.unwrap_or(0).max(1) * seconds as u64;
    for (x, columns) in (area.left()..area.right()).zip(history.chunks_exact(seconds)) {
        let sum = |of: fn(&RateView) -> u64| columns.iter().map(of).sum::<u64>();
        let eighths = |events: u64| events * u64::from(area.height) * 8 / most;
        let planned = eighths(sum(|rate| rate.planned));
        let acknowledged = eighths(sum(|rate| rate.acknowledged));
        for (y, below) in (area.top()..area.bottom()).rev().zip((0..).step_by(8)) {
            let level = usize::try_from(acknowledged.saturating_sub(below).min(8)).unwrap_or(8);
            let cell = &mut buffer[(x, y)];
            if level > 0 {
                cell.set_symbol(LEVELS[level]).set_fg(Color::Green);
            } else if planned >= below + 4 {
                cell.set_symbol("░").set_fg(Color::DarkGray);
            }
        }
    }
}

/// So many that the whole history has room.
fn seconds_per_column(seconds: usize, width: u16) -> usize {
    seconds.div_ceil(usize::from(width).max(1)).max(1)
}

const FULL_WIDTH: u16 = 80;
const FULL_HEIGHT: u16 = 24;
const CHART_HEIGHT: u16 = 6;
/// More would push out when requests are late.
const COUNTS_WHERE_SMALL: usize = 5;
const LEFT_WIDTH: u16 = 31;
/// Counts from here on have no room with all their digits.
const SHORT_FROM: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tell::screen::picture::as_text;

    use super::*;
    use crate::view::tests::{BUSY, OK, tally, view_after};
    use runs::outcome::Outcome;

    fn drawn(width: u16, height: u16, view: &View) -> String {
        as_text(draw, view, (width, height))
    }

    #[track_caller]
    fn check(width: u16, height: u16, view: &View, expected: &Expect) {
        expected.assert_eq(&drawn(width, height, view));
    }

    fn busy() -> View {
        let outcomes =
            [(2, 60, OK), (1, 12, BUSY), (0, 3, Outcome::NotConnected), (1, 9, Outcome::Broken)];
        view_after(9, &tally(&outcomes))
    }

    #[test]
    fn on_80_by_24_all_is_there() {
        check(
            80,
            24,
            &busy(),
            &expect![[r#"
                on time: the generator was at most 0 ms late of 1000 allowed
                demo to http://127.0.0.1:8080/events                  00:09 of 00:20, 00:11 left
                 45 % stage 2 of 2: 10/s -> 90/s each, 3 tenants, 15s
                ┌ events per second: planned ░ 100, acknowledged █ 60; 1 s a column ───────────┐
                │░░░░░░░░░                                                                     │
                │▃▃▃▃▃▃▃▃▃                                                                     │
                │█████████                                                                     │
                │█████████                                                                     │
                └──────────────────────────────────────────────────────────────────────────────┘
                ┌ events: all, last second ───┐┌ last second ──────────────────────────────────┐
                │planned            900  100/s││latency in ms          p50    p95    p99    max│
                │attempted          756   84/s││due to acknowledged    8.2    8.2    8.2    8.2│
                │acknowledged       540   60/s││sent to acknowledged   7.0    7.0    7.0    7.0│
                │refused             27    3/s││due to sent            1.2    1.2    1.2    1.2│
                │unknown            189   21/s││0 requests in flight of 32                     │
                │requests            36    4/s││waited up to 0.0 ms for us, 0.0 for the target │
                └─────────────────────────────┘└───────────────────────────────────────────────┘
                ┌ outcomes: all, last second ─┐┌ tenants that send most ───────────────────────┐
                │200                 540    60││tenant      sent/s acknowledged refused unknown│
                │503                 108    12││2 initech       60          540       0       0│
                │connection broken    81     9││1 acme          21            0       0     189│
                │not connected        27     3││0 global         3            0      27       0│
                │                             ││                                               │
                └─────────────────────────────┘└───────────────────────────────────────────────┘
            "#]],
        );
    }

    #[test]
    fn saturation_is_told_first_in_plain_words() {
        let mut late = tally(&[(2, 100, OK)]);
        late.lateness_max_us = 1_234_000;
        let picture = drawn(80, 24, &view_after(3, &late));
        let first = picture.lines().next().unwrap();
        expect!["SATURATED: the generator was up to 1234 ms late; this is its own limit"]
            .assert_eq(first);
        let small = drawn(60, 15, &view_after(3, &late));
        assert!(small.starts_with("SATURATED: the generator was up to 1234 ms late"), "{small}");
    }

    #[test]
    fn queries_have_a_line_of_their_own_if_anybody_asks() {
        let counts =
            |answered, wrong| QueryCounts { answered, failed: 3, wrong, ..QueryCounts::default() };
        let mut view = busy();
        view.queries = Some((counts(1_234, 1), counts(56, 0)));
        for (width, height) in [(80, 24), (60, 15)] {
            let picture = drawn(width, height, &view);
            let line = picture.lines().nth(3).unwrap().trim_end();
            assert_eq!(line, "queries: 1234 answered, 56/s; 3 failed, 1 wrong", "{picture}");
        }
    }

    #[test]
    fn on_60_by_15_what_matters_most_is_there() {
        check(
            60,
            15,
            &busy(),
            &expect![[r#"
                on time: the generator was at most 0 ms late of 1000 allowed
                demo to http://127.0.0.1:8080/eve 00:09 of 00:20, 00:11 left
                 45 % stage 2 of 2: 10/s -> 90/s each, 3 tenants, 15s
                planned            900  100/s
                attempted          756   84/s
                acknowledged       540   60/s
                refused             27    3/s
                unknown            189   21/s
                latency in ms          p50    p95    p99    max
                due to acknowledged    8.2    8.2    8.2    8.2
                sent to acknowledged   7.0    7.0    7.0    7.0
                due to sent            1.2    1.2    1.2    1.2
                0 requests in flight of 32
                waited up to 0.0 ms for us, 0.0 for the target

            "#]],
        );
    }

    #[test]
    fn every_size_is_drawn_without_a_panic() {
        let mut view = busy();
        view.profile = "ü".repeat(300);
        view.second.due_to_acknowledged.max_ms = 3_600_000.0;
        view.so_far.acknowledged = u64::MAX;
        for width in [0, 1, 2, 20, 60, 79, 80, 81, 200, 500] {
            for height in [0, 1, 2, 15, 23, 24, 25, 50, 100] {
                drawn(width, height, &view);
            }
        }
    }

    #[test]
    fn on_200_by_50_no_room_is_left_unused() {
        let picture = drawn(200, 50, &busy());
        assert_eq!(picture.lines().count(), 50);
        let longest = picture.lines().map(|line| line.chars().count()).max();
        assert_eq!(longest, Some(200));
        assert!(picture.lines().last().unwrap().starts_with('└'), "{picture}");
    }
}
