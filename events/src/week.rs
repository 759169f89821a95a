//! The shape of a week, in UTC: when people work, and how many of all events follow their hours.
//!
//! Controllers, kubelets and operators work day and night. What people and their pipelines cause
//! comes on top, and varies by day and by week. People themselves keep working hours.

use crate::time::UnixMicros;

/// Whether a request may begin on the day before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// It may, as in a real control plane.
    Flow,
    /// It may not: it begins at midnight (UTC) at the earliest. A history does this, so that all
    /// events due on a day are in that day's partition of the table. Its people keep working hours.
    Apart,
}

/// Rate of all events of a history in an hour, in an arbitrary unit. `weekday` is 0 on Monday; hour
/// 24 is the end of that day.
pub(crate) fn flow(weekday: u32, hour: usize) -> u64 {
    FLOW[usize::from(is_weekend(weekday.into()))][hour % 24]
}

/// Returns how large people's share of the events is at a moment, in 1,024ths of their share over a
/// whole week.
#[inline]
pub(crate) fn people_at(at: UnixMicros) -> u64 {
    let minutes = u64::try_from(at).unwrap_or(0) / 60_000_000;
    let (hour, minute) = (minutes / 60, minutes % 60);
    let table = &PEOPLE[usize::from(is_weekend(hour / 24 + THURSDAY))];
    let of = |hour: u64| table[usize::try_from(hour % 24).expect("an hour")];
    (of(hour) * (60 - minute) + of(hour + 1) * minute) / 60
}

/// The number of the week that a moment is in. Weeks begin on Mondays.
#[inline]
pub(crate) fn week_of(at: UnixMicros) -> u64 {
    (u64::try_from(at).unwrap_or(0) / DAY_US + THURSDAY) / 7
}

/// The largest value of [`people_at`].
#[cfg(test)]
pub(crate) fn people_most() -> u64 {
    PEOPLE.as_flattened().iter().copied().max().unwrap_or(0)
}

fn is_weekend(weekday: u64) -> bool {
    weekday % 7 >= 5
}

/// 1970 began on a Thursday.
const THURSDAY: u64 = 3;
const DAY_US: u64 = 86_400_000_000;

/// The part of the events that happens day and night, in percent.
///
/// Source: in captures of real control planes, more than half of the events are leases, node
/// status, resyncs and probes.
const STEADY_PERCENT: u64 = 60;
const WEEKEND_PERCENT: u64 = 25;
const PEOPLE_AT_WEEKENDS_PERCENT: u64 = 10;

/// Weight at each full hour: a raised cosine with its peak at 14:00 and 12 % of it at 02:00.
const HOURLY: [u64; 24] = [
    179, 135, 120, 135, 179, 249, 340, 446, 560, 674, 780, 871, 941, 985, 1_000, 985, 941, 871,
    780, 674, 560, 446, 340, 249,
];

type ByHour = [[u64; 24]; 2];

/// The events that people and their pipelines cause, on working days and at weekends.
const DRIVEN: ByHour = by_hour(1, WEEKEND_PERCENT);

/// The work of people. At night, fewer people are awake than pipelines run.
const AT_WORK: ByHour = by_hour(2, PEOPLE_AT_WEEKENDS_PERCENT);

static FLOW: ByHour = flow_by_hour();
static PEOPLE: ByHour = people_by_hour();

const fn by_hour(power: u32, weekend_percent: u64) -> ByHour {
    let mut table = [[0; 24]; 2];
    let mut hour = 0;
    while hour < 24 {
        let weight = HOURLY[hour].pow(power) / 1_000u64.pow(power - 1);
        table[0][hour] = weight;
        table[1][hour] = weight * weekend_percent / 100;
        hour += 1;
    }
    table
}

/// Sum over the hours of a week.
const fn sum(table: &ByHour) -> u64 {
    let (mut sum, mut hour) = (0, 0);
    while hour < 24 {
        sum += 5 * table[0][hour] + 2 * table[1][hour];
        hour += 1;
    }
    sum
}

const fn flow_by_hour() -> ByHour {
    let mut table = [[0; 24]; 2];
    let steady = sum(&DRIVEN) / (7 * 24) * STEADY_PERCENT;
    let mut at = 0;
    while at < 48 {
        let (day, hour) = (at / 24, at % 24);
        table[day][hour] = (steady + DRIVEN[day][hour] * (100 - STEADY_PERCENT)) / 10;
        at += 1;
    }
    table
}

/// People's share of the flow, by hour. Over a week, it adds up to their share without working
/// hours.
const fn people_by_hour() -> ByHour {
    let mut table = [[0; 24]; 2];
    let flow = flow_by_hour();
    let (flow_sum, work_sum) = (sum(&flow), sum(&AT_WORK));
    let mut at = 0;
    while at < 48 {
        let (day, hour) = (at / 24, at % 24);
        table[day][hour] = AT_WORK[day][hour] * flow_sum * 1_024 / (work_sum * flow[day][hour]);
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_work_by_day_and_on_weekdays_and_all_else_goes_on() {
        // 2026-11-16 was a Monday.
        let monday = 1_794_787_200_000_000;
        let hours = |hours: i64| monday + hours * 3_600_000_000;
        assert_eq!(week_of(monday), week_of(monday - 1) + 1);
        let people: Vec<u64> = [14, 2, 5 * 24 + 14].map(|at| people_at(hours(at))).into();
        assert!(people[0] > 2_000 && people[1] < 80 && people[2] < 500, "{people:?}");
        let flow = [flow(0, 14), flow(0, 2), flow(5, 14)];
        assert!(flow[1] * 3 > flow[0] && flow[2] * 2 > flow[0], "{flow:?}");
    }

    #[test]
    fn over_a_week_people_have_their_share() {
        let (mut all, mut people) = (0, 0);
        for minute in 0..7 * 24 * 60u32 {
            let flow = flow(minute / 1_440, minute as usize / 60);
            all += flow * 1_024;
            people += flow * people_at((i64::from(minute) + 4 * 1_440) * 60_000_000);
        }
        assert!(people.abs_diff(all) * 100 < all * 3, "{people} of {all}");
    }
}
