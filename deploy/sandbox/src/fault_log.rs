//! The record of victims: what a verifier must find, and nothing else.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::SandboxError;
use crate::fault::{FaultKind, Place};

/// A file of one JSON line per victim, written before the harm is done.
#[derive(Debug)]
pub(crate) struct FaultLog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Hashes of (fault, place, auditID, scope): an event that passes twice is one victim.
    seen: HashSet<u128>,
}

/// What one change of one field was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The field's path in the event, with dots.
    pub(crate) field: &'static str,
    /// Its value before.
    pub(crate) from: Value,
    /// Its value after.
    pub(crate) to: Value,
}

impl FaultLog {
    /// Opens the record and reads who is already in it.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened, read or mended.
    pub(crate) fn open(path: &Path) -> Result<Self, SandboxError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(SandboxError::io("open", path))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(SandboxError::io("read", path))?;
        // After a line that a crash cut off, no harm was done, so the line is removed. If there is
        // none, the file must not be truncated: another part may have appended meanwhile.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(SandboxError::io("mend", path))?;
        }
        file.seek(SeekFrom::End(0)).map_err(SandboxError::io("mend", path))?;
        let seen = text[..whole].lines().filter_map(line_key).collect();
        Ok(Self { inner: Mutex::new(Inner { file, seen }) })
    }

    /// Records a victim. Only when this returns may the harm be done.
    ///
    /// # Errors
    ///
    /// Returns the failure of the write; the event must then go unharmed.
    pub(crate) fn record(
        &self,
        kind: FaultKind,
        at: Place,
        audit_id: &str,
        change: Option<&Change>,
    ) -> std::io::Result<()> {
        let mut line =
            json!({ "fault": kind.to_string(), "at": at.to_string(), "auditID": audit_id });
        if let Some(change) = change {
            line["field"] = change.field.into();
            line["from"] = change.from.clone();
            line["to"] = change.to.clone();
        }
        self.record_line(&line)
    }

    /// Records a victim of any form that has a fault, a place, and an auditID or a request. One
    /// that is shown to two scopes is two victims.
    ///
    /// # Errors
    ///
    /// Returns the failure of the write; the harm must then not be done.
    pub(crate) fn record_line(&self, line: &Value) -> std::io::Result<()> {
        let key = key_of(line).expect("every line has a fault, a place and a victim");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.seen.contains(&key) {
            return Ok(());
        }
        inner.file.write_all(format!("{line}\n").as_bytes())?;
        inner.seen.insert(key);
        Ok(())
    }
}

fn line_key(line: &str) -> Option<u128> {
    key_of(&serde_json::from_str(line).ok()?)
}

fn key_of(line: &Value) -> Option<u128> {
    let word = |key: &str| line.get(key).and_then(Value::as_str);
    let victim = word("auditID").or_else(|| word("request"))?;
    let scope = word("scope").unwrap_or_default();
    // An event may change its place with one neighbour on this page, and with another on that.
    let with = word("with").unwrap_or_default();
    let key = format!("{}:{}:{victim}:{scope}:{with}", word("fault")?, word("at")?);
    Some(xxh3_128(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_recorded_once_even_over_a_restart_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faults.jsonl");
        let change = Change { field: "verb", from: "get".into(), to: "list".into() };
        for _ in 0..2 {
            let log = FaultLog::open(&path).unwrap();
            log.record(FaultKind::Drop, Place::Sidecar, "a", None).unwrap();
            log.record(FaultKind::Drop, Place::Sidecar, "a", None).unwrap();
            log.record(FaultKind::Corrupt, Place::Aggregator, "a", Some(&change)).unwrap();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"{\"fault\":\"dr").unwrap();
        }
        drop(FaultLog::open(&path).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"fault\":\"drop\",\"at\":\"sidecar\",\"auditID\":\"a\"}\n\
             {\"fault\":\"corrupt\",\"at\":\"aggregator\",\"auditID\":\"a\",\"field\":\"verb\",\
             \"from\":\"get\",\"to\":\"list\"}\n"
        );
    }
}
