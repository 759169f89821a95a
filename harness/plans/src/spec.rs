//! The record of a run that is written before the run begins. All its events follow from it. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use events::event::MicroTime;
use events::identity::TENANTS_MAX;
use events::script::{DAY_US, midnight};
use events::timeline::UnixMicros;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::profile::Profile;
use crate::quantity::YEAR_9999_US;
use crate::scale::Scale;

/// The record of a run in its directory. The plan follows from it, wherever the directory is
/// copied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that made the run.
    pub tool_version: String,
    pub run_id: Uuid,
    pub seed: u64,
    /// For a live run, the start of the first stage. For a history, the end of its last day.
    pub start: MicroTime,
    pub span: Span,
    pub profile_sha256: String,
    /// The profile in full, as written.
    pub profile: String,
    pub targets: Targets,
    /// The number of shards, each of which has a ledger. Shard `i` runs every tenant whose index is
    /// `i` modulo this number.
    pub shards: u32,
    /// How the command line changed the numbers of the profile.
    #[serde(default, skip_serializing_if = "Scale::is_none")]
    pub scale: Scale,
}

/// The period in which a run's events are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Span {
    /// The stages of the profile.
    Live,
    /// Whole days (UTC) before the start.
    History {
        days: u32,
        events: u64,
        /// How many of the last days are sent through the pipeline. Earlier days go straight into
        /// the table.
        replay_days: u32,
        /// When the plan was made. No event of it was sent before.
        planned_at: MicroTime,
    },
}

/// The way that the events of a run take to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPath {
    /// Through webhook, sidecar, NATS and aggregator.
    Pipeline,
    /// Straight into the table.
    Bulk,
    /// Older events go straight into the table, newer ones through the pipeline.
    Both,
}

/// Where the events of a run were sent, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whom queries asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<String>,
    /// The names of columns in the table, if they differ from the standard names.
    #[serde(default, skip_serializing_if = "ColumnNames::is_empty")]
    pub columns: ColumnNames,
}

/// The names of columns in a table, by their standard names. Only names that differ are in it.
pub type ColumnNames = BTreeMap<String, String>;

/// The data that make a profile a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    pub run_id: Uuid,
    /// Replaces the profile's seed.
    pub seed: Option<u64>,
    pub start: UnixMicros,
    pub span: Span,
    pub targets: Targets,
    pub shards: u32,
    pub scale: Scale,
}

impl RunOptions {
    /// Options for a run in one shard that changes nothing in its profile.
    pub fn new(run_id: Uuid, start: UnixMicros, span: Span) -> Self {
        let (targets, scale) = (Targets::default(), Scale::default());
        Self { run_id, seed: None, start, span, targets, shards: 1, scale }
    }
}

/// The most events of a history.
pub const EVENTS_MAX: u64 = 1_000_000_000_000;

/// The version of `run.json`, and of the events that follow from it.
pub const RUN_FORMAT: u32 = 4;

impl RunSpec {
    /// Makes the record of a run of a valid profile.
    pub fn new(text: &str, profile: &Profile, options: RunOptions) -> Self {
        let start = match options.span {
            Span::Live => options.start,
            Span::History { .. } => midnight(options.start),
        };
        Self {
            format: RUN_FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: options.run_id,
            seed: options.seed.unwrap_or(profile.seed),
            start: MicroTime(start),
            span: options.span,
            profile_sha256: sha256_hex(text),
            profile: text.to_owned(),
            targets: options.targets,
            shards: options.shards,
            scale: options.scale,
        }
    }

    /// A hash that identifies this run. It does not depend on the targets or on the version of the
    /// program.
    pub fn seal(&self) -> [u8; 16] {
        self.sha256()[..16].try_into().expect("it has 32 bytes")
    }

    /// The whole hash of which [`Self::seal`] is the beginning.
    pub fn sha256(&self) -> [u8; 32] {
        let run = Self { targets: Targets::default(), tool_version: String::new(), ..self.clone() };
        let text = serde_json::to_string(&run).expect("it has string keys");
        Sha256::digest(text).into()
    }

    /// Checks a record for values that no version of this program writes.
    ///
    /// # Errors
    ///
    /// Returns what is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(1..=TENANTS_MAX).contains(&self.shards) {
            return Err("it has no shards, or more than there can be tenants");
        }
        let days_us = match self.span {
            Span::Live => 0,
            Span::History { days, events, .. } if days > 36_600 || events > EVENTS_MAX => {
                return Err("its history is longer than any can be");
            }
            Span::History { days, .. } => i64::from(days) * DAY_US,
        };
        let is_in_time = (days_us..YEAR_9999_US).contains(&self.start.0);
        is_in_time.then_some(()).ok_or("it begins before 1970, or after 9998")
    }

    /// Whether the hash fits the recorded profile.
    pub fn has_its_profile(&self) -> bool {
        self.profile_sha256 == sha256_hex(&self.profile)
    }
}

impl Span {
    /// Makes the span of a history that goes straight into the table.
    pub fn history(days: u32, events: u64, planned_at: UnixMicros) -> Self {
        Self::History { days, events, replay_days: 0, planned_at: MicroTime(planned_at) }
    }
}

/// Returns the run ID that all shards of a run compute without talking to each other. It follows
/// from the data that they have in common.
pub fn shared_run_id(
    profile: &str,
    seed: u64,
    scale: &Scale,
    start: UnixMicros,
    shards: u32,
) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(profile.len().to_le_bytes());
    hash.update(profile);
    hash.update(seed.to_le_bytes());
    hash.update(start.to_le_bytes());
    hash.update(shards.to_le_bytes());
    hash.update(serde_json::to_string(scale).expect("it has string keys"));
    let bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("it has 32 bytes");
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn sha256_hex(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes what is written to it");
        hex
    })
}
