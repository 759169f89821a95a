//! A name with a value and a note beside it. Pure.

use crate::figures::grouped;

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) note: String,
    pub(crate) tone: &'static str,
}

/// A fact that is neither good nor bad.
pub(super) fn fact(name: &'static str, value: impl Into<String>, note: impl Into<String>) -> Fact {
    Fact { name, value: value.into(), note: note.into(), tone: "" }
}

/// The count of something that should not happen. It is bad if it is above zero.
pub(super) fn bad(name: &'static str, count: u64) -> Fact {
    Fact { tone: if count > 0 { "bad" } else { "good" }, ..fact(name, grouped(count), "") }
}
