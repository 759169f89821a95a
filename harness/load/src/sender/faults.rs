//! Faults of a misbehaving client, as a profile asks for them. Pure.
//!
//! The seed of the run decides which events and batches are spoiled, so that this can be worked out
//! again after the run. Events that a pipeline cannot be expected to store as they are count apart,
//! as *spoiled*: those whose audit ID is no UUID, those of more than a mebibyte, and those whose ID
//! was used up by an earlier stage.

use events::draw::Draw;
use events::identity::{Seq, TenantIndex};

use super::schedule::Batch;
use plans::profile::Faults;
use plans::quantity::Share;
use plans::written::Written;

/// Decides what is spoiled.
#[derive(Debug, Clone)]
pub(crate) struct Spoiler {
    shares: Option<Shares>,
    seed: u64,
}

/// Shares in millionths.
#[derive(Debug, Clone, Copy)]
struct Shares {
    stages: u32,
    oversized: u32,
    foreign_ids: u32,
    malformed: u32,
    resent: u32,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventFault {
    /// It comes in stage `RequestReceived` first, with the same audit ID.
    TwoStages,
    /// It has more than a mebibyte.
    Oversized,
    /// Its audit ID is no UUID.
    ForeignId,
}

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchFault {
    /// Its body ends too early to be JSON.
    Malformed,
    /// It is sent again after it was acknowledged.
    Resent,
}

impl Spoiler {
    pub(crate) fn new(faults: &Faults, seed: u64) -> Self {
        let shares = (*faults != Faults::default()).then(|| Shares {
            stages: millionths(&faults.stages),
            oversized: millionths(&faults.oversized),
            foreign_ids: millionths(&faults.foreign_ids),
            malformed: millionths(&faults.malformed),
            resent: millionths(&faults.resent),
        });
        Self { shares, seed }
    }

    /// Whether nothing at all is spoiled.
    pub(crate) fn is_idle(&self) -> bool {
        self.shares.is_none()
    }

    pub(crate) fn of_event(&self, tenant: TenantIndex, seq: Seq) -> Option<EventFault> {
        let shares = self.shares?;
        let drawn = self.drawn(EVENT_STREAM, tenant, seq);
        pick(
            drawn,
            [
                (shares.stages, EventFault::TwoStages),
                (shares.oversized, EventFault::Oversized),
                (shares.foreign_ids, EventFault::ForeignId),
            ],
        )
    }

    pub(crate) fn of_batch(&self, batch: &Batch) -> Option<BatchFault> {
        let shares = self.shares?;
        let drawn = self.drawn(BATCH_STREAM, batch.tenant, batch.seqs.first());
        let faults =
            [(shares.malformed, BatchFault::Malformed), (shares.resent, BatchFault::Resent)];
        pick(drawn, faults)
    }

    fn drawn(&self, stream: u64, tenant: TenantIndex, seq: Seq) -> u32 {
        Draw::new(self.seed, stream + u64::from(tenant.0), seq.0).below(1_000_000)
    }
}

/// Spoils an event that has been rendered as the last thing in a body, from `start` on.
pub(crate) fn spoil(fault: EventFault, start: usize, body: &mut Vec<u8>) {
    match fault {
        // The fault is the event before it, in another stage.
        EventFault::TwoStages => {}
        EventFault::Oversized => {
            // An event ends with its annotations, sorted by key. This key is the last one.
            body.truncate(body.len() - b"}}".len());
            body.extend_from_slice(br#","zz.auditstorm.example/padding":""#);
            body.resize(body.len() + OVERSIZED_PADDING_BYTES, b'x');
            body.extend_from_slice(br#""}}"#);
        }
        EventFault::ForeignId => {
            let key = br#""auditID":""#;
            let found = body[start..].windows(key.len()).position(|window| window == key);
            let at = start + found.expect("every event has an ID") + key.len();
            body[at..at + 36].copy_from_slice(b"not-a-uuid-but-of-the-very-same-size");
        }
    }
}

/// Cuts a body so that it is no JSON any more.
pub(crate) fn cut(body: &mut Vec<u8>) {
    body.truncate(body.len() * 9 / 10);
}

const EVENT_STREAM: u64 = 6 << 32;
const BATCH_STREAM: u64 = 7 << 32;

/// How many bytes an oversized event has in addition.
pub const OVERSIZED_PADDING_BYTES: usize = 1 << 20;

fn pick<T: Copy, const N: usize>(drawn: u32, shares: [(u32, T); N]) -> Option<T> {
    let mut rest = drawn;
    for (share, fault) in shares {
        if rest < share {
            return Some(fault);
        }
        rest -= share;
    }
    None
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a valid share is from 0 to 1"
)]
fn millionths(share: &Written<Share>) -> u32 {
    (share.get().value() * 1e6).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_spoiled_unless_it_is_ordered() {
        let spoiler = Spoiler::new(&Faults::default(), 1);
        assert!(spoiler.is_idle());
        assert!((0..1_000).all(|seq| spoiler.of_event(TenantIndex(0), Seq(seq)).is_none()));
    }

    #[test]
    fn as_many_are_spoiled_as_are_ordered() {
        let share = |text: &str| text.parse::<Share>().unwrap().into();
        let (stages, foreign_ids) = (share("0.1"), share("0.3"));
        let faults = Faults { stages, foreign_ids, ..Faults::default() };
        let spoiler = Spoiler::new(&faults, 1);
        let faults: Vec<_> =
            (0..10_000).filter_map(|seq| spoiler.of_event(TenantIndex(2), Seq(seq))).collect();
        let two_stages = faults.iter().filter(|fault| **fault == EventFault::TwoStages).count();
        assert!((900..1_100).contains(&two_stages), "{two_stages}");
        assert!((3_800..4_200).contains(&faults.len()), "{}", faults.len());
    }

    #[test]
    fn spoiled_events_are_json_still() {
        let event =
            br#"{"auditID":"0b9f2c66-8c2c-4e9c-8f3b-3b3f2d5f6a11","annotations":{"a":"b"}}"#;
        for fault in [EventFault::Oversized, EventFault::ForeignId] {
            let mut body = event.to_vec();
            spoil(fault, 0, &mut body);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let is_uuid = value["auditID"].as_str().unwrap().parse::<uuid::Uuid>().is_ok();
            assert_eq!(is_uuid, fault == EventFault::Oversized);
            assert_eq!(body.len() > 1 << 20, fault == EventFault::Oversized);
        }
    }
}
