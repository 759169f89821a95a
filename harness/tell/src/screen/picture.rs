//! What all screens draw alike: frames, bars, and numbers that keep to their columns. Pure.

use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::symbols::bar::NINE_LEVELS;
use ratatui::widgets::Block;
use ratatui::{Frame, Terminal};

use super::Draw;

/// Draws a frame with a title, and returns the area inside of it.
pub fn framed(frame: &mut Frame<'_>, area: Rect, title: &str) -> Rect {
    let block = Block::bordered().title(format!(" {title} ")).border_style(Color::DarkGray);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// Returns what a view looks like on a screen of some columns and rows, without colours.
pub fn as_text<View>(draw: Draw<View>, view: &View, (width, height): (u16, u16)) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, view));
    let lines = terminal.backend().buffer().content.chunks(usize::from(width).max(1));
    let text = |cells: &[Cell]| cells.iter().map(Cell::symbol).collect::<String>();
    let lines: Vec<_> = lines.map(|cells| text(cells).trim_end().to_owned() + "\n").collect();
    lines.concat()
}

/// Like `04:10`, or `1:04:10`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// At most five characters, like `99999`, `123k`, `12M`.
pub fn short(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..10_000_000 => format!("{}k", number / 1_000),
        10_000_000..10_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// At most eight characters, like `6.9 MiB`, `1023 KiB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are told")]
pub fn bytes(number: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.iter().find(|(unit, _)| number >= *unit) else {
        return format!("{number} B");
    };
    match number as f64 / *unit as f64 {
        few if few < 99.95 => format!("{few:.1} {name}"),
        many => format!("{:.0} {name}", many.floor()),
    }
}

pub fn per_second(rate: u64) -> String {
    match rate {
        0..10_000 => format!("{rate}/s"),
        10_000..1_000_000 => format!("{}k/s", rate / 1_000),
        _ => format!("{}M/s", rate / 1_000_000),
    }
}

pub fn short_ms(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// Bars in eighths of a cell.
pub const LEVELS: [&str; 9] = [
    NINE_LEVELS.empty,
    NINE_LEVELS.one_eighth,
    NINE_LEVELS.one_quarter,
    NINE_LEVELS.three_eighths,
    NINE_LEVELS.half,
    NINE_LEVELS.five_eighths,
    NINE_LEVELS.three_quarters,
    NINE_LEVELS.seven_eighths,
    NINE_LEVELS.full,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_columns() {
        for (number, expected) in [
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            ((1 << 30) - 1, "1023 MiB"),
            (1 << 30, "1.0 GiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
        for (number, expected) in [(99_999, "99999"), (100_000, "100k"), (12_345_678, "12M")] {
            assert_eq!(short(number), expected);
        }
        assert_eq!(per_second(9_999), "9999/s");
        assert_eq!(per_second(123_456), "123k/s");
        assert_eq!(clock(Duration::from_secs(3_850)), "1:04:10");
        assert_eq!(clock(Duration::from_secs(59)), "00:59");
    }
}
