//! `preflight`: checks the pipeline before a run.

use clap::Args;
use edges::clock::Clock;
use edges::exit::Exit;
use tell::output::{show, show_json};

use super::story::told;
use crate::error::VerifyError;
use crate::preflight::{PreflightOptions, preflight};

/// Flags of `preflight`.
#[derive(Debug, Args)]
pub(super) struct PreflightArgs {
    #[command(flatten)]
    options: PreflightOptions,
    /// Prints the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(args: &PreflightArgs) -> Result<Exit, VerifyError> {
    let findings = preflight(&args.options, Clock::system()).await?;
    let exit = if findings.blockers > 0 { Exit::Threshold } else { Exit::Done };
    let shown = if args.json { show_json(&findings) } else { show(&findings) };
    Ok(told(shown, exit))
}
