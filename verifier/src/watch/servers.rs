//! The servers of the pipeline, and one look at all of them.

use std::time::Duration;

use edges::clock::Clock;
use edges::errors::OneError;
use edges::exit::chain;
use events::timeline::UnixMicros;
use futures_util::future::join_all;
use plans::plan::Plan;
use plans::spec::DeliveryPath;
use runs::observation::{ClockOffset, ConsumerSeen, HeldSeen, ResourceUse, StreamSeen, TableSeen};
use stores::clickhouse::fault::in_words;
use stores::clickhouse::{ClickHouse, ClickHouseArgs, ClickHouseError};
use stores::jetstream::{AuditStream, ConsumerState, JetStreamError, NatsArgs, StreamState};
use tracing::debug;

use super::resources::Meter;
use super::visible::read_table;
use crate::error::VerifyError;
use crate::vector::{Sink, VectorState};
use crate::vectors::{Told, ask_vector, name};

/// What is looked at.
#[derive(Debug)]
pub struct Servers {
    pub table: ClickHouse,
    /// `None` for a run that does not go through the pipeline.
    pub stream: Option<AuditStream>,
    /// Addresses of the metrics of Vectors.
    pub vectors: Vec<String>,
    pub meter: Meter,
}

/// What one look told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answers {
    pub(crate) stream: Option<StreamSeen>,
    pub(crate) table: Option<TableSeen>,
    pub(crate) clocks: Vec<ClockOffset>,
    pub(crate) resources: Vec<ResourceUse>,
    pub(crate) held: Vec<HeldSeen>,
    /// Those that did not answer.
    pub(crate) silent: Vec<String>,
    /// Why they did not.
    pub(crate) errors: Vec<OneError>,
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
    /// Connects to ClickHouse, and to NATS if the run goes through it. Servers that do not answer
    /// yet are asked again until the deadline. No others are looked at, unless they are added.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError`] if a server does not answer by then, or has not what is named.
    pub async fn connect(
        plan: &Plan,
        clickhouse: &ClickHouseArgs,
        nats: &NatsArgs,
        clock: &Clock,
        deadline: UnixMicros,
    ) -> Result<Self, VerifyError> {
        loop {
            let error = match connect_once(plan, clickhouse, nats).await {
                Ok((table, stream)) => {
                    return Ok(Self { table, stream, vectors: Vec::new(), meter: Meter::None });
                }
                Err(error) => error,
            };
            if !is_passing(&error) || clock.now() >= deadline {
                return Err(error);
            }
            debug!(wait_ms = CONNECT_PAUSE.as_millis(), error = chain(&error), "connecting again");
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    /// What the servers are called that are asked.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["clickhouse".to_owned()];
        names.extend(self.stream.is_some().then(|| "nats".to_owned()));
        names.extend(self.vectors.iter().map(|url| name(url)));
        let is_asked = matches!(self.meter, Meter::Prometheus { .. });
        names.extend(is_asked.then(|| "prometheus".to_owned()));
        names
    }

    /// Looks at all servers at once, but for the webhook: to a Vector, whatever is no POST is an
    /// error. What does not answer within the limit is left out.
    pub(crate) async fn look(&mut self, clock: &Clock, limit: Duration) -> Answers {
        let Self { table, stream, vectors, meter } = self;
        let stream_state = async {
            let stream = stream.as_ref()?;
            let state = tokio::time::timeout(limit, stream.read_timed_state(clock)).await;
            Some(match state {
                Ok(state) => state.map_err(|error| OneError::of("nats", &error)),
                Err(slow) => Err(OneError::of("nats", &slow)),
            })
        };
        let asked = vectors.iter().map(|url| ask_vector(url, clock, limit));
        let (state, seen, offset, told, resources) = tokio::join!(
            stream_state,
            read_table(table, limit),
            table.read_clock("clickhouse", clock, limit),
            join_all(asked),
            meter.read(clock.now(), limit)
        );
        let mut look = Answers::default();
        let mut miss = |error: OneError| {
            look.silent.push(error.server.clone());
            look.errors.push(error);
        };
        if let Some(Err(error)) = &state {
            miss(error.clone());
        }
        if let Err(error) = &seen {
            miss(in_words("clickhouse", error));
        }
        if let Err(error) = &resources {
            miss(OneError::of("prometheus", error));
        }
        for (url, told) in vectors.iter().zip(&told) {
            if let Err(error) = told {
                miss(OneError::of(name(url), error));
            }
        }
        let (state, nats_offset) = state.and_then(Result::ok).unzip();
        look.stream = state.map(|state| seen_of(&state));
        look.table = seen.ok();
        look.clocks.extend(offset.ok());
        look.clocks.extend(nats_offset.flatten());
        for (url, told) in vectors.iter().zip(told) {
            let Ok(Told { state, clock }) = told else { continue };
            look.held.extend(held_of(&name(url), &state));
            look.clocks.extend(clock);
        }
        look.resources = resources.unwrap_or_default();
        look
    }
}

fn held_of(vector: &str, state: &VectorState) -> Vec<HeldSeen> {
    let held = |(id, sink): (&String, &Sink)| HeldSeen {
        vector: vector.to_owned(),
        sink: id.clone(),
        kind: sink.component_type.clone(),
        events: sink.held_events(),
        buffered_bytes: sink.buffered_bytes,
        discarded_events: sink.discarded_events,
    };
    state.sinks.iter().map(held).collect()
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
