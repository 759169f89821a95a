//! Asks the query API, before a run, whether it answers, and to whom it shows what.

use std::time::Duration;

use edges::clock::Clock;
use edges::exit::chain;
use queries::api::{Api, ApiArgs, AskLimits};
use queries::door::Door as _;
use queries::error::AskError;
use queries::question::{Question, Scope, UnixSeconds, WINDOW_SECONDS_MAX};
use ready::facts::ReaderFacts;
use stores::bounds::read_second_bounds;
use stores::clickhouse::ClickHouse;

use crate::error::VerifyError;

/// Reads the facts about a query API and about the table behind it.
///
/// # Errors
///
/// Returns [`VerifyError`] if the flags are wrong, or ClickHouse does not answer. That the API does
/// not answer is a fact.
pub(super) async fn read_reader(
    args: &ApiArgs,
    table: &ClickHouse,
    clock: &Clock,
) -> Result<ReaderFacts, VerifyError> {
    let limits = AskLimits { timeout: ANSWER_LIMIT, ..AskLimits::default() };
    let api = Api::from_args(args, limits)?;
    // The server refuses what is in its future, and its clock may be behind.
    let until = UnixSeconds::of(clock.now()).plus(-CLOCK_SECONDS);
    let from = until.plus(-WINDOW_SECONDS_MAX);
    let api_ref = &api;
    let ask = async |scope| {
        let question = Question::all(scope, from, until, 1);
        api_ref.ask(&question, None).await.map(|page| !page.events.is_empty())
    };
    let everybody = ask(Scope::Platform).await;
    let stranger = ask(Scope::stranger("auditstorm-nobody")).await;
    let shows_strangers = match stranger {
        Ok(true) => Some(true),
        Ok(false) => (everybody == Ok(true)).then_some(false),
        Err(AskError::Forbidden { .. }) => Some(false),
        Err(_) => None,
    };
    let unanswered = match &everybody {
        // It answers, and others may ask for everybody's events.
        Ok(_) | Err(AskError::Forbidden { .. }) => None,
        Err(error) => Some(chain(error)),
    };
    let bounds = read_second_bounds(table).await?;
    Ok(ReaderFacts { url: api.place().to_owned(), unanswered, shows_strangers, bounds })
}

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const CLOCK_SECONDS: i64 = 5;
