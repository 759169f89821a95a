//! When events are due. Both directions, from count to time and from time to count, are computed in
//! integers, directly for any event.
//!
//! A [`Curve`] is the area under a line of rates; an event is due when the area reaches its index.
//! A [`Timeline`] is the curve of one tenant with its arrivals. It computes when event `seq` is
//! due, and how many events are due before a moment, without stepping through the others. The
//! results are in whole microseconds, by integer arithmetic, so every machine gets the same.

use std::sync::Arc;

use crate::draw::Draw;
use crate::identity::{SEQ_END, Seq, TenantIndex};
use crate::rhythm::{Rhythm, Warp};
pub use crate::time::UnixMicros;
use crate::week::flow;

/// Areas are counted in millionths of an event.
pub const EVENT: u64 = 1_000_000;

/// A period over which rate and tenant count each move in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    pub duration_us: u64,
    /// Thousandths of an event per second and tenant, at the start and at the end.
    pub rate_milli: (u64, u64),
    /// Tenants at the start and at the end.
    pub tenants: (u32, u32),
}

/// How the events of one tenant follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// At equal distances. Each tenant has its own phase.
    Even,
    /// Each event is somewhere in its own slot of the even grid.
    Jittered,
}

/// The area under straight lines of rate. Between its segments no event is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curve {
    segments: Vec<Segment>,
    area: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    start_us: u64,
    len_us: u64,
    rate_milli: (u64, u64),
    area_before: u64,
}

impl Curve {
    /// Returns the curve of one tenant in a live run.
    ///
    /// A tenant is active while the rounded number of tenants is above its index. A tenant that
    /// joins or leaves within a stage does so at the rate that the stage has at that moment.
    pub fn of_stages(stages: &[Stage], tenant: TenantIndex) -> Self {
        let mut curve = Self { segments: Vec::with_capacity(stages.len()), area: 0 };
        let mut start_us = 0;
        for stage in stages {
            if let Some((from, to)) = active(stage, tenant) {
                curve.push(start_us + from, to - from, (rate_at(stage, from), rate_at(stage, to)));
            }
            start_us += stage.duration_us;
        }
        curve
    }

    /// Returns the shape of `days` days of history: busy at 14:00 UTC, quieter at night and at
    /// weekends. Its unit is arbitrary, because a [`Timeline`] scales it to a tenant's count.
    ///
    /// `first_weekday` is the weekday of the first day, 0 for Monday.
    pub fn of_history(days: u32, first_weekday: u32) -> Self {
        let mut curve = Self { segments: Vec::with_capacity(days as usize * 24), area: 0 };
        for day in 0..days {
            for hour in 0..24 {
                let rate = |hour| flow(first_weekday + day, hour);
                let start_us = (u64::from(day) * 24 + hour as u64) * HOUR_US;
                curve.push(start_us, HOUR_US, (rate(hour), rate(hour + 1)));
            }
        }
        curve
    }

    /// Returns the first moment, in µs from the start, at which the area reaches `area`, or
    /// `None` if that is not before the end of the curve.
    ///
    /// It looks first at the segment with index `near` and at the next one, and sets `near` to the
    /// segment that it found.
    pub fn reach(&self, area: u64, near: &mut usize) -> Option<u64> {
        if area >= self.area {
            return None;
        }
        let starts_after =
            |index: usize| self.segments.get(index).is_none_or(|it| area < it.area_before);
        let is_in = |index: usize| !starts_after(index) && starts_after(index + 1);
        if !is_in(*near) {
            *near += 1;
            if !is_in(*near) {
                *near = self.segments.partition_point(|it| it.area_before <= area) - 1;
            }
        }
        let segment = &self.segments[*near];
        Some(segment.start_us + segment.reach(area - segment.area_before))
    }

    /// Returns the area from the start to `at_us`, in millionths of an event.
    pub fn area_until(&self, at_us: u64) -> u64 {
        let after = self.segments.partition_point(|segment| segment.start_us <= at_us);
        let Some(segment) = after.checked_sub(1).map(|last| &self.segments[last]) else { return 0 };
        segment.area_before + segment.area(segment.len_us.min(at_us - segment.start_us))
    }

    fn push(&mut self, start_us: u64, len_us: u64, rate_milli: (u64, u64)) {
        let segment = Segment { start_us, len_us, rate_milli, area_before: self.area };
        let area = segment.area(len_us);
        if area > 0 {
            self.segments.push(segment);
            self.area += area;
        }
    }
}

impl Segment {
    /// Area from the start of the segment to `dt` µs into it: r₀·dt + (r₁−r₀)·dt²/2T.
    fn area(&self, dt: u64) -> u64 {
        let (first, last) = self.rate_milli;
        if first == last
            && let Some(product) = first.checked_mul(dt)
        {
            return product / 1_000;
        }
        u64::try_from(self.scaled(dt) / self.scale())
            .expect("a plan has less than 2^40 events a tenant")
    }

    /// The same area, multiplied by [`Self::scale`].
    fn scaled(&self, dt: u64) -> i128 {
        let (first, last) = (i128::from(self.rate_milli.0), i128::from(self.rate_milli.1));
        let (dt, len) = (i128::from(dt), i128::from(self.len_us));
        2 * len * first * dt + (last - first) * dt * dt
    }

    fn scale(&self) -> i128 {
        2_000 * i128::from(self.len_us)
    }

    /// First moment at which the area is reached. The segment must have that much area. Rates are
    /// above zero, so there is exactly one such moment; floats are used only to guess where it is.
    fn reach(&self, area: u64) -> u64 {
        let (first, last) = self.rate_milli;
        if first == last
            && let Some(scaled) = area.checked_mul(1_000)
        {
            return scaled.div_ceil(first);
        }
        // Areas are compared before they are divided, because a division of 128 bits is slow.
        let scaled = i128::from(area) * self.scale();
        let reached = |dt: u64| self.scaled(dt) >= scaled;
        let guess = self.guess(area);
        if reached(guess) && (guess == 0 || !reached(guess - 1)) {
            return guess;
        }
        let (mut below, mut above) = (0, self.len_us);
        while below < above {
            let middle = below + (above - below) / 2;
            if reached(middle) { above = middle } else { below = middle + 1 }
        }
        above
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guess: the caller checks it in integers"
    )]
    fn guess(&self, area: u64) -> u64 {
        let (first, last) = (self.rate_milli.0 as f64, self.rate_milli.1 as f64);
        let area = area as f64 * 1_000.0;
        let slope = (last - first) / self.len_us as f64;
        let root = (first * first + 2.0 * slope * area).max(0.0).sqrt();
        let dt = 2.0 * area / (first + root);
        if dt.is_finite() { (dt.ceil() as u64).min(self.len_us) } else { 0 }
    }
}

/// The due times of one tenant's events, from sequence number 0 to [`Timeline::count`] minus one.
#[derive(Debug, Clone)]
pub struct Timeline {
    curve: Arc<Curve>,
    start: UnixMicros,
    count: u64,
    offsets: Offsets,
    /// Whether the curve is stretched to the tenant's count: a history shares one curve, a live run
    /// has one for each tenant.
    stretched: bool,
    warps: Vec<Warp>,
}

impl Timeline {
    /// Returns the timeline of a tenant whose events follow `curve` unchanged, from `start`.
    pub fn live(
        curve: Curve,
        start: UnixMicros,
        arrival: Arrival,
        seed: u64,
        tenant: TenantIndex,
    ) -> Self {
        let offsets = Offsets::new(arrival, seed, tenant);
        let (whole, rest) = (curve.area / EVENT, curve.area % EVENT);
        let count = (whole + u64::from(offsets.of(whole) < rest)).min(SEQ_END);
        Self { curve: Arc::new(curve), start, count, offsets, stretched: false, warps: Vec::new() }
    }

    /// Returns the timeline of a tenant that has exactly `count` events in the shape of `curve`.
    pub fn history(
        curve: Arc<Curve>,
        start: UnixMicros,
        count: u64,
        seed: u64,
        tenant: TenantIndex,
    ) -> Self {
        let offsets = Offsets::new(Arrival::Jittered, seed, tenant);
        let count = count.min(SEQ_END);
        Self { curve, start, count, offsets, stretched: true, warps: Vec::new() }
    }

    /// Returns the same timeline with a rhythm. It ends at `end`.
    #[must_use]
    pub fn with_rhythm(
        self,
        rhythm: Rhythm,
        end: UnixMicros,
        seed: u64,
        tenant: TenantIndex,
    ) -> Self {
        Self { warps: Warp::all(rhythm, self.start, end, seed, tenant), ..self }
    }

    /// How many events the tenant has. Sequence numbers run from 0 to one less.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns when an event is due.
    ///
    /// Latency is measured from this moment, not from the moment of sending, so that a sender
    /// that falls behind cannot hide its own delay.
    ///
    /// # Errors
    ///
    /// Returns [`PastEnd`] if the tenant has no such event.
    pub fn due(&self, seq: Seq) -> Result<UnixMicros, PastEnd> {
        self.due_near(seq, &mut 0)
    }

    /// Returns a [`Walk`], which finds due times faster if each is near the one before.
    pub fn walk(&self) -> Walk<'_> {
        Walk { timeline: self, near: 0 }
    }

    fn due_near(&self, seq: Seq, near: &mut usize) -> Result<UnixMicros, PastEnd> {
        if seq.0 >= self.count {
            return Err(PastEnd);
        }
        let mut area = seq.0 * EVENT + self.offsets.of(seq.0);
        if self.stretched {
            let stretched = u128::from(area) * u128::from(self.curve.area)
                / (u128::from(self.count) * u128::from(EVENT));
            area = u64::try_from(stretched).expect("less than the curve's area, a u64");
        }
        let offset_us = self.curve.reach(area, near).ok_or(PastEnd)?;
        let even = self.start + signed(offset_us);
        Ok(self.warps.iter().fold(even, |at, warp| warp.forward(at)))
    }

    /// Returns how many events are due before `at`: the inverse of [`Timeline::due`].
    pub fn count_before(&self, at: UnixMicros) -> u64 {
        let at = self.warps.iter().rev().fold(at, |at, warp| warp.inverse(at));
        let Ok(last_us) = u64::try_from(at - self.start - 1) else { return 0 };
        let mut area = self.curve.area_until(last_us);
        if self.stretched {
            if self.count == 0 {
                return 0;
            }
            let unstretched = ((u128::from(area) + 1)
                * (u128::from(self.count) * u128::from(EVENT)))
            .div_ceil(u128::from(self.curve.area))
                - 1;
            area = u64::try_from(unstretched).expect("at most 2^40 events");
        }
        let (whole, rest) = (area / EVENT, area % EVENT);
        (whole + u64::from(self.offsets.of(whole) <= rest)).min(self.count)
    }
}

/// Finds when the events of a timeline are due. It starts to search where it found the last event,
/// so it is fastest for events in order.
#[derive(Debug, Clone)]
pub struct Walk<'t> {
    timeline: &'t Timeline,
    /// Index of the segment of the curve that the last event was in.
    near: usize,
}

impl Walk<'_> {
    /// Returns the same as [`Timeline::due`].
    ///
    /// # Errors
    ///
    /// Returns [`PastEnd`] if the tenant has no such event.
    pub fn due(&mut self, seq: Seq) -> Result<UnixMicros, PastEnd> {
        self.timeline.due_near(seq, &mut self.near)
    }
}

/// The timeline has no such event: it ends before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the timeline ends before this event")]
pub struct PastEnd;

/// Where an event lies in its slot of the even grid, in millionths of the slot.
#[derive(Debug, Clone, Copy)]
enum Offsets {
    Phase(u64),
    Jitter { seed: u64, tenant: TenantIndex },
}

impl Offsets {
    fn new(arrival: Arrival, seed: u64, tenant: TenantIndex) -> Self {
        match arrival {
            Arrival::Even => {
                Self::Phase(Draw::new(seed, PHASE_STREAM, tenant.0.into()).bits() % EVENT)
            }
            Arrival::Jittered => Self::Jitter { seed, tenant },
        }
    }

    fn of(self, index: u64) -> u64 {
        match self {
            Self::Phase(phase) => phase,
            Self::Jitter { seed, tenant } => {
                Draw::new(seed, JITTER_STREAM + u64::from(tenant.0), index).bits() % EVENT
            }
        }
    }
}

const PHASE_STREAM: u64 = 1 << 32;
const JITTER_STREAM: u64 = 2 << 32;
const HOUR_US: u64 = 3_600_000_000;

/// Returns when the tenant is active in the stage, as start and end in µs of the stage.
pub fn active(stage: &Stage, tenant: TenantIndex) -> Option<(u64, u64)> {
    let index = u64::from(tenant.0);
    let (first, last) = (u64::from(stage.tenants.0), u64::from(stage.tenants.1));
    // After this part of the stage, the line of tenant counts passes index + 1/2.
    let crossing = |distance: u64, height: u64| {
        let doubled = u128::from(2 * distance + 1) * u128::from(stage.duration_us);
        u64::try_from(doubled / u128::from(2 * height)).expect("inside the stage")
    };
    match (index < first, index < last) {
        (true, true) => Some((0, stage.duration_us)),
        (false, true) => Some((crossing(index - first, last - first), stage.duration_us)),
        (true, false) => Some((0, crossing(first - 1 - index, first - last))),
        (false, false) => None,
    }
}

fn rate_at(stage: &Stage, at_us: u64) -> u64 {
    let (first, last) = (i128::from(stage.rate_milli.0), i128::from(stage.rate_milli.1));
    let rate = first + (last - first) * i128::from(at_us) / i128::from(stage.duration_us);
    u64::try_from(rate).expect("between two rates")
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("a run is shorter than 292,000 years")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn stage(from: u64, to: u64, seconds: u64) -> Stage {
        let rate_milli = (from * 1_000, to * 1_000);
        Stage { duration_us: seconds * SECOND_US, rate_milli, tenants: (1, 1) }
    }

    #[track_caller]
    fn check(from: u64, to: u64, index: u64, expected_ms: Option<u64>) {
        let curve = Curve::of_stages(&[stage(from, to, 10)], TenantIndex(0));
        let due = curve.reach(index * EVENT, &mut 0);
        assert_eq!(due, expected_ms.map(|ms| ms * 1_000), "{from}/s -> {to}/s, event {index}");
    }

    #[test]
    fn an_event_is_due_when_the_area_under_the_rate_reaches_its_index() {
        check(100, 100, 0, Some(0));
        check(100, 100, 1, Some(10));
        check(100, 100, 999, Some(9_990));
        check(100, 100, 1_000, None);
        check(0, 100, 0, Some(0));
        check(0, 100, 125, Some(5_000));
        check(0, 100, 320, Some(8_000));
        check(100, 0, 375, Some(5_000));
        check(0, 0, 0, None);
    }

    #[test]
    fn a_stage_of_whole_events_has_exactly_that_many() {
        for tenant in 0..50 {
            let curve = Curve::of_stages(&[stage(100, 100, 20)], TenantIndex(0));
            let tenant = TenantIndex(tenant);
            assert_eq!(Timeline::live(curve, 0, Arrival::Even, 42, tenant).count(), 2_000);
        }
    }

    #[test]
    fn tenants_join_and_leave_along_the_line() {
        let growth = Stage { tenants: (50, 200), ..stage(10, 10, 15) };
        let active_s =
            |tenant| active(&growth, TenantIndex(tenant)).map(|(from, to)| (to - from) / SECOND_US);
        assert_eq!([active_s(0), active_s(50), active_s(124)], [Some(15), Some(14), Some(7)]);
        assert_eq!([active_s(199), active_s(200)], [Some(0), None]);
        let shrink = Stage { tenants: (200, 50), ..growth };
        assert_eq!(active(&shrink, TenantIndex(199)).unwrap().1 / 1_000, 50);
        assert_eq!(active(&shrink, TenantIndex(200)), None);
    }

    #[test]
    fn history_is_busy_by_day_and_quieter_at_weekends() {
        let curve = Arc::new(Curve::of_history(7, 0));
        let timeline = Timeline::history(curve, 0, 100_000, 1, TenantIndex(0));
        let hour = i64::try_from(HOUR_US).unwrap();
        let between = |from: i64, to: i64| {
            timeline.count_before(to * hour) - timeline.count_before(from * hour)
        };
        assert_eq!(between(0, 7 * 24), 100_000);
        assert!(between(13, 15) > 2 * between(1, 3));
        let (monday, sunday) = (between(0, 24), between(6 * 24, 7 * 24));
        assert!((14..=16).contains(&(monday * 10 / sunday)), "{monday} {sunday}");
    }

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        let stage =
            (1u64..100_000_000, (0u64..3_000_000, 0u64..3_000_000), (0u32..9, 0u32..9)).prop_map(
                |(duration_us, rate_milli, tenants)| Stage { duration_us, rate_milli, tenants },
            );
        proptest::collection::vec(stage, 1..5)
    }

    proptest! {
        #[test]
        fn due_times_never_go_back_and_count_before_inverts_them(
            stages in stages(), tenant in 0u16..9, jittered: bool, picks in any::<[u64; 8]>(),
            combs: bool, bursts: bool,
        ) {
            let arrival = if jittered { Arrival::Jittered } else { Arrival::Even };
            let curve = Curve::of_stages(&stages, TenantIndex(tenant));
            let length: u64 = stages.iter().map(|stage| stage.duration_us).sum();
            let timeline = Timeline::live(curve, 1_000, arrival, 3, TenantIndex(tenant))
                .with_rhythm(Rhythm { combs, bursts }, 1_000 + signed(length), 3, TenantIndex(7));
            check_inverse(&timeline, &picks)?;
        }

        #[test]
        fn the_same_holds_for_history(
            days in 1u32..100, count in 0u64..10_000_000, picks in any::<[u64; 8]>(),
        ) {
            let curve = Arc::new(Curve::of_history(days, days % 7));
            let timeline = Timeline::history(curve, -5, count, 3, TenantIndex(1));
            prop_assert_eq!(timeline.count_before(-5 + i64::from(days) * 86_400_000_000), count);
            check_inverse(&timeline, &picks)?;
        }
    }

    fn check_inverse(timeline: &Timeline, picks: &[u64]) -> Result<(), TestCaseError> {
        let count = timeline.count();
        prop_assert_eq!(timeline.due(Seq(count)), Err(PastEnd));
        prop_assert_eq!(timeline.count_before(i64::MIN / 2), 0);
        let mut walk = timeline.walk();
        for pick in picks.iter().filter(|_| count > 0) {
            let seq = pick % count;
            let due = timeline.due(Seq(seq)).expect("within the count");
            for near in seq..count.min(seq + 3) {
                prop_assert_eq!(walk.due(Seq(near)), timeline.due(Seq(near)));
            }
            prop_assert!(timeline.count_before(due) <= seq, "seq {} due {}", seq, due);
            prop_assert!(timeline.count_before(due + 1) > seq, "seq {} due {}", seq, due);
            if seq > 0 {
                prop_assert!(timeline.due(Seq(seq - 1)).expect("within") <= due);
            }
        }
        Ok(())
    }
}
