//! Starts the sandbox's own query API.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::clickhouse_server::ClickHouseAddresses;
use crate::error::SandboxError;
use crate::guard::OWN_PROGRAM;
use crate::process::Launch;
use crate::stack::{Stack, is_free, local, remove_stale};

/// The name of its process.
pub(crate) const NAME: &str = "query-api";

/// Which query API there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueryApi {
    /// The sandbox's own, which it starts.
    Own,
    /// One that exists, at an address that is only passed on.
    At(String),
}

impl FromStr for QueryApi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Own);
        }
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let has_host = host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'));
        has_host
            .then(|| Self::At(text.trim_end_matches('/').to_owned()))
            .ok_or_else(|| format!("{text:?} is no address; write https://HOST:PORT"))
    }
}

/// Starts the query API on the port that it had in this folder, or on a free one, and waits until
/// it listens.
///
/// # Errors
///
/// Returns an error if it ends or does not answer.
pub(crate) async fn start_query_api(
    stack: &mut Stack,
    flags: &[String],
    clickhouse: ClickHouseAddresses,
) -> Result<SocketAddr, SandboxError> {
    const READY_LIMIT: Duration = Duration::from_secs(20);
    const STOP_LIMIT: Duration = Duration::from_secs(5);
    let folder = stack.folder(NAME)?;
    let address_file = folder.join("address");
    // After a restart it must have the same address, because others know it.
    let earlier = read_address(&address_file).filter(is_free).unwrap_or(local(0));
    remove_stale(&address_file)?;
    let args = |listen: SocketAddr| {
        let own = [
            NAME.to_owned(),
            format!("--clickhouse={}", clickhouse.http),
            format!("--listen={listen}"),
            format!("--address-file={}", address_file.display()),
            format!("--faults-file={}", folder.with_file_name("faults.jsonl").display()),
        ];
        own.into_iter().chain(flags.iter().cloned()).collect::<Vec<_>>()
    };
    let process = stack.start(Launch {
        name: NAME,
        program: PathBuf::from(OWN_PROGRAM),
        args: args(earlier),
        env: Vec::new(),
        stop_limit: STOP_LIMIT,
    })?;
    // It listens before it writes this, so who reads it can connect.
    let address = process.answer(READY_LIMIT, async || read_address(&address_file)).await?;
    process.set_args(args(address));
    Ok(address)
}

/// Where it listens, as it wrote it down.
fn read_address(file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        assert_eq!("".parse(), Ok(QueryApi::Own));
        let at = QueryApi::At("https://api.example:443".to_owned());
        assert_eq!("https://api.example:443/".parse(), Ok(at));
        for wrong in ["api.example", "ftp://x", "http://", "http:///x"] {
            assert!(wrong.parse::<QueryApi>().is_err(), "{wrong}");
        }
    }
}
