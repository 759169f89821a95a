//! Findings: how serious a problem is, what it is about, the reason, and the remedy. Pure.

use std::fmt;

use serde::Serialize;

/// A problem, and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub rank: Rank,
    /// The subject, like `stream` or `table`.
    pub about: &'static str,
    /// The address of the server that has the problem; `None` if it belongs to no single server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    pub reason: String,
    pub fix: String,
}

/// How serious a finding is. The most serious rank comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Events would be lost, or nothing could be proven.
    Blocker,
    /// The same would happen if something else went wrong as well.
    Warning,
    /// Good to know.
    Note,
}

impl Finding {
    /// Where it was found: the address of a server, or else the subject.
    pub fn place(&self) -> &str {
        self.server.as_deref().unwrap_or(self.about)
    }

    /// The reason and the remedy in one line.
    pub fn text(&self) -> String {
        format!("{}; {}", self.reason, self.fix)
    }
}

/// Whether one of the findings is a blocker.
pub fn is_refused(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.rank == Rank::Blocker)
}

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    /// The address of the server that is being judged.
    server: Option<String>,
}

impl Findings {
    /// From now on, findings belong to this server.
    pub(crate) fn turn_to(&mut self, server: Option<&str>) {
        self.server = server.map(str::to_owned);
    }

    pub(crate) fn block(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Blocker, about, reason, fix);
    }

    pub(crate) fn warn(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Warning, about, reason, fix);
    }

    pub(crate) fn note(&mut self, about: &'static str, reason: String, fix: impl Into<String>) {
        self.add(Rank::Note, about, reason, fix);
    }

    pub(crate) fn add(
        &mut self,
        rank: Rank,
        about: &'static str,
        reason: String,
        fix: impl Into<String>,
    ) {
        let server = self.server.clone();
        self.found.push(Finding { rank, about, server, reason, fix: fix.into() });
    }

    /// All findings, the most serious first.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| finding.rank);
        self.found
    }
}

/// A time in seconds, for people.
pub(crate) struct Seconds(pub(crate) f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 120.0 => write!(f, "{s:.1} s"),
            s if s < 7_200.0 => write!(f, "{:.0} min", s / 60.0),
            s if s < 172_800.0 => write!(f, "{:.0} h", s / 3_600.0),
            s => write!(f, "{:.0} days", s / 86_400.0),
        }
    }
}
