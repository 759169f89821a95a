//! Starts the two Vectors of the pipeline, with the committed configurations.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::error::SandboxError;
use crate::process::Launch;
use crate::stack::{Stack, local, same_ports, write_whole};

/// Starts sidecar and aggregator, and returns the webhook's address once it accepts connections,
/// and where either tells its metrics.
///
/// # Errors
///
/// Returns an error if one of them ends or the webhook does not answer.
pub(crate) async fn start_vector(
    stack: &mut Stack,
    program: &Path,
    batch_wait: Duration,
    nats_url: &str,
    clickhouse: SocketAddr,
) -> Result<(SocketAddr, Vec<SocketAddr>), SandboxError> {
    const READY_LIMIT: Duration = Duration::from_secs(30);
    let folder = stack.folder("vector")?;
    let [webhook, sidecar_at, aggregator_at] = same_ports(&folder.join("ports"))?.map(local);
    let clickhouse = format!("http://{clickhouse}");
    // A whole number of seconds is all that Vector takes.
    let batch_seconds = batch_wait.as_secs().max(1).to_string();
    let sidecar_data = stack.folder("vector/sidecar-data")?.display().to_string();
    let aggregator_data = stack.folder("vector/aggregator-data")?.display().to_string();
    let sidecar = [
        ("VECTOR_DATA_DIR", sidecar_data.as_str()),
        ("WEBHOOK_ADDRESS", &webhook.to_string()),
        ("NATS_URL", nats_url),
        ("METRICS_ADDRESS", &sidecar_at.to_string()),
    ];
    let aggregator = [
        ("VECTOR_DATA_DIR", aggregator_data.as_str()),
        ("NATS_URL", nats_url),
        ("CLICKHOUSE_URL", &clickhouse),
        ("BATCH_TIMEOUT_SECS", &batch_seconds),
        ("METRICS_ADDRESS", &aggregator_at.to_string()),
    ];
    let parts = [
        ("vector-aggregator", filled(AGGREGATOR_YAML, &aggregator)),
        ("vector-sidecar", filled(SIDECAR_YAML, &sidecar)),
    ];
    for (name, config) in parts {
        let file = folder.join(format!("{name}.yaml"));
        write_whole(&file, &config)?;
        let process = stack.start(Launch {
            name,
            program: program.to_owned(),
            args: vec!["--config".to_owned(), file.display().to_string()],
            env: vec![("VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS", "10".to_owned())],
            stop_limit: Duration::from_secs(12),
        })?;
        if name == "vector-sidecar" {
            let connect = async || TcpStream::connect(webhook).await.ok();
            process.answer(READY_LIMIT, connect).await?;
        }
    }
    Ok((webhook, vec![sidecar_at, aggregator_at]))
}

const SIDECAR_YAML: &str = include_str!("../../vector/sidecar.yaml");
const AGGREGATOR_YAML: &str = include_str!("../../vector/aggregator.yaml");

/// Puts values in the place of `${NAME}`: recent Vectors do so themselves only when told to.
fn filled(config: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(config.to_owned(), |config, (name, value)| {
        config.replace(&format!("${{{name}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &str, names: &[&str]) {
        let values: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
        for name in names {
            assert!(config.contains(&format!("${{{name}}}")), "{name} is nowhere");
        }
        assert!(!filled(config, &values).contains("${"), "a name is left");
    }

    #[test]
    fn every_name_in_the_committed_configurations_is_filled() {
        check(SIDECAR_YAML, &["VECTOR_DATA_DIR", "WEBHOOK_ADDRESS", "NATS_URL", "METRICS_ADDRESS"]);
        check(
            AGGREGATOR_YAML,
            &[
                "VECTOR_DATA_DIR",
                "NATS_URL",
                "CLICKHOUSE_URL",
                "BATCH_TIMEOUT_SECS",
                "METRICS_ADDRESS",
            ],
        );
    }
}
