//! A run on disk: one directory that holds all a verdict needs, wherever it is copied.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::json_lines::{self, ReadError};
use crate::ledger::{Durability, Ledger, LedgerError, LedgerHead, LedgerWriter};
use crate::observation::{Mark, Observation};
use crate::queries::WrongAnswer;
use edges::staged::{Staged, sync_folder, write_whole};
use plans::plan::Plan;
use plans::profile::ProfileError;
use plans::spec::{RUN_FORMAT, RunSpec};

/// The directory of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// Why a run directory cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    #[error("there is a run in {} already; name another directory", path.display())]
    Occupied { path: PathBuf },
    #[error(
        "there is another run in {}: shards that share a directory have the same profile, seed, \
         scale, start, run ID and number of shards",
        path.display()
    )]
    OtherRun { path: PathBuf },
    #[error(
        "shard {shard} of the run in {} was begun before, and ended or was killed: no event is \
         sent twice on trust, so it is not begun again; reconcile the run as it is, or begin \
         another in another directory",
        path.display()
    )]
    ShardBegun { path: PathBuf, shard: u32 },
    #[error("another process works on the run in {}; wait for it, or stop it", path.display())]
    Busy { path: PathBuf },
    #[error("there is no run in {}: it has no run.json", path.display())]
    NoRun { path: PathBuf },
    #[error("cannot use the run directory {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not the record of a run", path.display())]
    NotARecord { path: PathBuf, source: serde_json::Error },
    #[error("{} is not the record of a run: {fact}", path.display())]
    Impossible { path: PathBuf, fact: &'static str },
    #[error(
        "the run in {} has format {format}, this version reads {RUN_FORMAT}; use a newer version",
        path.display()
    )]
    OtherFormat { path: PathBuf, format: u32 },
    #[error(
        "the profile recorded in {} is not the one that was run: its hash differs",
        path.display()
    )]
    ProfileChanged { path: PathBuf },
    #[error("the run in {} has a profile that this version does not accept", path.display())]
    Profile { path: PathBuf, source: ProfileError },
    #[error("line {line} of {} is no record of this version", path.display())]
    NoRecord { path: PathBuf, line: usize },
    #[error(
        "shard {shard} of the run has two ledgers, {} and {}: name only one of the directories",
        first.display(),
        second.display()
    )]
    ShardTwice { shard: u32, first: PathBuf, second: PathBuf },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl RunDir {
    /// Makes the directory and records the run.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if there is a run already, or the file system refuses.
    pub fn create(path: &Path, spec: &RunSpec) -> Result<Self, RunDirError> {
        let dir = Self { path: path.to_owned() };
        let record = || {
            fs::create_dir_all(path)?;
            // Another process may have made it already, or may be making it at this moment.
            if dir.record().exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let mut staged = Staged::create(&dir.record())?;
            io::Write::write_all(&mut staged, &json(spec)?)?;
            staged.keep_new()
        };
        match record() {
            Ok(()) => Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(RunDirError::Occupied { path: path.to_owned() })
            }
            Err(source) => Err(dir.io(source)),
        }
    }

    /// Makes the directory and records the run, or joins the other shards of the same run that
    /// have done so, be it at this moment.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if there is another run, or the file system refuses.
    pub fn join(path: &Path, spec: &RunSpec) -> Result<Self, RunDirError> {
        match Self::create(path, spec) {
            Err(RunDirError::Occupied { .. }) => {}
            created => return created,
        }
        let (dir, plan) = Self::open(path)?;
        let found = RunSpec { targets: spec.targets.clone(), ..plan.spec };
        if found != *spec {
            return Err(RunDirError::OtherRun { path: path.to_owned() });
        }
        Ok(dir)
    }

    /// Opens a run and makes its plan again.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if there is no run, or not one that this version understands.
    pub fn open(path: &Path) -> Result<(Self, Plan), RunDirError> {
        let dir = Self { path: path.to_owned() };
        let text = match fs::read_to_string(dir.record()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunDirError::NoRun { path: path.to_owned() });
            }
            Err(source) => return Err(dir.io(source)),
        };
        let not_a_record = |source| RunDirError::NotARecord { path: dir.record(), source };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(not_a_record)?;
        let format = value["format"].as_u64().and_then(|format| u32::try_from(format).ok());
        match format {
            Some(format) if format != RUN_FORMAT => {
                return Err(RunDirError::OtherFormat { path: path.to_owned(), format });
            }
            _ => {}
        }
        let spec: RunSpec = serde_json::from_value(value).map_err(not_a_record)?;
        spec.check().map_err(|fact| RunDirError::Impossible { path: dir.record(), fact })?;
        if !spec.has_its_profile() {
            return Err(RunDirError::ProfileChanged { path: dir.record() });
        }
        let plan = Plan::of_spec(spec)
            .map_err(|source| RunDirError::Profile { path: path.to_owned(), source })?;
        Ok((dir, plan))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a directory has the record of a run, even a damaged one.
    pub fn is_one(path: &Path) -> bool {
        path.join("run.json").exists()
    }

    /// Begins the ledger of a shard. One that was created and never written to is taken over: its
    /// process ended before it sent anything.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::ShardBegun`] if the shard has one already, [`RunDirError::Busy`] if
    /// its process is still at work, and [`RunDirError::Io`] if the file system refuses.
    pub fn create_ledger(
        &self,
        spec: &RunSpec,
        shard: u32,
        durability: Durability,
    ) -> Result<LedgerWriter, RunDirError> {
        let ledger = match LedgerWriter::create(&self.ledger(shard), &LedgerHead::of(spec, shard)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let ledger = self.open_ledger(spec, shard, durability)?;
                if ledger.is_begun().map_err(|source| self.io(source))? {
                    let path = self.path.clone();
                    return Err(RunDirError::ShardBegun { path, shard: shard + 1 });
                }
                ledger
            }
            created => created.map_err(|source| self.io(source))?,
        };
        if durability == Durability::Power {
            sync_folder(&self.path).map_err(|source| self.io(source))?;
        }
        Ok(ledger.durable(durability))
    }

    /// Opens the ledger of a shard to go on with it.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Busy`] if another process writes to it, and [`RunDirError::Ledger`]
    /// if it is damaged, or the file system refuses.
    pub fn open_ledger(
        &self,
        spec: &RunSpec,
        shard: u32,
        durability: Durability,
    ) -> Result<LedgerWriter, RunDirError> {
        match LedgerWriter::open(&self.ledger(shard), &LedgerHead::of(spec, shard)) {
            Ok(ledger) => Ok(ledger.durable(durability)),
            Err(LedgerError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy =>
            {
                Err(RunDirError::Busy { path: self.path.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the ledger of the run. Shards that have none leave it unclosed.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Ledger`] if a ledger is damaged.
    pub fn read_ledger(&self, plan: &Plan) -> Result<Ledger, RunDirError> {
        read_ledgers(&[self], plan).map(|(ledger, _)| ledger)
    }

    /// Writes a file of the run whole: a crash leaves the old one or the new one.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Io`] if the file system refuses.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), RunDirError> {
        let write = || write_whole(&self.path.join(name), &json(value)?);
        write().map_err(|source| self.io(source))
    }

    /// Path of a file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes down what happened. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Io`] if the file system refuses.
    pub fn append_mark(&self, mark: &Mark) -> Result<(), RunDirError> {
        json_lines::append(&self.marks(), mark).map_err(|source| self.io(source))
    }

    /// Reads what was marked, in the order of time; nothing, if nobody marked anything.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if the file holds anything else, or cannot be read.
    pub fn read_marks(&self) -> Result<Vec<Mark>, RunDirError> {
        let mut marks: Vec<Mark> = self.read_lines(self.marks())?;
        marks.sort_by_key(|mark| mark.at.0);
        Ok(marks)
    }

    /// Writes down what was seen of the pipeline.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Io`] if the file system refuses.
    pub fn append_observation(&self, observation: &Observation) -> Result<(), RunDirError> {
        json_lines::append(&self.observations(), observation).map_err(|source| self.io(source))
    }

    /// Reads what was seen of the pipeline; nothing, if nobody watched.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if the file holds anything else, or cannot be read.
    pub fn read_observations(&self) -> Result<Vec<Observation>, RunDirError> {
        self.read_lines(self.observations())
    }

    fn read_lines<T: DeserializeOwned>(&self, path: PathBuf) -> Result<Vec<T>, RunDirError> {
        json_lines::read(&path).map_err(|error| match error {
            ReadError::Io(source) => self.io(source),
            ReadError::NoRecord { line } => RunDirError::NoRecord { path, line },
        })
    }

    fn marks(&self) -> PathBuf {
        self.path.join("marks.jsonl")
    }

    fn observations(&self) -> PathBuf {
        self.path.join("observations.jsonl")
    }

    /// Path of the summary of a shard, which is written when its ledger is closed.
    pub fn summary(&self, shard: u32) -> PathBuf {
        self.path.join(format!("summary-{shard}.json"))
    }

    /// Path of the per-second record of a shard.
    pub fn timeline(&self, shard: u32) -> PathBuf {
        self.path.join(format!("timeline-{shard}.jsonl"))
    }

    /// Path of the per-second record of a shard's queries.
    pub fn queries(&self, shard: u32) -> PathBuf {
        self.path.join(format!("queries-{shard}.jsonl"))
    }

    /// Writes down pages that were wrong. Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError::Io`] if the file system refuses.
    pub fn append_wrong_answers(&self, answers: &[WrongAnswer]) -> Result<(), RunDirError> {
        let path = self.wrong_answers();
        json_lines::append_all(&path, answers).map_err(|source| self.io(source))
    }

    /// Reads all wrong answers that were written down.
    ///
    /// # Errors
    ///
    /// Returns [`RunDirError`] if they cannot be read.
    pub fn read_wrong_answers(&self) -> Result<Vec<WrongAnswer>, RunDirError> {
        self.read_lines(self.wrong_answers())
    }

    fn wrong_answers(&self) -> PathBuf {
        self.path.join("wrong-answers.jsonl")
    }

    fn ledger(&self, shard: u32) -> PathBuf {
        self.path.join(format!("ledger-{shard}.bin"))
    }

    fn record(&self) -> PathBuf {
        self.path.join("run.json")
    }

    fn io(&self, source: io::Error) -> RunDirError {
        RunDirError::Io { path: self.path.clone(), source }
    }
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the ledgers of all shards of a run from the directories that have them. Shards without
/// one are returned; they leave the ledger unclosed.
///
/// # Errors
///
/// Returns [`RunDirError`] if a ledger is damaged, or two directories have one of the same shard.
pub fn read_ledgers(dirs: &[&RunDir], plan: &Plan) -> Result<(Ledger, Vec<u32>), RunDirError> {
    let mut ledger = Ledger::empty(&plan.script);
    let mut missing = Vec::new();
    for shard in 0..plan.spec.shards {
        let mut paths = dirs.iter().map(|dir| dir.ledger(shard)).filter(|path| path.exists());
        match (paths.next(), paths.next()) {
            (None, _) => missing.push(shard),
            (Some(path), None) => {
                ledger.read(&path, &plan.script, &LedgerHead::of(&plan.spec, shard))?;
            }
            (Some(first), Some(second)) => {
                return Err(RunDirError::ShardTwice { shard: shard + 1, first, second });
            }
        }
    }
    ledger.closed &= missing.is_empty();
    Ok((ledger, missing))
}

#[cfg(test)]
mod tests {
    use events::event::MicroTime;

    use super::*;
    use crate::testing::live_plan;
    use plans::spec::Span;

    #[test]
    fn a_run_is_found_again_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let plan = live_plan("1/s", "1", "10s");
        RunDir::create(dir.path(), &plan.spec).unwrap();
        let (_, again) = RunDir::open(dir.path()).unwrap();
        assert_eq!(again.spec, plan.spec);
        let twice = RunDir::create(dir.path(), &plan.spec);
        assert!(matches!(twice, Err(RunDirError::Occupied { .. })));
    }

    #[test]
    fn what_is_not_a_run_of_this_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(RunDir::open(dir.path()), Err(RunDirError::NoRun { .. })));
        let spec = live_plan("1/s", "1", "10s").spec;
        let check = |change: &dyn Fn(&mut RunSpec), expected: &str| {
            let mut changed = spec.clone();
            change(&mut changed);
            let text = serde_json::to_string(&changed).unwrap();
            fs::write(dir.path().join("run.json"), text).unwrap();
            let message = RunDir::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(&|spec| spec.format = 5, "has format 5, this version reads 4");
        check(&|spec| spec.profile.push('#'), "its hash differs");
        check(&|spec| spec.shards = 0, "it has no shards");
        check(&|spec| spec.span = Span::history(u32::MAX, 1, 0), "longer than any");
        check(&|spec| spec.span = Span::history(36_000, 1, 0), "before 1970");
        fs::write(dir.path().join("run.json"), "{}").unwrap();
        let error = RunDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, RunDirError::NotARecord { .. }));
    }

    #[test]
    fn marks_are_read_in_the_order_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &live_plan("1/s", "1", "10s").spec).unwrap();
        assert_eq!(run.read_marks().unwrap(), []);
        assert_eq!(run.read_observations().unwrap(), []);
        let mark = |at, text: &str| Mark { at: MicroTime(at), text: text.to_owned() };
        for mark in [mark(2, "killed nats-1"), mark(1, "a \"line\"\nof two")] {
            run.append_mark(&mark).unwrap();
        }
        let texts: Vec<_> = run.read_marks().unwrap().into_iter().map(|mark| mark.text).collect();
        assert_eq!(texts, ["a \"line\"\nof two", "killed nats-1"]);
        fs::write(run.marks(), "{\"other\": 1}\n").unwrap();
        assert!(run.read_marks().is_err());
    }

    #[test]
    fn a_missing_ledger_leaves_the_run_unclosed() {
        let dir = tempfile::tempdir().unwrap();
        let plan = live_plan("1/s", "1", "10s");
        let run = RunDir::create(dir.path(), &plan.spec).unwrap();
        assert!(!run.read_ledger(&plan).unwrap().closed);
        begin(&run, &plan.spec, 0).unwrap().close().unwrap();
        assert!(run.read_ledger(&plan).unwrap().closed);
    }

    fn begin(run: &RunDir, spec: &RunSpec, shard: u32) -> Result<LedgerWriter, RunDirError> {
        run.create_ledger(spec, shard, Durability::Process)
    }

    #[test]
    fn shards_that_begin_at_one_moment_share_one_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let plan = live_plan("1/s", "8", "10s");
        let spec = RunSpec { shards: 8, ..plan.spec.clone() };
        std::thread::scope(|scope| {
            for shard in 0..8 {
                let (path, spec) = (&path, &spec);
                scope.spawn(move || {
                    let run = RunDir::join(path, spec).unwrap();
                    begin(&run, spec, shard).unwrap().close().unwrap();
                });
            }
        });
        let (run, found) = RunDir::open(&path).unwrap();
        assert_eq!(found.spec, spec);
        assert!(run.read_ledger(&found).unwrap().closed);
        let other = RunSpec { shards: 7, ..spec };
        let error = RunDir::join(&path, &other).unwrap_err();
        assert!(matches!(error, RunDirError::OtherRun { .. }), "{error}");
        let names = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    }

    #[test]
    fn a_shard_that_was_begun_is_not_begun_again_unless_it_sent_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let plan = live_plan("1/s", "1", "10s");
        let run = RunDir::join(dir.path(), &plan.spec).unwrap();
        let first = begin(&run, &plan.spec, 0).unwrap();
        let error = begin(&run, &plan.spec, 0).unwrap_err();
        assert!(matches!(error, RunDirError::Busy { .. }), "{error}");
        // It was killed before its first event.
        drop(first);
        let again = begin(&run, &plan.spec, 0).unwrap();
        again.reserve(&(plan.start..plan.start + 1_000_000)).unwrap();
        // And now it was killed in the middle.
        drop(again);
        let error = begin(&run, &plan.spec, 0).unwrap_err();
        assert!(matches!(error, RunDirError::ShardBegun { shard: 1, .. }), "{error}");
        let account = &run.read_ledger(&plan).unwrap().accounts[0];
        assert_eq!(account.unknown().count(), 1, "what it had begun is not forgotten");
    }
}
