//! Looks at a pipeline before a run, compares it with what the profile will do, and says what
//! stands against it.

mod reader;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use clap::Args;
use edges::clock::Clock;
use events::script::{DAY_US, midnight};
use events::timeline::UnixMicros;
use plans::plan::Plan;
use plans::profile::{Profile, read_profile};
use plans::scale::ScaleArgs;
use plans::spec::{RunOptions, RunSpec, Span, Targets};
use queries::api::ApiArgs;
use ready::facts::VectorFacts;
use ready::finding::{Finding, Rank};
use ready::intent::Intent;
use ready::judge::judge;
use ready::piped::{Load, Pace, Piped};
use ready::read::read_facts;
use runs::observation::ClockOffset;
use serde::Serialize;
use stores::clickhouse::{ClickHouse, ClickHouseArgs};
use stores::jetstream::{AuditStream, NatsArgs};
use stores::survey::survey;
use uuid::Uuid;

use self::reader::read_reader;
use crate::error::VerifyError;
use crate::http::read_webhook_date;
use crate::vectors::{VectorArgs, ask_vector};

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
    #[command(flatten)]
    api: ApiArgs,
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
    advice: Vec<Finding>,
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
    let survey = survey(&table).await?;
    let history = history(options.days, clock.now());
    let received = history.clone().unwrap_or(clock.now()..clock.now());
    let mut facts = read_facts(&[(&table, &survey)], Some(&audit), &received, &clock).await?;
    let (vectors, clocks) = read_vectors(&options.vectors.urls(), &clock).await?;
    facts.vectors = vectors;
    facts.clocks.extend(clocks);
    let webhook = options.webhook.as_ref().and_then(|urls| urls.split(',').next());
    if let Some(url) = webhook.filter(|url| url.starts_with("http://")) {
        // It is asked only once, so that it is not disturbed.
        facts.clocks.extend(read_webhook_date(url, &clock, HTTP_LIMIT).await?);
    }
    if options.api.url.is_some() {
        facts.reader = Some(read_reader(&options.api, &table, &clock).await?);
    }
    let intent = Intent {
        piped: Some(Piped { load, pace: Pace::OfPlan }),
        history,
        replayed_days: options.days.into(),
        ..Intent::default()
    };
    let advice = judge(&facts, &intent);
    let blockers = advice.iter().filter(|finding| finding.rank == Rank::Blocker).count();
    Ok(Findings { load, blockers, advice })
}

/// The last days, as a history of so many has them.
fn history(days: u32, now: UnixMicros) -> Option<Range<UnixMicros>> {
    let end = midnight(now);
    (days > 0).then(|| end - i64::from(days) * DAY_US..end)
}

/// Reads what Vectors say of themselves, and their clocks.
async fn read_vectors(
    urls: &[String],
    clock: &Clock,
) -> Result<(Vec<VectorFacts>, Vec<ClockOffset>), VerifyError> {
    let (mut vectors, mut clocks) = (Vec::new(), Vec::new());
    for url in urls {
        let told = ask_vector(url, clock, HTTP_LIMIT).await?;
        vectors.push(VectorFacts {
            url: url.clone(),
            held_events: told.state.held_events(),
            buffered_bytes: told.state.buffered_bytes(),
            discarded_events: told.state.discarded_events,
            errors: told.state.errors,
        });
        clocks.extend(told.clock);
    }
    Ok((vectors, clocks))
}

/// How long a page may take.
const HTTP_LIMIT: Duration = Duration::from_secs(10);

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
        for Finding { rank, about, reason, fix, .. } in &self.advice {
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
