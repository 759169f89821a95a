//! The command line: flags to a suite, results to exit codes.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use clap::{Args, Parser, Subcommand};
use edges::clock::Clock;
use edges::exit::{
    DONE, EXIT_CODES, Exit, ExitLine, MACHINE, STOPPED, UNREACHABLE, USAGE, exit_codes,
};
use edges::shutdown::Shutdown;
use events::event::MicroTime;
use tell::logs::LogArgs;
use tell::output::{self, show, show_by, tell};
use uuid::Uuid;

use crate::capacity::CAPACITY;
use crate::deliver::{Archived, archive_once, notify_once};
use crate::error::SuiteError;
use crate::executor::Program;
use crate::executor::local::{Local, guard};
use crate::render::{self, PAGE, View, markdown};
use crate::run::{Place, run};
use crate::step::{Event, exit_of};
use crate::suite::{BUILTIN, Scenario, Suite, SuiteText, read_suite};
use crate::suite_dir::{FORMAT, SuiteDir, SuiteRecord};
use crate::summary::SuiteReport;

/// Runs a whole performance test of an audit pipeline: readiness, history, scenarios, verdict.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-suite", version, after_help = exit_codes(&EXIT_CODES))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a suite, or continues one that was interrupted, and writes its report.
    #[command(after_help = exit_codes(&RUN_CODES))]
    Run(RunArgs),
    /// Writes the report of a suite again, also of one that has not ended.
    #[command(after_help = exit_codes(&[DONE, USAGE, MACHINE]))]
    Report {
        /// Directory of the suite.
        dir: PathBuf,
    },
    /// Lists the built-in suites, or prints one of them.
    Suites {
        /// Name of the suite to print.
        name: Option<String>,
    },
    /// Become a program that ends with its parent.
    #[command(hide = true)]
    Guard {
        #[arg(long)]
        parent: i32,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

const RUN_CODES: [ExitLine; 8] = [
    (Exit::Done, "all scenarios passed"),
    (Exit::Lossy, "a scenario lost, changed or doubled events"),
    (
        Exit::Threshold,
        "a scenario missed a threshold, recovered too late, or is worse than before (with\n\
         \x20      `compare: gate`); or there is a blocker",
    ),
    (Exit::Unknown, "a scenario could not be judged"),
    USAGE,
    UNREACHABLE,
    MACHINE,
    STOPPED,
];

#[derive(Debug, Args)]
struct RunArgs {
    /// Name of a built-in suite, or path of a YAML file.
    suite: String,
    /// Directory of the suite, in which all is recorded [default: a new one in suites/, or that of
    /// the last suite of this name if it was interrupted].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Starts a sandbox in this directory, and runs the suite on it. Without this flag, the suite
    /// takes the addresses of the pipeline from the environment.
    #[arg(long, value_name = "DIR")]
    sandbox: Option<PathBuf>,
    /// Directory of the run that loads the history. All suites that name the same one share it
    /// [default: beside the directory of the suite].
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Folder of the programs auditstorm-generator, -backfill, -verifier and -sandbox [default:
    /// that of this program, then PATH].
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::parse();
    cli.logs.start();
    let result = match cli.command {
        Command::Run(args) => run_command(&args),
        Command::Report { dir } => report_command(&dir),
        Command::Suites { name } => suites_command(name.as_deref()),
        Command::Guard { parent, command } => {
            guard(parent, Path::new(&command[0]), &command[1..]).map(|()| Exit::Done)
        }
    };
    let exit = result.unwrap_or_else(|error| {
        tell(format_args!("auditstorm-suite: {}", edges::exit::chain(&error)));
        error.exit()
    });
    output::finish();
    exit
}

fn run_command(args: &RunArgs) -> Result<Exit, SuiteError> {
    let text = read_suite(&args.suite)?;
    let suite = Suite::parse(&text.text, &text.origin)?;
    let profiles: Vec<String> = suite
        .scenarios
        .iter()
        .map(|scenario| scenario.profile_text(&text.folder))
        .collect::<Result<_, _>>()?;
    let capacity_profile = capacity_profile(&suite, &text)?;
    check_scenarios(&suite, &profiles, args)?;
    let local = Local::new(programs(args)?, &needed(&suite, args))?;
    check_pipeline(&suite, &profiles, args, &local)?;
    let clock = Clock::system();
    let record =
        SuiteRecord { profiles, capacity_profile, ..record(&text, args.sandbox.is_some(), clock) };
    let path = args.out.clone().unwrap_or_else(|| default_dir(&suite.name, &record));
    let mut dir = SuiteDir::take(&path, &record)?;
    write_profiles(&dir)?;
    // A process is killed with the thread that started it, so there is only one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| SuiteError::Start { name: "a runtime".into(), source })?;
    if dir.journal.finished().is_some() {
        tell(format_args!("the suite in {} has ended; --out names another", path.display()));
        let report = SuiteReport::new(&dir, None);
        return runtime.block_on(deliver(&mut dir, &report, clock));
    }
    tell(format_args!("suite {} in {}", suite.name, path.display()));
    let history = args.history.clone().unwrap_or_else(|| beside(&path, &suite.name));
    let halt = runtime.block_on(async {
        let listening = Shutdown::on_signals();
        let shutdown = listening
            .map_err(|source| SuiteError::Start { name: "listening to signals".into(), source })?;
        let sandbox = args.sandbox.clone();
        let profiles = text.folder.clone();
        let place = Place { local, sandbox, history, profiles, clock, shutdown };
        Ok(Box::pin(run(&mut dir, place)).await.err())
    })?;
    if let Some(halt) = &halt {
        tell(halt.told());
        dir.note(clock.now(), Event::Halted { exit: halt.exit() as u8, reason: halt.reason() })?;
    }
    let is_over = halt.is_none();
    let halt = halt.map(|halt| (halt.exit(), halt.reason()));
    let report = SuiteReport::new(&dir, halt);
    render::write(&dir, &report)?;
    if is_over {
        dir.note(clock.now(), Event::Finished { exit: report.exit })?;
    }
    runtime.block_on(deliver(&mut dir, &report, clock))
}

/// Shows the report, archives it and tells people of it, as far as that was not done before.
/// Returns the exit code: that of the verdict, unless all is well but is not in the archive.
async fn deliver(
    dir: &mut SuiteDir,
    report: &SuiteReport,
    clock: Clock,
) -> Result<Exit, SuiteError> {
    show_report(dir, report)?;
    let verdict = exit_of(report.exit);
    let archived = match dir.journal.finished() {
        Some(_) => archive_once(dir, clock).await?,
        // It will change yet.
        None => Archived::Nowhere,
    };
    if verdict != Exit::Stopped {
        notify_once(dir, report, archived.address(), clock).await?;
    }
    Ok(if matches!(archived, Archived::Failed) { verdict.untold() } else { verdict })
}

/// Shows the report, and where its page is.
fn show_report(dir: &SuiteDir, report: &SuiteReport) -> Result<(), SuiteError> {
    let text = markdown(&View::new(report));
    let page = dir.path().join(PAGE);
    show(format_args!("{text}\nrecorded in {}\n", page.display()))
        .map_err(|source| SuiteError::Output { source })
}

/// The profile whose highest rate is searched.
fn capacity_profile(suite: &Suite, text: &SuiteText) -> Result<Option<String>, SuiteError> {
    let Some(capacity) = &suite.capacity else { return Ok(None) };
    capacity.check()?;
    let scenario =
        Scenario { profile: capacity.profile.clone(), ..Scenario::plain(CAPACITY.to_owned()) };
    scenario.profile_text(&text.folder).map(Some)
}

fn record(text: &SuiteText, on_sandbox: bool, clock: Clock) -> SuiteRecord {
    #[expect(clippy::disallowed_methods, reason = "a new suite has a new ID")]
    let suite_id = Uuid::new_v4();
    SuiteRecord {
        format: FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        suite_id,
        begun: MicroTime(clock.now()),
        on_sandbox,
        suite: text.text.clone(),
        profiles: Vec::new(),
        capacity_profile: None,
    }
}

/// Writes the profiles as they are run, for the programs to read.
fn write_profiles(dir: &SuiteDir) -> Result<(), SuiteError> {
    for (scenario, text) in dir.suite.scenarios.iter().zip(&dir.record.profiles) {
        dir.write(&format!("profiles/{}.yaml", scenario.name()), text.as_bytes())?;
    }
    if let Some(text) = &dir.record.capacity_profile {
        dir.write(&format!("profiles/{CAPACITY}.yaml"), text.as_bytes())?;
    }
    Ok(())
}

/// Checks what the text of a suite alone does not tell.
fn check_scenarios(suite: &Suite, profiles: &[String], args: &RunArgs) -> Result<(), SuiteError> {
    for (scenario, profile) in suite.scenarios.iter().zip(profiles) {
        let name = || scenario.name().to_owned();
        let load_time = scenario.load_time(profile)?;
        for fault in &scenario.faults {
            let order = || fault.order.value().to_string();
            if fault.order.value().needs_sandbox() && args.sandbox.is_none() {
                return Err(SuiteError::NoSandbox { scenario: name(), order: order() });
            }
            if u128::from(fault.at.get().us()) >= load_time.as_micros() {
                let (at, load_s) = (fault.at.get().to_string(), load_time.as_secs());
                let (scenario, order) = (name(), order());
                return Err(SuiteError::FaultTooLate { scenario, order, at, load_s });
            }
        }
    }
    Ok(())
}

/// Checks that there is a pipeline to test.
fn check_pipeline(
    suite: &Suite,
    profiles: &[String],
    args: &RunArgs,
    local: &Local,
) -> Result<(), SuiteError> {
    let asks = |(scenario, profile): (&Scenario, &String)| {
        (scenario.readback || scenario.has_queries(profile)).then(|| scenario.name().to_owned())
    };
    let asking = suite.scenarios.iter().zip(profiles).find_map(asks);
    let has_api = match &args.sandbox {
        Some(_) => suite.sandbox.iter().any(|flag| flag.starts_with("--query-api")),
        None => local.variable("QUERY_API_URL").is_some(),
    };
    if let Some(scenario) = asking.filter(|_| !has_api) {
        return Err(SuiteError::NoQueryApi { scenario });
    }
    let needed = ["VECTOR_WEBHOOK_URL", "NATS_URL", "CLICKHOUSE_URL"];
    let missing = needed.into_iter().filter(|name| local.variable(name).is_none());
    let names: Vec<_> = missing.filter(|_| args.sandbox.is_none()).collect();
    if names.is_empty() { Ok(()) } else { Err(SuiteError::NoPipeline { names }) }
}

fn needed(suite: &Suite, args: &RunArgs) -> Vec<Program> {
    let mut needed = vec![Program::Generator, Program::Verifier];
    needed.extend(suite.seed.as_ref().map(|_| Program::Backfill));
    needed.extend(args.sandbox.as_ref().map(|_| Program::Sandbox));
    needed
}

/// The folder of the programs.
fn programs(args: &RunArgs) -> Result<PathBuf, SuiteError> {
    if let Some(folder) = &args.programs {
        return Ok(folder.clone());
    }
    let own = std::env::current_exe().map_err(SuiteError::io(Path::new("/proc/self/exe")))?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
}

/// The directory of the last suite of this kind, if it was interrupted, or else a new one.
fn default_dir(name: &str, record: &SuiteRecord) -> PathBuf {
    let folder = Path::new("suites");
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let dirs = entries.filter_map(|entry| SuiteDir::open(&entry.path()).ok());
    let last = dirs.filter(|dir| dir.is_of(record)).max_by_key(|dir| dir.record.begun);
    let at = DateTime::from_timestamp_micros(record.begun.0).expect("a time of this century");
    let new = || folder.join(format!("{name}-{}", at.format("%Y-%m-%dT%H-%M-%SZ")));
    last.filter(|dir| dir.journal.finished().is_none())
        .map_or_else(new, |dir| dir.path().to_owned())
}

/// The directory of the history that all suites of a name share.
fn beside(path: &Path, name: &str) -> PathBuf {
    let folder = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    edges::staged::folder_of(&folder).join(format!("{name}.history"))
}

fn report_command(path: &Path) -> Result<Exit, SuiteError> {
    let dir = SuiteDir::open(path)?;
    let halt = match dir.journal.finished() {
        Some(_) => None,
        None => Some((Exit::Unknown, "it has not ended".to_owned())),
    };
    let report = SuiteReport::new(&dir, halt);
    render::write(&dir, &report)?;
    show_report(&dir, &report)?;
    Ok(Exit::Done)
}

fn suites_command(name: Option<&str>) -> Result<Exit, SuiteError> {
    let shown = match name {
        Some(name) => show(read_suite(name)?.text),
        None => show_by(|out| {
            BUILTIN.iter().try_for_each(|(name, text)| {
                let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
                writeln!(out, "{name:<16}{about}")
            })
        }),
    };
    shown.map(|()| Exit::Done).map_err(|source| SuiteError::Output { source })
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
