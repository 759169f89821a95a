//! Starts the two Vectors of the pipeline, with the committed configurations.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::clickhouse_server::ClickHouseAddresses;
use crate::error::SandboxError;
use crate::keeper::Joint;
use crate::nats_server::{self, NatsAddresses};
use crate::process::Launch;
use crate::stack::{Stack, local, same_ports, write_whole};

/// A Vector, and the settings that differ from the committed ones.
#[derive(Debug)]
pub(crate) struct Vector {
    program: PathBuf,
    /// `batch.timeout_secs`, which takes fractions.
    batch_seconds: String,
    /// `request.retry_max_duration_secs`, which takes none.
    retry_seconds: String,
}

impl Vector {
    /// A Vector with these limits.
    ///
    /// # Errors
    ///
    /// Returns an error if Vector cannot be told one of them.
    pub(crate) fn new(
        program: PathBuf,
        batch_wait: Duration,
        retry_max: Duration,
    ) -> Result<Self, SandboxError> {
        if retry_max.subsec_nanos() != 0 || retry_max.is_zero() {
            let given = retry_max.as_millis();
            return Err(SandboxError::WholeSeconds { flag: "--retry-max", given });
        }
        // Vector does not accept zero.
        let batch_wait = batch_wait.max(Duration::from_millis(1));
        Ok(Self {
            program,
            batch_seconds: batch_wait.as_secs_f64().to_string(),
            retry_seconds: retry_max.as_secs().to_string(),
        })
    }

    /// Starts sidecar and aggregator, and waits until they accept connections and the aggregator
    /// waits for messages.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them ends or does not answer.
    pub(crate) async fn start(
        &self,
        stack: &mut Stack,
        nats: &NatsAddresses,
        clickhouse: ClickHouseAddresses,
    ) -> Result<Joint, SandboxError> {
        const READY_LIMIT: Duration = Duration::from_secs(30);
        let folder = stack.folder("vector")?;
        let [webhook, before, behind] = same_ports(&folder.join("ports"))?.map(local);
        let joint = Joint { webhook, metrics: vec![before, behind] };
        let data = [stack.folder("vector/sidecar-data")?, stack.folder("vector/aggregator-data")?];
        let data = data.map(|folder| folder.display().to_string());
        let sidecar = [
            ("VECTOR_DATA_DIR", data[0].as_str()),
            ("WEBHOOK_ADDRESS", &webhook.to_string()),
            ("NATS_URL", &nats.client),
            ("METRICS_ADDRESS", &before.to_string()),
        ];
        let aggregator = [
            ("VECTOR_DATA_DIR", data[1].as_str()),
            ("NATS_URL", &nats.client),
            ("CLICKHOUSE_URL", &format!("http://{}", clickhouse.http)),
            ("BATCH_TIMEOUT_SECS", &self.batch_seconds),
            ("RETRY_MAX_SECS", &self.retry_seconds),
            ("METRICS_ADDRESS", &behind.to_string()),
        ];
        let parts = [
            ("vector-aggregator", filled(AGGREGATOR_YAML, &aggregator), vec![behind]),
            ("vector-sidecar", filled(SIDECAR_YAML, &sidecar), vec![webhook, before]),
        ];
        for (name, config, addresses) in parts {
            let file = folder.join(format!("{name}.yaml"));
            write_whole(&file, &config)?;
            let process = stack.start(Launch {
                name,
                program: self.program.clone(),
                args: vec!["--config".to_owned(), file.display().to_string()],
                env: vec![("VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS", "10".to_owned())],
                stop_limit: Duration::from_secs(12),
            })?;
            for address in addresses {
                let connect = async || TcpStream::connect(address).await.ok();
                process.answer(READY_LIMIT, connect).await?;
            }
            if name == "vector-aggregator" {
                process.answer(READY_LIMIT, async || nats_server::is_read(nats).await).await?;
            }
        }
        Ok(joint)
    }
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
                "RETRY_MAX_SECS",
                "METRICS_ADDRESS",
            ],
        );
    }

    #[test]
    fn no_name_is_left_to_vectors_own_interpolation() {
        // Vector replaces names in comments too, and fails if the environment lacks one.
        for config in [SIDECAR_YAML, AGGREGATOR_YAML] {
            for (at, _) in config.match_indices('$') {
                let rest = config[at + 1..].lines().next().unwrap();
                let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte);
                assert!(!rest.bytes().next().is_some_and(is_word), "${rest}");
            }
        }
    }

    #[test]
    fn no_time_is_cut_in_silence() {
        let new = |batch_wait, retry_max| {
            Vector::new(
                "vector".into(),
                Duration::from_millis(batch_wait),
                Duration::from_millis(retry_max),
            )
        };
        let vector = new(2_500, 60_000).unwrap();
        assert_eq!(
            (&*vector.batch_seconds, &*vector.retry_seconds),
            ("2.5", "60"),
            "as Vector reads them"
        );
        assert_eq!(new(10_000, 1_000).unwrap().batch_seconds, "10");
        for wrong in [0, 500, 1_500] {
            let error = new(1_000, wrong).unwrap_err();
            assert!(error.to_string().contains("whole seconds"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
