//! Why an order for a fault cannot be read.

/// The possible faults, shown with every mistake.
const FORMS: &str = "drop:sidecar:P, drop:aggregator:P, duplicate:sidecar:P, \
    duplicate:aggregator:P, corrupt:aggregator:P (0 < P <= 1), delay:aggregator:DURATION, \
    limit:aggregator:N/s, keep-last:sidecar:N, keep-last:aggregator:N, or, of the query API, \
    paging:real, scope:open, leak:P, stale:DURATION, error:CODE:P, slow:DURATION:P, reorder";

/// Why an order for a fault cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Not one of the known forms.
    #[error("{0:?} is no fault; write {FORMS}")]
    Unknown(String),
    /// The probability is none.
    #[error("{0:?} is no probability above 0 and up to 1")]
    Probability(String),
    /// The number of events is none.
    #[error("{0:?} is no number of events from 1 on")]
    Number(String),
    /// The rate is none.
    #[error("{0:?} is no rate like 2000/s")]
    Rate(String),
    /// The duration is none.
    #[error("{0}")]
    Duration(String),
    /// The status code is none of an error.
    #[error("{0:?} is no status code from 400 to 599")]
    Code(String),
    /// Two orders for the same thing.
    #[error("fault {0} is ordered twice")]
    Twice(String),
}
