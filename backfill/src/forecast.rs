//! Predicts a load: how large it is, how long it takes, and whether it can work at all.

use std::fmt;
use std::time::Duration;

use chrono::DateTime;
use events::script::DAY_US;
use events::timeline::UnixMicros;
use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use plans::plan::Plan;
use runs::ranges::TenantRanges;
use serde::Serialize;
use stores::survey::Survey;

use crate::chunk::seqs_due;
use crate::native::{BlockColumns, block};
use crate::objection::Objection;
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
    pub objections: Vec<Objection>,
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

/// Says what a load will be.
pub fn forecast(
    plan: &Plan,
    load: BulkLoad,
    servers: Vec<ServerForecast>,
    columns: &BlockColumns,
    probe: Option<Probe>,
    now: UnixMicros,
) -> Forecast {
    let days = days(plan);
    let BulkLoad { events: bulk_events, inserts } = load;
    let replayed = days.iter().filter(|day| day.is_replayed);
    let replay = ReplayForecast {
        events: replayed.clone().map(|day| day.events).sum(),
        days: replayed.count(),
        seconds: None,
    };
    let bytes = bulk_events * row_bytes(plan, columns);
    let measured = bytes_on_disk(bulk_events, &servers, probe);
    // The size as sent is an upper bound: rows on disk were never seen to take more.
    let bytes_on_disk = measured.unwrap_or(bytes);
    let own_days = days.len() - replay.days;
    let bulk = BulkForecast {
        events: bulk_events,
        days: own_days,
        chunks: inserts,
        bytes,
        bytes_on_disk,
        is_disk_measured: measured.is_some(),
    };
    let objections = servers.iter().flat_map(|server| objections(server, plan, now));
    // Shards share the rows, and an estimate is no reason to refuse a load.
    let is_certain = measured.is_some() && servers.len() == 1;
    let objections =
        disk_objection(&bulk, &servers, is_certain).into_iter().chain(objections).collect();
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
        objections,
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

/// What rows take on disk: as in the probe, else as those that the table has already.
fn bytes_on_disk(events: u64, servers: &[ServerForecast], probe: Option<Probe>) -> Option<u64> {
    let of_table = servers.iter().map(|server| (server.survey.bytes_on_disk, server.survey.rows));
    let of_probe = probe.map(|probe| (probe.bytes_on_disk, probe.rows));
    let known = of_probe.into_iter().chain(of_table).find(|(_, rows)| *rows >= ROWS_TELLING);
    known.map(|(bytes, rows)| {
        let scaled = u128::from(bytes) * u128::from(events) / u128::from(rows);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    })
}

fn disk_objection(
    bulk: &BulkForecast,
    servers: &[ServerForecast],
    is_certain: bool,
) -> Option<Objection> {
    let fullest = servers.iter().min_by_key(|server| server.survey.disk_free_bytes)?;
    let (needed, free) = (bulk.bytes_on_disk, fullest.survey.disk_free_bytes);
    (needed > free).then(|| Objection {
        is_refusal: is_certain,
        url: fullest.url.clone(),
        text: format!(
            "the rows need about {} on disk, and {} are free",
            BinaryBytes(needed),
            BinaryBytes(free)
        ),
    })
}

/// Says what stands against a load. Pure.
pub fn objections(server: &ServerForecast, plan: &Plan, now: UnixMicros) -> Vec<Objection> {
    let ServerForecast { url, survey, unfilled } = server;
    let mut found = Vec::new();
    let mut object = |is_refusal: bool, text: String| {
        found.push(Objection { is_refusal, url: url.clone(), text });
    };
    if survey.account_is_readonly {
        object(true, "the account may only read; name another with --clickhouse-user".to_owned());
    }
    if survey.replica_is_readonly {
        object(true, "the replica is read-only; see system.replicas, and its Keeper".to_owned());
    }
    let off_s = (survey.now_us - now) / 1_000_000;
    if off_s.abs() > CLOCK_OFF_MAX_S {
        let text = "the server's clock is {} s off this machine's; set them right";
        object(true, text.replace("{}", &off_s.to_string()));
    }
    if plan.end > survey.now_us {
        object(true, "the history ends in the server's future; give an earlier --now".to_owned());
    }
    if !survey.is_merge_tree() && survey.engine != "Distributed" {
        let engine = &survey.engine;
        object(true, format!("a table of engine {engine} does not keep the rows that it is sent"));
    }
    // Each day is a partition at least, which has a part at least.
    let days = u64::try_from((plan.piped_from - plan.start) / DAY_US).unwrap_or(0);
    let parts = survey.parts + days;
    if parts > survey.max_parts_in_total {
        let limit = survey.max_parts_in_total;
        object(true, format!("the table would have {parts} parts or more, and may have {limit}"));
    }
    if !survey.is_in_utc() {
        let zone = &survey.timezone;
        object(false, format!("the server cuts days in {zone}: a day is in two partitions"));
    }
    if !unfilled.is_empty() {
        let columns = unfilled.join(", ");
        object(false, format!("nothing fills {columns}; name the event's columns with --columns"));
    }
    if !survey.takes_materialized {
        let text = "materialized columns cannot be sent: the server computes them, more slowly";
        object(false, text.to_owned());
    }
    found
}

const SAMPLES_PER_TENANT: u64 = 64;
const TENANTS_SAMPLED: usize = 64;

/// From this many rows on, their size on disk is typical for more of them.
const ROWS_TELLING: u64 = 100_000;
const CLOCK_OFF_MAX_S: i64 = 300;

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
        for Objection { is_refusal, url, text } in &self.objections {
            let word = if *is_refusal { "cannot work" } else { "note" };
            writeln!(f, "\n{word}: {url}: {text}")?;
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
