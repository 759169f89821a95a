//! Predicts a load: how large it is, how long it takes, and whether it can work at all.

use std::fmt;
use std::time::Duration;

use chrono::DateTime;
use events::script::DAY_US;
use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use plans::plan::Plan;
use ready::finding::{Finding, Rank};
use ready::intent::bytes_on_disk;
use runs::ranges::TenantRanges;
use serde::{Serialize, Serializer};
use stores::survey::Survey;

use crate::chunk::seqs_due;
use crate::native::{BlockColumns, block};
use crate::probe::Probe;
use crate::rows::slots;

/// What a load will be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    pub events: u64,
    pub days: Vec<DayForecast>,
    pub tenants: Vec<TenantForecast>,
    pub bulk: BulkForecast,
    pub replay: ReplayForecast,
    /// Each server by its address.
    pub servers: Vec<ServerForecast>,
    pub probe: Option<Probe>,
    /// Why there is no probe.
    pub not_probed: Option<String>,
    /// How long the bulk part takes, by the probe.
    pub bulk_seconds: Option<f64>,
    /// What is to be known before, the weightiest first.
    #[serde(serialize_with = "as_objections")]
    pub objections: Vec<Finding>,
}

/// A day of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayForecast {
    /// As in `2026-01-31`.
    pub day: String,
    pub events: u64,
    pub is_replayed: bool,
}

/// A tenant of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantForecast {
    pub name: String,
    pub events: u64,
}

/// What goes straight into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BulkForecast {
    pub events: u64,
    pub days: usize,
    /// Inserts; each makes a part, and merges make fewer of them.
    pub chunks: usize,
    /// As sent, before compression.
    pub bytes: u64,
    /// On disk, with projections and indexes; as many as are sent, if nothing tells.
    pub bytes_on_disk: u64,
    /// Whether rows that a server has tell what these take on disk.
    pub is_disk_measured: bool,
}

/// What is to be brought straight into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkLoad {
    pub events: u64,
    pub inserts: usize,
}

/// What goes through the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReplayForecast {
    pub events: u64,
    pub days: usize,
    /// How long it takes at least, at the highest rate it may have; `None` without one.
    pub seconds: Option<f64>,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerForecast {
    pub url: String,
    pub survey: Survey,
    /// Columns of the table that stay empty.
    pub unfilled: Vec<String>,
}

/// Says what a load will be, but for what stands against it.
pub fn forecast(
    plan: &Plan,
    load: BulkLoad,
    servers: Vec<ServerForecast>,
    columns: &BlockColumns,
    probe: Option<Probe>,
) -> Forecast {
    let days = days(plan);
    let BulkLoad { events: bulk_events, inserts } = load;
    let replayed = days.iter().filter(|day| day.is_replayed);
    let replay = ReplayForecast {
        events: replayed.clone().map(|day| day.events).sum(),
        days: replayed.count(),
        seconds: None,
    };
    let bytes = bulk_bytes(plan, bulk_events, columns);
    let surveys = servers.iter().map(|server| &server.survey);
    let measured = bytes_on_disk(bulk_events, probe.map(|probe| probe.sizes()), surveys);
    let bulk = BulkForecast {
        events: bulk_events,
        days: days.len() - replay.days,
        chunks: inserts,
        bytes,
        // The size as sent is an upper bound: rows on disk were never seen to take more.
        bytes_on_disk: measured.unwrap_or(bytes),
        is_disk_measured: measured.is_some(),
    };
    let tenant = |index| {
        let tenant = plan.script.world().tenant(index);
        // One tenant is the platform itself, which has no name.
        let named = Some(&tenant.scope_name).filter(|name| !name.is_empty());
        let name = named.map_or_else(|| tenant.scope.as_str().to_owned(), Clone::clone);
        TenantForecast { name, events: plan.script.timeline(index).count() }
    };
    Forecast {
        events: plan.script.planned(),
        tenants: plan.script.tenants().map(tenant).collect(),
        bulk,
        replay,
        servers,
        probe,
        not_probed: None,
        bulk_seconds: probe.map(|probe| seconds_for(bulk_events, &probe)),
        objections: Vec::new(),
        days,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a forecast is no exact number")]
fn seconds_for(events: u64, probe: &Probe) -> f64 {
    events as f64 / probe.rows_per_second()
}

fn days(plan: &Plan) -> Vec<DayForecast> {
    let mut days = Vec::new();
    let mut start = plan.start;
    while start < plan.end {
        let end = (start + DAY_US).min(plan.end);
        let seqs = seqs_due(&plan.script, &(start..end));
        let day = DateTime::from_timestamp_micros(start).unwrap_or_default();
        days.push(DayForecast {
            day: day.format("%Y-%m-%d").to_string(),
            events: seqs.map(|(_, seqs)| seqs.end - seqs.start).sum(),
            is_replayed: start >= plan.piped_from,
        });
        start = end;
    }
    days
}

/// Returns what some events take as sent, before compression.
pub fn bulk_bytes(plan: &Plan, events: u64, columns: &BlockColumns) -> u64 {
    events * row_bytes(plan, columns)
}

/// Returns what a row takes as sent, from a sample of each tenant's events.
fn row_bytes(plan: &Plan, columns: &BlockColumns) -> u64 {
    let script = &plan.script;
    let sample = |tenant| {
        let planned = script.timeline(tenant).count();
        let sampled = planned.min(SAMPLES_PER_TENANT);
        (tenant, (0..sampled).map(|sample| planned * sample / sampled).collect())
    };
    // Small and large tenants count alike, because their events have the same sizes.
    let sets: TenantRanges = script.tenants().take(TENANTS_SAMPLED).map(sample).collect();
    let rows = sets.count().max(1);
    block(script, &slots(script, &sets), columns).len() as u64 / rows
}

/// A finding as programs read it: what stands against a load, or is to be known of it.
#[derive(Serialize)]
struct Objection<'f> {
    /// The load cannot work; else it works, but not as one might expect.
    is_refusal: bool,
    url: Option<&'f str>,
    /// What is wrong, and what to do.
    text: String,
    rank: Rank,
    about: &'f str,
    reason: &'f str,
    fix: &'f str,
}

fn as_objections<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(|finding| Objection {
        is_refusal: finding.rank == Rank::Blocker,
        url: finding.server.as_deref(),
        text: finding.text(),
        rank: finding.rank,
        about: finding.about,
        reason: &finding.reason,
        fix: &finding.fix,
    }))
}

const SAMPLES_PER_TENANT: u64 = 64;
const TENANTS_SAMPLED: usize = 64;

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.days.first(), self.days.last());
        let name = |day: Option<&DayForecast>| day.map_or("none", |day| &day.day).to_owned();
        writeln!(
            f,
            "{} events of {} tenants in {} days, {} to {}",
            HumanCount(self.events),
            self.tenants.len(),
            self.days.len(),
            name(first),
            name(last)
        )?;
        self.fmt_spread(f)?;
        let BulkForecast { events, days, chunks, bytes, bytes_on_disk, .. } = self.bulk;
        writeln!(f, "\nstraight into the table: {} events in {days} days", HumanCount(events))?;
        writeln!(f, "  inserts         {chunks:>12}  each at least one part, before merges")?;
        writeln!(
            f,
            "  sent            {:>12}  before compression",
            BinaryBytes(bytes).to_string()
        )?;
        let note = if self.bulk.is_disk_measured { "" } else { "  at most; not measured" };
        writeln!(f, "  on disk         {:>12}{note}", BinaryBytes(bytes_on_disk).to_string())?;
        self.fmt_time(f)?;
        if self.replay.days > 0 {
            let ReplayForecast { events, days, seconds } = self.replay;
            writeln!(f, "\nthrough the pipeline: {} events in {days} days", HumanCount(events))?;
            if let Some(seconds) = seconds {
                let (time, why) = (human(seconds), "the pipeline may take them slower");
                writeln!(
                    f,
                    "  time            {seconds:>10.0} s  {time} at least, at the rate given: {why}"
                )?;
            } else {
                let why = "as fast as the pipeline takes them; --replay-rate sets a rate";
                writeln!(f, "  time            {:>12}  {why}", "unknown")?;
            }
        }
        self.servers.iter().try_for_each(|server| server.fmt(f))?;
        for finding in &self.objections {
            let word = match finding.rank {
                Rank::Blocker => "cannot work",
                Rank::Warning => "warning",
                Rank::Note => "note",
            };
            writeln!(f, "\n{word}: {}: {}", finding.place(), finding.text())?;
        }
        Ok(())
    }
}

impl Forecast {
    /// Writes how events are spread over days and tenants.
    fn fmt_spread(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, what: &str, counts: Vec<(u64, &str)>| {
            let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) else {
                return Ok(());
            };
            let mean = counts.iter().map(|(events, _)| events).sum::<u64>() / counts.len() as u64;
            writeln!(
                f,
                "  a {what:<14}{:>12}  on average; {} ({}) to {} ({})",
                HumanCount(mean).to_string(),
                HumanCount(least.0),
                least.1,
                HumanCount(most.0),
                most.1
            )
        };
        line(f, "day", self.days.iter().map(|day| (day.events, day.day.as_str())).collect())?;
        let tenants = self.tenants.iter().map(|tenant| (tenant.events, tenant.name.as_str()));
        line(f, "tenant", tenants.collect())
    }

    fn fmt_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(probe), Some(seconds)) = (&self.probe, self.bulk_seconds) else {
            let why = self.not_probed.as_deref().unwrap_or("without a probe");
            return writeln!(f, "  time            {:>12}  {why}", "unknown");
        };
        let time = human(seconds);
        writeln!(
            f,
            "  time            {seconds:>10.0} s  {time}, at {:.0} rows/s as {} rows were probed",
            probe.rows_per_second(),
            HumanCount(probe.rows)
        )
    }
}

fn human(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

impl fmt::Display for ServerForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Survey { version, engine, rows, parts, .. } = &self.survey;
        let Survey { disk_free_bytes, disk_total_bytes, max_memory_usage, .. } = self.survey;
        let (rows, free) = (HumanCount(*rows), BinaryBytes(disk_free_bytes));
        writeln!(f, "\n{}: ClickHouse {version}, {engine}", self.url)?;
        writeln!(f, "  partitions by   {}", self.survey.partition_key)?;
        writeln!(f, "  has             {rows} rows in {parts} parts")?;
        writeln!(f, "  disk            {free} free of {}", BinaryBytes(disk_total_bytes))?;
        let memory = match max_memory_usage {
            0 => "no limit on a query's memory".to_owned(),
            bytes => format!("{} of memory a query", BinaryBytes(bytes)),
        };
        writeln!(
            f,
            "  limits          {} partitions an insert, {memory}; slows down at {} parts a \
             partition, refuses at {}",
            self.survey.max_partitions_per_insert_block,
            self.survey.parts_to_delay_insert,
            self.survey.parts_to_throw_insert
        )?;
        let window = match self.survey.deduplication_window {
            0 => "no inserts; doubtful ones are looked up".to_owned(),
            inserts => format!("the last {inserts} inserts; doubtful ones are looked up as well"),
        };
        writeln!(f, "  remembers       {window}")?;
        writeln!(f, "  insert quorum   {}", self.survey.insert_quorum)
    }
}
