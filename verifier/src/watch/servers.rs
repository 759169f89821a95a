//! The servers of the pipeline, and one look at all of them.

use std::time::Duration;

use harness::clickhouse::{ClickHouse, ClickHouseArgs, ClickHouseError};
use harness::clock::Clock;
use harness::jetstream::{AuditStream, ConsumerState, JetStreamError, NatsArgs, StreamState};
use harness::observation::{ClockOffset, ConsumerSeen, ResourceUse, StreamSeen, TableSeen};
use harness::plan::{DeliveryPath, Plan};

use super::resources::Meter;
use super::table::{read_clock, read_table};
use crate::error::VerifyError;
use crate::http::read_date;

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) table: ClickHouse,
    /// `None` for a run that does not go through the pipeline.
    pub(crate) stream: Option<AuditStream>,
    /// Address of the webhook, if its clock is to be compared.
    pub(crate) webhook: Option<String>,
    pub(crate) meter: Meter,
}

/// What one look told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Look {
    pub(crate) stream: Option<StreamSeen>,
    pub(crate) table: Option<TableSeen>,
    pub(crate) clocks: Vec<ClockOffset>,
    pub(crate) resources: Vec<ResourceUse>,
    /// Those that did not answer.
    pub(crate) silent: Vec<&'static str>,
}

/// Connects to ClickHouse, and to NATS if the run goes through it. Servers that do not answer yet
/// are asked again until the deadline.
///
/// # Errors
///
/// Returns [`VerifyError`] if a server does not answer by then, or has not what is named.
pub(crate) async fn connect(
    plan: &Plan,
    clickhouse: &ClickHouseArgs,
    nats: &NatsArgs,
    clock: &Clock,
    deadline: i64,
) -> Result<(ClickHouse, Option<AuditStream>), VerifyError> {
    loop {
        let error = match connect_once(plan, clickhouse, nats).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        if !is_passing(&error) || clock.now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

async fn connect_once(
    plan: &Plan,
    clickhouse: &ClickHouseArgs,
    nats: &NatsArgs,
) -> Result<(ClickHouse, Option<AuditStream>), VerifyError> {
    let table = ClickHouse::connect(clickhouse, &plan.spec.targets).await?;
    let stream = match (plan.path(), &nats.url) {
        (DeliveryPath::Bulk, _) => None,
        (_, Some(url)) => Some(AuditStream::connect(url, nats).await?),
        (_, None) => return Err(VerifyError::NoNatsUrl),
    };
    Ok((table, stream))
}

/// Whether it may help to ask again.
fn is_passing(error: &VerifyError) -> bool {
    match error {
        VerifyError::ClickHouse(error) => {
            matches!(error, ClickHouseError::Silent { .. } | ClickHouseError::Query { .. })
        }
        VerifyError::JetStream(error) => matches!(error, JetStreamError::Unreachable { .. }),
        _ => false,
    }
}

impl Servers {
    /// Looks at all servers at once. What does not answer within the limit is left out.
    pub(crate) async fn look(&mut self, clock: &Clock, limit: Duration) -> Look {
        let Self { table, stream, webhook, meter } = self;
        let stream_state = async {
            let Some(stream) = stream else { return None };
            let state = tokio::time::timeout(limit, stream.read_timed_state(clock)).await;
            Some(state.ok().and_then(Result::ok))
        };
        let webhook_clock = async {
            let url = webhook.as_ref()?;
            Some(read_date("webhook", url, clock, limit).await)
        };
        let (state, seen, offset, date, resources) = tokio::join!(
            stream_state,
            read_table(table, limit),
            read_clock(table, clock, limit),
            webhook_clock,
            meter.read(clock.now(), limit)
        );
        let mut look = Look::default();
        let mut heard = |server, answered: bool| {
            if !answered {
                look.silent.push(server);
            }
        };
        heard("nats", !matches!(state, Some(None)));
        heard("clickhouse", seen.is_ok());
        heard("webhook", !matches!(date, Some(Err(_))));
        heard("prometheus", resources.is_ok());
        let (state, nats_offset) = state.flatten().unzip();
        look.stream = state.map(|state| seen_of(&state));
        look.table = seen.ok();
        look.clocks.extend(offset.ok());
        look.clocks.extend(nats_offset.flatten());
        look.clocks.extend(date.and_then(Result::ok).flatten());
        look.resources = resources.unwrap_or_default();
        look
    }
}

fn seen_of(state: &StreamState) -> StreamSeen {
    let consumer = |state: ConsumerState| ConsumerSeen {
        delivered: state.delivered,
        deliveries: state.deliveries,
        ack_floor: state.ack_floor,
        pending: state.pending,
        unacknowledged: state.unacknowledged,
        redelivered: state.redelivered,
    };
    StreamSeen {
        messages: state.messages,
        bytes: state.bytes,
        first: state.first,
        last: state.last,
        consumer: state.consumer.map(consumer),
    }
}

const CONNECT_PAUSE: Duration = Duration::from_millis(250);
