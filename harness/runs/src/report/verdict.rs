//! What is said of a run in a word.

use edges::exit::Exit;
use serde::{Deserialize, Serialize};

/// What a run's events prove about the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every acknowledged event is stored once and unchanged, and nothing else is.
    Whole,
    /// It could not be checked.
    Unknown,
    /// Something acknowledged was lost, changed or doubled, or something else is stored.
    Lossy,
}

impl Verdict {
    pub fn exit(self) -> Exit {
        match self {
            Self::Whole => Exit::Done,
            Self::Unknown => Exit::Unknown,
            Self::Lossy => Exit::Lossy,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Unknown => "unknown",
            Self::Lossy => "lossy",
        }
    }
}
