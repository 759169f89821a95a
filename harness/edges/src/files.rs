//! How many files this process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer files may be open than a run needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{connections} connections need up to {needed} open files, and this process may have \
     {allowed}: raise the hard limit (ulimit -Hn {needed}), or lower send.connections"
)]
pub struct TooFewFiles {
    pub connections: u32,
    pub needed: u64,
    pub allowed: u64,
}

/// Raises the limit of open files as far as possible, and makes sure that it is enough for this
/// many connections.
///
/// # Errors
///
/// Returns [`TooFewFiles`] if they are not.
pub fn raise_files(connections: u32) -> Result<(), TooFewFiles> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If the limit cannot be raised, the present one may be enough.
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).ok();
    }
    check(connections, getrlimit(Resource::Nofile).current)
}

/// `None` is no limit.
fn check(connections: u32, allowed: Option<u64>) -> Result<(), TooFewFiles> {
    let needed = u64::from(connections) * FILES_OF_A_CONNECTION + FILES_BESIDE;
    match allowed {
        Some(allowed) if allowed < needed => Err(TooFewFiles { connections, needed, allowed }),
        _ => Ok(()),
    }
}

/// The socket, and the one that replaces it before it is closed; or, of a generator's self-test,
/// both ends.
const FILES_OF_A_CONNECTION: u64 = 2;

/// Standard streams, ledger and timeline, the runtime's own, the stores, metrics, and files that
/// are read now and then: names, tokens.
const FILES_BESIDE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_is_needed_is_told() {
        assert_eq!(check(32, None), Ok(()));
        assert_eq!(check(32, Some(128)), Ok(()));
        let error = check(32, Some(127)).unwrap_err();
        assert_eq!((error.needed, error.allowed), (128, 127));
        let told = error.to_string();
        assert!(told.contains("32 connections need up to 128 open files"), "{told}");
        assert!(check(u32::MAX, Some(u64::from(u32::MAX))).is_err());
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_files(1).unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
