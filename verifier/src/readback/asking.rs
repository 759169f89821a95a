//! Asks questions one after another: no faster than allowed, again if the server fails, and not for
//! ever.

use std::time::Duration;

use edges::clock::{Clock, micros};
use edges::errors::{ErrorCounts, OneError};
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use queries::door::Door;
use queries::error::AskError;
use queries::page::Page;
use queries::question::{Question, Scope};
use tracing::debug;

/// How questions are asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AskOptions {
    /// The most questions in a second.
    pub rate: f64,
    /// How long the server may fail before a question is given up.
    pub patience: Duration,
    /// How long all questions together may take.
    pub total: Duration,
}

/// Asks questions at a door.
pub(crate) struct Asking<'d, D> {
    door: &'d D,
    pub(crate) clock: Clock,
    shutdown: Shutdown,
    options: AskOptions,
    story: fn(&str),
    /// When all must be asked.
    ends_at: UnixMicros,
    next_at: UnixMicros,
    pub(crate) counts: AskCounts,
}

/// What asking has taken so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AskCounts {
    pub(crate) questions: u64,
    pub(crate) unanswered: u64,
    pub(crate) bytes: u64,
    pub(crate) slowest_ms: u64,
    pub(crate) errors: ErrorCounts,
}

/// Why a question was not answered in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The user asks to stop.
    Stopped,
    /// There is no time left for any question.
    OutOfTime,
    /// The server was never there.
    Unreachable(AskError),
    /// The server refused, or failed for too long.
    Failed(AskError),
}

impl<'d, D: Door> Asking<'d, D> {
    pub(crate) fn new(
        door: &'d D,
        clock: Clock,
        shutdown: Shutdown,
        options: AskOptions,
        story: fn(&str),
    ) -> Self {
        let now = clock.now();
        let ends_at = now + micros(options.total);
        let counts = AskCounts::default();
        Self { door, clock, shutdown, options, story, ends_at, next_at: now, counts }
    }

    /// Asks until there is an answer.
    ///
    /// # Errors
    ///
    /// Returns [`Unanswered`] if there is none in the end.
    pub(crate) async fn ask(
        &mut self,
        question: &Question,
        cursor: Option<&str>,
    ) -> Result<Page, Unanswered> {
        let mut failing_since = None;
        let mut wait = FIRST_WAIT;
        loop {
            self.pace().await?;
            let begun = self.clock.now();
            let door = self.door;
            let answer = tokio::select! {
                answer = door.ask(question, cursor) => answer,
                () = self.shutdown.asked(Stop::Drain) => return Err(Unanswered::Stopped),
            };
            let now = self.clock.now();
            self.counts.questions += 1;
            let error = match answer {
                Ok(page) => {
                    let took_ms = u64::try_from((now - begun) / 1_000).unwrap_or_default();
                    self.counts.slowest_ms = self.counts.slowest_ms.max(took_ms);
                    self.counts.bytes += page.bytes;
                    return Ok(page);
                }
                Err(error) => error,
            };
            if matches!(question.scope, Scope::Stranger { .. }) && !error.is_passing() {
                // That is how it should be.
                return Err(Unanswered::Failed(error));
            }
            let since = *failing_since.get_or_insert(begun);
            self.remember(&error, since == begun && error.is_passing(), now);
            let is_down = matches!(error, AskError::Connection { .. });
            if is_down && self.counts.unanswered == self.counts.questions {
                return Err(Unanswered::Unreachable(error));
            }
            if !error.is_passing() || now - since >= micros(self.options.patience) {
                return Err(Unanswered::Failed(error));
            }
            self.sleep(wait).await?;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Waits for a while.
    ///
    /// # Errors
    ///
    /// Returns [`Unanswered`] if the user asks to stop, or there is no time left.
    pub(crate) async fn sleep(&mut self, wait: Duration) -> Result<(), Unanswered> {
        let until = self.clock.now() + micros(wait);
        if until >= self.ends_at {
            return Err(Unanswered::OutOfTime);
        }
        tokio::select! {
            () = self.clock.sleep_until(until) => Ok(()),
            () = self.shutdown.asked(Stop::Drain) => Err(Unanswered::Stopped),
        }
    }

    /// Waits until the next question may be asked.
    async fn pace(&mut self) -> Result<(), Unanswered> {
        let now = self.clock.now();
        if self.shutdown.stop() >= Stop::Drain {
            return Err(Unanswered::Stopped);
        }
        if now >= self.ends_at {
            return Err(Unanswered::OutOfTime);
        }
        let at = self.next_at.max(now);
        let interval = Duration::from_secs_f64(1.0 / self.options.rate);
        self.next_at = at + micros(interval);
        tokio::select! {
            () = self.clock.sleep_until(at) => Ok(()),
            () = self.shutdown.asked(Stop::Drain) => Err(Unanswered::Stopped),
        }
    }

    fn remember(&mut self, error: &AskError, is_new: bool, now: UnixMicros) {
        self.counts.unanswered += 1;
        let (server, kind, text) =
            (self.door.place().to_owned(), error.kind().to_owned(), error.to_string());
        debug!(server, kind, error = text, "no answer");
        if is_new && self.counts.errors.is_empty() {
            (self.story)(&format!("{server}: {text}; asking again"));
        }
        self.counts.errors.count(OneError { server, kind, text }, now);
    }
}

/// Waits before a question is asked again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
