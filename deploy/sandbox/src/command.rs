//! Runs the person's own command beside the pipeline.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::timeout;

use crate::error::SandboxError;
use crate::guard::guarded;
use crate::keeper::Keeper;
use crate::process::{end, send};
use crate::stop_signals::{Stop, StopSignals};

/// Runs a command until it ends, and returns its exit code as a shell would.
///
/// At a terminal it shares the process group, so that it may read the keyboard and gets Ctrl-C from
/// the terminal itself; elsewhere the signals that come here are passed on to it.
///
/// # Errors
///
/// Returns an error if the command cannot be started or a part of the pipeline ends meanwhile.
pub(crate) async fn run_command(
    words: &[String],
    addresses: &[(&'static str, String)],
    keeper: &mut Keeper<'_>,
    signals: &mut StopSignals,
) -> Result<u8, SandboxError> {
    const STOP_LIMIT: Duration = Duration::from_secs(5);
    let (program, args) = words.split_first().expect("the caller has a command");
    let program = Path::new(program);
    let at_terminal = std::io::stdin().is_terminal();
    let mut command = Command::from(guarded(program));
    command.args(args).envs(addresses.iter().map(|(name, value)| (name, value)));
    if !at_terminal {
        command.process_group(0);
    }
    let child = command.kill_on_drop(true).spawn();
    let mut child = child.map_err(SandboxError::io("start", program))?;
    let stop = tokio::select! {
        status = child.wait() => {
            return status.map(exit_code).map_err(SandboxError::io("wait for", program));
        }
        stop = signals.next() => stop,
        error = keeper.broken() => {
            end(&mut child, STOP_LIMIT).await;
            return Err(error);
        }
    };
    match stop {
        Stop::Interrupted if at_terminal => {}
        Stop::Interrupted => send(&child, Signal::INT),
        Stop::Terminated => send(&child, Signal::TERM),
    }
    if let Ok(status) = timeout(STOP_LIMIT, child.wait()).await {
        return status.map(exit_code).map_err(SandboxError::io("wait for", program));
    }
    end(&mut child, Duration::ZERO).await;
    Ok(stop.exit_code())
}

fn exit_code(status: ExitStatus) -> u8 {
    const BY_SIGNAL: i32 = 128;
    let code = status.code().or_else(|| status.signal().map(|signal| BY_SIGNAL + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
