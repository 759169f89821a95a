//! Stops a sandbox that runs elsewhere.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::control::socket_path;
use crate::error::SandboxError;
use crate::owner::Owner;
use crate::report;
use crate::stack::remove_stale;

/// Stops the `up` that owns the directory, and waits until it is gone.
///
/// # Errors
///
/// Returns an error if the record cannot be read, or the process outlives even SIGKILL.
pub(crate) async fn down(dir: &Path) -> Result<(), SandboxError> {
    const STOP_LIMIT: Duration = Duration::from_secs(30);
    const KILL_LIMIT: Duration = Duration::from_secs(5);
    let Some(owner) = Owner::of(dir)? else {
        remove_left(dir)?;
        report::print_line(&format!("no sandbox runs in {}", dir.display()));
        return Ok(());
    };
    let Owner { pid, .. } = owner;
    if ends(owner, Signal::TERM, STOP_LIMIT).await {
        report::print_line(&format!("stopped the sandbox in {} (process {pid})", dir.display()));
        return Ok(());
    }
    if ends(owner, Signal::KILL, KILL_LIMIT).await {
        remove_left(dir)?;
        report::print_line(&format!("killed the sandbox in {} (process {pid})", dir.display()));
        return Ok(());
    }
    Err(SandboxError::Unstoppable(pid))
}

/// Removes what a killed sandbox leaves: nobody answers at its addresses.
fn remove_left(dir: &Path) -> Result<(), SandboxError> {
    remove_stale(&dir.join("env"))?;
    remove_stale(&socket_path(dir))
}

async fn ends(owner: Owner, signal: Signal, limit: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + limit;
    if let Some(pid) = Pid::from_raw(owner.pid).filter(|_| owner.lives()) {
        // It fails only if the process has ended meanwhile.
        kill_process(pid, signal).ok();
    }
    while owner.lives() && Instant::now() < deadline {
        sleep(PAUSE).await;
    }
    !owner.lives()
}
