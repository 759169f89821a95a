//! The command line: flags to plans, results to exit codes.

use std::io;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use events::event::MicroTime;
use harness::clock::Clock;
use harness::exit::{EXIT_CODES, Exit};
use harness::plan::{DeliveryPath, Plan, RunOptions, RunSpec, Span, Targets};
use harness::profile::{BUILTIN, Profile, read_profile};
use harness::run_dir::RunDir;
use harness::scale::Scale;
use harness::shutdown::Shutdown;
use harness::webhook::{Webhook, WebhookArgs};
use uuid::Uuid;

use crate::emit::emit;
use crate::error::GeneratorError;
use crate::observe::Observe;
use crate::run::run;

/// Simulated Kubernetes control planes that post audit events to a webhook, on schedule.
#[derive(Debug, Parser)]
#[command(name = "auditstorm-generator", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends the events of a profile and records how each ended in a run directory.
    Run(Box<Run>),
    /// Writes the events of a profile to standard output, one JSON object a line.
    Emit(Emit),
    /// Lists the profiles that are built in, or shows one.
    Profiles {
        /// The profile to show.
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// A built-in profile's name, or a YAML file's path.
    profile: String,
    /// Directory for the run's record [default: runs/<run id>].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed, instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    observe: Observe,
    #[command(flatten)]
    webhook: WebhookArgs,
}

#[derive(Debug, Args)]
struct Emit {
    /// A built-in profile's name, or a YAML file's path.
    profile: String,
    /// How many events.
    #[arg(long)]
    events: u64,
    /// Seed, instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    /// When the run would start.
    #[arg(long, default_value = "2026-01-01T00:00:00.000000Z")]
    start: String,
    /// Run ID, from which the audit IDs follow.
    #[arg(long, default_value = "00000000-0000-4000-8000-000000000000")]
    run_id: Uuid,
}

/// Reads the command line and does what it says.
#[expect(clippy::print_stderr, reason = "the one place that tells why the program cannot go on")]
pub fn main() -> Exit {
    let result = match Cli::parse().command {
        Command::Run(args) => run_command(&args),
        Command::Emit(args) => emit_command(&args).map(|()| Exit::Done),
        Command::Profiles { name } => profiles_command(name.as_deref()).map(|()| Exit::Done),
    };
    result.unwrap_or_else(|error| {
        let exit = error.exit();
        eprintln!("auditstorm-generator: {}", harness::exit::chain(&error));
        exit
    })
}

#[expect(clippy::print_stdout, reason = "the summary is the result")]
#[expect(clippy::disallowed_methods, reason = "a new run has a new ID")]
fn run_command(args: &Run) -> Result<Exit, GeneratorError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|source| GeneratorError::Start { source })?;
    runtime.block_on(async {
        let clock = Clock::system();
        let options = RunOptions {
            run_id: Uuid::new_v4(),
            seed: args.seed,
            start: clock.now() + LEAD_US,
            span: Span::Live,
            path: DeliveryPath::Pipeline,
            targets: Targets { webhook: Some(args.webhook.shown()), ..Targets::default() },
            shards: 1,
            scale: Scale::default(),
        };
        let plan = Plan::new(RunSpec::new(&text.text, &profile, options), &profile);
        let webhook = open_webhook(&args.webhook, &plan).await?;
        let shutdown = Shutdown::on_signals().map_err(|source| GeneratorError::Start { source })?;
        let observers = args.observe.begin(&plan, &profile, shutdown.clone()).await?;
        let path = args
            .out
            .clone()
            .unwrap_or_else(|| ["runs", &plan.spec.run_id.to_string()].iter().collect());
        let dir = RunDir::create(&path, &plan.spec)?;
        let summary = run(plan, &dir, webhook, clock, shutdown, observers).await?;
        if args.observe.json {
            println!("{}", serde_json::to_string_pretty(&summary).expect("it has string keys"));
        } else {
            print!("{summary}");
            println!("recorded in {}", dir.path().display());
        }
        Ok(if summary.stopped { Exit::Stopped } else { Exit::Done })
    })
}

/// Makes sure that every address of the webhook can be connected to and will be.
async fn open_webhook(args: &WebhookArgs, plan: &Plan) -> Result<Webhook, GeneratorError> {
    let webhook = Webhook::from_args(args, plan.send.timeout)?;
    let (addresses, connections) = (webhook.addresses(), plan.send.connections);
    if addresses > connections as usize {
        return Err(GeneratorError::TooFewConnections { addresses, connections });
    }
    webhook.reach().await?;
    Ok(webhook)
}

fn emit_command(args: &Emit) -> Result<(), GeneratorError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let quoted = serde_json::Value::String(args.start.clone());
    let start: MicroTime = serde_json::from_value(quoted)
        .map_err(|_| GeneratorError::Time { text: args.start.clone() })?;
    let options = RunOptions {
        run_id: args.run_id,
        seed: args.seed,
        start: start.0,
        span: Span::Live,
        path: DeliveryPath::Pipeline,
        targets: Targets::default(),
        shards: 1,
        scale: Scale::default(),
    };
    let plan = Plan::new(RunSpec::new(&text.text, &profile, options), &profile);
    let planned = plan.script.planned();
    if planned < args.events {
        return Err(GeneratorError::TooFewEvents { planned, asked: args.events });
    }
    to_stdout(|out| emit(&plan.script, args.events, out))
}

fn profiles_command(name: Option<&str>) -> Result<(), GeneratorError> {
    let Some(name) = name else {
        return to_stdout(|out| {
            BUILTIN.iter().try_for_each(|(name, text)| {
                let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
                writeln!(out, "{name:<16}{about}")
            })
        });
    };
    let text = read_profile(name)?;
    to_stdout(|out| out.write_all(text.text.as_bytes()))
}

/// Writes to standard output; a reader that has gone away, as `head` does, ends it quietly.
fn to_stdout(
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), GeneratorError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| io::Write::flush(&mut out)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| GeneratorError::Output { source }),
    }
}

/// Time between making the plan and its first event.
const LEAD_US: i64 = 200_000;
