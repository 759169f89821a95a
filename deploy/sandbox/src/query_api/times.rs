//! The times in a query: how they are read, with all quirks of the real server, and shown again.

use chrono::{DateTime, Days, FixedOffset, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

/// A time as a query gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    at: DateTime<FixedOffset>,
    /// It was written with a Z. The real server puts such times into SQL by their digits, and all
    /// others by their Unix time.
    is_zulu: bool,
}

impl Moment {
    /// A time that is not in a query.
    pub(super) fn zulu(at: DateTime<Utc>) -> Self {
        Self { at: at.fixed_offset(), is_zulu: true }
    }

    /// The exact instant.
    pub(super) fn at(&self) -> DateTime<Utc> {
        self.at.to_utc()
    }

    /// In whole seconds and with the offset that was sent, as an answer tells it.
    pub(super) fn effective(&self) -> String {
        self.at.to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Cut to whole seconds, as the real server's client writes it into SQL.
    pub(super) fn seconds_literal(&self) -> String {
        if self.is_zulu {
            format!("toDateTime('{}')", self.at.format("%Y-%m-%d %H:%M:%S"))
        } else {
            format!("toDateTime('{}')", self.at.timestamp())
        }
    }

    /// Cut to whole seconds too, but of the column's type: `ClickHouse` compares a `DateTime` with
    /// the column wrongly, because its index drops rows of the last second before it.
    pub(super) fn column_literal(&self) -> String {
        // The function takes no time before 1900, and no event is that old.
        format!("fromUnixTimestamp64Milli({})", self.at.timestamp().max(0) * 1_000)
    }
}

/// Reads an absolute or a relative time.
///
/// # Errors
///
/// Returns the real server's words for what is wrong.
pub(super) fn read_time(text: &str, now: DateTime<Utc>) -> Result<Moment, String> {
    let moment = if text.starts_with("now") {
        Moment { at: read_relative(text, now)?.fixed_offset(), is_zulu: false }
    } else {
        read_absolute(text).ok_or_else(|| {
            format!(
                "invalid time format: {text} \
                 (use RFC3339 like '2024-01-01T00:00:00Z' or relative like 'now-7d')"
            )
        })?
    };
    if moment.at() > now {
        return Err(format!(
            "time cannot be in the future: {text} (audit logs are historical records)"
        ));
    }
    Ok(moment)
}

fn read_relative(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    if text == "now" {
        return Ok(now);
    }
    let Some(ago) = text.strip_prefix("now-") else {
        return Err("relative time must start with 'now' or 'now-' (e.g., 'now-7d'). \
            Future times are not supported for audit log queries"
            .to_owned());
    };
    let Some((at, unit)) = ago.char_indices().next_back().filter(|(at, _)| *at > 0) else {
        return Err(format!("invalid duration: {ago} (must be <number><unit>, e.g., '7d', '2h')"));
    };
    let Some(count) = leading_number(&ago[..at]) else {
        return Err(format!("invalid duration value: {ago} (expected number before unit)"));
    };
    if count < 0 {
        return Err(format!("invalid duration value: {ago} (must be non-negative)"));
    }
    let before = match unit {
        's' => TimeDelta::try_seconds(count).and_then(|ago| now.checked_sub_signed(ago)),
        'm' => TimeDelta::try_minutes(count).and_then(|ago| now.checked_sub_signed(ago)),
        'h' => TimeDelta::try_hours(count).and_then(|ago| now.checked_sub_signed(ago)),
        'd' => now.checked_sub_days(Days::new(count.unsigned_abs())),
        'w' => now.checked_sub_days(Days::new(count.unsigned_abs().saturating_mul(7))),
        _ => return Err(format!("invalid duration unit: {unit} (use s, m, h, d, or w)")),
    };
    Ok(before.unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// The number before the first other character, as Go's `Sscanf` reads it: `1.5` is 1.
fn leading_number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let end = text.len() - unsigned.len() + digits;
    text[..end].parse().ok()
}

/// Reads RFC 3339 as strictly as Go: no lower-case letters, no blanks, no leap seconds.
pub(super) fn read_absolute(text: &str) -> Option<Moment> {
    const DATE_TIME: &[u8; 19] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    if bytes.len() < 20 || !bytes.iter().zip(DATE_TIME).all(fits) || &bytes[17..19] == b"60" {
        return None;
    }
    let zone = bytes[19..].iter().position(|byte| matches!(byte, b'Z' | b'+' | b'-'))? + 19;
    let fraction = &bytes[19..zone];
    let is_fraction = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if !fraction.is_empty() && (!matches!(fraction[0], b'.' | b',') || !is_fraction(&fraction[1..]))
    {
        return None;
    }
    if &bytes[zone..] == b"Z" {
        let fraction = text[19..zone].replace(',', ".");
        let naive = format!("{}{fraction}", &text[..19]);
        let naive = NaiveDateTime::parse_from_str(&naive, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        return Some(Moment::zulu(naive.and_utc()));
    }
    let at = DateTime::parse_from_rfc3339(&text.replace(',', ".")).ok()?;
    Some(Moment { at, is_zulu: false })
}

/// A time as Go marshals it: with as many decimals as it needs.
pub(super) fn to_go_text(at: DateTime<Utc>) -> String {
    let text = at.format("%Y-%m-%dT%H:%M:%S%.9f").to_string();
    format!("{}Z", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A duration as Go prints it: `720h0m1s`.
pub(super) fn go_duration(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = format!("{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{seconds}{point}{fraction}s");
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-29T02:06:10.25Z".parse().unwrap()
    }

    #[track_caller]
    fn check(text: &str, effective: &str, literal: &str) {
        let moment = read_time(text, now()).unwrap();
        assert_eq!(moment.effective(), effective);
        assert_eq!(moment.seconds_literal(), literal);
    }

    #[test]
    fn times_are_read_with_all_quirks() {
        check("now", "2026-11-29T02:06:10Z", "toDateTime('1795917970')");
        check("now-1.5h", "2026-11-29T01:06:10Z", "toDateTime('1795914370')");
        check("now-90m", "2026-11-29T00:36:10Z", "toDateTime('1795912570')");
        check("now-1w", "2026-11-22T02:06:10Z", "toDateTime('1795313170')");
        check(
            "2026-11-28T12:00:00.999999999Z",
            "2026-11-28T12:00:00Z",
            "toDateTime('2026-11-28 12:00:00')",
        );
        check("2026-11-28T12:00:00+02:00", "2026-11-28T12:00:00+02:00", "toDateTime('1795860000')");
        check("2026-11-28T10:00:00+00:00", "2026-11-28T10:00:00Z", "toDateTime('1795860000')");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "toDateTime('0001-01-01 00:00:00')");
    }

    #[test]
    fn a_time_that_go_would_not_read_is_refused() {
        for text in ["NOW", "2026-11-28", "2026-11-28t12:00:00Z", "2026-11-28T12:00:00z", ""] {
            let error = read_time(text, now()).unwrap_err();
            assert!(error.starts_with("invalid time format: "), "{text}: {error}");
        }
        for text in [
            "2026-11-28 12:00:00Z",
            "2026-11-28T12:00:60Z",
            "2026-13-28T12:00:00Z",
            "2026-11-28T12:00:00.Z",
            "2026-11-28T12:00:00Zx",
            "2026-11-28T1:00:00ZZZ",
        ] {
            assert_eq!(read_absolute(text), None, "{text}");
        }
        let error = read_time("2026-11-29T02:06:10.5Z", now()).unwrap_err();
        assert!(error.starts_with("time cannot be in the future: "), "{error}");
    }

    #[test]
    fn durations_are_printed_as_gos() {
        let print = |millis| go_duration(TimeDelta::milliseconds(millis));
        assert_eq!(print(2_678_400_000), "744h0m0s");
        assert_eq!(print(2_592_000_500), "720h0m0.5s");
        assert_eq!(print(61_000), "1m1s");
        assert_eq!(print(2_000), "2s");
    }

    #[test]
    fn no_decimal_is_written_that_is_not_needed() {
        assert_eq!(to_go_text(now()), "2026-11-29T02:06:10.25Z");
        assert_eq!(to_go_text("2026-11-29T02:06:10Z".parse().unwrap()), "2026-11-29T02:06:10Z");
    }
}
