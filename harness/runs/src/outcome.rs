//! What an answer, or the lack of one, says about the events of a request.

use std::io;

use hyper::StatusCode;
use rustix::io::Errno;

use crate::ledger::Settlement;
use edges::plain::plain;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The whole answer has come.
    Answered(StatusCode),
    /// This machine could not begin: no byte of the events left, and the target was not asked.
    NotTried(Want),
    /// No connection: no byte of the events left.
    NotConnected,
    /// The server says, by means of HTTP/2, that it did nothing with the request.
    Unprocessed,
    /// The connection ended after the request was begun and before the answer was complete.
    Broken,
    /// The deadline passed after the request was begun.
    TimedOut,
}

/// What this machine lacked when it tried to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// No more files may be open.
    Files,
    /// All ports of its own are taken, or it has no address to connect from.
    Ports,
    Memory,
    /// The name of the target could not be resolved.
    Name,
    /// The file of the token cannot be read.
    Token,
}

impl Outcome {
    /// Events are refused only where the target certainly did not take them; an answer that may
    /// come after they were taken, by a proxy or an overloaded server, leaves them unknown.
    pub fn settlement(self) -> Settlement {
        match self {
            Self::Answered(status) if status.is_success() => Settlement::Acknowledged,
            Self::Answered(status) if REFUSALS.contains(&status.as_u16()) => Settlement::Refused,
            Self::NotConnected | Self::Unprocessed => Settlement::Refused,
            Self::NotTried(_) => Settlement::Unsent,
            Self::Answered(_) | Self::Broken | Self::TimedOut => Settlement::Unknown,
        }
    }

    /// A short name for reports: a status code, or what happened instead.
    pub fn name(self) -> String {
        match self {
            Self::Answered(status) => status.as_u16().to_string(),
            Self::NotTried(want) => want.name().to_owned(),
            Self::NotConnected => "not connected".to_owned(),
            Self::Unprocessed => "not processed".to_owned(),
            Self::Broken => "connection broken".to_owned(),
            Self::TimedOut => "timed out".to_owned(),
        }
    }
}

impl Outcome {
    /// Finds the outcome that has a name, as a record has it.
    pub fn named(name: &str) -> Option<Self> {
        let wants = [Want::Files, Want::Ports, Want::Memory, Want::Name, Want::Token];
        let others = [Self::NotConnected, Self::Unprocessed, Self::Broken, Self::TimedOut];
        let status = || Some(Self::Answered(StatusCode::from_bytes(name.as_bytes()).ok()?));
        let mut all = wants.into_iter().map(Self::NotTried).chain(others);
        all.find(|it| it.name() == name).or_else(status)
    }

    /// What to do about it, if that can be told; `location` is where the target said to go.
    pub fn hint(self, location: Option<&str>) -> Option<String> {
        let hint = match self {
            Self::Answered(status) => return status_hint(status, location),
            Self::NotTried(Want::Files) => "raise the limit of open files: ulimit -n",
            Self::NotTried(Want::Ports) => {
                "see net.ipv4.ip_local_port_range, and whether the target closes each connection"
            }
            Self::NotTried(Want::Memory) => "this machine has too little memory",
            Self::NotTried(Want::Name) => "is the target's name known to this machine's DNS?",
            Self::NotTried(Want::Token) => "the file of --token-file must hold a token",
            Self::NotConnected => "is the target up?",
            Self::Unprocessed | Self::Broken | Self::TimedOut => return None,
        };
        Some(hint.to_owned())
    }
}

/// What the user should do about an answer of a webhook or a page.
pub fn status_hint(status: StatusCode, location: Option<&str>) -> Option<String> {
    let hint = match (status.as_u16(), location) {
        (301..=303 | 307 | 308, Some(location)) => {
            return Some(format!("it says to go to {}: name that address", plain(location)));
        }
        (300..=399, _) => "it says to go elsewhere, and not where",
        (401, _) => "it wants a token: see --token-file and WEBHOOK_TOKEN",
        (403, _) => "it does not let this client in: see --token-file and --client-cert",
        (404 | 405, _) => "is the path right?",
        (413, _) => "a batch is too large for it: lower send.batch_events",
        (415, _) => "it does not take this form: see --compress",
        (429 | 503, _) => "it has more load than it takes",
        (502 | 504, _) => "what stands before the target does not reach it",
        _ => return None,
    };
    Some(hint.to_owned())
}

impl Want {
    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "no file left here",
            Self::Ports => "no port left here",
            Self::Memory => "no memory left here",
            Self::Name => "name not resolved",
            Self::Token => "no token here",
        }
    }

    /// What this machine lacked, if the error of a connection says so. All other errors mean that
    /// the target, or the network before it, does not answer.
    ///
    /// Source: connect(2), socket(2).
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::AGAIN => Some(Self::Ports),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }

    /// The same for a name with several addresses, none of which could be reached. If one of them
    /// did not answer, the target counts as unreachable, even if a port was lacking for others: a
    /// machine without IPv6 has no port for IPv6 addresses.
    pub fn of_all(errors: &[io::Error]) -> Option<Self> {
        let wants: Vec<_> = errors.iter().map(Self::of).collect();
        let of_machine = wants.iter().flatten().find(|want| **want != Self::Ports);
        let of_each = wants.iter().all(Option::is_some).then(|| wants.first().copied().flatten());
        of_machine.copied().or(of_each.flatten())
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

    #[test]
    fn what_this_machine_lacks_is_told_from_what_the_target_does() {
        let check = |errno: Errno, expected: Option<Want>| {
            let error = io::Error::from(errno);
            assert_eq!(Want::of(&error), expected, "{error}");
            let outcome = expected.map_or(Outcome::NotConnected, Outcome::NotTried);
            let settlement =
                if expected.is_some() { Settlement::Unsent } else { Settlement::Refused };
            assert_eq!(outcome.settlement(), settlement, "{error}");
        };
        check(Errno::MFILE, Some(Want::Files));
        check(Errno::NFILE, Some(Want::Files));
        check(Errno::ADDRNOTAVAIL, Some(Want::Ports));
        check(Errno::ADDRINUSE, Some(Want::Ports));
        check(Errno::AGAIN, Some(Want::Ports));
        check(Errno::NOBUFS, Some(Want::Memory));
        check(Errno::NOMEM, Some(Want::Memory));
        for errno in [
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::PIPE,
        ] {
            check(errno, None);
        }
        assert_eq!(Want::of(&io::Error::other("no number of the system's")), None);
    }

    #[test]
    fn of_several_addresses_one_that_was_asked_settles_it() {
        let check = |errors: &[Errno], expected| {
            let errors: Vec<_> = errors.iter().map(|errno| io::Error::from(*errno)).collect();
            assert_eq!(Want::of_all(&errors), expected, "{errors:?}");
        };
        check(&[Errno::CONNREFUSED, Errno::ADDRNOTAVAIL], None);
        check(&[Errno::ADDRNOTAVAIL, Errno::CONNREFUSED], None);
        check(&[Errno::ADDRNOTAVAIL, Errno::ADDRNOTAVAIL], Some(Want::Ports));
        check(&[Errno::CONNREFUSED, Errno::MFILE], Some(Want::Files));
        check(&[Errno::ADDRNOTAVAIL, Errno::NOMEM], Some(Want::Memory));
        check(&[], None);
    }

    #[test]
    fn what_to_do_is_told() {
        let check = |code: u16, location, expected: &str| {
            let outcome = Outcome::Answered(StatusCode::from_u16(code).unwrap());
            let hint = outcome.hint(location).unwrap();
            assert!(hint.contains(expected), "{code}: {hint}");
        };
        check(301, Some("https://v/events"), "go to https://v/events: name that address");
        check(302, Some("/\u{1b}[2J"), r"go to /\u{1b}[2J:");
        check(302, None, "and not where");
        check(401, None, "--token-file");
        check(413, None, "send.batch_events");
        check(429, None, "load");
        check(503, None, "load");
        assert_eq!(Outcome::Answered(StatusCode::OK).hint(None), None);
    }
}
