//! Times each page that is asked for, whether or not it comes: the slowest are written down.

use std::sync::{Mutex, PoisonError};

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

use super::door::AnyDoor;

/// A door that remembers when each page of one question was asked for, and when it was answered.
#[derive(Debug)]
pub(crate) struct Timed<'d> {
    door: &'d AnyDoor,
    clock: Clock,
    /// What the query is called in the log of a server.
    name: String,
    pages: Mutex<Vec<TimedPage>>,
}

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimedPage {
    /// From 1.
    number: u32,
    asked: UnixMicros,
    answered: UnixMicros,
    rows: u64,
    bytes: u64,
    /// The last event of the page before, which this one goes on behind.
    after: Option<Uuid>,
    /// The last event of this page.
    last: Option<Uuid>,
    /// Why it did not come.
    failure: Option<String>,
    query_id: Option<String>,
}

impl<'d> Timed<'d> {
    pub(crate) fn new(door: &'d AnyDoor, clock: Clock, name: String) -> Self {
        Self { door, clock, name, pages: Mutex::default() }
    }

    /// The pages, in the order in which they were asked for.
    pub(crate) fn pages(self) -> Vec<TimedPage> {
        self.pages.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door for Timed<'_> {
    async fn ask(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
        let pages = || self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, after) = {
            let pages = pages();
            (pages.len() + 1, pages.last().and_then(|page| page.last))
        };
        let name = format!("{}-{number}", self.name);
        let asked = self.clock.now();
        let answer = self.door.ask_as(&name, question, cursor).await;
        let page = answer.as_ref().ok();
        let timed = TimedPage {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            asked,
            answered: self.clock.now(),
            rows: page.map_or(0, |page| page.events.len() as u64),
            bytes: page.map_or(0, |page| page.bytes),
            after,
            last: page.and_then(|page| page.events.last()?.id),
            failure: answer.as_ref().err().map(AskError::cause),
            query_id: self.door.keeps_names().then_some(name),
        };
        pages().push(timed);
        answer
    }

    fn place(&self) -> &str {
        self.door.place()
    }
}

impl TimedPage {
    /// When it was to be asked for, if its question was due at some moment.
    fn due(&self, question_due: UnixMicros) -> UnixMicros {
        if self.number == 1 { question_due } else { self.asked }
    }

    /// From when it was to be asked for to its answer.
    pub(crate) fn latency_ms(&self, question_due: UnixMicros) -> f64 {
        milliseconds(self.answered - self.due(question_due))
    }
}

/// Writes down a page of a question that was due at some moment.
pub(crate) fn slow_query(
    due: UnixMicros,
    (kind, question): (&QueryKind, &Question),
    page: &TimedPage,
) -> SlowQuery {
    SlowQuery {
        asked: MicroTime(page.asked),
        latency_ms: page.latency_ms(due),
        waited_ms: milliseconds(page.asked - page.due(due)),
        kind: kind.name.clone(),
        scope: kind.scope,
        question: question.to_json(),
        filter_sql: question.filter.to_sql(),
        page: page.number,
        after: page.after,
        failure: page.failure.clone(),
        rows: page.rows,
        bytes: page.bytes,
        query_id: page.query_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> TimedPage {
        TimedPage {
            number,
            asked: 150_000,
            answered: 400_000,
            rows: 0,
            bytes: 0,
            after: None,
            last: None,
            failure: None,
            query_id: None,
        }
    }

    #[test]
    fn a_first_page_takes_from_when_its_question_was_due_and_others_from_when_they_are_asked_for() {
        let [first, second] = [1, 2].map(|number| page(number).latency_ms(100_000));
        assert!((first - 300.0).abs() < 1e-9 && (second - 250.0).abs() < 1e-9, "{first} {second}");
    }
}
