//! Records what the user does during a run, so that the report can show what followed from it.

use std::path::PathBuf;

use clap::Args;
use edges::clock::Clock;
use events::event::MicroTime;
use runs::observation::Mark;
use runs::run_dir::RunDir;

use crate::error::VerifyError;

/// Flags of `mark`.
#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// Run directory.
    dir: PathBuf,
    /// What happened, for example `killed nats-1`.
    text: String,
}

/// Writes a mark with the present time into a run directory.
///
/// # Errors
///
/// Returns [`VerifyError`] if there is no run, or its directory cannot be written.
pub(crate) fn mark(args: &MarkArgs, clock: &Clock) -> Result<(), VerifyError> {
    let at = MicroTime(clock.now());
    let (dir, _) = RunDir::open(&args.dir)?;
    dir.append_mark(&Mark { at, text: args.text.clone() })?;
    Ok(())
}
