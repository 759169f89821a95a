//! Whom the queries of a run ask: the flags, and the door that they open.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use events::script::Script;
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::query_plan::{Asker, QueryPlan};
use queries::api::{Api, ApiArgs, AskLimits};
use queries::door::Door;
use queries::error::AskError;
use queries::page::Page;
use queries::question::{Filter, Question, Scope, UnixSeconds};
use queries::sql::Sql;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use tracing::info;

use super::Reading;
use super::history::History;
use super::kinds::Kinds;
use super::witness::Table;
use crate::error::GeneratorError;

/// Flags that say whom the queries of a profile ask.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Asks the table of --clickhouse instead of the query API.
    #[arg(long, help_heading = "Query API")]
    query_sql: bool,
    /// Leaves the queries of the profile out, and sends its events alone.
    #[arg(long, help_heading = "Query API", conflicts_with = "query_sql")]
    pub(crate) no_queries: bool,
    /// Run directory of an earlier run whose events are in the table too, like a seeded history;
    /// can be given several times. Answers are checked for its events, and must have those that
    /// `auditstorm-verifier reconcile` saw in the table. Users belong to its tenants, too.
    #[arg(long, value_name = "DIR", help_heading = "Query API", conflicts_with = "no_queries")]
    history: Vec<PathBuf>,
    #[command(flatten, next_help_heading = "Table")]
    clickhouse: ClickHouseArgs,
}

/// A door that queries go through.
#[derive(Debug, Clone)]
pub enum AnyDoor {
    Api(Api),
    Table(Sql),
}

impl QueryArgs {
    /// Whom the queries ask, for a record: without what may be secret in it.
    pub(crate) fn shown(&self) -> Option<String> {
        if self.query_sql {
            return self.clickhouse.urls.first().map(|url| edges::address::without_secrets(url));
        }
        self.api.url.as_deref().map(edges::address::without_secrets)
    }

    /// Makes sure that somebody is named whom the queries of a plan can ask, if it has any.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::NoQueryDoor`] if nobody is.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), GeneratorError> {
        let is_named = self.query_sql || self.api.url.is_some();
        if plan.queries.is_some() && !is_named {
            return Err(GeneratorError::NoQueryDoor { profile: plan.profile_name.clone() });
        }
        Ok(())
    }

    /// Opens the histories, and the door of a plan's queries, and asks through it once for each
    /// kind of scope. Opens nothing if the plan has no queries.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError`] if the flags are wrong, or nobody answers.
    pub(crate) async fn open(
        &self,
        plan: &Plan,
        now: UnixMicros,
    ) -> Result<Option<Reading>, GeneratorError> {
        let Some(queries) = &plan.queries else { return Ok(None) };
        let histories = self.history.iter().map(|path| History::open(path));
        let histories = histories.collect::<Result<_, _>>()?;
        let (door, table) = if self.query_sql {
            let server = ClickHouse::connect(&self.clickhouse, &plan.spec.targets).await?;
            (AnyDoor::Table(Sql::new(server, queries.timeout)), None)
        } else {
            let limits = AskLimits { timeout: queries.timeout, body_bytes_max: ANSWER_BYTES_MAX };
            let api = AnyDoor::Api(Api::from_args(&self.api, limits)?);
            (api, Table::open(&self.clickhouse, &plan.spec.targets).await)
        };
        let reading = Reading { door, histories, table };
        let door = &reading.door;
        for scope in scopes(queries, &reading.scripts(plan)) {
            probe(door, scope, now).await.map_err(|source| GeneratorError::QueryProbe {
                place: door.place().to_owned(),
                source,
            })?;
        }
        info!(door = door.place(), connections = queries.connections(), "queries are answered");
        Ok(Some(reading))
    }
}

/// One scope of each kind that the queries ask for.
fn scopes(queries: &QueryPlan, scripts: &[&Script]) -> Vec<Scope> {
    let kinds = Kinds::new(queries, scripts);
    let home = kinds.home(&mut queries.draw(Asker::User(0), 0));
    let tenant = home.filter(|_| queries.scopes.tenant > 0);
    let tenant = tenant.and_then(|home| home.scope(scripts));
    let platform = queries.scopes.platform + queries.scopes.complex > 0 || home.is_none();
    tenant.into_iter().chain(platform.then_some(Scope::Platform)).collect()
}

/// Asks for one event of a second that is over; again, if it fails in a way that may pass.
async fn probe(door: &AnyDoor, scope: Scope, now: UnixMicros) -> Result<(), AskError> {
    let until = UnixSeconds::of(now).plus(-1);
    let from = until.plus(-1);
    let question = Question { scope, filter: Filter::default(), from, until, limit: 1 };
    let mut tries = 0;
    loop {
        tries += 1;
        let asked = tokio::time::timeout(PROBE_TIMEOUT, door.ask(&question, None)).await;
        match asked.unwrap_or(Err(AskError::Timeout { limit: PROBE_TIMEOUT })) {
            Ok(_) => return Ok(()),
            Err(error) if tries == PROBES_MAX || !error.is_passing() => return Err(error),
            Err(_) => tokio::time::sleep(PROBE_WAIT).await,
        }
    }
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 4;
const PROBE_WAIT: Duration = Duration::from_millis(250);

/// The largest answer that is read. A page of a thousand usual events has about a megabyte.
const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Door for AnyDoor {
    async fn ask(&self, question: &Question, cursor: Option<&str>) -> Result<Page, AskError> {
        match self {
            Self::Api(api) => api.ask(question, cursor).await,
            Self::Table(table) => table.ask(question, cursor).await,
        }
    }

    async fn ask_as(
        &self,
        name: &str,
        question: &Question,
        cursor: Option<&str>,
    ) -> Result<Page, AskError> {
        match self {
            Self::Api(api) => api.ask_as(name, question, cursor).await,
            Self::Table(table) => table.ask_as(name, question, cursor).await,
        }
    }

    fn keeps_names(&self) -> bool {
        match self {
            Self::Api(api) => api.keeps_names(),
            Self::Table(table) => table.keeps_names(),
        }
    }

    fn place(&self) -> &str {
        match self {
            Self::Api(api) => api.place(),
            Self::Table(table) => table.place(),
        }
    }
}
