//! The scopes that were read, kept in a file until all are: a check that was stopped goes on.

use std::path::PathBuf;

use edges::exit::chain;
use runs::json_lines;
use serde::{Deserialize, Serialize};

use super::unit::UnitResult;
use crate::error::VerifyError;

/// Which check a result belongs to. Only a check of the same origin takes it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) tool_version: String,
    /// The query API, and the table, if it was asked.
    pub(crate) servers: Vec<String>,
    pub(crate) run: String,
    /// Other runs whose events are known.
    pub(crate) histories: Vec<String>,
    pub(crate) page_sizes: Vec<u32>,
}

/// The scopes that were read.
#[derive(Debug)]
pub(crate) struct Progress {
    path: PathBuf,
    origin: Origin,
    done: Vec<UnitResult>,
    /// Called with a message if a result cannot be kept.
    story: fn(&str),
    is_kept: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    origin: Origin,
    result: UnitResult,
}

impl Progress {
    /// Reads what a stopped check of the same origin has left. What cannot be read counts as none.
    pub(crate) fn open(path: PathBuf, origin: Origin, story: fn(&str)) -> Self {
        let lines: Vec<Line> = json_lines::read(&path).unwrap_or_default();
        let of_this = lines.into_iter().filter(|line| line.origin == origin);
        let done = of_this.map(|line| line.result).collect();
        Self { path, origin, done, story, is_kept: true }
    }

    /// What is known of a scope.
    pub(crate) fn of(&self, scope: &str, stored: u64) -> Option<&UnitResult> {
        // If more is stored by now, the scope must be read again.
        self.done.iter().find(|done| done.scope == scope && done.stored == stored)
    }

    /// Keeps what is known of a scope that was read to the end.
    pub(crate) fn add(&mut self, result: &UnitResult) {
        let (origin, result) = (self.origin.clone(), result.clone());
        if self.is_kept
            && let Err(source) = json_lines::append(&self.path, &Line { origin, result })
        {
            let path = self.path.clone();
            (self.story)(&chain(&VerifyError::Progress { path, source }));
            self.is_kept = false;
        }
    }

    /// Removes the file of a check that has ended.
    pub(crate) fn remove(self) {
        // If it cannot be removed, another check with other numbers does not take it over.
        std::fs::remove_file(&self.path).ok();
    }
}

/// The file in a run's directory.
pub(crate) const PROGRESS_FILE: &str = "readback-progress.jsonl";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_check_goes_on_with_a_scope() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PROGRESS_FILE);
        let origin = Origin {
            tool_version: "1".to_owned(),
            servers: vec!["http://a".to_owned()],
            run: "r".to_owned(),
            histories: Vec::new(),
            page_sizes: vec![100],
        };
        let open = |origin: &Origin| Progress::open(path.clone(), origin.clone(), |_| {});
        let result = UnitResult { scope: "Project/a".to_owned(), stored: 7, ..Default::default() };
        open(&origin).add(&result);
        assert_eq!(open(&origin).of("Project/a", 7), Some(&result));
        assert_eq!(open(&origin).of("Project/a", 8), None);
        assert_eq!(open(&origin).of("Project/b", 7), None);
        let other = Origin { servers: vec!["http://b".to_owned()], ..origin.clone() };
        assert_eq!(open(&other).of("Project/a", 7), None);
        // Whose events it showed beside its own was looked at with other eyes.
        let more = Origin { histories: vec!["h".to_owned()], ..origin.clone() };
        assert_eq!(open(&more).of("Project/a", 7), None);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert_eq!(open(&origin).of("Project/a", 7), None, "a line that is cut");
        open(&origin).remove();
        assert!(!path.exists());
    }
}
