//! Durations as a person types them: `250ms`, `10s`, `2m`.

use std::time::Duration;

/// Reads a duration of whole milliseconds, seconds or minutes.
///
/// # Errors
///
/// Returns what is wrong with the text, to be shown beside it.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(format!("{text:?} is no duration; write 250ms, 10s or 2m")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(millis_per_unit))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is no duration; write 250ms, 10s or 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected_ms: Option<u64>) {
        assert_eq!(parse_duration(text).ok(), expected_ms.map(Duration::from_millis));
    }

    #[test]
    fn a_duration_is_digits_and_a_unit() {
        check("250ms", Some(250));
        check("10s", Some(10_000));
        check("2m", Some(120_000));
        check("0s", Some(0));
        check("10", None);
        check("s", None);
        check("1.5s", None);
        check("-1s", None);
        check("99999999999999999999s", None);
        check("18446744073709551615m", None);
    }
}
