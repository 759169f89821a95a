//! Faults that a user asks for: which there are, and which events they hit.
//!
//! Whether an event is a victim is a pure function of seed, fault and auditID, so the same order
//! hits the same events again, whatever the timing.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::duration::parse_duration;
use crate::fault_error::FaultError;
use crate::read_fault::ReadFault;
use crate::share::Share;

/// All ordered faults, ready to be asked about events.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultPlan {
    seed: u64,
    shares: Vec<(FaultKind, Place, Share)>,
    delay: Duration,
    /// Events a second; 0 without a limit.
    limit_per_s: u32,
    kept: Vec<(Place, usize)>,
}

impl FaultPlan {
    /// Joins the ordered faults.
    ///
    /// # Errors
    ///
    /// Returns [`FaultError::Twice`] if two orders are for the same kind and place.
    pub(crate) fn new(faults: &[Fault], seed: u64) -> Result<Self, FaultError> {
        let mut plan = Self { seed, ..Self::default() };
        for fault in faults {
            match *fault {
                // The query API has a plan of its own.
                Fault::Read(_) => {}
                Fault::KeepLast { at, events } if plan.kept_max(at) == 0 => {
                    plan.kept.push((at, events.get()));
                }
                Fault::Delay(delay) if plan.delay.is_zero() => plan.delay = delay,
                Fault::Limit { per_second } if plan.limit_per_s == 0 => {
                    plan.limit_per_s = per_second.get();
                }
                Fault::Hit { kind, at, share } if plan.share(kind, at).is_none() => {
                    plan.shares.push((kind, at, share));
                }
                _ => return Err(FaultError::Twice(fault.to_string())),
            }
        }
        Ok(plan)
    }

    /// Says whether the fault hits the event with this auditID.
    pub(crate) fn hits(&self, kind: FaultKind, at: Place, audit_id: &str) -> bool {
        self.share(kind, at).is_some_and(|share| share.holds(self.draw(kind, at, audit_id)))
    }

    /// A number that only seed, fault and auditID decide.
    pub(crate) fn draw(&self, kind: FaultKind, at: Place, audit_id: &str) -> u64 {
        let key = format!("{kind}:{at}:{audit_id}");
        xxh3_64_with_seed(key.as_bytes(), self.seed)
    }

    /// How long the aggregator holds each batch back.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// How many events a second the aggregator takes at most; 0 without a limit.
    pub(crate) fn limit_per_s(&self) -> u32 {
        self.limit_per_s
    }

    /// How many of its last events the disk buffer of a part keeps back.
    pub(crate) fn kept_max(&self, at: Place) -> usize {
        self.kept.iter().find(|(place, _)| *place == at).map_or(0, |(_, events)| *events)
    }

    /// Says whether such a fault is ordered at all.
    pub(crate) fn orders(&self, kind: FaultKind, at: Place) -> bool {
        self.share(kind, at).is_some()
    }

    fn share(&self, kind: FaultKind, at: Place) -> Option<Share> {
        self.shares.iter().find(|(k, a, _)| (*k, *a) == (kind, at)).map(|(_, _, share)| *share)
    }
}

/// One ordered fault, as typed after `--fault`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// A share of the events is hit.
    Hit {
        /// What happens to them.
        kind: FaultKind,
        /// Where.
        at: Place,
        /// How many.
        share: Share,
    },
    /// The aggregator holds every batch back; nobody is harmed.
    Delay(Duration),
    /// The aggregator takes no more events a second; nobody is harmed.
    Limit { per_second: NonZeroU32 },
    /// A disk buffer keeps its last events until others follow or it is restarted. They are not
    /// lost.
    KeepLast {
        /// Whose buffer.
        at: Place,
        /// How many events.
        events: NonZeroUsize,
    },
    /// The query API shows what is stored wrongly.
    Read(ReadFault),
}

impl Fault {
    /// The fault, if the query API makes it; the relay makes all others.
    pub(crate) fn of_reading(self) -> Option<ReadFault> {
        if let Self::Read(fault) = self { Some(fault) } else { None }
    }
}

/// What happens to a victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It goes no further.
    Drop,
    /// It goes on twice.
    Duplicate,
    /// One of its fields is changed.
    Corrupt,
}

/// Where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// Between the webhook's answer and NATS.
    Sidecar,
    /// Between NATS and `ClickHouse`.
    Aggregator,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        if let Some(fault) = ReadFault::parse(text) {
            return fault.map(Self::Read);
        }
        let unknown = || FaultError::Unknown(text.to_owned());
        let mut words = text.splitn(3, ':');
        let (Some(kind), Some(at), Some(amount)) = (words.next(), words.next(), words.next())
        else {
            return Err(unknown());
        };
        let (kind, at) = match (kind, at) {
            ("delay", "aggregator") => return parse_delay(amount).map(Self::Delay),
            ("limit", "aggregator") => return parse_limit(amount),
            ("keep-last", "sidecar") => return parse_kept(Place::Sidecar, amount),
            ("keep-last", "aggregator") => return parse_kept(Place::Aggregator, amount),
            ("drop", "sidecar") => (FaultKind::Drop, Place::Sidecar),
            ("drop", "aggregator") => (FaultKind::Drop, Place::Aggregator),
            ("duplicate", "sidecar") => (FaultKind::Duplicate, Place::Sidecar),
            ("duplicate", "aggregator") => (FaultKind::Duplicate, Place::Aggregator),
            ("corrupt", "aggregator") => (FaultKind::Corrupt, Place::Aggregator),
            _ => return Err(unknown()),
        };
        Ok(Self::Hit { kind, at, share: parse_share(amount)? })
    }
}

fn parse_delay(amount: &str) -> Result<Duration, FaultError> {
    let delay = parse_duration(amount).map_err(FaultError::Duration)?;
    if delay.is_zero() {
        return Err(FaultError::Duration(format!("{amount:?} delays nothing")));
    }
    Ok(delay)
}

fn parse_limit(amount: &str) -> Result<Fault, FaultError> {
    let number = amount.strip_suffix("/s").and_then(|number| number.parse().ok());
    let per_second = number.ok_or_else(|| FaultError::Rate(amount.to_owned()))?;
    Ok(Fault::Limit { per_second })
}

fn parse_kept(at: Place, amount: &str) -> Result<Fault, FaultError> {
    let events = amount.parse().map_err(|_| FaultError::Number(amount.to_owned()))?;
    Ok(Fault::KeepLast { at, events })
}

fn parse_share(amount: &str) -> Result<Share, FaultError> {
    Share::parse(amount).ok_or_else(|| FaultError::Probability(amount.to_owned()))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit { kind, at, share } => write!(f, "{kind}:{at}:{}", share.value()),
            Self::Delay(delay) => write!(f, "delay:aggregator:{}ms", delay.as_millis()),
            Self::Limit { per_second } => write!(f, "limit:aggregator:{per_second}/s"),
            Self::KeepLast { at, events } => write!(f, "keep-last:{at}:{events}"),
            Self::Read(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Corrupt => "corrupt",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "sidecar",
            Self::Aggregator => "aggregator",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let parsed = text.parse::<Fault>().map(|f| f.to_string()).map_err(|e| e.to_string());
        match (&parsed, expected) {
            (Ok(fault), Ok(expected)) => assert_eq!(fault, expected),
            (Err(error), Err(fragment)) => assert!(error.contains(fragment), "{error}"),
            _ => panic!("{text}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_fault_is_a_kind_a_place_and_an_amount() {
        check("drop:sidecar:0.01", Ok("drop:sidecar:0.01"));
        check("drop:aggregator:1", Ok("drop:aggregator:1"));
        check("duplicate:sidecar:0.5", Ok("duplicate:sidecar:0.5"));
        check("duplicate:aggregator:1e-3", Ok("duplicate:aggregator:0.001"));
        check("corrupt:aggregator:0.25", Ok("corrupt:aggregator:0.25"));
        check("delay:aggregator:5s", Ok("delay:aggregator:5000ms"));
        check("limit:aggregator:2000/s", Ok("limit:aggregator:2000/s"));
        check("keep-last:sidecar:1", Ok("keep-last:sidecar:1"));
        check("keep-last:aggregator:40", Ok("keep-last:aggregator:40"));
    }

    #[test]
    fn a_fault_of_the_query_api_has_no_place() {
        check("paging:real", Ok("paging:real"));
        check("scope:open", Ok("scope:open"));
        check("leak:0.001", Ok("leak:0.001"));
        check("stale:2s", Ok("stale:2000ms"));
        check("error:503:0.01", Ok("error:503:0.01"));
        check("slow:500ms:0.05", Ok("slow:500ms:0.05"));
        check("reorder", Ok("reorder"));
        check("paging:wrong", Err("is no fault"));
        check("leak:2", Err("is no probability"));
        check("stale:0s", Err("delays nothing"));
        check("error:200:0.1", Err("is no status code"));
        check("slow:1:0.1", Err("is no duration"));
    }

    #[test]
    fn a_wrong_fault_is_told_what_is_wrong() {
        check("", Err("is no fault; write drop:sidecar:P"));
        check("drop", Err("is no fault"));
        check("drop:sidecar", Err("is no fault"));
        check("corrupt:sidecar:0.1", Err("is no fault"));
        check("delay:sidecar:5s", Err("is no fault"));
        check("explode:aggregator:0.1", Err("is no fault"));
        check("drop:sidecar:0", Err("is no probability"));
        check("drop:sidecar:1.01", Err("is no probability"));
        check("drop:sidecar:-0.1", Err("is no probability"));
        check("drop:sidecar:NaN", Err("is no probability"));
        check("drop:sidecar:lots", Err("is no probability"));
        check("delay:aggregator:0.5", Err("is no duration"));
        check("delay:aggregator:0s", Err("delays nothing"));
        check("limit:aggregator:0/s", Err("is no rate"));
        check("limit:aggregator:10", Err("is no rate"));
        check("limit:sidecar:10/s", Err("is no fault"));
        check("keep-last:sidecar:0", Err("is no number of events"));
        check("keep-last:sidecar:0.5", Err("is no number of events"));
    }

    #[test]
    fn the_same_fault_twice_is_refused() {
        let faults: Vec<Fault> =
            ["drop:sidecar:0.1", "drop:aggregator:0.1"].map(|f| f.parse().unwrap()).into();
        assert!(FaultPlan::new(&faults, 1).is_ok());
        let twice = [faults[0], "drop:sidecar:0.2".parse().unwrap()];
        let error = FaultPlan::new(&twice, 1).unwrap_err();
        assert_eq!(error, FaultError::Twice("drop:sidecar:0.2".to_owned()));
    }

    #[test]
    fn seed_fault_and_audit_id_alone_decide_who_is_hit() {
        let faults: Vec<Fault> =
            ["drop:sidecar:0.1", "duplicate:sidecar:0.1"].map(|f| f.parse().unwrap()).into();
        let hits = |seed: u64, kind| {
            let plan = FaultPlan::new(&faults, seed).unwrap();
            let ids = (0..10_000).map(|i| format!("id-{i}"));
            ids.filter(|id| plan.hits(kind, Place::Sidecar, id)).collect::<Vec<_>>()
        };
        let first = hits(7, FaultKind::Drop);
        assert!((900..1_100).contains(&first.len()), "{}", first.len());
        assert_eq!(first, hits(7, FaultKind::Drop));
        assert_ne!(first, hits(8, FaultKind::Drop));
        assert_ne!(first, hits(7, FaultKind::Duplicate));
        assert!(hits(7, FaultKind::Corrupt).is_empty());
    }
}
