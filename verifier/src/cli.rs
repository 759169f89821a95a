//! The command line: maps flags to commands, and their results to output and exit codes.

mod archive;
mod certify;
mod compare;
mod pages;
mod preflight;
mod readback;
mod reconcile;
mod story;
mod trend;
mod watch;

use clap::{Parser, Subcommand};
use edges::clock::Clock;
use edges::exit::{
    DONE, EXIT_CODES, Exit, ExitLine, LOSSY, MACHINE, STOPPED, UNKNOWN, UNREACHABLE, USAGE, chain,
    exit_codes,
};
use tell::logs::LogArgs;
use tell::output;

use self::story::tell;
use crate::error::VerifyError;
use crate::mark::{MarkArgs, mark};

/// Checks what became of every event of a run, and gives a verdict.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-verifier", version, after_help = exit_codes(&EXIT_CODES))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares the events that runs sent with those in stream and table, and writes report.json.
    #[command(after_help = exit_codes(&RECONCILE_CODES))]
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Reads a run's events back through the query API, tenant by tenant, and writes readback.json.
    #[command(after_help = exit_codes(&READBACK_CODES))]
    Readback(Box<readback::ReadbackArgs>),
    /// Watches the pipeline during a run, and writes observations.jsonl.
    #[command(after_help = exit_codes(&[DONE, USAGE, UNREACHABLE, MACHINE, STOPPED]))]
    Watch(Box<watch::WatchArgs>),
    /// Records something that you do or see during a run, in marks.jsonl.
    #[command(after_help = format!("{MARK_EXAMPLE}\n\n{}", exit_codes(&[DONE, USAGE, MACHINE])))]
    Mark(MarkArgs),
    /// Checks the settings of the pipeline before a run, and lists the problems that the run would
    /// have.
    #[command(after_help = exit_codes(&PREFLIGHT_CODES))]
    // The usual help does not fit, because there is no run yet whose table could be the default.
    #[command(mut_arg("table", |table| table.help(PREFLIGHT_TABLE)))]
    Preflight(Box<preflight::PreflightArgs>),
    #[command(after_help = exit_codes(&ARCHIVED_CODES))]
    Report(pages::ReportArgs),
    #[command(after_help = exit_codes(&COMPARE_CODES))]
    Compare(compare::CompareArgs),
    #[command(after_help = exit_codes(&ARCHIVED_CODES))]
    Trend(trend::TrendArgs),
    #[command(after_help = exit_codes(&CERTIFY_CODES))]
    Certify(certify::CertifyArgs),
    #[command(after_help = exit_codes(&ARCHIVE_CODES))]
    Archive(archive::ArchiveArgs),
    #[command(after_help = exit_codes(&ARCHIVE_CODES))]
    Fetch(archive::FetchArgs),
}

const RECONCILE_CODES: [ExitLine; 8] = [
    (Exit::Done, "whole"),
    LOSSY,
    USAGE,
    UNREACHABLE,
    UNKNOWN,
    (Exit::Threshold, "whole, but a threshold failed"),
    (
        Exit::Machine,
        "this machine failed: there is no verdict, or it is whole and could not be written",
    ),
    STOPPED,
];

const READBACK_CODES: [ExitLine; 7] = [
    (Exit::Done, "whole: all that is stored can be read"),
    (Exit::Lossy, "lossy: something stored cannot be read, or an answer is wrong"),
    USAGE,
    UNREACHABLE,
    UNKNOWN,
    MACHINE,
    STOPPED,
];

const PREFLIGHT_CODES: [ExitLine; 5] = [
    (Exit::Done, "no blocker was found"),
    USAGE,
    UNREACHABLE,
    (Exit::Threshold, "there is a blocker"),
    MACHINE,
];

/// Of commands that read runs, which may be archived ones.
const ARCHIVED_CODES: [ExitLine; 4] = [DONE, USAGE, ARCHIVE_AWAY, MACHINE];

const ARCHIVE_CODES: [ExitLine; 5] = [DONE, USAGE, ARCHIVE_AWAY, MACHINE, STOPPED];

const ARCHIVE_AWAY: ExitLine = (Exit::Unreachable, "an archive does not answer");

const CERTIFY_CODES: [ExitLine; 5] = [
    (Exit::Done, "the certificate is written, or fits its run, whatever verdict it states"),
    USAGE,
    ARCHIVE_AWAY,
    (Exit::Threshold, "the certificate does not fit: its signature, or what it states"),
    MACHINE,
];

const COMPARE_CODES: [ExitLine; 6] = [
    (Exit::Done, "not worse"),
    (Exit::Usage, "wrong usage or input, or runs that cannot be compared"),
    ARCHIVE_AWAY,
    (Exit::Unknown, "a change beyond what is allowed could not be judged"),
    (Exit::Threshold, "worse: a regression"),
    MACHINE,
];

const PREFLIGHT_TABLE: &str = "Table of audit logs [default: audit.audit_logs]";

const MARK_EXAMPLE: &str = "\
Example, while the generator runs:
  auditstorm-verifier mark runs/1 \"killed nats-1\"";

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::parse();
    cli.logs.start();
    for warning in edges::secret::warnings(std::env::args_os()) {
        tell(&warning);
    }
    let done = match cli.command {
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Report(args) => pages::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Trend(args) => trend::run(&args),
        Command::Certify(args) => certify::run(&args),
        Command::Archive(args) => on_runtime(async { archive::upload(&args).await }),
        Command::Fetch(args) => on_runtime(async { archive::fetch(&args).await }),
        Command::Readback(args) => on_runtime(async { Box::pin(readback::run(&args)).await }),
        Command::Watch(args) => on_runtime(async { Box::pin(watch::run(&args)).await }),
        Command::Preflight(args) => on_runtime(async { Box::pin(preflight::run(&args)).await }),
        Command::Mark(args) => mark(&args, &Clock::system()).map(|()| Exit::Done),
    };
    let exit = done.unwrap_or_else(|error| {
        tell(&chain(&error));
        error.exit()
    });
    output::finish();
    exit
}

fn on_runtime(work: impl Future<Output = Result<Exit, VerifyError>>) -> Result<Exit, VerifyError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|source| VerifyError::Start { source })?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_clash() {
        Cli::command().debug_assert();
    }
}
