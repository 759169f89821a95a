//! Bodies of requests.

use bytes::Bytes;
use events::render::{Form, LIST_END, LIST_START, render, render_received};
use events::script::Script;
use events::timeline::UnixMicros;

use super::faults::{BatchFault, EventFault, Spoiler, cut, spoil};
use super::schedule::Batch;
use crate::webhook::Encoder;

/// Makes the bodies of a lane.
pub(crate) struct Bodies {
    form: Form,
    spoiler: Spoiler,
    encoder: Option<Encoder>,
    /// The body that is being compressed.
    plain: Vec<u8>,
}

/// A body, with what is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spoils {
    pub(crate) of_batch: Option<BatchFault>,
    /// Sequence numbers of events with a fault, which the pipeline cannot be expected to store.
    pub(crate) events: Vec<u64>,
}

impl Bodies {
    /// Makes bodies of at most `batch_events` events. If that is one, the event has no list around
    /// it.
    pub(crate) fn new(batch_events: u64, spoiler: Spoiler, encoder: Option<Encoder>) -> Self {
        let form = if batch_events == 1 { Form::Alone } else { Form::Item };
        Self { form, spoiler, encoder, plain: Vec::new() }
    }

    /// Replaces what is in `body` by the body of a batch, compressed if the webhook wants that,
    /// and what is in `origins` by the moments that latencies of its events count from.
    pub(crate) fn make(
        &mut self,
        script: &Script,
        batch: &Batch,
        body: &mut Vec<u8>,
        origins: &mut Vec<UnixMicros>,
    ) -> Spoils {
        let Some(encoder) = &mut self.encoder else {
            return fill(script, batch, self.form, &self.spoiler, body, origins);
        };
        let spoils = fill(script, batch, self.form, &self.spoiler, &mut self.plain, origins);
        encoder.encode(&self.plain, body);
        spoils
    }
}

/// Fills the body of a batch: a list, or one event alone.
fn fill(
    script: &Script,
    batch: &Batch,
    form: Form,
    spoiler: &Spoiler,
    body: &mut Vec<u8>,
    origins: &mut Vec<UnixMicros>,
) -> Spoils {
    let mut spoils = Spoils { of_batch: spoiler.of_batch(batch), events: Vec::new() };
    origins.clear();
    body.clear();
    body.extend_from_slice(if form == Form::Alone { b"" } else { LIST_START });
    for (index, seq) in batch.seqs.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let facts = script.facts(batch.tenant, seq).expect("the batch is of the plan");
        origins.push(batch.counts_from(facts.completed));
        let fault = if spoiler.is_idle() { None } else { spoiler.of_event(batch.tenant, seq) };
        let Some(fault) = fault else {
            render(&facts, form, body);
            continue;
        };
        // There is no list that could hold another event before it.
        if fault == EventFault::TwoStages && form == Form::Item {
            render_received(&facts, form, body);
            body.push(b',');
        }
        let start = body.len();
        render(&facts, form, body);
        spoil(fault, start, body);
        if fault != EventFault::TwoStages || form == Form::Item {
            spoils.events.push(seq.0);
        }
    }
    body.extend_from_slice(if form == Form::Alone { b"\n" } else { LIST_END });
    if spoils.of_batch == Some(BatchFault::Malformed) {
        cut(body);
    }
    spoils
}

/// Gives the buffer of a body back, unless someone still holds it.
pub(crate) fn buffer_of(body: Bytes) -> Vec<u8> {
    body.try_into_mut().map(Vec::from).unwrap_or_default()
}
