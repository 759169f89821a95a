//! Faults of the query API: what can be ordered, and how it is written.

use std::fmt;
use std::time::Duration;

use crate::duration::parse_duration;
use crate::fault_error::FaultError;
use crate::share::Share;

/// One ordered fault of the query API.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadFault {
    /// It pages as the real server does, which leaves rows out.
    Paging,
    /// A scope that is not known shows everything, as the real server does.
    Scope,
    /// Events of another tenant are put in beside this share of the events.
    Leak(Share),
    /// Events younger than this are not there yet.
    Stale(Duration),
    /// This share of the requests is answered with a status code.
    Error {
        /// The status code.
        code: u16,
        /// How many.
        share: Share,
    },
    /// This share of the requests is answered late.
    Slow {
        /// How late.
        wait: Duration,
        /// How many.
        share: Share,
    },
    /// Two events of every page change their places.
    Reorder,
}

impl ReadFault {
    /// Reads an order; `None` if it is not for the query API.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, FaultError>> {
        let words: Vec<&str> = text.split(':').collect();
        let fault = match words[..] {
            ["paging", "real"] => Ok(Self::Paging),
            ["scope", "open"] => Ok(Self::Scope),
            ["reorder"] => Ok(Self::Reorder),
            ["leak", amount] => share(amount).map(Self::Leak),
            ["stale", amount] => wait(amount).map(Self::Stale),
            ["error", code, amount] => parse_error(code, amount),
            ["slow", length, amount] => {
                wait(length).and_then(|wait| Ok(Self::Slow { wait, share: share(amount)? }))
            }
            _ => return None,
        };
        Some(fault)
    }
}

fn parse_error(code: &str, amount: &str) -> Result<ReadFault, FaultError> {
    let in_range = code.parse().ok().filter(|code| (400..600).contains(code));
    let code = in_range.ok_or_else(|| FaultError::Code(code.to_owned()))?;
    Ok(ReadFault::Error { code, share: share(amount)? })
}

fn share(amount: &str) -> Result<Share, FaultError> {
    Share::parse(amount).ok_or_else(|| FaultError::Probability(amount.to_owned()))
}

fn wait(amount: &str) -> Result<Duration, FaultError> {
    let wait = parse_duration(amount).map_err(FaultError::Duration)?;
    if wait.is_zero() {
        return Err(FaultError::Duration(format!("{amount:?} delays nothing")));
    }
    Ok(wait)
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paging => f.write_str("paging:real"),
            Self::Scope => f.write_str("scope:open"),
            Self::Leak(share) => write!(f, "leak:{}", share.value()),
            Self::Stale(by) => write!(f, "stale:{}ms", by.as_millis()),
            Self::Error { code, share } => write!(f, "error:{code}:{}", share.value()),
            Self::Slow { wait, share } => {
                write!(f, "slow:{}ms:{}", wait.as_millis(), share.value())
            }
            Self::Reorder => f.write_str("reorder"),
        }
    }
}
