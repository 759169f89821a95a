//! A suite on disk: one directory that holds all of its runs, what was done, and its report.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use edges::staged::{Staged, write_whole};
use events::event::MicroTime;
use runs::json_lines::{self, ReadError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::SuiteError;
use crate::step::{Entry, Event, Journal, State, Step};
use crate::suite::{Scenario, Suite};

/// What a suite records of itself before it begins: `suite.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuiteRecord {
    /// Version of this format.
    pub(crate) format: u32,
    pub(crate) tool_version: String,
    pub(crate) suite_id: Uuid,
    pub(crate) begun: MicroTime,
    /// Whether it runs on a sandbox that it starts.
    pub(crate) on_sandbox: bool,
    /// The suite in full, as written.
    pub(crate) suite: String,
    /// The profiles of its scenarios in full, in their order.
    pub(crate) profiles: Vec<String>,
    /// The profile whose highest rate is searched, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) capacity_profile: Option<String>,
}

/// The directory of a suite. As long as it is there, no other process works on the suite.
#[derive(Debug)]
pub(crate) struct SuiteDir {
    path: PathBuf,
    pub(crate) record: SuiteRecord,
    pub(crate) suite: Suite,
    pub(crate) journal: Journal,
    /// It is locked until it is closed.
    _lock: Option<File>,
}

const RECORD: &str = "suite.json";
const JOURNAL: &str = "journal.jsonl";
pub(crate) const FORMAT: u32 = 1;

impl SuiteDir {
    /// Makes the directory of a new suite, or takes that of an interrupted one.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError`] if there is another suite in it, another process works on it, or the
    /// file system refuses.
    pub(crate) fn take(path: &Path, record: &SuiteRecord) -> Result<Self, SuiteError> {
        fs::create_dir_all(path).map_err(SuiteError::io(path))?;
        let lock = lock(&path.join(".lock"))?;
        let lock = lock.ok_or_else(|| SuiteError::Busy { dir: path.to_owned() })?;
        let file = path.join(RECORD);
        if !file.exists() {
            let write = || {
                let mut staged = Staged::create(&file)?;
                let mut text = serde_json::to_vec_pretty(record)?;
                text.push(b'\n');
                io::Write::write_all(&mut staged, &text)?;
                staged.keep_new()
            };
            write().map_err(SuiteError::io(&file))?;
        }
        let found = Self::open(path)?;
        if let Some(difference) = found.difference(record) {
            return Err(SuiteError::OtherSuite { dir: path.to_owned(), difference });
        }
        Ok(Self { _lock: Some(lock), ..found })
    }

    /// Opens the directory of a suite to read it.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError`] if there is none, or not one of this version.
    pub(crate) fn open(path: &Path) -> Result<Self, SuiteError> {
        let file = path.join(RECORD);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SuiteError::NoSuite { dir: path.to_owned() });
            }
            Err(source) => return Err(SuiteError::Io { path: file, source }),
        };
        let no_record = |source| SuiteError::NoRecord { path: file.clone(), source };
        let record: SuiteRecord =
            serde_json::from_slice(&text).map_err(|source| no_record(Some(source)))?;
        if record.format != FORMAT {
            return Err(no_record(None));
        }
        let suite = Suite::parse(&record.suite, &file.display().to_string())?;
        let entries = json_lines::read(&path.join(JOURNAL)).map_err(|error| match error {
            ReadError::Io(source) => SuiteError::Io { path: path.join(JOURNAL), source },
            ReadError::NoRecord { .. } => {
                SuiteError::NoRecord { path: path.join(JOURNAL), source: None }
            }
        })?;
        let journal = Journal::new(entries);
        Ok(Self { path: path.to_owned(), record, suite, journal, _lock: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is of this suite, whenever that was begun.
    pub(crate) fn is_of(&self, record: &SuiteRecord) -> bool {
        self.difference(record).is_none()
    }

    fn difference(&self, record: &SuiteRecord) -> Option<&'static str> {
        match &self.record {
            it if it.suite != record.suite => Some("the suite itself differs"),
            it if it.profiles != record.profiles => Some("a profile of it differs"),
            it if it.capacity_profile != record.capacity_profile => Some("a profile of it differs"),
            it if it.on_sandbox != record.on_sandbox => Some("--sandbox was given once only"),
            it if it.tool_version != record.tool_version => Some("the version differs"),
            _ => None,
        }
    }

    /// Writes down what happened, and waits until it is on disk.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Io`] if it cannot be written.
    pub(crate) fn note(&mut self, at: i64, event: Event) -> Result<(), SuiteError> {
        let entry = Entry { at: MicroTime(at), event };
        let path = self.path.join(JOURNAL);
        json_lines::append(&path, &entry).map_err(SuiteError::io(&path))?;
        self.journal.add(entry);
        Ok(())
    }

    /// The numbers of a scenario's runs: as many as the suite has, and more if some were run to
    /// confirm a regression.
    pub(crate) fn repetitions(&self, scenario: &Scenario) -> RangeInclusive<u32> {
        1..=scenario.repeat.max(self.journal.last_repetition(scenario.name()))
    }

    /// Notes that a step is begun, and returns the number of the attempt.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Io`] if it cannot be written.
    pub(crate) fn begin(&mut self, at: i64, step: &Step) -> Result<u32, SuiteError> {
        let attempt = match self.journal.state(step) {
            State::Fresh => 1,
            State::Interrupted { attempts } => attempts + 1,
            State::Ended(ended) => ended.attempt + 1,
        };
        self.note(at, Event::Begun { of: step.clone(), attempt })?;
        Ok(attempt)
    }

    /// Writes a file of the suite whole.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::Io`] if it cannot be written.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SuiteError> {
        let path = self.path.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(SuiteError::io(folder))?;
        write_whole(&path, bytes).map_err(SuiteError::io(&path))
    }

    /// The run directory of an attempt at a scenario's load.
    pub(crate) fn run(&self, scenario: &str, repetition: u32, attempt: u32) -> PathBuf {
        self.path.join(run_name(scenario, repetition, attempt))
    }

    /// The file of a scenario's profile.
    pub(crate) fn profile(&self, scenario: &str) -> PathBuf {
        self.path.join("profiles").join(format!("{scenario}.yaml"))
    }

    /// The file of the output of a program in a step.
    pub(crate) fn log(&self, step: &Step, attempt: u32, part: &str) -> PathBuf {
        let step = step.to_string().replace(' ', "-");
        self.path.join("logs").join(format!("{step}.{attempt}.{part}.log"))
    }
}

/// The name of a run's directory in that of its suite.
pub(crate) fn run_name(scenario: &str, repetition: u32, attempt: u32) -> String {
    match attempt {
        1 => format!("runs/{scenario}-{repetition}"),
        _ => format!("runs/{scenario}-{repetition}.{attempt}"),
    }
}

/// Locks a file, or finds that another process has locked it. The lock ends with the process.
fn lock(path: &Path) -> Result<Option<File>, SuiteError> {
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(SuiteError::io(path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(SuiteError::io(path)(source)),
    }
}

/// A pipeline that no other suite of this machine uses meanwhile.
#[derive(Debug)]
pub(crate) struct PipelineLock {
    path: PathBuf,
    _file: File,
}

impl PipelineLock {
    /// Locks the pipeline at an address.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::PipelineBusy`] if another suite uses it.
    pub(crate) fn take(address: &str) -> Result<Self, SuiteError> {
        let hash = Sha256::digest(address);
        let name = u64::from_be_bytes(hash[..8].try_into().expect("it has 32 bytes"));
        let path = std::env::temp_dir().join(format!("auditstorm-suite-{name:016x}.lock"));
        loop {
            let Some(file) = lock(&path)? else {
                return Err(SuiteError::PipelineBusy { lock: path });
            };
            // Whoever had it before may have removed it since it was opened.
            let own = file.metadata().map_err(SuiteError::io(&path))?.ino();
            if fs::metadata(&path).is_ok_and(|it| it.ino() == own) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for PipelineLock {
    fn drop(&mut self) {
        // A file that stays is locked by nobody, and in nobody's way.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const TEXT: &str = "name: a\nscenarios: [{profile: smoke}]\n";

    /// A new suite with this text in a directory.
    pub(crate) fn suite_in(path: &Path, text: &str, begun: i64) -> SuiteDir {
        let (suite, begun) = (text.to_owned(), MicroTime(begun));
        SuiteDir::take(path, &SuiteRecord { begun, suite, ..record() }).unwrap()
    }

    fn record() -> SuiteRecord {
        SuiteRecord {
            format: FORMAT,
            tool_version: "1".to_owned(),
            suite_id: Uuid::nil(),
            begun: MicroTime(1),
            on_sandbox: false,
            suite: TEXT.to_owned(),
            profiles: vec!["x".to_owned()],
            capacity_profile: None,
        }
    }

    #[test]
    fn a_suite_is_taken_by_one_process_and_found_again_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("suite");
        let step = Step::Seed;
        let mut dir = SuiteDir::take(&path, &record()).unwrap();
        assert!(matches!(SuiteDir::take(&path, &record()), Err(SuiteError::Busy { .. })));
        assert_eq!(dir.begin(2, &step).unwrap(), 1);
        drop(dir);
        let later = SuiteRecord { begun: MicroTime(9), suite_id: Uuid::max(), ..record() };
        let mut dir = SuiteDir::take(&path, &later).unwrap();
        assert_eq!(dir.record, record(), "it keeps its ID and its beginning");
        assert_eq!(dir.begin(3, &step).unwrap(), 2);
        assert_eq!(dir.journal, SuiteDir::open(&path).unwrap().journal);
    }

    #[test]
    fn a_suite_is_not_continued_as_another() {
        let place = tempfile::tempdir().unwrap();
        drop(SuiteDir::take(place.path(), &record()).unwrap());
        let check = |other: SuiteRecord, expected: &str| {
            let message = SuiteDir::take(place.path(), &other).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check(SuiteRecord { suite: format!("{TEXT}\n"), ..record() }, "the suite itself differs");
        check(SuiteRecord { profiles: Vec::new(), ..record() }, "a profile of it differs");
        check(SuiteRecord { on_sandbox: true, ..record() }, "--sandbox was given once only");
        assert!(matches!(
            SuiteDir::open(&place.path().join("none")),
            Err(SuiteError::NoSuite { .. })
        ));
    }

    #[test]
    fn every_attempt_at_a_load_has_a_directory_of_its_own() {
        assert_eq!(run_name("smoke", 1, 1), "runs/smoke-1");
        assert_eq!(run_name("smoke", 1, 2), "runs/smoke-1.2");
    }

    #[test]
    fn a_pipeline_is_used_by_one_suite_and_leaves_no_lock_behind() {
        let address = format!("http://127.0.0.1:1/{}", std::process::id());
        let held = PipelineLock::take(&address).unwrap();
        let path = held.path.clone();
        assert!(matches!(PipelineLock::take(&address), Err(SuiteError::PipelineBusy { .. })));
        drop(held);
        assert!(!path.exists());
        drop(PipelineLock::take(&address).unwrap());
    }
}
