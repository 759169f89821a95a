//! What an answer, or the lack of one, says about the events of a request.

use hyper::StatusCode;

use crate::ledger::Settlement;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The whole answer has come.
    Answered(StatusCode),
    /// No connection: no byte of the events left.
    NotConnected,
    /// The server says, by means of HTTP/2, that it did nothing with the request.
    Unprocessed,
    /// The connection ended after the request was begun and before the answer was complete.
    Broken,
    /// The deadline passed after the request was begun.
    TimedOut,
}

impl Outcome {
    /// Events are refused only where the target certainly did not take them; an answer that may
    /// come after they were taken, by a proxy or an overloaded server, leaves them unknown.
    pub fn settlement(self) -> Settlement {
        match self {
            Self::Answered(status) if status.is_success() => Settlement::Acknowledged,
            Self::Answered(status) if REFUSALS.contains(&status.as_u16()) => Settlement::Refused,
            Self::NotConnected | Self::Unprocessed => Settlement::Refused,
            Self::Answered(_) | Self::Broken | Self::TimedOut => Settlement::Unknown,
        }
    }

    /// A short name for reports: a status code, or what happened instead.
    pub fn name(self) -> String {
        match self {
            Self::Answered(status) => status.as_u16().to_string(),
            Self::NotConnected => "not connected".to_owned(),
            Self::Unprocessed => "not processed".to_owned(),
            Self::Broken => "connection broken".to_owned(),
            Self::TimedOut => "timed out".to_owned(),
        }
    }
}

const REFUSALS: [u16; 7] = [400, 401, 403, 404, 405, 413, 415];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certain_answers_settle_events() {
        let check = |code: u16, expected| {
            let outcome = Outcome::Answered(StatusCode::from_u16(code).unwrap());
            assert_eq!(outcome.settlement(), expected, "{code}");
        };
        for code in [200, 201, 202, 204] {
            check(code, Settlement::Acknowledged);
        }
        for code in [400, 401, 403, 404, 405, 413, 415] {
            check(code, Settlement::Refused);
        }
        for code in [302, 408, 409, 422, 429, 500, 502, 503, 504] {
            check(code, Settlement::Unknown);
        }
        assert_eq!(Outcome::NotConnected.settlement(), Settlement::Refused);
        assert_eq!(Outcome::Unprocessed.settlement(), Settlement::Refused);
        assert_eq!(Outcome::Broken.settlement(), Settlement::Unknown);
        assert_eq!(Outcome::TimedOut.settlement(), Settlement::Unknown);
    }
}
