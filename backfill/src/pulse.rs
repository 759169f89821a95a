//! The load on the server: parts and memory, read once a second.

use std::time::Duration;

use clickhouse::Row;
use serde::Deserialize;
use stores::clickhouse::{ClickHouse, ClickHouseError, QUERY_TIMEOUT};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The state of a server and of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Row, Deserialize)]
pub struct Pulse {
    /// Parts of the table that are in use.
    pub parts: u64,
    /// Parts of the partition with the most parts.
    pub parts_in_partition_max: u64,
    /// Memory that the server has in use.
    pub memory_bytes: u64,
}

/// Reads the state of a server.
///
/// # Errors
///
/// Returns [`ClickHouseError`] if it does not answer.
pub async fn read_pulse(server: &ClickHouse) -> Result<Pulse, ClickHouseError> {
    let pulse = server
        .client
        .query(
            "SELECT sum(active_parts) AS parts, max(active_parts) AS parts_in_partition_max, \
             ifNull((SELECT toUInt64(greatest(max(value), 0)) FROM system.metrics \
                     WHERE metric = 'MemoryTracking'), 0) AS memory_bytes \
             FROM (SELECT count() AS active_parts FROM system.parts \
                   WHERE active AND database = ? AND table = ? GROUP BY partition_id)",
        )
        .bind(server.table.database())
        .bind(server.table.name())
        .fetch_one();
    server.answer(QUERY_TIMEOUT, pulse).await
}

/// Reads the state of all servers again and again, and keeps the worst of each number. Ends when it
/// is dropped.
#[derive(Debug)]
pub struct PulseWatch {
    pulse: watch::Receiver<Pulse>,
    task: JoinHandle<()>,
}

impl PulseWatch {
    pub fn start(servers: &[ClickHouse]) -> Self {
        let (sender, pulse) = watch::channel(Pulse::default());
        let servers = servers.to_vec();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let mut worst = Pulse::default();
                for server in &servers {
                    // If a server does not answer, the inserts will show it.
                    if let Ok(pulse) = read_pulse(server).await {
                        worst.parts = worst.parts.max(pulse.parts);
                        worst.parts_in_partition_max =
                            worst.parts_in_partition_max.max(pulse.parts_in_partition_max);
                        worst.memory_bytes = worst.memory_bytes.max(pulse.memory_bytes);
                    }
                }
                sender.send_replace(worst);
            }
        });
        Self { pulse, task }
    }

    /// The last answer.
    pub fn last(&self) -> Pulse {
        *self.pulse.borrow()
    }

    /// Waits for a new answer.
    pub async fn next(&mut self) -> Pulse {
        // This cannot fail: the sender lives as long as the task, and the task as long as this
        // value.
        self.pulse.changed().await.expect("the task goes on");
        *self.pulse.borrow_and_update()
    }
}

impl Drop for PulseWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const INTERVAL: Duration = Duration::from_secs(1);
