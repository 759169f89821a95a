//! Asks the table, before a question is asked, which of its events it has: the answer must have
//! them. And again afterwards, what is not shown: only what was there all the time is not.
//!
//! That holds for one table on one server. With replicas, nobody knows here which of them answers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plans::spec::Targets;
use queries::order::Place;
use queries::question::Question;
use queries::sql::{Sql, TableRows};
use stores::clickhouse::{ClickHouse, ClickHouseArgs, ClickHouseError, QUERY_TIMEOUT};
use stores::sight::EngineKind;
use stores::sight::read::{read_engine, read_standing};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};
use uuid::Uuid;

/// Says what the table has of the answer to a question.
pub(crate) trait Witness: Send + Sync {
    /// The places of the newest rows that the table has of an answer, or, with `ids`, of the rows
    /// of these events; `None` if nobody can say.
    fn rows(
        &self,
        question: &Question,
        ids: Option<&[Uuid]>,
    ) -> impl Future<Output = Option<Vec<Place>>> + Send;
}

/// A table that has all the rows that its readers can see.
#[derive(Debug)]
pub struct Table {
    door: Sql,
    /// The server that has answered so far.
    server: Mutex<String>,
    looks: Semaphore,
}

/// The most rows of one look.
const ROWS_MAX: u32 = 1_000;

/// The most looks at once. Who comes then asks without one.
const LOOKS_AT_ONCE: usize = 2;

/// A look that takes longer is given up.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

impl Table {
    /// Opens the table that is named, if any is. `None` if what it shows need not be in every
    /// answer, or if it cannot be asked; that is told, and is no reason not to ask.
    pub(crate) async fn open(args: &ClickHouseArgs, recorded: &Targets) -> Option<Self> {
        if args.urls.is_empty() {
            return None;
        }
        let opened = async {
            let server = ClickHouse::connect(args, recorded).await?;
            Ok::<_, ClickHouseError>((doubt(&server).await?, server))
        };
        match opened.await {
            Ok((None, server)) => {
                info!(table = %server.table, "answers must have what the table shows before them");
                let door = Sql::new(server, LOOK_TIMEOUT);
                let (server, looks) = (Mutex::default(), Semaphore::new(LOOKS_AT_ONCE));
                Some(Self { door, server, looks })
            }
            Ok((Some(why), server)) => {
                info!(table = %server.table, why, "answers are not compared with the table");
                None
            }
            Err(error) => {
                let error = edges::exit::chain(&error);
                warn!(error, "answers are not compared with the table");
                None
            }
        }
    }

    /// Whether all answers so far, and this one, are of one server.
    fn is_of_one(&self, rows: &TableRows) -> bool {
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            rows.servers.iter().take(1).for_each(|server| known.clone_from(server));
        }
        rows.servers.iter().all(|server| *server == *known)
    }
}

impl Witness for Table {
    async fn rows(&self, question: &Question, ids: Option<&[Uuid]>) -> Option<Vec<Place>> {
        // What looks like a fault is worth a wait.
        let _look = match ids {
            Some(_) => self.looks.acquire().await.ok()?,
            None => self.looks.try_acquire().ok()?,
        };
        let rows = match self.door.rows(question, ids, ROWS_MAX).await {
            Ok(rows) => rows,
            Err(error) => {
                debug!(error = error.to_string(), "no look at the table");
                return None;
            }
        };
        self.is_of_one(&rows).then_some(rows.places)
    }
}

/// Why a reader might rightly not show what this account sees.
async fn doubt(server: &ClickHouse) -> Result<Option<String>, ClickHouseError> {
    let engine = read_engine(server).await?.engine_name;
    let is_alone = match EngineKind::of(&engine) {
        EngineKind::MergeTree => true,
        EngineKind::Replicated => count_replicas(server).await == Some(1),
        EngineKind::Distributed | EngineKind::Other => false,
    };
    if !is_alone {
        let why = format!("its engine is {engine}: another server may answer, and know less");
        return Ok(Some(why));
    }
    let hidden = read_standing(server, &engine).await?.hidden;
    Ok(hidden.into_iter().next().map(|it| it.what))
}

/// How many replicas a table has; `None` if nobody says.
async fn count_replicas(server: &ClickHouse) -> Option<u64> {
    let sql = format!(
        "SELECT toUInt64(max(total_replicas)) FROM system.replicas \
         WHERE database = '{}' AND table = '{}'",
        server.table.database(),
        server.table.name()
    );
    server.answer(QUERY_TIMEOUT, server.client.query_raw(&sql).fetch_one::<u64>()).await.ok()
}
