//! Looks at a pipeline before a run, compares it with what the profile will do, and says what
//! stands against it.

mod advice;
mod facts;
mod load;
mod read;

use std::io;

use clap::Args;
use edges::clock::Clock;
use edges::exit::Exit;
use edges::plain::plain_lines;
use plans::plan::Plan;
use plans::profile::{Profile, read_profile};
use plans::scale::ScaleArgs;
use plans::spec::{RunOptions, RunSpec, Span, Targets};
use serde::Serialize;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs};
use tell::output::{show_by, show_json};
use uuid::Uuid;

use self::advice::{Advice, Rank, advise};
use self::facts::Facts;
use self::load::Load;
use self::read::{read_clocks, read_stream, read_table, read_vectors};
use crate::error::VerifyError;
use crate::story::told;
use crate::vectors::VectorArgs;

/// Flags of `preflight`.
#[derive(Debug, Args)]
pub(crate) struct PreflightArgs {
    /// A built-in profile's name, or a YAML file's path.
    profile: String,
    /// Seed, instead of the profile's.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    clickhouse: ClickHouseArgs,
    #[command(flatten)]
    vectors: VectorArgs,
    /// Address of the webhook, whose clock is then compared; of several, the first. It is asked
    /// once, for /ping.
    #[arg(long, env = "VECTOR_WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    webhook: Option<String>,
    /// Days of a history that is to be replayed through the pipeline as well.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    days: u32,
    /// Prints the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Looks at the pipeline, and prints what is to be known before a run.
///
/// # Errors
///
/// Returns [`VerifyError`] if the profile is wrong, or a server does not answer.
pub(crate) async fn preflight(args: &PreflightArgs, clock: Clock) -> Result<Exit, VerifyError> {
    let load = load(args, &clock)?;
    let url = args.nats.url.as_ref().ok_or(VerifyError::NoNatsUrl)?;
    let table = ClickHouse::connect(&args.clickhouse, &Targets::default()).await?;
    let audit = AuditStream::connect(url, &args.nats).await?;
    let webhook = args.webhook.as_ref().and_then(|urls| urls.split(',').next());
    let webhook = webhook.filter(|url| url.starts_with("http://"));
    let (stream, consumer) = read_stream(&audit).await?;
    let (vectors, vector_clocks) = read_vectors(&args.vectors.urls(), &clock).await?;
    let mut clocks = read_clocks(&table, &audit, webhook, &clock).await?;
    clocks.extend(vector_clocks);
    let facts = Facts {
        load,
        stream,
        consumer_name: audit.consumer().to_owned(),
        consumer,
        table: read_table(&table).await?,
        vectors,
        clocks,
        history_days: args.days,
    };
    let advice = advise(&facts);
    let is_blocked = advice.iter().any(|advice| advice.rank == Rank::Blocker);
    let exit = if is_blocked { Exit::Threshold } else { Exit::Done };
    Ok(told(print(&load, &advice, args.json), exit))
}

fn load(args: &PreflightArgs, clock: &Clock) -> Result<Load, VerifyError> {
    let text = read_profile(&args.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let scale = args.scale.scale();
    if scale.is_too_long(&profile) {
        return Err(VerifyError::TooLong);
    }
    let options = RunOptions {
        seed: args.seed,
        scale,
        ..RunOptions::new(Uuid::nil(), clock.now(), Span::Live)
    };
    Ok(Load::of(&Plan::new(RunSpec::new(&text.text, &profile, options), &profile)))
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    load: &'a Load,
    blockers: usize,
    /// The weightiest first.
    advice: &'a [Advice],
}

fn print(load: &Load, advice: &[Advice], is_json: bool) -> io::Result<()> {
    let blockers = advice.iter().filter(|advice| advice.rank == Rank::Blocker).count();
    if is_json {
        show_json(&Findings { load, blockers, advice })
    } else {
        show_by(|out| write_text(out, load, advice, blockers))
    }
}

fn write_text(
    out: &mut dyn io::Write,
    load: &Load,
    advice: &[Advice],
    blockers: usize,
) -> io::Result<()> {
    let Load { events, duration_s, peak_events_per_s, event_bytes, .. } = load;
    writeln!(
        out,
        "{events} events of about {event_bytes} bytes in {duration_s:.0} s, \
         up to {peak_events_per_s} a second"
    )?;
    for Advice { rank, about, reason, fix } in advice {
        let rank = match rank {
            Rank::Blocker => "BLOCKER",
            Rank::Warning => "warning",
            Rank::Note => "note",
        };
        let text = format!("\n{rank:<8} {about}: {reason}\n         fix: {fix}");
        writeln!(out, "{}", plain_lines(&text))?;
    }
    match blockers {
        0 => writeln!(out, "\nnothing stands against the run"),
        1 => writeln!(out, "\n1 blocker stands against the run"),
        more => writeln!(out, "\n{more} blockers stand against the run"),
    }
}
