//! What is recorded of a run before it begins: all that its events follow from. Pure.

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

/// What a run directory records of a run: its plan follows from it, wherever it is copied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that made the run.
    pub tool_version: String,
    pub run_id: Uuid,
    pub seed: u64,
    /// Live: when the first stage begins. History: the end of its last day.
    pub start: MicroTime,
    pub span: Span,
    pub profile_sha256: String,
    /// The profile in full, as written.
    pub profile: String,
    pub targets: Targets,
    /// How many ledgers together are the run: shard `i` runs every tenant whose index is `i`,
    /// modulo this.
    pub shards: u32,
    /// What the command line made of the profile's numbers.
    #[serde(default, skip_serializing_if = "Scale::is_none")]
    pub scale: Scale,
}

/// The time that a run's events are due in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Span {
    /// The stages of the profile.
    Live,
    /// Whole days (UTC) before the start.
    History {
        days: u32,
        events: u64,
        /// The last of these days are sent through the pipeline, those before straight into the
        /// table.
        replay_days: u32,
        /// When the plan was made: nothing of it was sent before.
        planned_at: MicroTime,
    },
}

/// The way that the events of a run take to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryPath {
    /// Webhook, sidecar, NATS, aggregator.
    Pipeline,
    /// Straight into the table.
    Bulk,
    /// Older events straight into the table, newer ones through the pipeline.
    Both,
}

/// Where a run's events went, without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// What the table calls columns, where that is not the standard name.
    #[serde(default, skip_serializing_if = "ColumnNames::is_empty")]
    pub columns: ColumnNames,
}

/// Names that a table has for columns, where they are not the standard ones.
pub type ColumnNames = BTreeMap<String, String>;

/// What a person adds to a profile to make it a run.
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
    /// A run that changes nothing of its profile, in one shard.
    pub fn new(run_id: Uuid, start: UnixMicros, span: Span) -> Self {
        let (targets, scale) = (Targets::default(), Scale::default());
        Self { run_id, seed: None, start, span, targets, shards: 1, scale }
    }
}

/// Most events of a history.
pub const EVENTS_MAX: u64 = 1_000_000_000_000;

/// The version of `run.json`, and of the events that follow from it.
pub const RUN_FORMAT: u32 = 4;

impl RunSpec {
    /// Records a run of a valid profile.
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

    /// Tells this run from all others, whatever it is sent to and by which version.
    pub fn seal(&self) -> [u8; 16] {
        let run = Self { targets: Targets::default(), tool_version: String::new(), ..self.clone() };
        let text = serde_json::to_string(&run).expect("it has string keys");
        Sha256::digest(text)[..16].try_into().expect("it has 32 bytes")
    }

    /// Says what in a record cannot be: whoever wrote it, it was no version of this.
    ///
    /// # Errors
    ///
    /// Returns the fact.
    pub fn check(&self) -> Result<(), &'static str> {
        if !(1..=TENANTS_MAX).contains(&self.shards) {
            return Err("it has no shards, or more than there can be tenants");
        }
        let days_us = match self.span {
            Span::Live => 0,
            Span::History { days, events, .. } if days > 36_600 || events > EVENTS_MAX => {
                return Err("its history is longer than any");
            }
            Span::History { days, .. } => i64::from(days) * DAY_US,
        };
        let is_in_time = (days_us..YEAR_9999_US).contains(&self.start.0);
        is_in_time.then_some(()).ok_or("it begins before 1970, or after 9998")
    }

    /// Whether the recorded profile is the one that the hash is of.
    pub fn has_its_profile(&self) -> bool {
        self.profile_sha256 == sha256_hex(&self.profile)
    }
}

impl Span {
    /// A history that goes straight into the table.
    pub fn history(days: u32, events: u64, planned_at: UnixMicros) -> Self {
        Self::History { days, events, replay_days: 0, planned_at: MicroTime(planned_at) }
    }
}

/// Returns the run ID that all shards of a run find without talking: it follows from what they
/// have in common.
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
