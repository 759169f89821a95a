//! The command line: flags to plans, results to exit codes.

use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use edges::clock::Clock;
use edges::exit::{DONE, EXIT_CODES, Exit, ExitLine, MACHINE, STOPPED, USAGE, exit_codes};
use edges::files::raise_files;
use edges::shutdown::Shutdown;
use events::timeline::UnixMicros;
use load::sender::Shard;
use load::webhook::{Webhook, WebhookArgs};
use plans::condition::Condition;
use plans::plan::Plan;
use plans::profile::{BUILTIN, Profile, ProfileText, read_profile};
use plans::quantity::{parse_count, parse_moment};
use plans::query_plan::QueryPlan;
use plans::scale::ScaleArgs;
use plans::spec::{RunOptions, RunSpec, Span, Targets, shared_run_id};
use runs::ledger::Durability;
use runs::run_dir::RunDir;
use tell::logs::LogArgs;
use tell::output::{self, show, show_by, show_json, tell};
use tracing::info;
use uuid::Uuid;

use crate::abort::{self, Watchdog};
use crate::asking::door::QueryArgs;
use crate::emit::emit;
use crate::error::GeneratorError;
use crate::observe::Observe;
use crate::run::{RunContext, run};
use crate::self_test;
use runs::record::Summary;

/// Simulates Kubernetes control planes that send audit events to a webhook on schedule.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-generator", version, after_help = exit_codes(&EXIT_CODES))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends the events of a profile, and records in a run directory what became of each.
    #[command(after_help = exit_codes(&RUN_CODES))]
    Run(Box<Run>),
    /// Prints the events of a profile, one JSON object per line, without sending them.
    Emit(Emit),
    /// Lists the built-in profiles, or prints one of them.
    Profiles {
        /// Name of the profile to print.
        name: Option<String>,
    },
}

const RUN_CODES: [ExitLine; 6] = [
    DONE,
    USAGE,
    (
        Exit::Unreachable,
        "the webhook does not answer, or accepts no event; or no query is answered",
    ),
    (Exit::Threshold, "stopped early, because a condition of --abort-on held"),
    MACHINE,
    STOPPED,
];

#[derive(Debug, Args)]
struct Run {
    /// Name of a built-in profile, or path of a YAML file.
    profile: String,
    /// Run directory, in which the run is recorded [default: runs/<run id>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed to use instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    scale: ScaleArgs,
    /// Stops the run if this condition holds over ten seconds, like `acknowledged rate<99%` or
    /// `due_to_acknowledged p(95)>10s`; can be given several times.
    #[arg(long, value_name = "CONDITION", value_parser = abort::parse_condition)]
    #[arg(long_help = abort::help())]
    abort_on: Vec<Condition>,
    /// Runs shard I of N, which has every Nth tenant, so that N machines can share a run. Needs
    /// --start-at, with the same time for all shards.
    #[arg(long, value_name = "I/N", value_parser = parse_shard, requires = "start_at")]
    shard: Option<Shard>,
    /// Time at which the first event is due, like 2026-01-31T12:00:00Z [default: at once].
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    start_at: Option<UnixMicros>,
    /// Run ID [default: a new one; for a shard, one that follows from profile, seed and start].
    #[arg(long = "run-id", value_name = "UUID")]
    id: Option<Uuid>,
    /// Skips the measurement of how fast this machine can send, which takes a third of a second.
    #[arg(long)]
    no_self_test: bool,
    /// What the ledger must survive, besides `kill -9` of the generator. With `power`, no event is
    /// sent before the disk has confirmed its entry in the ledger, a few times a second.
    #[arg(long, value_enum, default_value_t = Durability::Process)]
    durability: Durability,
    #[command(flatten)]
    observe: Observe,
    #[command(flatten)]
    webhook: WebhookArgs,
    #[command(flatten)]
    queries: QueryArgs,
}

#[derive(Debug, Args)]
struct Emit {
    /// Name of a built-in profile, or path of a YAML file.
    profile: String,
    /// How many events to print.
    #[arg(long, value_parser = parse_count)]
    events: u64,
    /// Seed to use instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    /// Start of the run whose events are printed.
    #[arg(long, default_value = "2026-01-01T00:00:00Z", value_parser = parse_moment)]
    start: UnixMicros,
    /// Run ID. The audit IDs follow from it.
    #[arg(long, default_value = "00000000-0000-4000-8000-000000000000")]
    run_id: Uuid,
    #[command(flatten)]
    scale: ScaleArgs,
}

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::parse();
    cli.logs.start();
    let result = match cli.command {
        Command::Run(args) => run_command(&args),
        Command::Emit(args) => emit_command(&args).map(|()| Exit::Done),
        Command::Profiles { name } => profiles_command(name.as_deref()).map(|()| Exit::Done),
    };
    let exit = result.unwrap_or_else(|error| {
        tell(format_args!("auditstorm-generator: {}", edges::exit::chain(&error)));
        error.exit()
    });
    output::finish();
    exit
}

fn run_command(args: &Run) -> Result<Exit, GeneratorError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|source| GeneratorError::Start { source })?;
    runtime.block_on(async {
        let clock = Clock::system();
        // Preparations may take long, so they are done before the plan, which sets the time of the
        // first event.
        let first = plan(args, &text, &profile, clock)?;
        args.queries.check(&first)?;
        let askers = first.queries.as_ref().map_or(0, QueryPlan::connections);
        raise_files(first.send.connections + askers)?;
        let webhook = open_webhook(&args.webhook, &first).await?;
        let reading = args.queries.open(&first, clock.now()).await?;
        let shutdown = Shutdown::on_signals().map_err(|source| GeneratorError::Start { source })?;
        self_test(args, &first, &profile).await?;
        let plan = plan(args, &text, &profile, clock)?;
        let shard = args.shard.unwrap_or(Shard::WHOLE);
        let observers = args.observe.begin(&plan, &profile, shutdown.clone()).await?;
        let dir = open_dir(args, &plan)?;
        let watchdog = Watchdog::new(args.abort_on.clone());
        let durability = args.durability;
        let context = RunContext {
            webhook,
            clock,
            shutdown,
            observers,
            shard,
            watchdog,
            durability,
            reading,
        };
        let summary = run(plan, &dir, context).await?;
        let exit = match &summary {
            Summary { stopped: true, .. } => Exit::Stopped,
            Summary { aborted: Some(_), .. } => Exit::Threshold,
            Summary { not_tried: 1.., .. } => Exit::Machine,
            summary if summary.is_all_in_vain() => Exit::Unreachable,
            Summary { queries: Some(it), .. } if it.is_all_in_vain() => Exit::Unreachable,
            _ => Exit::Done,
        };
        Ok(print(&summary, &dir, args).map_or_else(|error| untold(&error, exit), |()| exit))
    })
}

fn open_dir(args: &Run, plan: &Plan) -> Result<RunDir, GeneratorError> {
    let named = || ["runs", &plan.spec.run_id.to_string()].iter().collect();
    let path = args.out.clone().unwrap_or_else(named);
    let dir = match args.shard {
        Some(_) => RunDir::join(&path, &plan.spec)?,
        None => RunDir::create(&path, &plan.spec)?,
    };
    info!(dir = %path.display(), run_id = %plan.spec.run_id, "run directory ready");
    Ok(dir)
}

fn print(summary: &Summary, dir: &RunDir, args: &Run) -> Result<(), GeneratorError> {
    let shown = if args.observe.json {
        show_json(summary)
    } else {
        show(format_args!("{summary}recorded in {}\n", dir.path().display()))
    };
    shown.map_err(output_failed)
}

/// Makes the plan of a run that starts at once, or at the time that the command line gives.
fn plan(
    args: &Run,
    text: &ProfileText,
    profile: &Profile,
    clock: Clock,
) -> Result<Plan, GeneratorError> {
    let now = clock.now();
    if let Some(at) = args.start_at.filter(|at| *at < now) {
        return Err(GeneratorError::StartIsPast { late_s: (now - at) / 1_000_000 });
    }
    let seed = args.seed.unwrap_or(profile.seed);
    let has_queries = profile.queries.is_some() && !args.queries.no_queries;
    let start = args.start_at.unwrap_or(now + LEAD_US);
    let options = RunOptions {
        seed: args.seed,
        targets: Targets {
            webhook: Some(args.webhook.shown()),
            queries: args.queries.shown().filter(|_| has_queries),
            ..Targets::default()
        },
        shards: args.shard.map_or(1, |shard| shard.count),
        scale: args.scale.scale(),
        ..RunOptions::new(run_id(args, text, seed), start, Span::Live)
    };
    let plan = plan_with(text, profile, options)?;
    Ok(Plan { queries: plan.queries.filter(|_| has_queries), ..plan })
}

/// Makes a plan. All its stages together take ten years at most.
fn plan_with(
    text: &ProfileText,
    profile: &Profile,
    options: RunOptions,
) -> Result<Plan, GeneratorError> {
    if options.scale.is_too_long(profile) {
        return Err(GeneratorError::TooLong);
    }
    Ok(Plan::new(RunSpec::new(&text.text, profile, options), profile))
}

/// Chooses the run ID. All shards of a run must choose the same one without talking.
#[expect(clippy::disallowed_methods, reason = "a new run has a new ID")]
fn run_id(args: &Run, text: &ProfileText, seed: u64) -> Uuid {
    match (args.id, args.shard, args.start_at) {
        (Some(run_id), ..) => run_id,
        (None, Some(shard), Some(start)) => {
            shared_run_id(&text.text, seed, &args.scale.scale(), start, shard.count)
        }
        _ => Uuid::new_v4(),
    }
}

/// Opens the webhook, and makes sure that every address can be reached and gets a connection. For
/// a plan without events none is needed, and none is tried.
async fn open_webhook(args: &WebhookArgs, plan: &Plan) -> Result<Webhook, GeneratorError> {
    if plan.script.planned() == 0 {
        let nowhere = WebhookArgs::at(vec![NOWHERE.to_owned()]);
        return Ok(Webhook::from_args(&nowhere, plan.send.timeout)?);
    }
    let webhook = Webhook::from_args(args, plan.send.timeout)?;
    let (addresses, connections) = (webhook.addresses(), plan.send.connections);
    if addresses > connections as usize {
        return Err(GeneratorError::TooFewConnections { addresses, connections });
    }
    webhook.reach().await?;
    info!(webhook = args.shown(), addresses, connections, "the webhook answers");
    Ok(webhook)
}

/// An address that nothing is sent to.
const NOWHERE: &str = "http://localhost/";

fn emit_command(args: &Emit) -> Result<(), GeneratorError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let options = RunOptions {
        seed: args.seed,
        scale: args.scale.scale(),
        ..RunOptions::new(args.run_id, args.start, Span::Live)
    };
    let plan = plan_with(&text, &profile, options)?;
    let planned = plan.script.planned();
    if planned < args.events {
        return Err(GeneratorError::TooFewEvents { planned, asked: args.events });
    }
    show_by(|out| emit(&plan.script, args.events, out)).map_err(output_failed)
}

fn profiles_command(name: Option<&str>) -> Result<(), GeneratorError> {
    let Some(name) = name else {
        let listed = show_by(|out| {
            BUILTIN.iter().try_for_each(|(name, text)| {
                let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
                writeln!(out, "{name:<16}{about}")
            })
        });
        return listed.map_err(output_failed);
    };
    show(read_profile(name)?.text).map_err(output_failed)
}

/// Reports that the summary, which is on disk, could not be printed.
fn untold(error: &GeneratorError, exit: Exit) -> Exit {
    tell(format_args!("auditstorm-generator: {}", edges::exit::chain(error)));
    exit.untold()
}

fn output_failed(source: io::Error) -> GeneratorError {
    GeneratorError::Output { source }
}

/// Measures how much faster than the plan this machine can send, and reports it.
async fn self_test(args: &Run, plan: &Plan, profile: &Profile) -> Result<(), GeneratorError> {
    if args.no_self_test || plan.script.planned() == 0 {
        return Ok(());
    }
    let measured =
        self_test::measure(plan, profile, args.shard.unwrap_or(Shard::WHOLE), &args.webhook).await;
    let headroom = measured.map_err(|source| GeneratorError::Start { source })?;
    if !args.observe.is_quiet() {
        tell(headroom);
    }
    Ok(())
}

/// Reads the number of a shard, counted from 1, and the number of shards: `1/3` to `3/3`.
fn parse_shard(text: &str) -> Result<Shard, String> {
    let numbers = text
        .split_once('/')
        .and_then(|(part, count)| Some((part.parse::<u32>().ok()?, count.parse::<u32>().ok()?)));
    match numbers {
        Some((part, count)) if (1..=count).contains(&part) && count <= SHARDS_MAX => {
            Ok(Shard { index: part - 1, count })
        }
        _ => Err(format!("write it like 1/3: a part of at most {SHARDS_MAX}")),
    }
}

/// Time between making the plan and its first event.
const LEAD_US: i64 = 200_000;
const SHARDS_MAX: u32 = 1_000;
