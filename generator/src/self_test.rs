//! How much this machine could send: a short run of the same shape against a sink in this process.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edges::clock::{Clock, micros};
use edges::shutdown::{Shutdown, Stop};
use events::timeline::UnixMicros;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use load::sender::{Sender, Shard, SharedTally, spawn_lanes};
use load::webhook::{Webhook, WebhookArgs};
use plans::plan::{Plan, SendPlan};
use plans::profile::{Faults, Profile, Stage};
use plans::quantity::{Micros, RateRamp, TenantsRamp};
use plans::scale::Scale;
use plans::spec::RunSpec;
use runs::ledger::{LedgerHead, LedgerWriter};
use tokio::net::TcpListener;

/// What a self-test has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Headroom {
    /// Events a second that this process can make, send and see acknowledged.
    pub(crate) events_per_second: f64,
    /// The highest rate of the plan.
    pub(crate) peak_per_second: f64,
}

impl fmt::Display for Headroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events_per_second, peak_per_second } = self;
        let factor = events_per_second / peak_per_second;
        write!(
            f,
            "headroom: {events_per_second:.0} events/s to a sink in this process, {factor:.1} \
             times the plan's peak of {peak_per_second:.0}/s"
        )?;
        if factor < ENOUGH { write!(f, " (too little: expect saturation)") } else { Ok(()) }
    }
}

/// Sends events of a plan for about a third of a second, as fast as it can, to a sink of its own.
///
/// # Errors
///
/// Returns the operating system's error if there is no port or no temporary file to be had.
pub(crate) async fn measure(
    plan: &Plan,
    profile: &Profile,
    part: Shard,
    args: &WebhookArgs,
) -> io::Result<Headroom> {
    let peak_per_second = peak(plan, part);
    let test = test_plan(plan, profile);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let sink = tokio::spawn(swallow(listener));
    // Other shards of the run may test themselves at the same time.
    let name = format!("auditstorm-{}-{}", test.spec.run_id, std::process::id());
    let ledger_path = std::env::temp_dir().join(name);
    let ledger = Arc::new(LedgerWriter::create(&ledger_path, &LedgerHead::of(&test.spec, 0))?);
    // The file is unlinked: it can be used as long as it is open, and disappears with the process,
    // however that ends.
    std::fs::remove_file(&ledger_path)?;
    let clock = Clock::starting_at(test.start);
    let url = format!("http://{address}/");
    // Bodies are made as for the target, but the sink gets neither its token nor its headers.
    let args = WebhookArgs { encoding: args.encoding, ..WebhookArgs::at(vec![url]) };
    let webhook = Webhook::from_args(&args, test.send.timeout).map_err(io::Error::other)?;
    let sender = Arc::new(Sender::new(test, webhook, clock, ledger));
    let (stop, shutdown) = Shutdown::manual();
    let (mut lanes, tallies) = spawn_lanes(&sender, Shard::WHOLE, &shutdown);
    clock.sleep_until(sender.plan.start + micros(WARM_UP)).await;
    let acknowledged = || -> u64 {
        let of_lane =
            |tally: &SharedTally| tally.lock().map_or(0, |tally| tally.events.acknowledged);
        tallies.iter().map(of_lane).sum()
    };
    let (before, begun) = (acknowledged(), clock.now());
    clock.sleep_until(begun + micros(MEASURED)).await;
    let (after, ended) = (acknowledged(), clock.now());
    stop.send_replace(Stop::Now);
    while lanes.join_next().await.is_some() {}
    sink.abort();
    let events_per_second = rate(after - before, ended - begun);
    Ok(Headroom { events_per_second, peak_per_second })
}

const WARM_UP: Duration = Duration::from_millis(80);
const MEASURED: Duration = Duration::from_millis(250);

/// The same events, all due at once, and sent without waiting for batches.
fn test_plan(plan: &Plan, profile: &Profile) -> Plan {
    let tenants = plan.classes.of_tenant.len();
    let tenants = u32::try_from(tenants).unwrap_or(TENANTS_MAX).min(TENANTS_MAX);
    let rate = (RATE_PER_SECOND / tenants).min(1_000_000);
    let stage = Stage {
        duration: Micros::of_seconds(1).into(),
        rate: RateRamp::flat(rate).into(),
        tenants: TenantsRamp::flat(tenants).into(),
    };
    let flood = Profile {
        stages: vec![stage],
        skew: 0.0,
        classes: Vec::new(),
        rhythm: Vec::new(),
        faults: Faults::default(),
        ..profile.clone()
    };
    let spec = RunSpec { scale: Scale::default(), shards: 1, ..plan.spec.clone() };
    let mut test = Plan::new(spec, &flood);
    let batch_events = plan.send.backend.map_or(plan.send.batch_events, |rules| {
        u32::try_from(rules.batch_events).unwrap_or(u32::MAX)
    });
    test.send = SendPlan { backend: None, batch_events, batch_age_us: 1_000_000, ..plan.send };
    test
}

const TENANTS_MAX: u32 = 200;

/// If the target runs on the same machine, it needs at least this much headroom for itself.
const ENOUGH: f64 = 1.5;

/// More than any machine makes.
const RATE_PER_SECOND: u32 = 4_000_000;

/// The highest rate of this part of the run, in events per second, found by looking at many of its
/// seconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for a person to read")]
fn peak(plan: &Plan, part: Shard) -> f64 {
    let tenants: Vec<_> = part.tenants(plan).collect();
    let seconds = (plan.end - plan.start) / 1_000_000;
    let looks = (SECONDS_LOOKED_AT / tenants.len().max(1)).clamp(8, 600);
    let step = (seconds / i64::try_from(looks).expect("at most 600")).max(1);
    let of_second = |second: i64| -> u64 {
        let (from, to) = (plan.start + second * 1_000_000, plan.start + (second + 1) * 1_000_000);
        let of_tenant = |tenant: &events::identity::TenantIndex| {
            let timeline = plan.script.timeline(*tenant);
            timeline.count_before(to) - timeline.count_before(from)
        };
        tenants.iter().map(of_tenant).sum()
    };
    let seconds = (0..seconds.max(1)).step_by(usize::try_from(step).unwrap_or(1));
    seconds.map(of_second).max().unwrap_or(0).max(1) as f64
}

/// Seconds of tenants: enough of them to see a plan's peak, few enough to be quick.
const SECONDS_LOOKED_AT: usize = 100_000;

#[expect(clippy::cast_precision_loss, reason = "a figure for a person to read")]
fn rate(events: u64, micros: UnixMicros) -> f64 {
    events as f64 / (micros.max(1) as f64 / 1e6)
}

/// Takes every request, and answers 204.
async fn swallow(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new();
            connection.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
