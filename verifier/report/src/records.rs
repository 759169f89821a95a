//! The files that record a run second by second: timelines and summaries of the generators,
//! observations of `watch`, and marks of the user.
//!
//! Any of these files may be missing. Its last line may be cut, if the program that wrote it was
//! killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use events::event::MicroTime;
use events::identity::{Seq, TenantIndex};
use events::timeline::UnixMicros;
use plans::condition::Aggregation;
use plans::plan::Plan;
use plans::samples::AcknowledgedSample;
use plans::spec::Span;
use runs::latency::{Latencies, Percentiles};
use runs::observation::{Mark, Observation};
use runs::queries::WrongAnswer;
use runs::query_costs::{QUERY_COSTS_FILE, QUERY_COSTS_FORMAT, QueryCosts};
use runs::query_records::QueryRecords;
use runs::readback::{READBACK_FILE, READBACK_FORMAT, Readback};
use runs::record::{Histograms, Second, Summary};
use runs::report::Report;
use runs::run_dir::RunDir;

use crate::awaited::{Awaited, awaited, counted};
use crate::bounds::Bounds;
use crate::error::ShowError;

/// Everything that the files of a run record, for all its shards together.
#[derive(Debug, Clone)]
pub struct RunRecords {
    /// The seconds, summed over all shards. Percentiles cannot be added, so each is that of the
    /// worst shard.
    pub seconds: Vec<Second>,
    /// All latencies, or `None` unless every shard has ended in order and written its own.
    pub latencies: Option<Latencies>,
    /// The same, by class of tenants.
    pub classes: BTreeMap<String, Latencies>,
    pub observations: Vec<Observation>,
    /// Samples that were watched and never seen in the table: see [`Self::find_awaited`].
    pub awaited: Vec<Awaited>,
    /// When samples were acknowledged, from the timelines.
    acknowledged_samples: Vec<AcknowledgedSample>,
    pub marks: Vec<Mark>,
    /// The summaries of the shards that have ended in order. A history has none.
    pub summaries: Vec<Summary>,
    /// What reading the run back has shown, if that was done.
    pub readback: Option<Readback>,
    pub shards: u32,
    /// The queries that were asked beside the events, of all shards.
    pub queries: QueryRecords,
    /// The wrong answers to them that were written down.
    pub wrong_answers: Vec<WrongAnswer>,
    /// What the slowest of them cost in ClickHouse, if that was looked up.
    pub costs: Option<QueryCosts>,
}

/// The contents of one timeline.
#[derive(Debug, Clone, PartialEq)]
struct Timeline {
    seconds: Vec<Second>,
    /// They are in the last line of the file, which is missing if the generator was killed.
    histograms: Option<Histograms>,
}

/// The number of a line that is not a valid record, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoRecord {
    line: usize,
}

impl RunRecords {
    /// Reads the records in the directories of a run. A file may be missing in each of them.
    ///
    /// # Errors
    ///
    /// Returns [`ShowError::Unreadable`] if a file exists but cannot be read, and
    /// [`ShowError::NoRecord`], [`ShowError::Damaged`] or [`ShowError::RunDir`] if its contents are
    /// not what this program writes.
    pub fn read(dirs: &[RunDir], plan: &Plan) -> Result<Self, ShowError> {
        let mut timelines = Vec::new();
        let mut summaries = Vec::new();
        let mut queries = QueryRecords::default();
        let shards = 0..plan.spec.shards;
        for (dir, shard) in dirs.iter().flat_map(|dir| shards.clone().map(move |it| (dir, it))) {
            let path = dir.timeline(shard);
            if let Some(text) = read(&path)? {
                let timeline = Timeline::parse(&text);
                timelines.push(
                    timeline
                        .map_err(|it| ShowError::NoRecord { path: path.clone(), line: it.line })?,
                );
            }
            let path = dir.queries(shard);
            if let Some(text) = read(&path)? {
                queries.add(&text).map_err(|line| ShowError::NoRecord { path, line })?;
            }
            // A load into the table has a summary in another format.
            if plan.spec.span == Span::Live
                && let Some(text) = read(&dir.summary(shard))?
            {
                summaries.extend(serde_json::from_str(&text).ok());
            }
        }
        let (mut observations, mut marks) = (Vec::new(), Vec::new());
        let mut wrong_answers: Vec<WrongAnswer> = Vec::new();
        for dir in dirs {
            observations.extend(dir.read_observations()?);
            marks.extend(dir.read_marks()?);
            wrong_answers.extend(dir.read_wrong_answers()?);
        }
        wrong_answers.sort_by_key(|wrong| wrong.at.0);
        observations.sort_by_key(|seen: &Observation| seen.at.0);
        marks.sort_by_key(|mark: &Mark| mark.at.0);
        let mut records = Self::of(plan.start, plan.spec.shards, &timelines)
            .ok_or_else(|| ShowError::Damaged { path: dirs[0].timeline(0) })?;
        records.awaited = counted(&observations);
        records.observations = observations;
        records.marks = marks;
        records.summaries = summaries;
        records.readback = read_readback(dirs)?;
        records.queries = queries;
        records.wrong_answers = wrong_answers;
        records.costs = read_costs(dirs)?;
        Ok(records)
    }

    /// Adds up timelines. Returns `None` if the histograms of one are damaged.
    fn of(start: UnixMicros, shards: u32, timelines: &[Timeline]) -> Option<Self> {
        let mut seconds: BTreeMap<i64, Second> = BTreeMap::new();
        for second in timelines.iter().flat_map(|timeline| &timeline.seconds) {
            // Generators write the record shortly after its second has ended.
            let at = (second.at.0 - start + SECOND_US / 2).div_euclid(SECOND_US);
            if let Some(sum) = seconds.get_mut(&at) {
                add(sum, second);
            } else {
                let at_us = MicroTime(start + at * SECOND_US);
                seconds.insert(at, Second { at: at_us, ..second.clone() });
            }
        }
        let mut latencies = Latencies::new();
        let mut classes: BTreeMap<String, Latencies> = BTreeMap::new();
        let mut ended = 0;
        for histograms in timelines.iter().filter_map(|timeline| timeline.histograms.as_ref()) {
            let (all, by_class) = histograms.decode()?;
            latencies.add(&all);
            for (name, of_class) in &by_class {
                classes.entry(name.clone()).or_default().add(of_class);
            }
            ended += 1;
        }
        Some(Self {
            seconds: seconds.into_values().collect(),
            latencies: (ended == shards).then_some(latencies),
            classes,
            observations: Vec::new(),
            awaited: Vec::new(),
            acknowledged_samples: timelines
                .iter()
                .flat_map(|timeline| &timeline.seconds)
                .flat_map(|second| second.acknowledged_samples.iter().copied())
                .collect(),
            marks: Vec::new(),
            summaries: Vec::new(),
            readback: None,
            shards,
            queries: QueryRecords::default(),
            wrong_answers: Vec::new(),
            costs: None,
        })
    }

    /// Finds the samples that were watched and never seen in the table. Only events count that were
    /// acknowledged and not dropped by design, according to the report. Until this is called, and
    /// if the watch did not write down which samples it saw, the samples are only counted.
    pub fn find_awaited(&mut self, plan: &Plan, report: &Report) {
        let is_told = |seen: &Observation| seen.freshness.watched.is_some();
        if !self.observations.last().is_some_and(is_told) {
            return;
        }
        let is_expected = |tenant: TenantIndex, seq: Seq| {
            report.tenants.get(usize::from(tenant.0)).is_some_and(|it| {
                it.fates.acknowledged.contains(seq.0) && !it.fates.filtered.contains(seq.0)
            })
        };
        self.awaited = awaited(plan, &self.observations, &self.acknowledged_samples, is_expected);
    }

    /// Bounds of an aggregate of the times from due to visible, in ms. A sample that was never seen
    /// counts with the time that it has waited at least. `None` without samples.
    pub(crate) fn end_to_end(&self, aggregation: Aggregation) -> Option<Bounds> {
        let known: Vec<f64> = self.end_to_end_ms().collect();
        let ages: Vec<f64> = self.awaited.iter().map(|it| it.due_ms).collect();
        Bounds::of(aggregation, &known, &ages)
    }

    /// The 95th percentile of the times from due to visible, in ms; a lower bound if some samples
    /// were never seen. `None` without samples.
    pub fn due_to_visible_p95_ms(&self) -> Option<f64> {
        self.end_to_end(Aggregation::Percentile(95.0)).map(|bounds| bounds.least)
    }

    /// The same, measured from the webhook's answer.
    pub(crate) fn freshness(&self, aggregation: Aggregation) -> Option<Bounds> {
        let known: Vec<f64> = self.freshness_ms().collect();
        let ages: Vec<f64> = self.awaited.iter().map(|it| it.acknowledged_ms).collect();
        Bounds::of(aggregation, &known, &ages)
    }

    /// Whether a sender did not keep its schedule. It is true if any shard was late, false if all
    /// shards have ended in order and none was late, and otherwise `None`.
    pub fn saturated(&self, span: &Span) -> Option<bool> {
        match span {
            // A history has no schedule to keep.
            Span::History { .. } => Some(false),
            Span::Live if self.summaries.iter().any(|summary| summary.saturated) => Some(true),
            Span::Live => self.is_complete().then_some(false),
        }
    }

    /// Whether all shards have ended in order.
    pub(crate) fn is_complete(&self) -> bool {
        self.summaries.len() == self.shards as usize
    }

    /// How many events the generators dropped, or `None` unless all shards have ended in order.
    pub fn dropped(&self) -> Option<u64> {
        self.is_complete().then(|| self.summaries.iter().map(|summary| summary.dropped).sum())
    }

    /// How many messages in the stream the consumer had not acknowledged, at each observation.
    pub fn lags(&self) -> impl Iterator<Item = (MicroTime, u64)> + '_ {
        self.observations.iter().filter_map(|seen| {
            let consumer = seen.stream.as_ref()?.consumer?;
            Some((seen.at, consumer.pending + consumer.unacknowledged))
        })
    }

    /// The times from due to visible, in ms, of the sampled events that became visible while they
    /// were watched.
    pub fn end_to_end_ms(&self) -> impl Iterator<Item = f64> + '_ {
        self.observations.iter().flat_map(|seen| seen.freshness.due_to_visible_ms.iter().copied())
    }

    /// The same, measured from the webhook's answer.
    pub fn freshness_ms(&self) -> impl Iterator<Item = f64> + '_ {
        let of = |seen: &'_ Observation| seen.freshness.acknowledged_to_visible_ms.clone();
        self.observations.iter().flat_map(of)
    }

    /// The parts of the pipeline whose CPU and memory were recorded, each once, in alphabetical
    /// order.
    pub fn parts(&self) -> Vec<&str> {
        let uses = self.observations.iter().flat_map(|seen| &seen.resources);
        let mut parts: Vec<&str> = uses.map(|it| it.part.as_str()).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

const SECOND_US: i64 = 1_000_000;

impl Timeline {
    /// Reads a timeline. An incomplete line at the end is left out.
    fn parse(text: &str) -> Result<Self, NoRecord> {
        let mut seconds = Vec::new();
        let mut histograms = None;
        for (number, line, is_whole) in lines(text) {
            match serde_json::from_str::<Second>(line) {
                Ok(second) => seconds.push(second),
                Err(_) => match serde_json::from_str::<Histograms>(line) {
                    Ok(found) => histograms = Some(found),
                    Err(_) if is_whole => return Err(NoRecord { line: number }),
                    Err(_) => {}
                },
            }
        }
        Ok(Self { seconds, histograms })
    }
}

/// Adds the same second of another shard.
fn add(sum: &mut Second, other: &Second) {
    let counts = [
        (&mut sum.planned, other.planned),
        (&mut sum.sent, other.sent),
        (&mut sum.acknowledged, other.acknowledged),
        (&mut sum.refused, other.refused),
        (&mut sum.unknown, other.unknown),
        (&mut sum.spoiled, other.spoiled),
        (&mut sum.unsent, other.unsent),
        (&mut sum.dropped, other.dropped),
        (&mut sum.requests, other.requests),
        (&mut sum.bytes, other.bytes),
        (&mut sum.in_flight, other.in_flight),
    ];
    for (sum, part) in counts {
        *sum += part;
    }
    for (name, part) in &other.more {
        *sum.more.entry(name.clone()).or_default() += part;
    }
    sum.lateness_max_ms = sum.lateness_max_ms.max(other.lateness_max_ms);
    sum.blocked_max_ms = sum.blocked_max_ms.max(other.blocked_max_ms);
    sum.due_to_acknowledged = worse(sum.due_to_acknowledged, other.due_to_acknowledged);
    sum.sent_to_acknowledged = worse(sum.sent_to_acknowledged, other.sent_to_acknowledged);
    sum.due_to_sent = worse(sum.due_to_sent, other.due_to_sent);
}

fn worse(one: Percentiles, other: Percentiles) -> Percentiles {
    Percentiles {
        p50_ms: one.p50_ms.max(other.p50_ms),
        p95_ms: one.p95_ms.max(other.p95_ms),
        p99_ms: one.p99_ms.max(other.p99_ms),
        p99_9_ms: one.p99_9_ms.max(other.p99_9_ms),
        max_ms: one.max_ms.max(other.max_ms),
    }
}

/// Returns the lines of a text with their numbers, and whether each ends with a line feed.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let numbered = text.split_inclusive('\n').enumerate();
    let line = |(index, line): (usize, &'_ str)| (index + 1, line.len(), line.ends_with('\n'));
    let mut at = 0;
    numbered.map(line).map(move |(number, length, is_whole)| {
        let line = &text[at..at + length];
        at += length;
        (number, line.trim_end(), is_whole)
    })
}

/// Reads a file as text, or `None` if it does not exist. The end of a cut line may be no valid
/// UTF-8.
fn read(path: &Path) -> Result<Option<String>, ShowError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ShowError::Unreadable { path: PathBuf::from(path), source }),
    }
}

/// Reads what `readback` has written into the first directory.
fn read_readback(dirs: &[RunDir]) -> Result<Option<Readback>, ShowError> {
    let Some(path) = dirs.first().map(|dir| dir.file(READBACK_FILE)) else { return Ok(None) };
    let Some(text) = read(&path)? else { return Ok(None) };
    match serde_json::from_str::<Readback>(&text) {
        Ok(readback) if readback.format == READBACK_FORMAT => Ok(Some(readback)),
        _ => Err(ShowError::Damaged { path }),
    }
}

/// Reads what the last check has written into the first directory. What another version has written
/// is left out: the next check looks it up again.
fn read_costs(dirs: &[RunDir]) -> Result<Option<QueryCosts>, ShowError> {
    let Some(path) = dirs.first().map(|dir| dir.file(QUERY_COSTS_FILE)) else { return Ok(None) };
    let costs = read(&path)?.and_then(|text| serde_json::from_str::<QueryCosts>(&text).ok());
    Ok(costs.filter(|costs| costs.format == QUERY_COSTS_FORMAT))
}

#[cfg(test)]
pub(crate) mod tests {
    use plans::plan::Classes;
    use plans::spec::RunOptions;
    use runs::tally::Tally;
    use uuid::Uuid;

    use super::*;

    /// Makes the records of a run that began at 0.
    pub(crate) fn records(
        seconds: Vec<Second>,
        latencies_us: &[u64],
        observations: Vec<Observation>,
    ) -> RunRecords {
        let histograms = (!latencies_us.is_empty()).then(|| histograms(latencies_us));
        let timeline = Timeline { seconds, histograms };
        RunRecords { observations, ..RunRecords::of(0, 1, &[timeline]).unwrap() }
    }

    /// Makes a second in which this many events were planned and acknowledged, with this p95 in ms.
    pub(crate) fn second(at_s: i64, events: u64, p95_ms: f64) -> Second {
        let mut second = Second::new(at_s * SECOND_US, events, &Tally::new(1));
        second.sent = events;
        second.acknowledged = events;
        let percentiles = Percentiles { p95_ms, p99_ms: p95_ms * 2.0, ..Percentiles::default() };
        second.sent_to_acknowledged = percentiles;
        second.due_to_acknowledged = percentiles;
        second
    }

    fn histograms(latencies_us: &[u64]) -> Histograms {
        let mut tally = Tally::new(1);
        for micros in latencies_us {
            tally.latencies[0].sent_to_acknowledged.record(*micros).unwrap();
            tally.latencies[0].due_to_acknowledged.record(*micros * 2).unwrap();
        }
        Histograms::new(&Classes::one(1), &tally)
    }

    fn line(record: &impl serde::Serialize) -> String {
        serde_json::to_string(record).unwrap() + "\n"
    }

    #[test]
    fn a_timeline_is_read_up_to_where_it_is_torn() {
        let (one, last) = (line(&second(1, 10, 1.0)), line(&histograms(&[7_000])));
        let whole = Timeline::parse(&(one.clone() + &last)).unwrap();
        assert_eq!((whole.seconds.len(), whole.histograms.is_some()), (1, true));
        for cut in 1..last.len() - 1 {
            let torn = Timeline::parse(&(one.clone() + &last[..cut])).unwrap();
            assert_eq!((torn.seconds.len(), torn.histograms), (1, None), "cut at {cut}");
        }
        assert_eq!(Timeline::parse("").unwrap().seconds, []);
        let wrong = Timeline::parse(&(one.clone() + "nonsense\n" + &one));
        assert_eq!(wrong, Err(NoRecord { line: 2 }));
    }

    #[test]
    fn shards_are_added_second_by_second() {
        let shard = |seconds: &[(i64, u64, f64)], late_us| Timeline {
            seconds: seconds
                .iter()
                .map(|&(at, events, p95)| {
                    let second = second(at, events, p95);
                    Second { at: MicroTime(second.at.0 + late_us), ..second }
                })
                .collect(),
            histograms: Some(histograms(&[1_000])),
        };
        let shards = [
            shard(&[(1, 10, 5.0), (2, 10, 5.0)], 900),
            shard(&[(1, 1, 7.0), (3, 1, 7.0)], 120_000),
        ];
        let records = RunRecords::of(0, 2, &shards).unwrap();
        let told = |it: &Second| (it.at.0, it.planned, it.sent_to_acknowledged.p95_ms);
        let seconds: Vec<_> = records.seconds.iter().map(told).collect();
        assert_eq!(seconds, [(1_000_000, 11, 7.0), (2_000_000, 10, 5.0), (3_000_000, 1, 7.0)]);
        assert_eq!(records.latencies.unwrap().sent_to_acknowledged.len(), 2);
        assert_eq!(records.classes["all"].sent_to_acknowledged.len(), 2);
    }

    #[test]
    fn without_the_histograms_of_every_shard_there_are_none() {
        let shard = Timeline { seconds: Vec::new(), histograms: Some(histograms(&[1_000])) };
        assert!(RunRecords::of(0, 2, &[shard]).unwrap().latencies.is_none());
    }

    #[test]
    fn marks_are_read_but_for_what_is_torn_wherever_it_stands() {
        let place = tempfile::tempdir().unwrap();
        let plan = plan_of_ten_seconds();
        let dir = RunDir::create(place.path(), &plan.spec).unwrap();
        let mark = line(&Mark { at: MicroTime(1), text: "restart".to_owned() });
        let read = |text: String| {
            fs::write(dir.file("marks.jsonl"), text).unwrap();
            RunRecords::read(std::slice::from_ref(&dir), &plan).map(|records| records.marks.len())
        };
        assert_eq!(read(mark.clone() + &mark[..9]).unwrap(), 1);
        // A program that was killed while writing a line starts a new one when it comes back.
        assert_eq!(read(mark.clone() + &mark[..9] + "\n" + &mark).unwrap(), 2);
        assert!(read("{}\n".to_owned()).is_err());
    }

    fn plan_of_ten_seconds() -> Plan {
        let text = "name: x\nstages: [{duration: 10s, rate: 1/s, tenants: 1}]\n";
        let options = RunOptions::new(Uuid::nil(), 0, Span::Live);
        Plan::parse(text, "x", options).unwrap()
    }
}
