//! Starts `ClickHouse`, from the library or the program, and makes its table.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::chdb::QueryLog;
use crate::clickhouse::ClickHouse;
use crate::error::SandboxError;
use crate::guard::OWN_PROGRAM;
use crate::process::Launch;
use crate::stack::{Stack, local, same_ports, write_whole};

/// Where a running `ClickHouse` is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClickHouseAddresses {
    /// HTTP interface.
    pub(crate) http: SocketAddr,
    /// Native protocol.
    pub(crate) native: SocketAddr,
}

/// Starts `ClickHouse` on the ports that it had in this folder, or on free ones, and waits until
/// database and table are there.
///
/// It cannot choose its ports itself, so if one is taken in the meantime others are tried.
///
/// # Errors
///
/// Returns an error if it ends, does not answer, or refuses the table.
pub(crate) async fn start_clickhouse(
    stack: &mut Stack,
    program: &Path,
    log: QueryLog,
) -> Result<ClickHouseAddresses, SandboxError> {
    const TRIES: u32 = 5;
    let mut tried = 1;
    let addresses = loop {
        match start_once(stack, program, log).await {
            Err(SandboxError::PartDied { tail, .. })
                if tried < TRIES && tail.contains("Address already in use") =>
            {
                stack.discard_last().await;
                tried += 1;
            }
            started => break started?,
        }
    };
    let client = ClickHouse::at(addresses.http);
    for statement in statements(TABLE_SQL) {
        client.run(statement).await?;
    }
    Ok(addresses)
}

/// Forbids merges, which would fold ordered duplicates away before anybody could find them.
///
/// # Errors
///
/// Returns an error if `ClickHouse` cannot be reached or refuses.
pub(crate) async fn stop_merges(addresses: ClickHouseAddresses) -> Result<(), SandboxError> {
    let client = ClickHouse::at(addresses.http);
    client.run("SYSTEM STOP MERGES audit.audit_logs").await.map(drop)
}

const TABLE_SQL: &str = include_str!("../../clickhouse/audit_logs.sql");

async fn start_once(
    stack: &mut Stack,
    program: &Path,
    log: QueryLog,
) -> Result<ClickHouseAddresses, SandboxError> {
    const READY_LIMIT: Duration = Duration::from_mins(1);
    const STOP_LIMIT: Duration = Duration::from_secs(10);
    let data = stack.folder("clickhouse")?;
    let [http, tcp] = same_ports(&data.join("ports"))?;
    let is_library = program.extension().is_some_and(|ending| ending == "so" || ending == "dylib");
    let (runs, args) = if is_library {
        (Path::new(OWN_PROGRAM), library_args(program, &data, [http, tcp], log))
    } else {
        let config = data.join("config.xml");
        write_whole(&config, server_config(&data, [http, tcp], log))?;
        let config = format!("--config-file={}", config.display());
        (program, vec!["server".to_owned(), config])
    };
    let process = stack.start(Launch {
        name: "clickhouse",
        program: runs.to_owned(),
        args,
        // The library takes the zone from here; partitions and hours are cut in it.
        env: vec![("TZ", "UTC".to_owned())],
        stop_limit: STOP_LIMIT,
    })?;
    let client = ClickHouse::at(local(http));
    process.answer(READY_LIMIT, async || client.is_up().await.then_some(())).await?;
    Ok(ClickHouseAddresses { http: local(http), native: local(tcp) })
}

fn library_args(library: &Path, data: &Path, [http, tcp]: [u16; 2], log: QueryLog) -> Vec<String> {
    let words = [
        ("--library", library.to_string_lossy().into_owned()),
        ("--data", data.to_string_lossy().into_owned()),
        ("--http-port", http.to_string()),
        ("--tcp-port", tcp.to_string()),
    ];
    let options = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let log = (log == QueryLog::Kept).then(|| "--query-log".to_owned());
    std::iter::once("clickhouse".to_owned()).chain(options).chain(log).collect()
}

/// The least that the program needs to serve on its own, without a password, to this machine.
fn server_config(data: &Path, [http, tcp]: [u16; 2], log: QueryLog) -> String {
    let (data, log) = (data.display(), log.config());
    format!(
        "<clickhouse>
    <logger><level>warning</level><console>true</console></logger>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{http}</http_port>
    <tcp_port>{tcp}</tcp_port>
    <path>{data}/</path>
    <tmp_path>{data}/tmp/</tmp_path>
    <user_files_path>{data}/user_files/</user_files_path>
    <timezone>UTC</timezone>
    <mark_cache_size>268435456</mark_cache_size>
    {log}
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <access_management>1</access_management>
        </default>
    </users>
</clickhouse>
"
    )
}

/// Cuts a script into statements: the HTTP interface takes one at a time.
///
/// The script's comments and strings must hold no semicolon at the end of a line.
fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_script_is_a_database_and_a_table() {
        let starts: Vec<bool> = statements(TABLE_SQL)
            .zip(["CREATE DATABASE IF NOT EXISTS audit", "CREATE TABLE IF NOT EXISTS audit."])
            .map(|(statement, start)| statement.lines().any(|line| line.starts_with(start)))
            .collect();
        assert_eq!(starts, [true, true]);
        assert_eq!(statements(TABLE_SQL).count(), 2);
    }
}
