//! ClickHouse, as all programs reach it: address, account, table.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clickhouse::{Client, Compression};

/// Flags that say which server and table.
#[derive(Debug, Clone, Args)]
pub struct ClickHouseArgs {
    /// Address of ClickHouse's HTTP interface.
    #[arg(long = "clickhouse", env = "CLICKHOUSE_URL", value_name = "URL")]
    pub url: String,
    /// ClickHouse user.
    #[arg(long = "clickhouse-user", env = "CLICKHOUSE_USER", default_value = "default")]
    pub user: String,
    /// ClickHouse password; the environment keeps it out of process lists.
    #[arg(long = "clickhouse-password", env = "CLICKHOUSE_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Table of audit logs.
    #[arg(long, default_value = "audit.audit_logs", value_name = "DATABASE.TABLE")]
    pub table: Table,
}

/// A table's name, ready to stand in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    database: String,
    name: String,
}

impl Table {
    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !part.starts_with(|c: char| c.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((database, name)) if is_name(database) && is_name(name) => {
                Ok(Self { database: database.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no table: write it like audit.audit_logs")),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.name)
    }
}

/// Why a server is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error("{url:?} is no ClickHouse address: write it like http://127.0.0.1:8123")]
    Url { url: String },
    #[error("ClickHouse at {url} does not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent { url: String },
    #[error("cannot query ClickHouse at {url}")]
    Query { url: String, source: clickhouse::error::Error },
    #[error("ClickHouse at {url} has no table {table}; name another with --table")]
    NoTable { url: String, table: Table },
}

/// A server that answers and has the table.
#[derive(Clone)]
pub struct ClickHouse {
    pub client: Client,
    /// Address without account.
    pub url: String,
    pub table: Table,
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClickHouse({}, {})", self.url, self.table)
    }
}

impl ClickHouse {
    /// Makes sure that the server answers and has the table.
    ///
    /// # Errors
    ///
    /// Returns [`ClickHouseError`] if it does not.
    pub async fn connect(args: &ClickHouseArgs) -> Result<Self, ClickHouseError> {
        let url = args.url.trim_end_matches('/').to_owned();
        let plain = url.starts_with("http://") && url.len() > "http://".len() && !url.contains('@');
        if !plain {
            return Err(ClickHouseError::Url { url: args.url.clone() });
        }
        let mut client = Client::default()
            .with_url(&url)
            .with_user(&args.user)
            .with_compression(Compression::Lz4)
            // An answer begins when it is complete: an error in its middle is an error.
            .with_setting("wait_end_of_query", "1");
        if let Some(password) = &args.password {
            client = client.with_password(password);
        }
        let server = Self { client, url, table: args.table.clone() };
        let has_table = server
            .client
            .query("SELECT count() FROM system.tables WHERE database = ? AND name = ?")
            .bind(server.table.database())
            .bind(server.table.name())
            .fetch_one::<u64>();
        match tokio::time::timeout(ANSWER_TIMEOUT, has_table).await {
            Err(_) => Err(ClickHouseError::Silent { url: server.url }),
            Ok(Err(source)) => Err(server.failed(source)),
            Ok(Ok(0)) => Err(ClickHouseError::NoTable { url: server.url, table: server.table }),
            Ok(Ok(_)) => Ok(server),
        }
    }

    /// Puts the server's address to an error of a query.
    pub fn failed(&self, source: clickhouse::error::Error) -> ClickHouseError {
        ClickHouseError::Query { url: self.url.clone(), source }
    }
}

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_cannot_smuggle_sql() {
        let table: Table = "audit.audit_logs".parse().unwrap();
        assert_eq!((table.database(), table.name()), ("audit", "audit_logs"));
        for wrong in ["audit_logs", "a.b.c", "a.b;DROP TABLE x", "a.", "`a`.b", "a.1b"] {
            assert!(wrong.parse::<Table>().is_err(), "{wrong}");
        }
    }
}
