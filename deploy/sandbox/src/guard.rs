//! Makes sure that nothing outlives the sandbox, not even its `kill -9`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, getppid};

use crate::error::SandboxError;

/// Replaces this process by `program`, after asking the kernel to kill it when its parent ends.
///
/// The request survives `exec`. It must be made in the child. Safe Rust can run no code of its own
/// in a child before `exec`, so the sandbox starts itself as a step in between.
///
/// # Errors
///
/// Returns an error if the parent is gone already or the program cannot be run; else it does not
/// return.
pub(crate) fn guard(parent: i32, program: &Path, args: &[String]) -> Result<(), SandboxError> {
    die_with_parent().map_err(SandboxError::io("guard", program))?;
    // The parent may have ended before the request; then nobody would ever be told.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(SandboxError::Orphan(parent));
    }
    let mut command = Command::new(program);
    if program == Path::new(OWN_PROGRAM) {
        command.arg0(env!("CARGO_PKG_NAME"));
    }
    let error = command.args(args).exec();
    Err(SandboxError::io("run", program)(error))
}

/// The command that runs `program` under a guard.
///
/// The kernel watches the *thread* that spawns, so it must live as long as the process does.
pub(crate) fn guarded(program: &Path) -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    let parent = std::process::id().to_string();
    command.arg0(env!("CARGO_PKG_NAME")).args(["guard", "--parent", &parent, "--"]).arg(program);
    command
}

/// This very program, even if its file has been replaced since.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

#[cfg(target_os = "linux")]
fn die_with_parent() -> std::io::Result<()> {
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> std::io::Result<()> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "only Linux can promise that no part outlives the sandbox",
    ))
}
