//! The faults that are ordered: whom they hit, and the record of it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::scope::Strangers;
use super::sql::Paging;
use crate::error::SandboxError;
use crate::fault_error::FaultError;
use crate::fault_log::FaultLog;
use crate::read_fault::ReadFault;
use crate::share::Share;

/// What is ordered, joined.
#[derive(Debug, Clone)]
pub(crate) struct ReadPlan {
    seed: u64,
    paging: Option<Paging>,
    strangers: Option<Strangers>,
    leak: Option<Share>,
    stale: Option<Duration>,
    error: Option<(u16, Share)>,
    slow: Option<(Duration, Share)>,
    reorder: Option<()>,
}

/// The ordered faults, and the record of their victims.
#[derive(Debug)]
pub(super) struct Faults {
    plan: ReadPlan,
    log: FaultLog,
    requests: AtomicU64,
}

impl ReadPlan {
    /// Joins the ordered faults.
    ///
    /// # Errors
    ///
    /// Returns [`FaultError::Twice`] if two orders are for the same fault.
    pub(crate) fn new(faults: &[ReadFault], seed: u64) -> Result<Self, FaultError> {
        let mut plan = Self {
            seed,
            paging: None,
            strangers: None,
            leak: None,
            stale: None,
            error: None,
            slow: None,
            reorder: None,
        };
        for fault in faults {
            let is_second = match *fault {
                ReadFault::Paging => plan.paging.replace(Paging::Real).is_some(),
                ReadFault::Scope => plan.strangers.replace(Strangers::Admitted).is_some(),
                ReadFault::Leak(share) => plan.leak.replace(share).is_some(),
                ReadFault::Stale(by) => plan.stale.replace(by).is_some(),
                ReadFault::Error { code, share } => plan.error.replace((code, share)).is_some(),
                ReadFault::Slow { wait, share } => plan.slow.replace((wait, share)).is_some(),
                ReadFault::Reorder => plan.reorder.replace(()).is_some(),
            };
            if is_second {
                return Err(FaultError::Twice(fault.to_string()));
            }
        }
        Ok(plan)
    }

    /// A number that only seed, fault and victim decide.
    fn draw(&self, fault: &str, victim: &str) -> u64 {
        xxh3_64_with_seed(format!("{fault}:query-api:{victim}").as_bytes(), self.seed)
    }
}

impl Faults {
    /// Joins a plan with the record at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if the record cannot be opened.
    pub(super) fn open(plan: ReadPlan, path: &Path) -> Result<Self, SandboxError> {
        Ok(Self { plan, log: FaultLog::open(path)?, requests: AtomicU64::new(0) })
    }

    /// The number of a request: the same ones are hit whenever the requests come in this order.
    pub(super) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// How pages are cut.
    pub(super) fn paging(&self) -> Paging {
        self.plan.paging.unwrap_or(Paging::Right)
    }

    /// What becomes of unknown scopes.
    pub(super) fn strangers(&self) -> Strangers {
        self.plan.strangers.unwrap_or(Strangers::Refused)
    }

    /// For how long new events are not there.
    pub(super) fn stale(&self) -> Option<Duration> {
        self.plan.stale
    }

    /// Whether any event may be leaked.
    pub(super) fn leaks(&self) -> bool {
        self.plan.leak.is_some()
    }

    /// Whether an event of another tenant is to be put in beside this one.
    pub(super) fn leaks_beside(&self, audit_id: &str) -> bool {
        self.plan.leak.is_some_and(|share| share.holds(self.plan.draw("leak", audit_id)))
    }

    /// Where in a page two events are to change places.
    pub(super) fn reorders_at(&self, first_audit_id: &str) -> Option<u64> {
        self.plan.reorder.map(|()| self.plan.draw("reorder", first_audit_id))
    }

    /// The status with which a request is to be answered, once that is on record.
    pub(super) fn error(&self, number: u64, request: &str) -> Option<u16> {
        let (code, share) = self.plan.error?;
        let is_hit = share.holds(self.plan.draw("error", &number.to_string()));
        let is_hit = is_hit && self.hit_request("error", request, &json!({ "status": code }));
        is_hit.then_some(code)
    }

    /// How long a request is to wait, once that is on record.
    pub(super) fn wait(&self, number: u64, request: &str) -> Option<Duration> {
        let (wait, share) = self.plan.slow?;
        let is_hit = share.holds(self.plan.draw("slow", &number.to_string()));
        let more = json!({ "milliseconds": wait.as_millis() });
        let is_hit = is_hit && self.hit_request("slow", request, &more);
        is_hit.then_some(wait)
    }

    /// Records that a request is a victim, and says whether that worked: only then may the harm be
    /// done, because an unrecorded fault would look like one of the pipeline itself.
    pub(super) fn hit_request(&self, fault: &str, request: &str, more: &Value) -> bool {
        self.record(&json!({ "fault": fault, "at": "query-api", "request": request }), more)
    }

    /// Records that an event is a victim in the answers to one scope.
    pub(super) fn hit_event(&self, fault: &str, audit_id: &str, scope: &str, more: &Value) -> bool {
        let line =
            json!({ "fault": fault, "at": "query-api", "auditID": audit_id, "scope": scope });
        self.record(&line, more)
    }

    fn record(&self, line: &Value, more: &Value) -> bool {
        let mut line = line.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            line[key] = value.clone();
        }
        let recorded = self.log.record_line(&line);
        if let Err(error) = &recorded {
            error!("cannot record a fault, so it is not done: {error}");
        }
        recorded.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(faults: &[&str]) -> Result<ReadPlan, FaultError> {
        let faults: Vec<ReadFault> =
            faults.iter().map(|fault| ReadFault::parse(fault).unwrap().unwrap()).collect();
        ReadPlan::new(&faults, 7)
    }

    #[test]
    fn the_same_fault_twice_is_refused() {
        assert!(plan(&["paging:real", "scope:open", "leak:0.1", "reorder"]).is_ok());
        for twice in ["paging:real", "error:503:0.1", "slow:1s:0.1", "stale:1s", "reorder"] {
            let error = plan(&[twice, twice]).unwrap_err();
            assert!(matches!(error, FaultError::Twice(_)), "{twice}: {error}");
        }
    }

    #[test]
    fn a_share_of_the_requests_is_hit_and_each_is_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faults.jsonl");
        let faults = Faults::open(plan(&["error:503:0.1"]).unwrap(), &path).unwrap();
        let hit: Vec<u64> = (0..1_000)
            .filter(|number| faults.error(*number, &format!("r-{number}")) == Some(503))
            .collect();
        assert!((70..130).contains(&hit.len()), "{}", hit.len());
        let text = std::fs::read_to_string(&path).unwrap();
        let recorded: Vec<String> = text
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["request"].as_str().unwrap().to_owned()
            })
            .collect();
        let expected: Vec<String> = hit.iter().map(|number| format!("r-{number}")).collect();
        assert_eq!(recorded, expected);
        assert!(faults.wait(0, "r-0").is_none());
    }
}
