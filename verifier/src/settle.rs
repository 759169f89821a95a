//! Waits until stream and table are still: what is on its way is not lost.

use std::time::Duration;

use events::timeline::UnixMicros;
use harness::clickhouse::ClickHouse;
use harness::clock::{Clock, micros};
use harness::jetstream::{AuditStream, Position};
use harness::shutdown::Stop;
use harness::stored::read_rows;

use crate::error::VerifyError;
use crate::patience::Patience;

/// How long to wait, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleOptions {
    /// Stores that have not moved for as long are still. It must be longer than the pipeline
    /// holds an event back, which the aggregator does for its batch timeout.
    pub quiet: Duration,
    /// Stores that still move after as long are judged as they are: unknown.
    pub wait_max: Duration,
}

/// Whether the stores came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stillness {
    /// They have not moved for the time asked for.
    Still,
    /// They moved until the deadline.
    Moving,
    /// They did not move any more, but messages wait for the consumer.
    Waiting { messages: u64 },
}

/// What is watched: when none of it changes, nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sign {
    position: Option<Position>,
    rows: u64,
}

/// Follows the stores until they are still.
#[derive(Debug)]
pub struct Watch<'w> {
    server: &'w ClickHouse,
    stream: Option<&'w AuditStream>,
    clock: Clock,
    options: SettleOptions,
    begun: UnixMicros,
    last: Option<(Sign, UnixMicros)>,
}

/// What one look at the stores told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They have moved lately, or messages wait for the consumer.
    Moving,
    /// They have not moved for a part of the quiet time: if all is there already, that is enough.
    Calm,
    /// It is over.
    Ended(Stillness),
}

impl<'w> Watch<'w> {
    pub fn new(
        server: &'w ClickHouse,
        stream: Option<&'w AuditStream>,
        clock: Clock,
        options: SettleOptions,
    ) -> Self {
        Self { server, stream, clock, options, begun: clock.now(), last: None }
    }

    /// Looks at the stores, a while after the last look.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] if a store does not answer, or the user asks to stop.
    pub async fn look(&mut self, patience: &mut Patience) -> Result<Look, VerifyError> {
        if self.last.is_some() {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = patience.shutdown.asked(Stop::Drain) => return Err(VerifyError::Stopped),
            }
        }
        let position = match self.stream {
            Some(stream) => Some(patience.ask(async || stream.read_position().await).await?),
            None => None,
        };
        let rows = patience.ask(async || read_rows(self.server).await).await?;
        let sign = Sign { position, rows };
        Ok(self.judge(sign, self.clock.now()))
    }

    fn judge(&mut self, sign: Sign, now: UnixMicros) -> Look {
        let waiting = sign.position.and_then(|position| position.waiting).unwrap_or(0);
        let is_over = now - self.begun >= micros(self.options.wait_max);
        let since = match self.last {
            Some((last, since)) if last == sign => since,
            _ => {
                let is_first = self.last.is_none();
                self.last = Some((sign, now));
                // Once over, the first look still gets a second one: one sign tells no movement.
                return if is_over && !is_first {
                    Look::Ended(Stillness::Moving)
                } else {
                    Look::Moving
                };
            }
        };
        match waiting {
            0 if now - since >= micros(self.options.quiet) => Look::Ended(Stillness::Still),
            0 if is_over => Look::Ended(Stillness::Moving),
            0 if now - since >= micros(self.options.quiet) / CALM_PARTS => Look::Calm,
            0 => Look::Moving,
            messages if is_over => Look::Ended(Stillness::Waiting { messages }),
            _ => Look::Moving,
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(500);

/// Where nothing is missing, only late duplicates can still come: they follow their originals
/// closely, so a quarter of the quiet time must do.
const CALM_PARTS: i64 = 4;

#[cfg(test)]
mod tests {
    use harness::table::{ColumnNames, TableColumns};

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn watched(signs: &[(i64, u64, u64)]) -> Vec<Look> {
        let server = ClickHouse {
            client: clickhouse::Client::default(),
            url: String::new(),
            user: String::new(),
            table: "a.b".parse().unwrap(),
            names: ColumnNames::new(),
            columns: TableColumns::default(),
        };
        let options =
            SettleOptions { quiet: Duration::from_secs(5), wait_max: Duration::from_mins(1) };
        let clock = Clock::starting_at(0);
        let mut watch = Watch { begun: 0, ..Watch::new(&server, None, clock, options) };
        signs
            .iter()
            .map(|&(second, rows, waiting)| {
                let position = Some(Position { last: 1, waiting: Some(waiting) });
                watch.judge(Sign { position, rows }, second * SECOND)
            })
            .collect()
    }

    #[tokio::test]
    async fn stores_are_still_after_the_quiet_time_without_a_change() {
        let looks = watched(&[(0, 1, 0), (1, 1, 0), (2, 2, 0), (3, 2, 0), (4, 2, 0), (7, 2, 0)]);
        let still = Look::Ended(Stillness::Still);
        let moving = Look::Moving;
        assert_eq!(looks, [moving, moving, moving, moving, Look::Calm, still]);
    }

    #[tokio::test]
    async fn stores_that_move_until_the_deadline_are_moving() {
        let looks = watched(&[(0, 1, 0), (59, 2, 0), (60, 3, 0)]);
        assert_eq!(looks[2], Look::Ended(Stillness::Moving));
        let looks = watched(&[(0, 1, 0), (58, 2, 0), (60, 2, 0)]);
        assert_eq!(looks[2], Look::Ended(Stillness::Moving));
    }

    #[tokio::test]
    async fn messages_that_wait_for_the_consumer_are_not_still() {
        let looks = watched(&[(0, 1, 7), (10, 1, 7), (60, 1, 7)]);
        assert_eq!(looks[1], Look::Moving);
        assert_eq!(looks[2], Look::Ended(Stillness::Waiting { messages: 7 }));
    }
}
