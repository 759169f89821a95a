//! Checks several runs, one after another. A check that fails does not stop the others.

use std::io;
use std::path::PathBuf;

use edges::errors::ErrorCounts;
use edges::shutdown::Stop;
use plans::spec::{DeliveryPath, Targets};
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs};

use crate::changes::Changes;
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::reconcile::{CheckOptions, Checked, Depth, Stores, reconcile};
use crate::recorded::Recorded;
use crate::scan::ScanOptions;
use crate::settle::SettleOptions;
use crate::verdict::CountedRows;

/// How runs are checked, and which servers are asked.
#[derive(Debug, Clone)]
pub struct ChecksOptions {
    pub nats: NatsArgs,
    pub clickhouse: ClickHouseArgs,
    /// The most memory that a query may take in ClickHouse.
    pub memory_bytes_max: Option<u64>,
    pub settle: SettleOptions,
    /// Changes that the pipeline makes to events on purpose.
    pub changes: Changes,
    pub depth: Depth,
    pub duplicates: CountedRows,
}

/// Checks runs. It connects to each server once.
#[derive(Debug)]
pub struct Checks {
    options: ChecksOptions,
    patience: Patience,
    /// The tables that are connected already, by the targets that the runs have recorded.
    tables: Vec<(Targets, ClickHouse)>,
    stream: Option<AuditStream>,
}

impl Checks {
    /// Connects to nothing yet.
    pub fn new(options: ChecksOptions, patience: Patience) -> Self {
        Self { options, patience, tables: Vec::new(), stream: None }
    }

    /// Checks runs one after another. Passes each result to `take`: the report, or the error. It
    /// leaves out the other runs only if the user asks to stop.
    pub async fn check_each(
        &mut self,
        runs: &[Recorded],
        mut take: impl FnMut(&Recorded, Result<Checked, VerifyError>),
    ) {
        for run in runs {
            let checked = self.check(run).await;
            let is_checked = checked.is_ok();
            let is_stopped = matches!(checked, Err(VerifyError::Stopped));
            take(run, checked);
            if is_checked {
                self.remove_progress(run);
            }
            if is_stopped {
                return;
            }
        }
    }

    /// The errors after which queries were repeated, of all checks so far.
    pub fn errors(&self) -> &ErrorCounts {
        &self.patience.errors
    }

    async fn check(&mut self, run: &Recorded) -> Result<Checked, VerifyError> {
        let mut asked = self.patience.shutdown.clone();
        let table = tokio::select! {
            stores = self.connect(run) => stores?,
            () = asked.asked(Stop::Drain) => return Err(VerifyError::Stopped),
        };
        let stream = self.stream.as_ref().filter(|_| run.plan.path() != DeliveryPath::Bulk);
        let stores = Stores { table: &table, stream };
        let options = self.options.of_run(run);
        if !run.is_answered_in_full() {
            (self.patience.story)("waiting until stream and table are still, or all is stored");
        }
        reconcile(run, stores, &options, &mut self.patience).await
    }

    /// Connects to the stores that the run needs, unless that is done already. Returns its table.
    async fn connect(&mut self, run: &Recorded) -> Result<ClickHouse, VerifyError> {
        if run.plan.path() != DeliveryPath::Bulk && self.stream.is_none() {
            let nats = &self.options.nats;
            let url = nats.url.as_ref().ok_or(VerifyError::NoNatsUrl)?;
            let connect = async || AuditStream::connect(url, nats).await;
            self.stream = Some(self.patience.greet(connect).await?);
        }
        let Targets { table, columns, .. } = run.plan.spec.targets.clone();
        let place = Targets { table, columns, ..Targets::default() };
        if let Some((_, table)) = self.tables.iter().find(|(known, _)| *known == place) {
            return Ok(table.clone());
        }
        let connect = async || ClickHouse::connect(&self.options.clickhouse, &place).await;
        let connected = self.patience.greet(connect).await?;
        let table = limited(connected, self.options.memory_bytes_max);
        self.tables.push((place, table.clone()));
        Ok(table)
    }

    /// Removes the progress file of a check that has ended, because nobody needs it any more.
    fn remove_progress(&self, run: &Recorded) {
        let path = progress_file(run);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let path = path.display();
                let told = format!("cannot remove {path}, which is no longer needed: {source}");
                (self.patience.story)(&told);
            }
            _ => {}
        }
    }
}

impl ChecksOptions {
    fn of_run(&self, run: &Recorded) -> CheckOptions {
        let limit = self.memory_bytes_max;
        let rows_at_once = limit.map_or(ROWS_AT_ONCE, |bytes| bytes / BYTES_OF_A_ROW);
        CheckOptions {
            settle: self.settle.clone(),
            scan: ScanOptions { rows_at_once, progress_file: Some(progress_file(run)) },
            changes: self.changes.clone(),
            duplicates: self.duplicates,
            depth: self.depth,
        }
    }
}

/// Where finished parts of a check are kept until there is a report.
fn progress_file(run: &Recorded) -> PathBuf {
    run.dirs[0].file("check-progress.jsonl")
}

/// Limits the memory of each query.
fn limited(mut server: ClickHouse, bytes_max: Option<u64>) -> ClickHouse {
    if let Some(bytes) = bytes_max {
        let spill = (bytes / 2).to_string();
        server.client = server
            .client
            .with_setting("max_memory_usage", bytes.to_string())
            .with_setting("max_bytes_before_external_group_by", spill);
    }
    server
}

/// Partitions with this many rows are read together, unless the user limits the memory.
const ROWS_AT_ONCE: u64 = 50_000_000;

/// Bytes of memory that the server may need for a row in the worst case, which is a very scattered
/// set.
const BYTES_OF_A_ROW: u64 = 20;
