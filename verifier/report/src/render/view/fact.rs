//! A name and what is shown beside it. Pure.

use crate::figures::grouped;

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) note: String,
    pub(crate) tone: &'static str,
}

/// What is neither good nor bad.
pub(super) fn fact(name: &'static str, value: impl Into<String>, note: impl Into<String>) -> Fact {
    Fact { name, value: value.into(), note: note.into(), tone: "" }
}

/// A count of what should not be.
pub(super) fn bad(name: &'static str, count: u64) -> Fact {
    Fact { tone: if count > 0 { "bad" } else { "good" }, ..fact(name, grouped(count), "") }
}
