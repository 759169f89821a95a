//! Formats moments quickly, as `2006-01-02T15:04:05.000000Z`.

use crate::timeline::UnixMicros;

/// Appends a moment in the format of Kubernetes' `MicroTime`. A moment before 1970 becomes the
/// start of 1970.
pub(crate) fn write_time(at: UnixMicros, bytes: &mut Vec<u8>) {
    let at = u64::try_from(at).unwrap_or(0);
    let (seconds, micros) = (at / 1_000_000, narrow(at % 1_000_000));
    let (days, second) = (narrow(seconds / 86_400), narrow(seconds % 86_400));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, number: u32| {
        text[at..at + 2].copy_from_slice(&PAIRS[usize::try_from(number % 100).expect("small")]);
    };
    put(0, year / 100);
    put(2, year);
    put(5, month);
    put(8, day);
    put(11, second / 3_600);
    put(14, second / 60 % 60);
    put(17, second % 60);
    put(20, micros / 10_000);
    put(22, micros / 100);
    put(24, micros);
    bytes.extend_from_slice(&text);
}

/// Does the same for a moment shortly after `earlier`, which is already written at `bytes[at..]`.
pub(crate) fn write_later_time(
    later: UnixMicros,
    earlier: UnixMicros,
    at: usize,
    bytes: &mut Vec<u8>,
) {
    let (Ok(unsigned), Ok(before)) = (u64::try_from(later), u64::try_from(earlier)) else {
        return write_time(later, bytes);
    };
    if unsigned / 1_000_000 != before / 1_000_000 {
        return write_time(later, bytes);
    }
    bytes.extend_from_within(at..at + "2006-01-02T15:04:05.".len());
    let micros = narrow(unsigned % 1_000_000);
    let mut text = *b"000000Z";
    for (pair, number) in text.chunks_exact_mut(2).zip([micros / 10_000, micros / 100, micros]) {
        pair.copy_from_slice(&PAIRS[usize::try_from(number % 100).expect("small")]);
    }
    bytes.extend_from_slice(&text);
}

/// Returns year, month and day for a number of days since 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(days: u32) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("days and parts of days are few")
}

/// The two digits of every number below 100.
static PAIRS: [[u8; 2]; 100] = {
    let mut table = [[b'0'; 2]; 100];
    let mut number = 0;
    let mut pair = [b'0'; 2];
    while number < 100 {
        table[number] = pair;
        pair[1] += 1;
        if pair[1] > b'9' {
            pair = [pair[0] + 1, b'0'];
        }
        number += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_written_as_chrono_writes_them(at in 0i64..4_000_000_000_000_000) {
            let mut bytes = Vec::new();
            write_time(at, &mut bytes);
            let expected = DateTime::from_timestamp_micros(at).expect("in range");
            let expected = expected.to_rfc3339_opts(SecondsFormat::Micros, true);
            prop_assert_eq!(String::from_utf8(bytes).expect("ASCII"), expected);
        }

        #[test]
        fn later_times_are_written_as_any(
            at in 0i64..4_000_000_000_000_000, after in 0i64..3_000_000,
        ) {
            let (mut both, mut later) = (Vec::new(), Vec::new());
            write_time(at, &mut both);
            write_later_time(at + after, at, 0, &mut both);
            write_time(at + after, &mut later);
            prop_assert_eq!(&both[27..], &later[..]);
        }
    }
}
