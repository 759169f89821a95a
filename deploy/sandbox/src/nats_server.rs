//! Starts NATS and makes its stream and consumer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use serde_json::{Map, Value};

use crate::error::SandboxError;
use crate::process::Launch;
use crate::stack::{Stack, is_free, local, write_whole};

/// Where a running NATS is reached.
#[derive(Debug, Clone)]
pub(crate) struct NatsAddresses {
    /// `nats://…`, for clients.
    pub(crate) client: String,
    /// `http://…`, for its monitoring pages.
    pub(crate) monitor: String,
}

impl NatsAddresses {
    /// All on which it listens.
    pub(crate) fn ports(&self) -> Vec<SocketAddr> {
        let ports = [&self.client, &self.monitor].map(|url| port_of(url).parse().ok().map(local));
        ports.into_iter().flatten().collect()
    }
}

/// Says whether stream and consumer can be used, once NATS does.
pub(crate) async fn serves(addresses: &NatsAddresses) -> Option<()> {
    let client = async_nats::connect(&addresses.client).await.ok()?;
    let context = jetstream::new(client);
    let consumer =
        context.get_consumer_from_stream::<consumer::pull::Config, _, _>(CONSUMER, STREAM);
    consumer.await.ok().map(drop)
}

/// Says whether somebody waits at the consumer for messages, once somebody does.
pub(crate) async fn is_read(addresses: &NatsAddresses) -> Option<()> {
    let client = async_nats::connect(&addresses.client).await.ok()?;
    let context = jetstream::new(client);
    let consumer =
        context.get_consumer_from_stream::<consumer::pull::Config, _, _>(CONSUMER, STREAM);
    let mut consumer = consumer.await.ok()?;
    let info = consumer.info().await.ok()?;
    (info.num_waiting > 0 || info.num_ack_pending > 0).then_some(())
}

/// The name of the process.
pub(crate) const NAME: &str = "nats-server";

/// Starts NATS on the ports that it had in this folder, or on those of its own choosing, and waits
/// until stream and consumer are there.
///
/// # Errors
///
/// Returns an error if it ends, does not answer, or refuses the stream or the consumer.
pub(crate) async fn start_nats(
    stack: &mut Stack,
    program: &Path,
    stream: stream::Config,
) -> Result<NatsAddresses, SandboxError> {
    const READY_LIMIT: Duration = Duration::from_secs(20);
    const STOP_LIMIT: Duration = Duration::from_secs(5);
    let data = stack.folder("nats")?;
    let ports = stack.folder("nats/ports")?;
    // The server names its report after its process ID, so a report of an earlier run must not be
    // left.
    fs::remove_dir_all(&ports)
        .and_then(|()| fs::create_dir(&ports))
        .map_err(SandboxError::io("empty", &ports))?;
    let args = |client: &str, monitor: &str| {
        let words = ["-js", "-a", "127.0.0.1", "-p", client, "-m", monitor, "-sd"];
        let folders = [text(&data), "--ports_file_dir".to_owned(), text(&ports)];
        words.into_iter().map(str::to_owned).chain(folders).collect::<Vec<_>>()
    };
    let kept = data.join("kept-ports");
    let [client, monitor] = free_of(&kept).unwrap_or(["-1", "-1"].map(str::to_owned));
    let process = stack.start(Launch {
        name: NAME,
        program: program.to_owned(),
        args: args(&client, &monitor),
        env: Vec::new(),
        stop_limit: STOP_LIMIT,
    })?;
    let addresses = process.answer(READY_LIMIT, async || reported(&ports)).await?;
    // The first time NATS chooses its ports; when it is started again, it is told which to take.
    let [client, monitor] = [&addresses.client, &addresses.monitor].map(|url| port_of(url));
    process.set_args(args(client, monitor));
    write_whole(&kept, format!("{client} {monitor}\n"))?;
    let client = process
        .answer(READY_LIMIT, async || async_nats::connect(&addresses.client).await.ok())
        .await?;
    let context = jetstream::new(client);
    // JetStream answers a little after the port does, later still when it recovers old data.
    process.answer(READY_LIMIT, async || context.query_account().await.ok()).await?;
    make_stream(&context, stream).await?;
    Ok(addresses)
}

/// The name of the stream that the sidecar fills.
pub(crate) const STREAM: &str = "AUDIT_EVENTS";

/// The name of the consumer that the aggregator reads by.
pub(crate) const CONSUMER: &str = "clickhouse-ingest";

async fn make_stream(
    context: &jetstream::Context,
    stream: stream::Config,
) -> Result<(), SandboxError> {
    let failed = |action| {
        move |error: &dyn std::error::Error| SandboxError::Nats {
            action,
            reason: error.to_string(),
        }
    };
    let stream = context.create_or_update_stream(stream).await;
    let stream = stream.map_err(|error| failed("make the stream")(&error))?;
    context
        .create_consumer_on_stream(consumer_config(), stream.config.name)
        .await
        .map_err(|error| failed("make the consumer")(&error))?;
    Ok(())
}

/// The committed settings of the stream, but for those that a file has otherwise.
///
/// # Errors
///
/// Returns an error if the file cannot be read, or holds no settings of this stream.
pub(crate) fn stream_config(file: Option<&Path>) -> Result<stream::Config, SandboxError> {
    const STREAM_JSON: &str = include_str!("../../nats/stream-audit-events.json");
    let mut settings: Map<String, Value> =
        serde_json::from_str(STREAM_JSON).expect("a test reads the committed stream");
    let wrong =
        |path: &Path, reason: String| SandboxError::StreamFile { path: path.to_owned(), reason };
    let path = file.unwrap_or(Path::new("the committed stream"));
    if let Some(path) = file {
        let text = fs::read(path).map_err(|error| wrong(path, error.to_string()))?;
        let named: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|error| wrong(path, error.to_string()))?;
        let unknown = named.keys().find(|name| !settings.contains_key(*name));
        if let Some(name) = unknown {
            return Err(wrong(path, format!("no setting {name:?} in the committed stream")));
        }
        settings.extend(named);
    }
    let config: stream::Config = serde_json::from_value(Value::Object(settings))
        .map_err(|error| wrong(path, error.to_string()))?;
    if config.name != STREAM {
        return Err(wrong(path, format!("its name must be {STREAM}")));
    }
    Ok(config)
}

/// The committed settings of the consumer.
fn consumer_config() -> consumer::pull::Config {
    const CONSUMER_JSON: &str = include_str!("../../nats/consumer-clickhouse-ingest.json");
    serde_json::from_str(CONSUMER_JSON).expect("a test reads the committed consumer")
}

/// Reads the report of ports, once it is there and whole.
fn reported(folder: &Path) -> Option<NatsAddresses> {
    let file = fs::read_dir(folder).ok()?.flatten().next()?;
    let report: Value = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
    let first = |key: &str| report.get(key)?.get(0)?.as_str().map(str::to_owned);
    Some(NatsAddresses { client: first("nats")?, monitor: first("monitoring")? })
}

/// The ports that a file names, if they are free.
fn free_of(file: &Path) -> Option<[String; 2]> {
    let text = fs::read_to_string(file).ok()?;
    let named: Vec<u16> = text.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let ports = <[u16; 2]>::try_from(named).ok()?;
    let are_free = ports.iter().all(|port| is_free(&local(*port)));
    are_free.then(|| ports.map(|port| port.to_string()))
}

/// The port at the end of an address.
fn port_of(url: &str) -> &str {
    url.rsplit(':').next().unwrap_or_default()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_stream_and_consumer_are_what_the_pipeline_has() {
        let (stream, consumer) = (stream_config(None).unwrap(), consumer_config());
        assert_eq!(stream.name, STREAM);
        assert_eq!(stream.subjects, ["audit.k8s.>"]);
        assert_eq!(stream.max_age, Duration::from_hours(7 * 24));
        assert_eq!(stream.max_bytes, 1 << 30);
        assert_eq!(stream.max_message_size, 10 << 20);
        assert_eq!(stream.duplicate_window, Duration::from_mins(10));
        assert_eq!(stream.discard, stream::DiscardPolicy::Old);
        assert_eq!(stream.storage, stream::StorageType::File);
        assert_eq!(consumer.durable_name.as_deref(), Some(CONSUMER));
        assert_eq!(consumer.ack_policy, consumer::AckPolicy::Explicit);
        assert_eq!(consumer.ack_wait, Duration::from_mins(1));
        assert_eq!(consumer.max_ack_pending, 10_000);
        assert_eq!(consumer.max_deliver, -1);
    }

    #[test]
    fn a_file_changes_some_settings_of_the_stream_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream.json");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            stream_config(Some(&path)).map_err(|error| error.to_string())
        };
        let text = r#"{"retention": "interest", "duplicate_window": 2000000000}"#;
        let changed = read(text).unwrap();
        assert_eq!(changed.retention, stream::RetentionPolicy::Interest);
        assert_eq!(changed.duplicate_window, Duration::from_secs(2));
        assert_eq!(changed.max_bytes, 1 << 30);
        for (text, why) in [
            ("[]", "invalid type"),
            (r#"{"max_byte": 1}"#, "no setting \"max_byte\""),
            (r#"{"max_bytes": "1 GiB"}"#, "invalid type"),
            (r#"{"name": "OTHER"}"#, "its name must be AUDIT_EVENTS"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let missing = stream_config(Some(&dir.path().join("nothing"))).unwrap_err();
        assert_eq!(missing.exit_code(), 2, "{missing}");
    }
}
