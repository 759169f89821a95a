//! Runs tasks as processes of this machine. None outlives the suite, not even its `kill -9`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use edges::staged::folder_of;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Ending, Executor, Job, Program, Task};
use crate::error::SuiteError;

/// Starts processes on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    /// The folder in which the programs are looked for before PATH.
    folder: PathBuf,
    /// Variables in addition to those of this process: the addresses of the pipeline.
    env: BTreeMap<String, String>,
}

impl Local {
    /// An executor with these programs.
    ///
    /// # Errors
    ///
    /// Returns [`SuiteError::NoProgram`] if one is missing.
    pub(crate) fn new(folder: PathBuf, needed: &[Program]) -> Result<Self, SuiteError> {
        let local = Self { folder, env: BTreeMap::new() };
        for program in needed {
            if local.find(*program).is_none() {
                let (name, folder) = (program.name(), local.folder);
                return Err(SuiteError::NoProgram { name, folder });
            }
        }
        Ok(local)
    }

    /// The same with variables for the tasks.
    pub(crate) fn with_env(self, env: BTreeMap<String, String>) -> Self {
        Self { env, ..self }
    }

    /// The value of a variable, as tasks see it.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let own = || std::env::var(name).ok().filter(|value| !value.is_empty());
        self.env.get(name).cloned().or_else(own)
    }

    fn find(&self, program: Program) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path);
        let mut all = std::iter::once(self.folder.clone()).chain(folders);
        all.find_map(|folder| Some(folder.join(program.name())).filter(|path| path.is_file()))
    }
}

impl Executor for Local {
    type Job = LocalJob;

    fn start(&self, task: &Task) -> Result<LocalJob, SuiteError> {
        let name = task.program.name();
        let no_program = || SuiteError::NoProgram { name, folder: self.folder.clone() };
        let program = self.find(task.program).ok_or_else(no_program)?;
        let folder = folder_of(&task.log);
        fs::create_dir_all(folder).map_err(SuiteError::io(folder))?;
        let log = File::create(&task.log).map_err(SuiteError::io(&task.log))?;
        let errors = log.try_clone().map_err(SuiteError::io(&task.log))?;
        tracing::debug!(program = name, args = ?task.args, "started");
        let child = Command::from(guarded(&program))
            .args(&task.args)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C in a terminal reaches only the suite, which then stops its tasks in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SuiteError::Start { name: name.to_owned(), source })?;
        let deadline = Instant::now() + task.limit;
        Ok(LocalJob { name, child, deadline })
    }
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct LocalJob {
    name: &'static str,
    child: Child,
    deadline: Instant,
}

impl Job for LocalJob {
    async fn ended(&mut self) -> Result<Ending, SuiteError> {
        match timeout_at(self.deadline, self.child.wait()).await {
            Ok(Ok(status)) => Ok(ending(status)),
            Ok(Err(source)) => Err(SuiteError::Start { name: self.name.to_owned(), source }),
            Err(_) => {
                self.stop().await;
                Ok(Ending::TooLong)
            }
        }
    }

    async fn stop(&mut self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            // It fails only if the process has ended meanwhile, which is what is wanted.
            kill_process(pid, Signal::TERM).ok();
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => Ending::Signal(signal.unwrap_or(0)),
    }
}

/// A generator settles what is under way, and a sandbox stops its parts in order.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// Replaces this process by a program, after asking the kernel to kill it when its parent ends.
///
/// The request survives `exec`. It must be made in the child. Safe Rust can run no code of its own
/// in a child before `exec`, so the suite starts itself as a step in between.
///
/// # Errors
///
/// Returns [`SuiteError`] if the parent is gone already or the program cannot be run; else it does
/// not return.
pub(crate) fn guard(parent: i32, program: &Path, args: &[String]) -> Result<(), SuiteError> {
    let cannot = |source| SuiteError::Start { name: program.display().to_string(), source };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|it| cannot(it.into()))?;
    // The parent may have ended before the request; then nobody would ever be told.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(SuiteError::Orphan { parent });
    }
    Err(cannot(std::process::Command::new(program).args(args).exec()))
}

/// The command that runs a program under a guard. The kernel watches the *thread* that spawns, so
/// it must live as long as the process does: the suite's runtime has one thread.
fn guarded(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    let parent = std::process::id().to_string();
    command.args(["guard", "--parent", &parent, "--"]).arg(program);
    command
}
