//! The rhythm of a run: combs and bursts, as warps of an even flow of events.
//!
//! A warp moves events inside windows of time, from the quiet parts to the busy ones. No event
//! leaves its window, so counts over whole windows stay the same. A warp is one to one in both
//! directions, in integers, so a warped timeline can still be inverted at any point.

use crate::draw::Draw;
use crate::identity::TenantIndex;
use crate::time::UnixMicros;

/// Regular peaks that a run has in addition to its rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// Leases every 2 and 10 seconds, and cron jobs at second 0 of a minute. All tenants have them
    /// at the same time, because their clocks agree.
    pub combs: bool,
    /// A rollout every ten minutes. Each tenant has it at a time of its own.
    pub bursts: bool,
}

/// Moves moments to other moments inside windows of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Warp {
    shape: Shape,
    start: UnixMicros,
    end: UnixMicros,
}

/// How the density of events varies within a window.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Combs,
    Bursts { seed: u64, tenant: TenantIndex },
}

/// A part of a window: where it begins, in µs of the window, and how dense it is.
type Stretch = (u64, u64);

impl Warp {
    /// Returns the warps of a run, in the order in which they are applied.
    pub(crate) fn all(
        rhythm: Rhythm,
        start: UnixMicros,
        end: UnixMicros,
        seed: u64,
        tenant: TenantIndex,
    ) -> Vec<Self> {
        let bursts = rhythm.bursts.then_some(Shape::Bursts { seed, tenant });
        let combs = rhythm.combs.then_some(Shape::Combs);
        bursts.into_iter().chain(combs).map(|shape| Self { shape, start, end }).collect()
    }

    /// Returns where a moment of the even flow is moved to.
    pub(crate) fn forward(&self, at: UnixMicros) -> UnixMicros {
        let Some(window) = self.window(at) else { return at };
        let offset = u128::from(unsigned(at - window.from));
        let area = offset * u128::from(window.area()) / u128::from(window.length());
        let area = u64::try_from(area).expect("at most the window's area");
        window.from + signed(window.reach(area))
    }

    /// Returns the first moment of the even flow that is moved to `at` or later.
    pub(crate) fn inverse(&self, at: UnixMicros) -> UnixMicros {
        let Some(window) = self.window(at) else { return at };
        if at == window.from {
            return at;
        }
        let before = window.area_until(unsigned(at - window.from) - 1);
        let offset = (u128::from(before) + 1) * u128::from(window.length());
        let offset = offset.div_ceil(u128::from(window.area()));
        window.from
            + signed(u64::try_from(offset).expect("in the window")).min(window.to - window.from)
    }

    /// The part of a moment's window that is in the run, or `None` if the moment is outside of the
    /// run.
    fn window(&self, at: UnixMicros) -> Option<Window> {
        if !(self.start..self.end).contains(&at) {
            return None;
        }
        let length = match self.shape {
            Shape::Combs => MINUTE_US,
            Shape::Bursts { .. } => BURST_WINDOW_US,
        };
        let whole = at - at.rem_euclid(length);
        let stretches = match self.shape {
            Shape::Combs => Stretches::Combs,
            Shape::Bursts { seed, tenant } => {
                Stretches::Burst(burst(seed, tenant, unsigned(whole / length)))
            }
        };
        let (from, to) = (whole.max(self.start), (whole + length).min(self.end));
        Some(Window { stretches, skipped: unsigned(from - whole), from, to })
    }
}

/// A window, or the part of it that is in the run.
struct Window {
    stretches: Stretches,
    /// How much of the window is before the run, in µs.
    skipped: u64,
    from: UnixMicros,
    to: UnixMicros,
}

enum Stretches {
    Combs,
    Burst([Stretch; 3]),
}

impl Window {
    fn length(&self) -> u64 {
        unsigned(self.to - self.from)
    }

    fn area(&self) -> u64 {
        self.area_until(self.length())
    }

    /// Area under the densities from the start of the run's part of the window to `offset` µs
    /// later.
    fn area_until(&self, offset: u64) -> u64 {
        self.whole_area(self.skipped + offset) - self.whole_area(self.skipped)
    }

    fn whole_area(&self, offset: u64) -> u64 {
        let mut area = 0;
        let stretches = self.stretches();
        for (index, (from, density)) in stretches.iter().enumerate() {
            let to = stretches.get(index + 1).map_or(offset, |(next, _)| offset.min(*next));
            area += to.saturating_sub(*from) * density;
        }
        area
    }

    /// First moment at which the area is reached, in µs from the start of the run's part.
    fn reach(&self, area: u64) -> u64 {
        let mut rest = area + self.whole_area(self.skipped);
        let stretches = self.stretches();
        for (index, (from, density)) in stretches.iter().enumerate() {
            let length = stretches.get(index + 1).map_or(u64::MAX, |(next, _)| next - from);
            let here = length.saturating_mul(*density);
            if rest <= here {
                return (from + rest.div_ceil(*density)).saturating_sub(self.skipped);
            }
            rest -= here;
        }
        unreachable!("the last stretch has no end")
    }

    fn stretches(&self) -> &[Stretch] {
        match &self.stretches {
            Stretches::Combs => &COMBS,
            Stretches::Burst(stretches) => stretches,
        }
    }
}

/// Whether a moment is in a tooth of the combs.
pub fn is_in_tooth(at: UnixMicros) -> bool {
    unsigned(at.rem_euclid(2_000_000)) < TOOTH_US
}

/// The share of a minute's events that fall into teeth, in thousandths.
pub const IN_TEETH_PER_MILLE: u64 = {
    let (mut all, mut teeth, mut index) = (0, 0, 0);
    while index < COMBS.len() {
        let to = if index + 1 < COMBS.len() { COMBS[index + 1].0 } else { 60_000_000 };
        let area = (to - COMBS[index].0) * COMBS[index].1;
        all += area;
        if index % 2 == 0 {
            teeth += area;
        }
        index += 1;
    }
    teeth * 1_000 / all
};

const MINUTE_US: i64 = 60_000_000;
const BURST_WINDOW_US: i64 = 600_000_000;
const TOOTH_US: u64 = 200_000;

/// The density over a minute: a tooth every two seconds, and a higher one every ten. Second 0 has
/// more than twice the mean rate, which falls off over the next ten seconds.
///
/// Source: per-second counts of a capture of a real control plane, where second 0 had 2.2 times
/// the mean.
static COMBS: [Stretch; 60] = {
    let mut table = [(0, 0); 60];
    let mut tooth = 0;
    while tooth < 30 {
        let second = tooth as u64 * 2;
        let (dense, thin) = match second {
            0 => (400, 180),
            2..10 => (260, 90),
            _ if second.is_multiple_of(10) => (330, 80),
            _ => (230, 80),
        };
        table[tooth * 2] = (second * 1_000_000, dense);
        table[tooth * 2 + 1] = (second * 1_000_000 + TOOTH_US, thin);
        tooth += 1;
    }
    table
};

/// A burst of 5 to 60 seconds, with six times the rate.
fn burst(seed: u64, tenant: TenantIndex, window: u64) -> [Stretch; 3] {
    let mut draw = Draw::new(seed, BURST_STREAM + u64::from(tenant.0), window);
    let length_s = 5 + draw.below(56);
    let from_s = draw.below(600 - length_s);
    let micros = |seconds: u32| u64::from(seconds) * 1_000_000;
    [(0, 1), (micros(from_s), 6), (micros(from_s + length_s), 1)]
}

const BURST_STREAM: u64 = 4 << 32;

fn unsigned(micros: i64) -> u64 {
    u64::try_from(micros).expect("moments of a run are after 1970, and in their windows")
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("less than a window")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_790_000_012_345_678;

    proptest! {
        #[test]
        fn warps_keep_the_order_and_can_be_undone(
            length in 1i64..2_000_000_000, picks in any::<[u32; 8]>(), bursts: bool,
        ) {
            let rhythm = Rhythm { combs: !bursts, bursts };
            let warps = Warp::all(rhythm, START, START + length, 7, TenantIndex(3));
            let [warp] = warps[..] else { panic!("one was asked for") };
            for pick in picks {
                let at = START + i64::from(pick) % length;
                let moved = warp.forward(at);
                prop_assert!((START..=START + length).contains(&moved));
                prop_assert!(warp.forward(at + 1) >= moved);
                // The first moment that goes to `at` or later does, and the one before does not.
                let first = warp.inverse(at);
                prop_assert!(warp.forward(first) >= at);
                prop_assert!(first == START || warp.forward(first - 1) < at);
            }
        }
    }

    #[test]
    fn combs_have_teeth_and_a_busy_first_second() {
        let minute = 1_790_000_040_000_000;
        let warps = Warp::all(
            Rhythm { combs: true, bursts: false },
            minute,
            minute + MINUTE_US,
            1,
            TenantIndex(0),
        );
        let mut by_second = [0u32; 60];
        let mut in_teeth = 0;
        for index in 0..60_000 {
            let at = warps[0].forward(minute + index * 1_000);
            by_second[usize::try_from((at - minute) / 1_000_000).unwrap()] += 1;
            in_teeth += u64::from(is_in_tooth(at));
        }
        assert!((2_000..2_600).contains(&by_second[0]), "{by_second:?}");
        assert!((in_teeth / 60).abs_diff(IN_TEETH_PER_MILLE) <= 2, "{in_teeth}");
        assert!((200..350).contains(&IN_TEETH_PER_MILLE));
    }
}
