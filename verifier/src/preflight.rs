//! Looks at a pipeline before a run, compares it with what the profile will do, and says what
//! stands against it.

mod advice;
mod facts;
mod load;
mod read;

use std::fmt;

use clap::Args;
use edges::clock::Clock;
use plans::plan::Plan;
use plans::profile::{Profile, read_profile};
use plans::scale::ScaleArgs;
use plans::spec::{RunOptions, RunSpec, Span, Targets};
use serde::Serialize;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs};
use uuid::Uuid;

use self::advice::{Advice, Rank, advise};
use self::facts::Facts;
use self::load::Load;
use self::read::{read_clocks, read_stream, read_table, read_vectors};
use crate::error::VerifyError;
use crate::vectors::VectorArgs;

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct PreflightOptions {
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
}

/// What is to be known before a run.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    load: Load,
    /// How much of the advice stands against the run.
    pub(crate) blockers: usize,
    /// The weightiest first.
    advice: Vec<Advice>,
}

/// Looks at the pipeline, and says what is to be known before a run.
///
/// # Errors
///
/// Returns [`VerifyError`] if the profile is wrong, or a server does not answer.
pub(crate) async fn preflight(
    options: &PreflightOptions,
    clock: Clock,
) -> Result<Findings, VerifyError> {
    let load = load(options, &clock)?;
    let url = options.nats.url.as_ref().ok_or(VerifyError::NoNatsUrl)?;
    let table = ClickHouse::connect(&options.clickhouse, &Targets::default()).await?;
    let audit = AuditStream::connect(url, &options.nats).await?;
    let webhook = options.webhook.as_ref().and_then(|urls| urls.split(',').next());
    let webhook = webhook.filter(|url| url.starts_with("http://"));
    let (stream, consumer) = read_stream(&audit).await?;
    let (vectors, vector_clocks) = read_vectors(&options.vectors.urls(), &clock).await?;
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
        history_days: options.days,
    };
    let advice = advise(&facts);
    let blockers = advice.iter().filter(|advice| advice.rank == Rank::Blocker).count();
    Ok(Findings { load, blockers, advice })
}

fn load(options: &PreflightOptions, clock: &Clock) -> Result<Load, VerifyError> {
    let text = read_profile(&options.profile)?;
    let profile = Profile::parse(&text.text, &text.origin)?;
    let scale = options.scale.scale();
    if scale.is_too_long(&profile) {
        return Err(VerifyError::TooLong);
    }
    let of_run = RunOptions {
        seed: options.seed,
        scale,
        ..RunOptions::new(Uuid::nil(), clock.now(), Span::Live)
    };
    Ok(Load::of(&Plan::new(RunSpec::new(&text.text, &profile, of_run), &profile)))
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { events, duration_s, peak_events_per_s, event_bytes, .. } = self.load;
        writeln!(
            f,
            "{events} events of about {event_bytes} bytes in {duration_s:.0} s, \
             up to {peak_events_per_s} a second"
        )?;
        for Advice { rank, about, reason, fix } in &self.advice {
            let rank = match rank {
                Rank::Blocker => "BLOCKER",
                Rank::Warning => "warning",
                Rank::Note => "note",
            };
            writeln!(f, "\n{rank:<8} {about}: {reason}\n         fix: {fix}")?;
        }
        match self.blockers {
            0 => writeln!(f, "\nnothing stands against the run"),
            1 => writeln!(f, "\n1 blocker stands against the run"),
            more => writeln!(f, "\n{more} blockers stand against the run"),
        }
    }
}
