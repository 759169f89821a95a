//! Asks for pages, and times each, whether or not it comes: the slowest are written down.

use edges::clock::{Clock, milliseconds};
use events::event::MicroTime;
use events::timeline::UnixMicros;
use queries::door::Door;
use queries::error::AskError;
use queries::page::Page;
use queries::question::Question;
use runs::queries::QueryKind;
use runs::slow_queries::SlowQuery;
use uuid::Uuid;

/// A page that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NextPage {
    /// From 1.
    pub(crate) number: u32,
    /// When it is due; `None` if it is asked for as soon as the one before has come.
    pub(crate) due: Option<UnixMicros>,
    /// What it is called in the log of a server.
    pub(crate) name: String,
    /// The last event of the page before, which this one goes on behind.
    pub(crate) after: Option<Uuid>,
}

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimedPage {
    /// From 1.
    number: u32,
    due: UnixMicros,
    asked: UnixMicros,
    pub(crate) answered: UnixMicros,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The last event of the page before, which this one goes on behind.
    after: Option<Uuid>,
    /// The last event of this page.
    pub(crate) last: Option<Uuid>,
    /// Why it did not come.
    failure: Option<String>,
    query_id: Option<String>,
}

impl NextPage {
    /// Asks for it.
    pub(crate) async fn ask(
        self,
        (door, clock): (&impl Door, Clock),
        (question, cursor): (&Question, Option<&str>),
    ) -> (TimedPage, Result<Page, AskError>) {
        let Self { number, due, name, after } = self;
        let asked = clock.now();
        let answer = door.ask_as(&name, question, cursor).await;
        let page = answer.as_ref().ok();
        let timed = TimedPage {
            number,
            due: due.unwrap_or(asked),
            asked,
            answered: clock.now(),
            rows: page.map_or(0, |page| page.events.len() as u64),
            bytes: page.map_or(0, |page| page.bytes),
            after,
            last: page.and_then(|page| page.events.last()?.id),
            failure: answer.as_ref().err().map(AskError::cause),
            query_id: door.keeps_names().then_some(name),
        };
        (timed, answer)
    }
}

impl TimedPage {
    pub(crate) fn has_come(&self) -> bool {
        self.failure.is_none()
    }

    /// From when it was due to its answer.
    pub(crate) fn latency_us(&self) -> i64 {
        self.answered - self.due
    }

    pub(crate) fn latency_ms(&self) -> f64 {
        milliseconds(self.latency_us())
    }

    /// Writes it down.
    pub(crate) fn slow_query(&self, kind: &QueryKind, question: &Question) -> SlowQuery {
        SlowQuery {
            asked: MicroTime(self.asked),
            latency_ms: self.latency_ms(),
            waited_ms: milliseconds(self.asked - self.due),
            kind: kind.name.clone(),
            scope: kind.scope,
            question: question.to_json(),
            filter_sql: question.filter.to_sql(),
            page: self.number,
            after: self.after,
            failure: self.failure.clone(),
            rows: self.rows,
            bytes: self.bytes,
            query_id: self.query_id.clone(),
        }
    }
}
