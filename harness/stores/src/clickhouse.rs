//! ClickHouse, for all programs: addresses, account, table.

pub mod fault;
mod secure;
pub(crate) mod settings;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clickhouse::{Client, Compression, Row};
use serde::Deserialize;
use tokio::time::Instant;
use tracing::debug;

pub use self::fault::server_code;
use self::fault::{Fault, fault_of};
use self::secure::secure_client;
use self::settings::with_harmless_settings;
use crate::schema::{
    ColumnsFileError, FoundColumn, SchemaError, Table, TableColumns, read_column_names,
};
use crate::sight::limit_of;
use edges::address::{Address, AddressError, CLICKHOUSE};
use edges::clock::Clock;
use edges::exit::chain;
use edges::secret::{self, ExposeSecret as _, SecretError, SecretString};
use events::timeline::UnixMicros;
use plans::spec::ColumnNames;
use plans::spec::Targets;
use runs::observation::ClockOffset;

/// Flags that name the server, the account and the table.
#[derive(Debug, Clone, Args)]
pub struct ClickHouseArgs {
    /// Address of ClickHouse's HTTP interface, like `http://host:8123` or `https://host:8443`.
    /// Several are separated by commas.
    #[arg(id = "clickhouse", long, env = "CLICKHOUSE_URL", value_name = "URL")]
    #[arg(value_delimiter = ',', hide_env_values = true)]
    pub urls: Vec<String>,
    /// ClickHouse user.
    #[arg(long = "clickhouse-user", env = "CLICKHOUSE_USER", default_value = "default")]
    #[arg(hide_env_values = true)]
    pub user: String,
    /// Password of the ClickHouse user. Other users of this machine can see it, so better use
    /// `--clickhouse-password-file` or the environment variable `CLICKHOUSE_PASSWORD`.
    #[arg(long = "clickhouse-password", value_name = "PASSWORD")]
    pub password: Option<SecretString>,
    /// File with the password of the ClickHouse user.
    #[arg(long = "clickhouse-password-file", value_name = "FILE")]
    #[arg(conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// Table of audit logs [default: the table that the run has recorded; for a new run
    /// `audit.audit_logs`].
    #[arg(long, value_name = "DATABASE.TABLE")]
    pub table: Option<Table>,
    /// YAML file with the names of the table's columns that differ from the standard names, in
    /// lines like `audit_id: id`.
    #[arg(long, value_name = "FILE")]
    pub columns: Option<PathBuf>,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error(transparent)]
    Url(#[from] AddressError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("this machine has no trusted certificates for {url}: name a file with SSL_CERT_FILE")]
    NoAuthorities { url: String },
    #[error("no ClickHouse is named; name its address with --clickhouse or CLICKHOUSE_URL")]
    NoUrl,
    #[error(
        "only one address of ClickHouse can be read from, and several are given; to read all \
             shards of a cluster, name a Distributed table"
    )]
    SeveralUrls,
    #[error("ClickHouse at {url} does not answer within {seconds} s")]
    Silent { url: String, seconds: u64 },
    #[error(
        "ClickHouse at {url} does not let user {user:?} do that; see --clickhouse-user and \
             CLICKHOUSE_PASSWORD"
    )]
    Denied { url: String, user: String, source: clickhouse::error::Error },
    #[error("{}", query_failed(url, source))]
    Query { url: String, source: clickhouse::error::Error },
    #[error("ClickHouse at {url} gave an answer that cannot be read: {fact}")]
    Answer { url: String, fact: &'static str },
    #[error(
        "ClickHouse at {url} has no table {table}, or none that user {user:?} may see; see --table \
             and --clickhouse-user"
    )]
    NoTable { url: String, table: Table, user: String },
    #[error("the table {table} at {url} cannot be used")]
    Schema { url: String, table: Table, source: Box<SchemaError> },
    #[error("the run directory has a name of a table that is not valid: {message}")]
    Recorded { message: String },
    #[error(transparent)]
    ColumnsFile(#[from] ColumnsFileError),
}

impl ClickHouseError {
    /// Whether the user must change the flags, because the error is not a server's fault.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Silent { .. } | Self::Query { .. } | Self::Answer { .. })
    }
}

/// A server that answers and has the table.
#[derive(Clone)]
pub struct ClickHouse {
    pub client: Client,
    /// Address without account.
    pub url: String,
    /// The account.
    pub user: String,
    pub table: Table,
    /// The table's names of columns, if they differ from the standard names.
    pub names: ColumnNames,
    pub columns: TableColumns,
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClickHouse({}, {})", self.url, self.table)
    }
}

/// The table and the names of its columns: those of the flags, or else those that a run has
/// recorded.
#[derive(Debug, Clone)]
struct Place {
    table: Table,
    names: ColumnNames,
}

impl ClickHouseArgs {
    fn place(&self, recorded: &Targets) -> Result<Place, ClickHouseError> {
        let of_run = || recorded.table.as_deref().unwrap_or(TABLE).parse();
        let table = match &self.table {
            Some(table) => table.clone(),
            None => of_run().map_err(|message| ClickHouseError::Recorded { message })?,
        };
        let names = match &self.columns {
            Some(path) => read_column_names(path)?,
            None => recorded.columns.clone(),
        };
        Ok(Place { table, names })
    }
}

impl ClickHouse {
    /// Makes sure that the only named server answers and has the table.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if it does not, or if several are named.
    pub async fn connect(
        args: &ClickHouseArgs,
        recorded: &Targets,
    ) -> Result<Self, ClickHouseError> {
        match &args.urls[..] {
            [] => Err(ClickHouseError::NoUrl),
            [url] => Self::connect_to(url, args, args.place(recorded)?).await,
            _ => Err(ClickHouseError::SeveralUrls),
        }
    }

    /// Makes sure that all named servers answer and have the table.
    ///
    /// # Errors
    ///
    /// Returns the [`ClickHouseError`] of the first server that does not.
    pub async fn connect_all(
        args: &ClickHouseArgs,
        recorded: &Targets,
    ) -> Result<Vec<Self>, ClickHouseError> {
        let place = args.place(recorded)?;
        if args.urls.is_empty() {
            return Err(ClickHouseError::NoUrl);
        }
        let mut servers = Vec::new();
        for url in &args.urls {
            servers.push(Self::connect_to(url, args, place.clone()).await?);
        }
        Ok(servers)
    }

    async fn connect_to(
        url: &str,
        args: &ClickHouseArgs,
        Place { table, names }: Place,
    ) -> Result<Self, ClickHouseError> {
        let url = url.trim_end_matches('/').to_owned();
        let mut client = client_for(&url)?
            .with_url(&url)
            .with_user(&args.user)
            .with_compression(Compression::Lz4)
            // The server sends an answer only when it is complete, so that an error in its middle
            // is seen as an error.
            .with_setting("wait_end_of_query", "1");
        let (flag, file) = (args.password.as_ref(), args.password_file.as_deref());
        if let Some(password) = secret::password(flag, file, "CLICKHOUSE_PASSWORD")? {
            client = client.with_password(password.expose_secret());
        }
        let (user, columns) = (args.user.clone(), TableColumns::default());
        let server = Self { client, url, user, table, names, columns };
        let client = with_harmless_settings(server.client.clone());
        let server = Self { client: server.answer(ANSWER_TIMEOUT, client).await?, ..server };
        let columns = find_columns(&server.client, &server.table);
        let found = server.answer(ANSWER_TIMEOUT, columns).await?;
        if found.is_empty() {
            let Self { url, table, user, .. } = server;
            return Err(ClickHouseError::NoTable { url, table, user });
        }
        match TableColumns::find(&found, &server.names) {
            Ok(columns) => Ok(Self { columns, ..server }),
            Err(error) => {
                let Self { url, table, .. } = server;
                Err(ClickHouseError::Schema { url, table, source: Box::new(error) })
            }
        }
    }

    /// The table's name for a standard column.
    pub fn column_of<'c>(&'c self, standard: &'c str) -> &'c str {
        self.names.get(standard).map_or(standard, String::as_str)
    }

    /// The FROM clause of a query for the events' standard columns.
    pub fn source(&self) -> String {
        self.columns.source(&self.table, "")
    }

    /// Like [`Self::source`], but only for some partitions, by their IDs.
    pub fn source_of_partitions(&self, partitions: &[String]) -> String {
        let ids: Vec<_> = partitions.iter().map(|id| format!("'{id}'")).collect();
        self.columns.source(&self.table, &format!("_partition_id IN ({})", ids.join(", ")))
    }

    /// Compares the server's clock with ours. The offset bears the name that is given.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if the server does not answer in time.
    pub async fn read_clock(
        &self,
        name: &str,
        clock: &Clock,
        limit: Duration,
    ) -> Result<ClockOffset, ClickHouseError> {
        let asked = clock.now();
        let told = self.client.query_raw("SELECT toUnixTimestamp64Micro(now64(6))");
        let told: UnixMicros = self.answer(limit, told.fetch_one()).await?;
        Ok(ClockOffset::new(name, (asked, clock.now()), told))
    }

    /// Waits for an answer, but not for ever.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if the server does not answer in time, or with an error.
    pub async fn answer<T>(
        &self,
        limit: Duration,
        question: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, ClickHouseError> {
        let asked = Instant::now();
        let answer = match tokio::time::timeout(limit, question).await {
            Ok(answer) => answer.map_err(|source| self.failed(source)),
            Err(_) => {
                Err(ClickHouseError::Silent { url: self.url.clone(), seconds: limit.as_secs() })
            }
        };
        let (server, took_ms) = (&self.url, asked.elapsed().as_millis());
        match &answer {
            Ok(_) => debug!(server, took_ms, "answered"),
            Err(error) => debug!(server, took_ms, error = chain(error), "no answer"),
        }
        answer
    }

    /// Adds the account and the server to the error of a query.
    pub fn failed(&self, source: clickhouse::error::Error) -> ClickHouseError {
        let url = self.url.clone();
        if is_denial(&source) {
            return ClickHouseError::Denied { url, user: self.user.clone(), source };
        }
        ClickHouseError::Query { url, source }
    }
}

/// The table of the pipeline under test.
const TABLE: &str = "audit.audit_logs";

#[derive(Debug, Row, Deserialize)]
struct ColumnsRow {
    names: Vec<String>,
    kinds: Vec<String>,
    default_kinds: Vec<String>,
}

/// Reads one row, which no limit on rows can cut.
async fn find_columns(
    client: &Client,
    table: &Table,
) -> Result<Vec<FoundColumn>, clickhouse::error::Error> {
    let row: Option<ColumnsRow> = client
        .query(
            "SELECT groupArray(name) AS names, groupArray(type) AS kinds, \
             groupArray(default_kind) AS default_kinds FROM (\
                SELECT name, type, default_kind FROM system.columns \
                WHERE database = ? AND table = ? ORDER BY position)",
        )
        .bind(table.database())
        .bind(table.name())
        .fetch_optional()
        .await?;
    let Some(ColumnsRow { names, kinds, default_kinds }) = row else { return Ok(Vec::new()) };
    let columns = names.into_iter().zip(kinds).zip(default_kinds);
    let column = |((name, kind), default_kind)| FoundColumn { name, kind, default_kind };
    Ok(columns.map(column).collect())
}

fn query_failed(url: &str, error: &clickhouse::error::Error) -> String {
    match error {
        clickhouse::error::Error::Network(error) if is_down(error.as_ref()) => {
            format!("ClickHouse at {url} does not answer; is it up?")
        }
        clickhouse::error::Error::BadResponse(_) if server_code(error).is_none() => {
            format!("cannot query ClickHouse at {url}; is it ClickHouse?")
        }
        _ => match server_code(error).and_then(limit_of) {
            Some(limit) => {
                format!("cannot query ClickHouse at {url}: {limit} of this account prevents it")
            }
            None => format!("cannot query ClickHouse at {url}"),
        },
    }
}

/// Whether the connection failed, and not the query. Errors of TLS have these kinds too.
fn is_down(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| !matches!(cause.kind(), io::ErrorKind::Other | io::ErrorKind::InvalidData))
}

/// Whether the server does not let the account do what was asked.
pub fn is_denial(error: &clickhouse::error::Error) -> bool {
    fault_of(error) == Fault::Denied
}

fn client_for(url: &str) -> Result<Client, ClickHouseError> {
    if !Address::read(url, &CLICKHOUSE)?.is_tls() {
        return Ok(Client::default());
    }
    secure_client().ok_or(ClickHouseError::NoAuthorities { url: url.to_owned() })
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Queries about the server itself are answered sooner.
pub const QUERY_TIMEOUT: Duration = Duration::from_mins(1);

/// Queries that read a table of billions of rows are answered sooner.
pub const SCAN_TIMEOUT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Describes a server that was asked for the table's columns.
    async fn complaint(url: &str) -> String {
        let table = TABLE.parse().unwrap();
        let client = client_for(url).unwrap().with_url(url);
        let source = find_columns(&client, &table).await.unwrap_err();
        ClickHouseError::Query { url: url.to_owned(), source }.to_string()
    }

    #[tokio::test]
    async fn nobody_and_another_server_are_told_from_clickhouse() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        });
        let said = complaint(&url).await;
        assert_eq!(said, format!("cannot query ClickHouse at {url}; is it ClickHouse?"));
        answering.abort();
        answering.await.unwrap_err();
        let said = complaint(&url).await;
        assert_eq!(said, format!("ClickHouse at {url} does not answer; is it up?"));
    }

    #[test]
    fn a_server_that_is_not_to_be_trusted_is_not_down() {
        let tls = io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate");
        assert!(!is_down(&io::Error::other(tls)));
        assert!(is_down(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }
}
