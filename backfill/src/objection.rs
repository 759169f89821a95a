//! What stands against a load.

use serde::Serialize;

/// Something that stands against a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// The load cannot work; else it works, but not as one might expect.
    pub is_refusal: bool,
    pub url: String,
    /// What is wrong, and what to do.
    pub text: String,
}
