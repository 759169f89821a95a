//! Draws what is seen of the pipeline. Pure: the same view and size, the same picture.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Text};
use tell::screen::picture::{LEVELS, bytes, clock, framed, per_second, short, short_ms};

use super::view::{Held, Phase, Recent, View};

/// Fills the frame with a view.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View) {
    let area = frame.area();
    if area.width < FULL_WIDTH || area.height < FULL_HEIGHT {
        let lines = [head(view, area.width), stream(view), table(view), freshness(view)];
        frame.render_widget(Text::from(lines.concat()), area);
        return;
    }
    let rows =
        [Constraint::Length(3), Constraint::Min(5), Constraint::Length(9), Constraint::Min(7)];
    let [top, middle, numbers, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Text::from(head(view, top.width)), top);
    let title = format!("rows per second █ {}", view.rates.rows);
    let chart_area = framed(frame, middle, &title);
    chart(frame.buffer_mut(), chart_area, &view.history);

    let halves = [Constraint::Percentage(50), Constraint::Min(0)];
    let [left, right] = Layout::horizontal(halves).areas(numbers);
    let area = framed(frame, left, "stream and consumer");
    frame.render_widget(Text::from(stream(view)), area);
    let area = framed(frame, right, &format!("table {}", view.table_name));
    frame.render_widget(Text::from([table(view), freshness(view)].concat()), area);

    let [left, right] = Layout::horizontal(halves).areas(bottom);
    let title = match view.held.len() {
        0 => "clocks, against ours",
        _ => "held in Vector; clocks, against ours",
    };
    let area = framed(frame, left, title);
    frame.render_widget(Text::from([held(view), clocks(view)].concat()), area);
    let area = framed(frame, right, "resources");
    frame.render_widget(Text::from(resources(view)), area);
}

/// What runs and how far it is, and first of all what must not be missed.
fn head(view: &View, width: u16) -> Vec<Line<'static>> {
    let time = format!("{} of {}", clock(view.elapsed), clock(view.duration));
    let room = usize::from(width).saturating_sub(time.len() + 1);
    let name: String = format!("watching {}", view.profile).chars().take(room).collect();
    let phase = match view.phase {
        Phase::Going => "events are sent",
        Phase::Due => "all is due; the generator still waits for answers",
        Phase::Closed => "all is sent; what was acknowledged is awaited in the table",
    };
    vec![
        alarm(view),
        Line::raw(format!("{name:<room$} {time}")).bold(),
        Line::raw(phase.to_owned()),
    ]
}

fn alarm(view: &View) -> Line<'static> {
    let loud = Style::new().fg(Color::White).bg(Color::Red).bold();
    if view.evicted_unread > 0 {
        let count = view.evicted_unread;
        let text =
            format!("LOST IN THE STREAM: {count} messages were evicted before they were read");
        return Line::styled(text, loud);
    }
    if view.silent.is_empty() {
        return Line::styled("all servers answer, and nothing was evicted unread", Color::Green);
    }
    let silent = view.silent.iter().map(|(name, since)| format!("{name} ({})", clock(*since)));
    let silent: Vec<String> = silent.collect();
    Line::styled(format!("no answer from {}", silent.join(", ")), Color::Yellow)
}

fn stream(view: &View) -> Vec<Line<'static>> {
    let Some(stream) = &view.observation.stream else {
        return vec![Line::styled("not seen", Modifier::DIM)];
    };
    let rates = &view.rates;
    let mut lines = vec![
        row("taken, last", stream.last, &per_second(rates.taken_by_stream)),
        row("held", stream.messages, &bytes(stream.bytes)),
    ];
    lines.extend(view.observation.backlog_min.map(|least| row("not yet in it, min.", least, "")));
    let Some(consumer) = &stream.consumer else {
        lines.push(Line::styled("no consumer of the name", Color::Yellow));
        return lines;
    };
    lines.extend([
        row("delivered", consumer.delivered, &per_second(rates.delivered)),
        row("acknowledged up to", consumer.ack_floor, ""),
        row("pending", consumer.pending, ""),
        row("unacknowledged", consumer.unacknowledged, &again(consumer.redelivered)),
    ]);
    lines
}

fn again(redelivered: u64) -> String {
    if redelivered > 0 { format!("{} again", short(redelivered)) } else { String::new() }
}

fn table(view: &View) -> Vec<Line<'static>> {
    let Some(table) = &view.observation.table else {
        return vec![Line::styled("not seen", Modifier::DIM)];
    };
    let most = format!("{} in one", table.parts_of_a_partition_max);
    vec![row("rows", table.rows, &per_second(view.rates.rows)), row("parts", table.parts, &most)]
}

fn freshness(view: &View) -> Vec<Line<'static>> {
    let quantiles = |name: &str, recent: &Recent| {
        let values = if recent.samples == 0 {
            ["-", "-", "-"].map(str::to_owned)
        } else {
            [recent.p50_ms, recent.p95_ms, recent.max_ms].map(short_ms)
        };
        let [p50, p95, max] = values;
        Line::raw(format!("{name:<15}{p50:>7}{p95:>7}{max:>7}"))
    };
    let fresh = &view.observation.freshness;
    let waits = format!("{} wait, the oldest for {} ms", fresh.waiting, short_ms(fresh.oldest_ms));
    vec![
        Line::styled(
            format!("{:<15}{:>7}{:>7}{:>7}", "visible in ms", "p50", "p95", "max"),
            Modifier::DIM,
        ),
        quantiles("from due", &view.due_to_visible),
        quantiles("from acknowl.", &view.acknowledged_to_visible),
        Line::raw(waits),
    ]
}

fn held(view: &View) -> Vec<Line<'static>> {
    let line = |held: &Held| {
        let (count, size) = (whole(held.events), bytes(held.buffered_bytes));
        Line::raw(format!("{:<12}{count:>9} events {size:>9}", held.part))
    };
    view.held.iter().map(line).collect()
}

fn clocks(view: &View) -> Vec<Line<'static>> {
    let line = |offset: &runs::observation::ClockOffset| {
        let (ahead, error) = (offset.offset_ms, offset.error_ms);
        // Of a Vector, only where it is: there is no room for more.
        let server = offset.server.trim_start_matches("vector ");
        let text = format!("{server:<12}{ahead:>+10.1} ms ± {error:.1}");
        let is_off = ahead.abs() - error > OFFSET_WORRY_MS;
        Line::styled(text, if is_off { Color::Yellow } else { Color::Reset })
    };
    view.observation.clocks.iter().map(line).collect()
}

fn resources(view: &View) -> Vec<Line<'static>> {
    let line = |used: &runs::observation::ResourceUse| {
        let memory = bytes(used.memory_bytes);
        Line::raw(format!("{:<17}{:>6.2} cores {memory:>8}", used.part, used.cpu_cores))
    };
    view.observation.resources.iter().map(line).collect()
}

fn row(name: &str, count: u64, note: &str) -> Line<'static> {
    Line::raw(format!("{name:<19}{:>9} {note:>8}", whole(count)))
}

/// At most nine characters.
fn whole(number: u64) -> String {
    if number < 1_000_000_000 { number.to_string() } else { short(number) }
}

/// Draws counts as bars, the newest at the right.
fn chart(buffer: &mut Buffer, area: Rect, history: &[u64]) {
    let shown = &history[history.len().saturating_sub(area.width.into())..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    for (x, rows) in (area.left()..area.right()).zip(shown) {
        let eighths = rows * u64::from(area.height) * 8 / most;
        for (y, below) in (area.top()..area.bottom()).rev().zip((0..).step_by(8)) {
            let level = usize::try_from(eighths.saturating_sub(below).min(8)).unwrap_or(8);
            if level > 0 {
                buffer[(x, y)].set_symbol(LEVELS[level]).set_fg(Color::Green);
            }
        }
    }
}

const FULL_WIDTH: u16 = 80;
const FULL_HEIGHT: u16 = 24;
const OFFSET_WORRY_MS: f64 = 10.0;

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use tell::screen::picture::as_text;

    use super::*;
    use crate::watch::view::tests::{gatherer, observation, view_after};

    fn drawn(width: u16, height: u16, view: &View) -> String {
        as_text(draw, view, (width, height))
    }

    #[test]
    fn on_80_by_24_all_is_there() {
        expect![[r#"
            all servers answer, and nothing was evicted unread
            watching demo                                                     00:09 of 00:20
            events are sent
            ┌ rows per second █ 100 ───────────────────────────────────────────────────────┐
            │ ████████                                                                     │
            │ ████████                                                                     │
            │ ████████                                                                     │
            └──────────────────────────────────────────────────────────────────────────────┘
            ┌ stream and consumer ─────────────────┐┌ table audit.audit_logs ──────────────┐
            │taken, last             1080    120/s ││rows                    1900    100/s │
            │held                    1080  1.0 MiB ││parts                     12 7 in one │
            │not yet in it, min.      270          ││visible in ms      p50    p95    max  │
            │delivered                990    110/s ││from due          1200   2500   2500  │
            │acknowledged up to       900          ││from acknowl.     1190   1190   1190  │
            │pending                   90          ││4 wait, the oldest for 900 ms         │
            │unacknowledged            90  5 again ││                                      │
            └──────────────────────────────────────┘└──────────────────────────────────────┘
            ┌ held in Vector; clocks, against ours ┐┌ resources ───────────────────────────┐
            │sidecar        429603 events   419 MiB││clickhouse         0.53 cores  900 MiB│
            │aggregator         40 events  40.0 KiB││                                      │
            │clickhouse        -0.2 ms ± 0.9       ││                                      │
            │nats             +35.0 ms ± 0.1       ││                                      │
            │                                      ││                                      │
            └──────────────────────────────────────┘└──────────────────────────────────────┘
        "#]]
        .assert_eq(&drawn(80, 24, &view_after(9)));
    }

    #[test]
    fn what_must_not_be_missed_comes_first() {
        let mut view = view_after(3);
        view.evicted_unread = 1_234;
        let loud = drawn(80, 24, &view);
        assert!(loud.starts_with("LOST IN THE STREAM: 1234 messages were evicted"), "{loud}");
        let mut gatherer = gatherer();
        let mut blind = observation(4);
        (blind.table, blind.stream) = (None, None);
        let view = gatherer.view(&blind, &["nats", "clickhouse"], Phase::Going);
        let small = drawn(60, 15, &view);
        assert!(small.starts_with("no answer from clickhouse (00:00), nats (00:00)"), "{small}");
    }

    #[test]
    fn every_size_is_drawn_without_a_panic() {
        let mut view = view_after(30);
        view.profile = "ü".repeat(300);
        for width in [0, 1, 20, 79, 80, 81, 200] {
            for height in [0, 1, 15, 23, 24, 25, 100] {
                drawn(width, height, &view);
            }
        }
    }
}
