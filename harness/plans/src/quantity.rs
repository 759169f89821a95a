//! Durations, rates and counts as users write them, and ramps between two values.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::DateTime;
use events::identity::TENANTS_MAX;
use events::timeline::UnixMicros;

/// A duration as users write it: above zero, at most 366 days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Micros(u64);

impl Micros {
    pub const fn of_seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000)
    }

    pub const fn of_us(micros: u64) -> Self {
        Self(micros)
    }

    /// The duration in µs.
    pub fn us(self) -> u64 {
        self.0
    }
}

impl FromStr for Micros {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

/// Writes the duration in the largest unit in which it is a whole number.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(micros) = *self;
        let units = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
        match units.iter().find(|(unit_us, _)| micros.is_multiple_of(*unit_us)) {
            Some((unit_us, unit)) => write!(f, "{}{unit}", micros / unit_us),
            None => write!(f, "{}.{:03}ms", micros / 1_000, micros % 1_000),
        }
    }
}

/// A rate that stays the same, or changes in a straight line: `100/s`, or `100/s -> 1000/s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateRamp {
    start_milli: u64,
    end_milli: u64,
}

impl RateRamp {
    /// Makes a rate that stays the same, in events per second.
    pub fn flat(per_second: u32) -> Self {
        Self::flat_milli(u64::from(per_second) * 1_000)
    }

    /// The same in thousandths of an event per second.
    pub fn flat_milli(milli: u64) -> Self {
        Self { start_milli: milli, end_milli: milli }
    }

    /// Thousandths of an event per second, at the start and at the end.
    pub fn milli(self) -> (u64, u64) {
        (self.start_milli, self.end_milli)
    }
}

impl FromStr for RateRamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start_milli, end_milli) = parse_ramp(text, parse_rate)?;
        Ok(Self { start_milli, end_milli })
    }
}

impl fmt::Display for RateRamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |milli: u64| match milli % 1_000 {
            0 => format!("{}/s", milli / 1_000),
            rest => format!("{}.{rest:03}/s", milli / 1_000),
        };
        write_ramp(f, self.milli(), told)
    }
}

/// A number of tenants that stays the same, or changes in a straight line: `50`, or `50 -> 200`.
/// There is at least one tenant at the start or at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantsRamp {
    start: u32,
    end: u32,
}

impl TenantsRamp {
    /// Makes a number that stays the same.
    pub fn flat(tenants: u32) -> Self {
        Self { start: tenants, end: tenants }
    }

    /// The numbers at the start and at the end.
    pub fn ends(self) -> (u32, u32) {
        (self.start, self.end)
    }

    /// The larger of the two numbers.
    pub fn most(self) -> u32 {
        self.start.max(self.end)
    }
}

impl FromStr for TenantsRamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse_ramp(text, parse_tenants)? {
            (0, 0) => Err("a stage needs at least one tenant".to_owned()),
            (start, end) => Ok(Self { start, end }),
        }
    }
}

impl fmt::Display for TenantsRamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ramp(f, self.ends(), |tenants| tenants.to_string())
    }
}

/// A number of users that stays the same, or changes in a straight line: `500`, or `0 -> 500`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsersRamp {
    start: u32,
    end: u32,
}

impl UsersRamp {
    /// The numbers at the start and at the end.
    pub fn ends(self) -> (u32, u32) {
        (self.start, self.end)
    }

    /// The larger of the two numbers.
    pub fn most(self) -> u32 {
        self.start.max(self.end)
    }
}

impl FromStr for UsersRamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, end) = parse_ramp(text, parse_users)?;
        Ok(Self { start, end })
    }
}

impl fmt::Display for UsersRamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ramp(f, self.ends(), |users| users.to_string())
    }
}

fn parse_users(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Err(_) => Err(format!("{text:?} is no number of users: write a whole number, like 50")),
        Ok(count) if count < 0 => Err(format!("{text:?} is negative")),
        Ok(count) => u32::try_from(count)
            .ok()
            .filter(|count| *count <= USERS_MAX)
            .ok_or_else(|| format!("{count} users are more than {USERS_MAX}")),
    }
}

/// The most users that ask at once.
pub const USERS_MAX: u32 = 10_000;

/// A share from 0 to 1, like `0.01`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Share(f64);

impl Share {
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(share @ 0.0..=1.0) => Ok(Self(share)),
            Ok(share) if share < 0.0 => Err("lower than 0".to_owned()),
            Ok(share) if share > 1.0 => Err("greater than 1".to_owned()),
            _ => Err("write a share between 0 and 1, like 0.01".to_owned()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

fn write_ramp<T: Copy + PartialEq>(
    f: &mut fmt::Formatter<'_>,
    (start, end): (T, T),
    told: impl Fn(T) -> String,
) -> fmt::Result {
    f.write_str(&told(start))?;
    if start == end { Ok(()) } else { write!(f, " -> {}", told(end)) }
}

/// Reads a duration like `500ms`, `30s` or `1h30m`, in µs. It must be above zero and at most 366
/// days.
///
/// # Errors
///
/// Returns what is wrong, as a message for the user.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("{text:?} is no duration: write numbers with units, like 500ms, 30s, 15m or 1h30m")
    };
    let mut rest = text.trim();
    let mut total_us = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit_us = match unit {
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ if number.is_empty() && unit.starts_with('-') => {
                return Err(format!("{text:?} is negative"));
            }
            _ => return Err(wrong()),
        };
        let milli = parse_milli(number).ok_or_else(wrong)?;
        let part = milli.checked_mul(unit_us / 1_000).ok_or_else(wrong)?;
        total_us = total_us.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    match total_us {
        0 if text.trim().is_empty() => Err(wrong()),
        0 => Err("write a duration above zero".to_owned()),
        1..=YEAR_US => Ok(total_us),
        _ => Err(format!("{text:?} is longer than a year")),
    }
}

/// Reads a rate like `100/s`, `6000/min` or `20/h`, in thousandths of an event per second,
/// rounded down; at most a million a second.
///
/// # Errors
///
/// Returns what is wrong, as a message for the user.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no rate: write a number and a unit, like 100/s, 6000/min or 20/h");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit.trim() {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    if number.trim_start().starts_with('-') {
        return Err(format!("{text:?} is negative"));
    }
    let milli = parse_milli(number.trim()).ok_or_else(wrong)?;
    match milli / seconds {
        0 if milli > 0 => Err(format!("{text:?} is less than 0.001/s")),
        rate @ 0..=RATE_MILLI_MAX => Ok(rate),
        _ => Err(format!("{text:?} is more than 1000000/s for one tenant")),
    }
}

/// Reads a count of tenants.
///
/// # Errors
///
/// Returns what is wrong, as a message for the user.
pub fn parse_tenants(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Err(_) => Err(format!("{text:?} is no number of tenants: write a whole number, like 50")),
        Ok(count) if count < 0 => Err(format!("{text:?} is negative")),
        Ok(count) => {
            u32::try_from(count).ok().filter(|count| *count <= TENANTS_MAX).ok_or_else(|| {
                format!("{count} tenants are more than the {TENANTS_MAX} that a run can have")
            })
        }
    }
}

/// Reads a count that may be large, for the command line: `1000000`.
///
/// # Errors
///
/// Returns how to write it, as a message for the user.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Err(_) if is_whole => Err(format!("{text} is too large")),
        count => count.map_err(|_| "write a whole number, like 1000000".to_owned()),
    }
}

/// Reads one value, or two with `->` between them.
fn parse_ramp<T: Copy>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, T), String> {
    match text.split_once("->") {
        None => parse(text.trim()).map(|value| (value, value)),
        Some((first, last)) => Ok((parse(first.trim())?, parse(last.trim())?)),
    }
}

/// The highest rate of one tenant, in thousandths of an event per second.
pub const RATE_MILLI_MAX: u64 = 1_000_000_000;
const YEAR_US: u64 = 366 * 86_400_000_000;

/// Reads a decimal number with at most three digits after the point, in thousandths.
pub fn parse_milli(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 3 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)
}

/// Reads a duration as a flag's value: [`parse_duration`] as a [`Duration`].
///
/// # Errors
///
/// Returns what is wrong, as a message for the user.
pub fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).map(Duration::from_micros)
}

/// Reads a number of bytes, for the command line: `2GiB`, `512MiB`, or a plain number.
///
/// # Errors
///
/// Returns what is wrong, as a message for the user.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let size = SIZES.iter().find(|(name, _)| *name == unit.trim()).map(|(_, size)| *size);
    let bytes = number.parse::<u64>().ok().zip(size).and_then(|(n, size)| n.checked_mul(size));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size: write it like 2GiB"))
}

/// The units of sizes, in bytes. `2GB` and `2G` are none: some mean powers of ten by them and some
/// powers of two. The crate `bytesize` takes both.
pub(crate) const SIZES: [(&str, u64); 6] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a time like `2026-01-31T12:00:00Z`, with or without fractions of a second.
///
/// # Errors
///
/// Returns how to write it, as a message for the user.
pub fn parse_moment(text: &str) -> Result<UnixMicros, String> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.timestamp_micros())
        .filter(|time| (YEAR_1971_US..YEAR_9999_US).contains(time))
        .ok_or_else(|| "write it like 2026-01-31T12:00:00Z, from 1971 to 9998".to_owned())
}

const YEAR_1971_US: UnixMicros = 31_536_000_000_000;
pub(crate) const YEAR_9999_US: UnixMicros = 253_370_764_800_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let check = |text, expected| assert_eq!(parse_duration(text).ok(), expected, "{text}");
        check("30s", Some(30_000_000));
        check("500ms", Some(500_000));
        check("1h30m", Some(5_400_000_000));
        check("1.5s", Some(1_500_000));
        check("90d", Some(90 * 86_400_000_000));
        check("-1s", None);
        check("0s", None);
        check("", None);
        check("10", None);
        check("s", None);
        check("400d", None);
    }

    #[test]
    fn sizes() {
        let check = |text, expected| assert_eq!(parse_bytes(text).ok(), expected, "{text}");
        check("2GiB", Some(2 << 30));
        check("512 MiB", Some(512 << 20));
        check("100", Some(100));
        check("0", None);
        check("2GB", None);
        check("99999999999GiB", None);
    }

    #[test]
    fn rates() {
        let check = |text, expected| assert_eq!(parse_rate(text).ok(), expected, "{text}");
        check("100/s", Some(100_000));
        check("0.5/s", Some(500));
        check("6000/min", Some(100_000));
        check("20/h", Some(5));
        check("1/h", None);
        check("0/s", Some(0));
        check("1000001/s", None);
        check("100", None);
        check("100/day", None);
        check("1e3/s", None);
        check("-1/s", None);
    }

    #[test]
    fn counts() {
        let check = |text, expected: Result<u64, &str>| {
            assert_eq!(parse_count(text), expected.map_err(str::to_owned), "{text}");
        };
        check("1000000", Ok(1_000_000));
        for wrong in ["1e6", "1_000", "1.5", "-1", ""] {
            check(wrong, Err("write a whole number, like 1000000"));
        }
        check("99999999999999999999", Err("99999999999999999999 is too large"));
    }

    #[test]
    fn ramps() {
        assert_eq!(parse_ramp("50 -> 200", parse_tenants), Ok((50, 200)));
        assert_eq!(parse_ramp("50", parse_tenants), Ok((50, 50)));
        assert!(parse_ramp("50 -> ", parse_tenants).is_err());
        assert_eq!("0 -> 200".parse(), Ok(TenantsRamp { start: 0, end: 200 }));
        assert!("0 -> 0".parse::<TenantsRamp>().is_err());
        assert_eq!("60/min -> 0.5/s".parse::<RateRamp>().unwrap().milli(), (1_000, 500));
    }

    #[test]
    fn values_are_told_in_one_spelling() {
        let check = |text: &str, told: &str| {
            assert_eq!(text.parse::<Micros>().unwrap().to_string(), told);
        };
        check("1h30m", "90m");
        check("2h", "2h");
        check("1.5s", "1500ms");
        check("1.050ms", "1.050ms");
        let rate: RateRamp = "30/min -> 1000/s".parse().unwrap();
        assert_eq!(rate.to_string(), "0.500/s -> 1000/s");
        assert_eq!("50->50".parse::<TenantsRamp>().unwrap().to_string(), "50");
    }

    #[track_caller]
    fn is_read_again<T>(value: T) -> Result<(), TestCaseError>
    where
        T: FromStr<Err = String> + fmt::Display + fmt::Debug + PartialEq,
    {
        let told = value.to_string();
        prop_assert_eq!(told.parse(), Ok(value), "{}", told);
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_told_is_read_as_what_it_was(
            us in 1..=YEAR_US,
            rates in (0..=RATE_MILLI_MAX, 0..=RATE_MILLI_MAX),
            tenants in (0..=TENANTS_MAX, 1..=TENANTS_MAX),
            share in 0.0..=1.0,
        ) {
            is_read_again(Share(share))?;
            is_read_again(Micros(us))?;
            is_read_again(RateRamp { start_milli: rates.0, end_milli: rates.1 })?;
            is_read_again(RateRamp { start_milli: rates.0, end_milli: rates.0 })?;
            is_read_again(TenantsRamp { start: tenants.0, end: tenants.1 })?;
        }
    }
}
