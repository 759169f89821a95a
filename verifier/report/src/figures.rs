//! Formats numbers for people. Pure.

use chrono::DateTime;
use events::event::MicroTime;
use plans::condition::Aggregation;
use plans::metric::Measure;

/// Formats a measured value with its unit.
pub fn measured(value: f64, aggregation: Aggregation, measure: Measure) -> String {
    match (aggregation, measure) {
        (Aggregation::Rate, _) => share(value),
        _ => of_measure(value, measure),
    }
}

/// A value in the unit of its measure.
pub fn of_measure(value: f64, measure: Measure) -> String {
    match measure {
        Measure::Time => milliseconds(value),
        Measure::Cores => cores(value),
        Measure::Bytes => bytes(value),
        Measure::Events | Measure::Queries | Measure::Messages | Measure::Requests => number(value),
    }
}

/// Formats `1234567` as `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with about three digits, or as a whole number.
pub fn number(value: f64) -> String {
    if value >= 1_000.0 {
        return grouped(whole(value));
    }
    trimmed(format!("{value:.*}", decimals(value)))
}

/// Formats a number with at most three digits, like `1.2M`.
pub fn compact(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{}{unit}", number(value / size)),
        None => number(value),
    }
}

/// Formats a time in ms.
pub fn milliseconds(value: f64) -> String {
    match value.abs() {
        1_000.0.. => format!("{} s", number(value / 1_000.0)),
        _ => format!("{} ms", number(value)),
    }
}

/// Formats a share from 0 to 1 as a percentage. A share below 1 is never rounded to 100 %, and a
/// share above 0 never to 0 %.
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    let text = trimmed(format!("{percent:.3}"));
    match text.as_str() {
        "100" if percent < 100.0 => "above 99.999 %".to_owned(),
        "0" if percent > 0.0 => "below 0.001 %".to_owned(),
        _ => format!("{text} %"),
    }
}

pub fn cores(value: f64) -> String {
    format!("{} cores", trimmed(format!("{value:.2}")))
}

pub fn bytes(value: f64) -> String {
    let units = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")];
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{} {unit}", number(value / size)),
        None => format!("{} B", number(value)),
    }
}

/// Formats seconds as `5 s`, `1:05` or `1:02:03`.
pub fn elapsed(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let all = whole(seconds.abs());
    let (hours, minutes, rest) = (all / 3_600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest} s"),
        (0, _) => format!("{sign}{minutes}:{rest:02}"),
        _ => format!("{sign}{hours}:{minutes:02}:{rest:02}"),
    }
}

/// Formats a moment, to the second.
pub fn moment(at: MicroTime) -> String {
    match DateTime::from_timestamp_micros(at.0) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "at no time".to_owned(),
    }
}

/// Formats a time of day, to the second.
pub fn time_of_day(at: MicroTime) -> String {
    match DateTime::from_timestamp_micros(at.0) {
        Some(time) => time.format("%H:%M:%S UTC").to_string(),
        None => "at no time".to_owned(),
    }
}

/// Formats a count with its noun in singular or plural: `1 event`, `2 events`.
pub fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(count))
}

/// Breaks a text into lines of at most `chars_max` characters.
pub fn wrapped(text: &str, chars_max: usize) -> String {
    let mut wrapped = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let chars = word.chars().count();
        if length > 0 {
            let fits = length + 1 + chars <= chars_max;
            wrapped.push(if fits { ' ' } else { '\n' });
            length = if fits { length + 1 } else { 0 };
        }
        wrapped.push_str(word);
        length += chars;
    }
    wrapped
}

/// Formats a part of a whole in percent, for the width of a bar.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "0".to_owned(),
        _ => format!("{:.2}", as_f64(part) / as_f64(whole) * 100.0),
    }
}

/// Cuts a text that is too long to be shown.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

const TEXT_CHARS_MAX: usize = 300;

fn decimals(value: f64) -> usize {
    match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    }
}

/// Removes trailing zeros after the decimal point.
fn trimmed(text: String) -> String {
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and what is shown is not negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Converts a count, because figures are shown and averaged as floating-point numbers.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, more than a run can have")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.25, 3.0, 12.34, 1_234.5].map(number),
            ["0", "0.25", "3", "12.3", "1,235"]
        );
        assert_eq!([5.0, 2_500.0, 1_200_000.0].map(compact), ["5", "2.5k", "1.2M"]);
        assert_eq!(
            [0.35, 87.26, 999.0, 1_530.0].map(milliseconds),
            ["0.35 ms", "87.3 ms", "999 ms", "1.53 s"]
        );
        assert_eq!([512.0, 1_536.0, 2_147_483_648.0].map(bytes), ["512 B", "1.5 KiB", "2 GiB"]);
        assert_eq!([5.0, 65.0, 3_723.0, -2.0].map(elapsed), ["5 s", "1:05", "1:02:03", "−2 s"]);
        assert_eq!([1, 2].map(|count| counted(count, "event")), ["1 event", "2 events"]);
        assert_eq!(moment(MicroTime(0)), "1970-01-01 00:00:00 UTC");
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("longer than that", 4), "longer\nthan\nthat");
    }

    #[test]
    fn a_share_that_is_not_all_is_not_shown_as_all() {
        assert_eq!([1.0, 0.999, 0.0].map(share), ["100 %", "99.9 %", "0 %"]);
        assert_eq!([0.999_999_9, 0.000_000_1].map(share), ["above 99.999 %", "below 0.001 %"]);
    }
}
