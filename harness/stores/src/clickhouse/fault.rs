//! What to do about an error of `ClickHouse`: the only list of errors that may go away by
//! themselves.

use clickhouse::error::Error;
use edges::errors::OneError;

/// What to do about an error. Whatever the error of an insert says, its rows may be in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It may work another time: the server is away or busy, a replica is behind.
    Passing,
    /// The partition has more parts than the server likes: let it merge.
    TooManyParts,
    /// The server is short of memory, or limits the memory of a query: ask for less at once.
    Memory,
    /// The account has a limit on rows, bytes or speed: ask for less at once.
    TooMuch,
    /// The server has no room for more.
    NoSpace,
    /// The account may not do it.
    Denied,
    /// It will not work another time.
    Final,
}

/// Decides what to do about an error.
pub fn fault_of(error: &Error) -> Fault {
    let Some(code) = server_code(error) else {
        return match error {
            Error::Network(_) | Error::TimedOut | Error::BadResponse(_) => Fault::Passing,
            _ => Fault::Final,
        };
    };
    if error.to_string().contains("No space left on device") {
        return Fault::NoSpace;
    }
    // This error has the same code as "too many parts", but waiting does not help.
    if code == 252 && error.to_string().contains("INSERT block") {
        return Fault::Final;
    }
    FAULTS.iter().find(|(known, ..)| *known == code).map_or(Fault::Final, |(_, _, fault)| *fault)
}

/// Puts an error into words that may have an error of a server's at its bottom: then its kind is
/// the name of that, since its text differs from one to the next.
pub fn in_words(server: &str, error: &(dyn std::error::Error + 'static)) -> OneError {
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    let code = causes.find_map(|cause| server_code(cause.downcast_ref()?));
    let name = |code: u32| match FAULTS.iter().find(|(known, ..)| *known == code) {
        Some((_, name, _)) => (*name).to_owned(),
        None => format!("code {code}"),
    };
    let words = OneError::of(server, error);
    OneError { kind: code.map_or(words.kind, name), ..words }
}

/// Source: `ClickHouse`, `src/Common/ErrorCodes.cpp`.
const FAULTS: [(u32, &str, Fault); 46] = [
    (95, "CANNOT_READ_FROM_SOCKET", Fault::Passing),
    (96, "CANNOT_WRITE_TO_SOCKET", Fault::Passing),
    (158, "TOO_MANY_ROWS", Fault::TooMuch),
    // A limit of the account, or a busy server: another try may succeed.
    (159, "TIMEOUT_EXCEEDED", Fault::Passing),
    (160, "TOO_SLOW", Fault::TooMuch),
    (164, "READONLY", Fault::Denied),
    (173, "CANNOT_ALLOCATE_MEMORY", Fault::Memory),
    (191, "SET_SIZE_LIMIT_EXCEEDED", Fault::TooMuch),
    (192, "UNKNOWN_USER", Fault::Denied),
    (193, "WRONG_PASSWORD", Fault::Denied),
    (194, "REQUIRED_PASSWORD", Fault::Denied),
    (195, "IP_ADDRESS_NOT_ALLOWED", Fault::Denied),
    (198, "DNS_ERROR", Fault::Passing),
    (201, "QUOTA_EXCEEDED", Fault::Passing),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", Fault::Passing),
    (203, "NO_FREE_CONNECTION", Fault::Passing),
    (209, "SOCKET_TIMEOUT", Fault::Passing),
    (210, "NETWORK_ERROR", Fault::Passing),
    (225, "NO_ZOOKEEPER", Fault::Passing),
    (236, "ABORTED", Fault::Passing),
    (241, "MEMORY_LIMIT_EXCEEDED", Fault::Memory),
    (242, "TABLE_IS_READ_ONLY", Fault::Passing),
    (243, "NOT_ENOUGH_SPACE", Fault::NoSpace),
    (252, "TOO_MANY_PARTS", Fault::TooManyParts),
    (265, "NO_AVAILABLE_REPLICA", Fault::Passing),
    (279, "ALL_CONNECTION_TRIES_FAILED", Fault::Passing),
    (285, "TOO_FEW_LIVE_REPLICAS", Fault::Passing),
    (286, "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", Fault::Passing),
    (289, "REPLICA_IS_NOT_IN_QUORUM", Fault::Passing),
    (307, "TOO_MANY_BYTES", Fault::TooMuch),
    (319, "UNKNOWN_STATUS_OF_INSERT", Fault::Passing),
    (364, "RECEIVED_ERROR_TOO_MANY_REQUESTS", Fault::Passing),
    (369, "ALL_REPLICAS_ARE_STALE", Fault::Passing),
    (394, "QUERY_WAS_CANCELLED", Fault::Passing),
    (396, "TOO_MANY_ROWS_OR_BYTES", Fault::TooMuch),
    (416, "REPLICA_STATUS_CHANGED", Fault::Passing),
    (439, "CANNOT_SCHEDULE_TASK", Fault::Passing),
    (473, "DEADLOCK_AVOIDED", Fault::Passing),
    (497, "ACCESS_DENIED", Fault::Denied),
    (499, "S3_ERROR", Fault::Passing),
    (516, "AUTHENTICATION_FAILED", Fault::Denied),
    (519, "NO_REMOTE_SHARD_AVAILABLE", Fault::Passing),
    (565, "TOO_MANY_PARTITIONS", Fault::TooMuch),
    (659, "UNKNOWN_STATUS_OF_TRANSACTION", Fault::Passing),
    (745, "SERVER_OVERLOADED", Fault::Passing),
    (999, "KEEPER_EXCEPTION", Fault::Passing),
];

/// Returns the code of the server's own error, as in `Code: 241. DB::Exception: …`. `None` if the
/// server was not the one that failed.
pub fn server_code(error: &Error) -> Option<u32> {
    let Error::BadResponse(text) = error else { return None };
    let digits = text.split_once("Code: ")?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::ClickHouseError;

    #[track_caller]
    fn check(text: &str, expected: Fault) {
        assert_eq!(fault_of(&Error::BadResponse(text.to_owned())), expected, "{text}");
    }

    #[test]
    fn codes_are_in_order_and_each_is_told_by_itself() {
        assert!(FAULTS.is_sorted_by(|one, other| one.0 < other.0));
        for (code, name, fault) in FAULTS {
            check(&format!("Code: {code}. DB::Exception: It is so. ({name})"), fault);
        }
    }

    #[test]
    fn an_error_says_whether_it_is_worth_another_try() {
        for code in [159, 202, 209, 210, 225, 236, 242, 279, 285, 286, 319, 394, 745, 999] {
            check(&format!("Code: {code}. DB::Exception: not now"), Fault::Passing);
        }
        for code in [158, 160, 307, 396] {
            check(&format!("Code: {code}. DB::Exception: too much"), Fault::TooMuch);
        }
        check("Code: 252. DB::Exception: Too many parts (3000).", Fault::TooManyParts);
        check(
            "Code: 252. DB::Exception: Too many partitions for single INSERT block",
            Fault::Final,
        );
        check("Code: 241. DB::Exception: (total) memory limit exceeded", Fault::Memory);
        check("Code: 243. DB::Exception: Cannot reserve 1.00 MiB", Fault::NoSpace);
        check("Code: 75. DB::Exception: errno: 28, No space left on device", Fault::NoSpace);
        check("Code: 60. DB::Exception: Table audit.x does not exist.", Fault::Final);
        check("Code: 516. DB::Exception: default: Authentication failed", Fault::Denied);
        check("502 Bad Gateway", Fault::Passing);
        assert_eq!(fault_of(&Error::TimedOut), Fault::Passing);
        assert_eq!(fault_of(&Error::NotEnoughData), Fault::Final);
    }

    #[test]
    fn the_kind_of_an_error_does_not_differ_from_one_to_the_next() {
        let check = |error: Error, kind| {
            let outer = ClickHouseError::Query { url: "http://a".to_owned(), source: error };
            let words = in_words("http://a", &outer);
            assert_eq!(words.kind, kind);
            assert!(words.text.starts_with("cannot query ClickHouse at http://a"), "{words:?}");
        };
        let bad = |text: &str| Error::BadResponse(text.to_owned());
        check(bad("Code: 241. DB::Exception: would use 1.23 GiB"), "MEMORY_LIMIT_EXCEEDED");
        check(bad("Code: 62. DB::Exception: Syntax error"), "code 62");
        check(Error::TimedOut, "timeout expired");
    }

    #[test]
    fn an_error_of_the_server_is_told_by_its_code() {
        let bad = |text: &str| Error::BadResponse(text.to_owned());
        let text = "Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)";
        assert_eq!(server_code(&bad(text)), Some(252));
        assert_eq!(server_code(&bad("Code: 516")), Some(516));
        assert_eq!(server_code(&bad("502 Bad Gateway")), None);
        assert_eq!(server_code(&Error::TimedOut), None);
    }
}
