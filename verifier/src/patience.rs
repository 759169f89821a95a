//! Repeats queries while a store is away. A server that is restarted during a check should not end
//! the check, and a query changes nothing.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::errors::{ErrorCounts, OneError};
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use stores::clickhouse::ClickHouseError;
use stores::clickhouse::fault::{Fault, fault_of, in_words};
use stores::jetstream::JetStreamError;
use tracing::debug;

use crate::error::VerifyError;

/// How long a store may be away, and the clock that measures it.
#[derive(Debug, Clone)]
pub struct Patience {
    pub clock: Clock,
    pub shutdown: Shutdown,
    /// How long a store may stay silent before the check gives up.
    pub limit: Duration,
    /// Called with a message when a store is away.
    pub story: fn(&str),
    /// Errors after which a store was asked again.
    pub errors: ErrorCounts,
}

impl Patience {
    pub fn new(clock: Clock, shutdown: Shutdown, limit: Duration, story: fn(&str)) -> Self {
        Self { clock, shutdown, limit, story, errors: ErrorCounts::default() }
    }

    /// Repeats a query until there is an answer, an error that will not pass by itself, or the
    /// store has been away for too long.
    ///
    /// # Errors
    ///
    /// Returns the last error, or [`VerifyError::Stopped`] if the user asks to stop.
    pub async fn ask<T, E: Into<VerifyError>>(
        &mut self,
        mut question: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, VerifyError> {
        let mut away_since = None;
        let mut asked = 0;
        loop {
            let error = tokio::select! {
                answer = question() => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error.into(),
                },
                () = self.shutdown.asked(Stop::Drain) => return Err(VerifyError::Stopped),
            };
            let now = self.clock.now();
            let since = *away_since.get_or_insert(now);
            if !is_passing(&error) {
                return Err(error);
            }
            asked += 1;
            if now - since >= micros(self.limit) {
                return Err(VerifyError::Away { asked, source: Box::new(error) });
            }
            let words = self.remember(&error, now);
            if since == now {
                (self.story)(&format!("{}; asking again", words.text));
            }
            let OneError { server, kind, text } = words;
            let wait_ms = INTERVAL.as_millis();
            debug!(server, kind, attempt = asked, wait_ms, error = text, "asking again");
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.shutdown.asked(Stop::Drain) => return Err(VerifyError::Stopped),
            }
        }
    }

    /// Counts an error after which a store is asked again, and returns it in words.
    fn remember(&mut self, error: &VerifyError, now: UnixMicros) -> OneError {
        let words = in_words(server_of(error), error);
        self.errors.count(words.clone(), now);
        words
    }

    /// Like [`Self::ask`], for the first query to a store. If the store is down or does not exist,
    /// this fails at once, because its address may be wrong.
    ///
    /// # Errors
    ///
    /// Like [`Self::ask`].
    pub async fn greet<T, E: Into<VerifyError>>(
        &mut self,
        mut question: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, VerifyError> {
        match question().await.map_err(Into::into) {
            Err(error) if was_there(&error) => {
                self.remember(&error, self.clock.now());
                self.ask(question).await
            }
            answer => answer,
        }
    }
}

/// The store that an error is of.
fn server_of(error: &VerifyError) -> &str {
    match error {
        VerifyError::ClickHouse(
            ClickHouseError::Silent { url, .. } | ClickHouseError::Query { url, .. },
        )
        | VerifyError::JetStream(JetStreamError::Unreachable { url, .. }) => url,
        VerifyError::JetStream(_) | VerifyError::StreamSilent { .. } => "nats",
        _ => "clickhouse",
    }
}

/// Whether the store is there for all that the error says, so that its address may be right: it had
/// begun to answer, or did not say no.
fn was_there(error: &VerifyError) -> bool {
    match error {
        VerifyError::ClickHouse(ClickHouseError::Silent { .. }) => true,
        VerifyError::ClickHouse(ClickHouseError::Query { source, .. }) => broke_off(source),
        VerifyError::JetStream(error) => matches!(error, JetStreamError::Read { .. }),
        _ => false,
    }
}

/// Whether an open connection ended before the answer was complete.
fn broke_off(error: &(dyn Error + 'static)) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    const CUT: [ErrorKind; 4] = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    let mut next = Some(error);
    while let Some(cause) = next {
        let is_cut = cause.downcast_ref().is_some_and(|it: &io::Error| CUT.contains(&it.kind()));
        let is_short = cause.downcast_ref().is_some_and(hyper::Error::is_incomplete_message);
        if is_cut || is_short {
            return true;
        }
        next = cause.source();
    }
    false
}

const INTERVAL: Duration = Duration::from_millis(500);

/// Whether the error may pass by itself, because the store is away or busy.
fn is_passing(error: &VerifyError) -> bool {
    match error {
        VerifyError::ClickHouse(ClickHouseError::Silent { .. })
        | VerifyError::JetStream(
            JetStreamError::Read { .. } | JetStreamError::Unreachable { .. },
        )
        | VerifyError::StreamSilent { .. } => true,
        VerifyError::ClickHouse(ClickHouseError::Query { source, .. }) => {
            fault_of(source) == Fault::Passing
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use clickhouse::error::Error as ClientError;

    use super::*;

    fn query(source: ClientError) -> VerifyError {
        ClickHouseError::Query { url: String::new(), source }.into()
    }

    fn answered(text: &str) -> VerifyError {
        query(ClientError::BadResponse(text.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_comes_back_is_asked_again() {
        let (_stop, shutdown) = Shutdown::manual();
        let clock = Clock::starting_at(0);
        let mut patience = Patience::new(clock, shutdown, Duration::from_secs(10), |_| {});
        let mut asked = 0;
        let answer = patience.ask(async || {
            asked += 1;
            if asked < 5 { Err(query(ClientError::TimedOut)) } else { Ok(asked) }
        });
        assert_eq!(answer.await.unwrap(), 5);
        let gone = patience.ask(async || Err::<(), _>(query(ClientError::TimedOut))).await;
        let gone = gone.unwrap_err();
        assert!(matches!(gone, VerifyError::Away { asked: 21, .. }), "{gone:?}");
        let told = edges::exit::chain(&gone);
        assert!(told.starts_with("asked 21 times in vain: cannot query ClickHouse at"), "{told}");
        assert_eq!(gone.exit(), gone.cause().exit());
        // Those after which it was asked again: four, and all but the last.
        let known = patience.errors.most_frequent();
        assert_eq!(
            (known.len(), known[0].count, known[0].kind.as_str()),
            (1, 24, "timeout expired")
        );
        assert_eq!(known[0].last_at.0, clock.now() - micros(INTERVAL));
        assert!((12_000_000..13_000_000).contains(&clock.now()), "{}", clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_breaks_off_at_first_is_asked_again_and_one_that_is_down_is_not() {
        let (_stop, shutdown) = Shutdown::manual();
        let clock = Clock::starting_at(0);
        let mut patience = Patience::new(clock, shutdown, Duration::from_secs(10), |_| {});
        let down = || {
            let refused = io::Error::from(ErrorKind::ConnectionRefused);
            query(ClientError::Network(Box::new(refused)))
        };
        let never = patience.greet(async || Err::<(), _>(down())).await;
        assert!(never.is_err() && clock.now() == 0, "a wrong address is told at once");
        let mut asked = 0;
        let answer = patience.greet(async || {
            asked += 1;
            match asked {
                1 => {
                    let reset = io::Error::from(ErrorKind::ConnectionReset);
                    Err(query(ClientError::Network(Box::new(reset))))
                }
                2..5 => Err(down()),
                _ => Ok(asked),
            }
        });
        assert_eq!(answer.await.unwrap(), 5);
        let mut is_busy = true;
        let answer = patience.greet(async || {
            let silent = || ClickHouseError::Silent { url: "http://c".to_owned(), seconds: 10 };
            if std::mem::take(&mut is_busy) { Err(VerifyError::from(silent())) } else { Ok(()) }
        });
        assert!(answer.await.is_ok(), "a busy server answers later");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_stays_is_told_at_once() {
        let (stop, shutdown) = Shutdown::manual();
        let clock = Clock::starting_at(0);
        let mut patience = Patience::new(clock, shutdown, Duration::from_secs(10), |_| {});
        for text in ["Code: 60. DB::Exception: no table", "Code: 241. DB::Exception: memory"] {
            assert!(patience.ask(async || Err::<(), _>(answered(text))).await.is_err());
        }
        assert_eq!(clock.now(), 0);
        stop.send_replace(Stop::Drain);
        let busy = answered("Code: 202. DB::Exception: too many");
        assert!(is_passing(&busy));
        let stopped = patience.ask(async || Err::<(), _>(answered("Code: 202."))).await;
        assert!(matches!(stopped, Err(VerifyError::Stopped)));
    }
}
