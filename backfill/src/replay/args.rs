//! The flags for the part of a history that goes through the pipeline.

use std::time::Duration;

use clap::Args;
use load::webhook::WebhookArgs;
use plans::quantity::{parse_rate, parse_wait};
use stores::jetstream::NatsArgs;

use super::ReplayOptions;

/// Flags for the address of the pipeline, and for the rate of the replay.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Replay")]
pub struct ReplayArgs {
    #[command(flatten)]
    webhook: Option<WebhookArgs>,
    #[command(flatten)]
    pub nats: NatsArgs,
    #[command(flatten)]
    rate: ReplayRate,
    /// The most events that may be on their way to the consumer.
    #[arg(long, value_name = "EVENTS", default_value_t = 50_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub lag_max: u64,
    /// Before the loader looks up events whose outcome is in doubt, the table must not have grown
    /// for this long. It must be longer than the aggregator's batch timeout.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_wait)]
    pub replay_settle: Duration,
}

/// The rate of the replay.
#[derive(Debug, Clone, Copy, Args)]
pub struct ReplayRate {
    /// Highest rate at which events are sent through the pipeline, like 5000/s [default: as fast as
    /// the pipeline takes them].
    #[arg(long, value_name = "RATE", value_parser = whole_rate)]
    replay_rate: Option<u64>,
}

impl ReplayRate {
    /// The rate, if there is one.
    pub fn events_per_second(self) -> Option<u64> {
        self.replay_rate
    }

    /// The shortest time, in seconds, that some events take. `None` without a rate.
    #[expect(clippy::cast_precision_loss, reason = "a forecast is no exact number")]
    pub fn seconds_for(self, events: u64) -> Option<f64> {
        self.replay_rate.map(|rate| events as f64 / rate as f64)
    }
}

impl ReplayArgs {
    /// The webhook, or `None` if no address is given.
    pub fn webhook(&self) -> Option<&WebhookArgs> {
        self.webhook.as_ref().filter(|webhook| !webhook.urls.is_empty())
    }

    /// How events are sent.
    pub fn options(&self) -> ReplayOptions {
        ReplayOptions {
            events_per_second: self.rate.replay_rate,
            lag_max: self.lag_max,
            slice_events: SLICE_EVENTS.min(self.lag_max),
        }
    }
}

/// Several slices fit into the default limit, so that the next one is sent while the last one is
/// read.
const SLICE_EVENTS: u64 = 10_000;

fn whole_rate(text: &str) -> Result<u64, String> {
    match parse_rate(text)? / 1_000 {
        0 => Err(format!("{text:?} is less than one event a second")),
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use stores::clickhouse::ClickHouseArgs;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        replay: ReplayArgs,
    }

    /// All flags that name servers of a backfill.
    #[derive(Debug, Parser)]
    struct AllFlags {
        #[command(flatten)]
        _replay: ReplayArgs,
        #[command(flatten)]
        _clickhouse: ClickHouseArgs,
    }

    #[test]
    fn flags_do_not_clash() {
        AllFlags::command().debug_assert();
    }

    fn parsed(flags: &[&str]) -> Result<ReplayArgs, clap::Error> {
        let all = [&["x"], flags].concat();
        Flags::try_parse_from(all).map(|flags| flags.replay)
    }

    #[test]
    fn without_a_replay_no_flag_is_needed() {
        let args = parsed(&[]).unwrap();
        let has_address = std::env::var_os("VECTOR_WEBHOOK_URL").is_some();
        assert_eq!(args.webhook().is_some(), has_address);
        let expected =
            ReplayOptions { events_per_second: None, lag_max: 50_000, slice_events: 10_000 };
        assert_eq!(args.options(), expected);
    }

    #[test]
    fn rates_and_limits_are_read() {
        let flags = ["--webhook", "http://h/", "--replay-rate", "6000/min", "--lag-max", "500"];
        let args = parsed(&flags).unwrap();
        let expected =
            ReplayOptions { events_per_second: Some(100), lag_max: 500, slice_events: 500 };
        assert_eq!(args.options(), expected);
        assert_eq!(args.webhook().unwrap().urls, ["http://h/"]);
        let has_address = std::env::var_os("VECTOR_WEBHOOK_URL").is_some();
        let args = parsed(&["--header", "X-Y: z"]).unwrap();
        assert_eq!(args.webhook().is_some(), has_address);
        for wrong in ["0/s", "20/h", "fast"] {
            assert!(parsed(&["--replay-rate", wrong]).is_err(), "{wrong}");
        }
    }
}
