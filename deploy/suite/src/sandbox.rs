//! Starts a sandbox for a suite, and keeps it as long as the suite runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edges::clock::Clock;
use tokio::time::{sleep, timeout};

use crate::error::SuiteError;
use crate::executor::local::{Local, LocalJob};
use crate::executor::{Executor as _, Job as _, Program, Task};

/// A running sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) dir: PathBuf,
    /// The addresses of its parts.
    pub(crate) env: BTreeMap<String, String>,
    log: PathBuf,
    job: LocalJob,
}

impl Sandbox {
    /// Starts a sandbox in a directory, and waits until it is up. If the directory has the data of
    /// an earlier one, they are used again.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError`] if it does not start.
    pub(crate) async fn start(
        local: &Local,
        dir: &Path,
        flags: &[String],
        clock: Clock,
    ) -> Result<Self, SuiteError> {
        let env_file = dir.join("env");
        let log = dir.with_extension("log");
        let shown = dir.display().to_string();
        let args = ["up".to_owned(), "--dir".to_owned(), shown];
        let args = args.into_iter().chain(flags.iter().cloned()).collect();
        fs::create_dir_all(dir).map_err(SuiteError::io(dir))?;
        // What a killed sandbox has left is no sign that this one is up.
        match fs::remove_file(&env_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(SuiteError::io(&env_file)(error));
            }
            _ => {}
        }
        let task = Task { program: Program::Sandbox, args, log: log.clone(), limit: YEARS };
        let mut job = local.start(&task)?;
        let deadline = clock.now() + START_LIMIT_US;
        loop {
            if let Ok(ended) = timeout(PAUSE, job.ended()).await {
                let ending = ended?.to_string();
                let tail = tail(&log);
                return Err(SuiteError::SandboxEnded { ending, log, tail });
            }
            if let Ok(text) = fs::read_to_string(&env_file) {
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                return Ok(Self { dir: dir.to_owned(), env, log, job });
            }
            if clock.now() > deadline {
                job.stop().await;
                let limit_s = START_LIMIT_US.unsigned_abs() / 1_000_000;
                return Err(SuiteError::SandboxSilent { limit_s, log });
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until it ends by itself, which it should not.
    pub(crate) async fn broken(&mut self) -> SuiteError {
        let ending = match self.job.ended().await {
            Ok(ending) => ending.to_string(),
            Err(error) => edges::exit::chain(&error),
        };
        SuiteError::SandboxEnded { ending, log: self.log.clone(), tail: tail(&self.log) }
    }

    pub(crate) async fn stop(mut self) {
        self.job.stop().await;
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let lines: Vec<String> =
        lines[from..].iter().map(|line| format!("    {}", edges::plain::plain(line))).collect();
    lines.join("\n")
}

const TAIL_LINES: usize = 12;
const PAUSE: Duration = Duration::from_millis(50);
/// Its own limits for each part are shorter.
const START_LIMIT_US: i64 = 180_000_000;
/// A sandbox runs until the suite stops it.
const YEARS: Duration = Duration::from_hours(24 * 366);
