//! One part as a child process: started under a guard, with a log, stopped in order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::error::SandboxError;
use crate::guard::guarded;
use crate::report;

/// A running part.
#[derive(Debug)]
pub(crate) struct Process {
    launch: Launch,
    child: Child,
    log: PathBuf,
    is_down: bool,
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The part's name, also its log's.
    pub(crate) name: &'static str,
    /// What to run.
    pub(crate) program: PathBuf,
    /// With which arguments.
    pub(crate) args: Vec<String>,
    /// With which additional environment.
    pub(crate) env: Vec<(&'static str, String)>,
    /// How long it may take to stop before it is killed.
    pub(crate) stop_limit: Duration,
}

impl Process {
    /// Starts a part, with its output in `logs/NAME.log`.
    ///
    /// It gets a process group of its own, so that Ctrl-C in a terminal reaches only the sandbox,
    /// which then stops the parts in order.
    ///
    /// # Errors
    ///
    /// Returns an error if the log cannot be written or the process not be made.
    pub(crate) fn start(launch: Launch, logs: &Path) -> Result<Self, SandboxError> {
        let log = logs.join(format!("{}.log", launch.name));
        let out = File::create(&log).map_err(SandboxError::io("create", &log))?;
        let child = spawn(&launch, out, &log)?;
        Ok(Self { launch, child, log, is_down: false })
    }

    /// The part's name.
    pub(crate) fn name(&self) -> &'static str {
        self.launch.name
    }

    /// Changes the arguments for the next start, if the part chose something itself at this one.
    pub(crate) fn set_args(&mut self, args: Vec<String>) {
        self.launch.args = args;
    }

    /// Says whether the part was killed by order and not started again.
    pub(crate) fn is_down(&self) -> bool {
        self.is_down
    }

    /// Kills the part, and waits until it is gone. From then on it counts as down by order.
    ///
    /// # Errors
    ///
    /// Returns an error if it had ended by itself before.
    pub(crate) async fn kill(&mut self) -> Result<(), SandboxError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(self.death(status));
        }
        self.is_down = true;
        self.child.kill().await.map_err(SandboxError::io("kill", &self.launch.program))
    }

    /// Notes that the part has ended as ordered, which is no failure.
    pub(crate) fn stay_down(&mut self) {
        self.is_down = true;
    }

    /// Starts the part anew after it was killed, with its output behind that of before.
    ///
    /// # Errors
    ///
    /// Returns an error if the log cannot be written or the process not be made.
    pub(crate) fn start_again(&mut self) -> Result<(), SandboxError> {
        let out = File::options().append(true).open(&self.log);
        let out = out.map_err(SandboxError::io("open", &self.log))?;
        self.child = spawn(&self.launch, out, &self.log)?;
        self.is_down = false;
        Ok(())
    }

    /// Asks again and again until the part answers.
    ///
    /// # Errors
    ///
    /// Returns an error if the part ends, or does not answer within the limit.
    pub(crate) async fn answer<T>(
        &mut self,
        limit: Duration,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, SandboxError> {
        const PAUSE: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.death(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, ask()).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if !left.is_zero() => sleep(PAUSE).await,
                _ => {
                    return Err(SandboxError::PartSilent {
                        part: self.launch.name,
                        seconds: limit.as_secs(),
                        log: self.log.clone(),
                    });
                }
            }
        }
    }

    /// Waits until the part ends by itself, and says how. A part that is down by order never does.
    pub(crate) async fn ended(&mut self) -> SandboxError {
        if self.is_down {
            return std::future::pending().await;
        }
        match self.child.wait().await {
            Ok(status) => self.death(status),
            Err(error) => SandboxError::io("wait for", &self.log)(error),
        }
    }

    /// Asks the part to stop, and kills it if it does not within its limit.
    pub(crate) async fn stop(&mut self) {
        if self.is_down {
            return;
        }
        let stopped = end(&mut self.child, self.launch.stop_limit).await;
        match stopped {
            Some(status) if !status.success() && status.code().is_some() => {
                report::say(&format!("{} stopped badly:\n{}", self.launch.name, tail(&self.log)));
            }
            None => report::say(&format!("{} had to be killed", self.launch.name)),
            Some(_) => {}
        }
    }

    fn death(&self, status: ExitStatus) -> SandboxError {
        SandboxError::PartDied {
            part: self.launch.name,
            status: status.to_string(),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

fn spawn(launch: &Launch, out: File, log: &Path) -> Result<Child, SandboxError> {
    let err = out.try_clone().map_err(SandboxError::io("open", log))?;
    Command::from(guarded(&launch.program))
        .args(&launch.args)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(SandboxError::io("start", &launch.program))
}

/// Sends SIGTERM, and SIGKILL after the limit. Returns how it ended, or `None` if it was killed.
pub(crate) async fn end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    send(child, Signal::TERM);
    if let Ok(Ok(status)) = timeout(limit, child.wait()).await {
        return Some(status);
    }
    // It fails only if the child has ended meanwhile, which is what is wanted.
    child.kill().await.ok();
    None
}

/// Sends a signal to a child that has not been waited for, so that its id cannot be another's.
pub(crate) fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // It fails only if the child has ended meanwhile.
        kill_process(pid, signal).ok();
    }
}

fn tail(log: &Path) -> String {
    const LINES: usize = 15;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(LINES)..].iter();
    shown.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
