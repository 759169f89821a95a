//! What a plateau is judged by: all numbers that a judgement depends on, each with its reason.

use std::time::Duration;

/// What a pipeline is asked for, and its own times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgeOptions {
    /// The longest that the pipeline collects events before it passes them on. Within this time the
    /// backlog rises and falls like the teeth of a saw, whatever the rate is.
    pub batch_time: Duration,
    /// How long a request may hang or wait before the pipeline has tried it again. What happens
    /// within this time may be one bad moment.
    pub retry_time: Duration,
    /// The 95th percentile of the times from due to visible must be below.
    pub due_to_visible_p95_max: Duration,
    /// The 95th percentile of the webhook's latencies, from sent to acknowledged, must be below.
    pub sent_to_acknowledged_p95_max: Duration,
}

/// The times are Vector's: its ClickHouse sink collects up to 10 s, and gives a request 60 s. The
/// objectives are the published ones, as in thresholds.
impl Default for JudgeOptions {
    fn default() -> Self {
        Self {
            batch_time: Duration::from_secs(10),
            retry_time: Duration::from_mins(1),
            due_to_visible_p95_max: Duration::from_secs(10),
            sent_to_acknowledged_p95_max: Duration::from_millis(100),
        }
    }
}

impl JudgeOptions {
    /// Observations are averaged over blocks of this length, in s: over a whole tooth of the saw,
    /// and never less than two seconds, because looks and records of a second do not coincide.
    pub fn block_s(&self) -> f64 {
        self.batch_time.as_secs_f64().max(2.0)
    }

    /// The shortest part of a plateau that can be judged, in s: batch and retry times, and enough
    /// blocks for a trend.
    pub fn window_min_s(&self) -> f64 {
        let times = (self.batch_time + self.retry_time).as_secs_f64();
        times.max(f64::from(BLOCKS_MIN) * self.block_s())
    }

    /// The shortest plateau that can be judged.
    pub fn plateau_min(&self) -> Duration {
        Duration::from_secs_f64((self.window_min_s() / (1.0 - WARM_UP_SHARE)).ceil())
    }
}

/// The first part of a plateau is not judged: connections are opened, caches fill, autoscalers
/// react. A third leaves most of the plateau, and is a minute of a plateau of three.
pub const WARM_UP_SHARE: f64 = 1.0 / 3.0;

/// With fewer blocks, the normal approximation of Kendall's statistic is poor (Kendall gives ten
/// as the least for it; with eight the tails are a little too light, which the correction for
/// autocorrelation, never below one, outweighs).
pub const BLOCKS_MIN: u32 = 8;

/// A sustained rate has a backlog that grows, at the upper end of its interval, by less than this
/// share of the rate. At one in a hundred a stream for a minute's events lasts for 100 minutes;
/// and the search must not be more than 2 % too high.
pub const GROWTH_MAX: f64 = 0.01;

/// A backlog grows if the interval of its slope is above zero and the slope itself is more than
/// this share of the rate. Slower growth cannot be told from the noise of a queue at its limit.
pub const GROWTH_MIN: f64 = GROWTH_MAX / 2.0;

/// Over what was judged, a growing backlog rises by the events of at least so many seconds. Looks
/// and batches are a second and more apart, and drift against each other: that alone looks like a
/// slow rise by the events of one second.
pub const LIFT_MIN_S: f64 = 2.0;

/// A hop whose backlog has risen by the events of less than this many seconds held nothing up.
pub const RISE_MIN_S: f64 = 1.0;

/// A backlog that has fallen below this share of its highest rise is being drained.
pub const PEAK_LEFT_MAX: f64 = 0.5;

/// Quantile of the normal distribution for intervals of 95 %, two-sided.
pub const NORMAL_95: f64 = 1.96;

/// An autocorrelation above this is not told from a random walk by so few blocks.
pub const AUTOCORRELATION_MAX: f64 = 0.9;

/// At most this share of the events may be refused, unknown or unsent: the published objective for
/// ingested events.
pub const FAILED_MAX: f64 = 0.001;

/// At least this share of the rate must be acknowledged. What is missing was held up at the
/// webhook, which is the same as a growing backlog, and its share is that of [`GROWTH_MAX`].
pub const ACKNOWLEDGED_MIN: f64 = 1.0 - GROWTH_MAX;

/// A look is late if the oldest sample waits for longer than the objective. With at most one such
/// sample in twenty (what a 95th percentile allows), and ten samples a second, a late one is
/// waited for at most looks: so if most looks are late, samples take too long even if none of them
/// has become visible.
pub const LATE_LOOKS_MAX: f64 = 0.5;

/// Stored events may be ahead of acknowledged ones by this many seconds of the rate: an answer of
/// the webhook comes after the event was taken, and records and looks are a second apart. What is
/// more was written by somebody else.
pub const AHEAD_MAX_S: f64 = 5.0;

/// Growth begins when the backlog last was below this share of its whole rise.
pub const ONSET_SHARE: f64 = 0.1;
