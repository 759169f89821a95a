//! The changes that a pipeline makes to events on purpose, as a file declares them. Pure, except
//! for reading the file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

/// The changes that a pipeline makes to an event on purpose. Paths are JSON pointers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// Fields that the pipeline adds or overwrites.
    pub adds: Vec<String>,
    /// Fields that the pipeline removes.
    pub removes: Vec<String>,
    /// Lists from which the pipeline removes the addresses of some networks.
    pub removes_addresses: Vec<RemovedAddresses>,
    /// Conditions that an event must meet to be stored.
    pub keeps: Vec<Kept>,
}

/// A list from which the addresses of some networks are removed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedAddresses {
    pub from: String,
    pub networks: Vec<IpNet>,
}

/// A condition that an event must meet to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub field: String,
    pub values: Vec<String>,
}

/// Why a file of declared changes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    #[error("cannot read the declared changes in {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("the declared changes in {} are wrong:\n{mistakes}", path.display())]
    Form { path: PathBuf, mistakes: String },
    #[error(
        "the declared changes in {} have {pointer:?}: write a path like /user/extra",
        path.display()
    )]
    Pointer { path: PathBuf, pointer: String },
}

impl Changes {
    /// The changes that Vector makes in the pipeline that `deploy/vector` describes.
    pub fn of_vector() -> Self {
        let text = include_str!("../../deploy/vector/changes.yaml");
        serde_saphyr::from_str(text).expect("the file was checked by a test")
    }

    /// Reads a file of declared changes.
    ///
    /// # Errors
    ///
    /// Returns [`ChangesError`] if the file cannot be read, or has other contents.
    pub fn read(path: &Path) -> Result<Self, ChangesError> {
        let own_path = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ChangesError::Unreadable { path: own_path(), source })?;
        let changes: Self = serde_saphyr::from_str(&text).map_err(|error| ChangesError::Form {
            path: own_path(),
            mistakes: error.to_string(),
        })?;
        let wrong = changes.pointers().find(|pointer| !pointer.starts_with('/'));
        match wrong.map(str::to_owned) {
            Some(pointer) => Err(ChangesError::Pointer { path: own_path(), pointer }),
            None => Ok(changes),
        }
    }

    fn pointers(&self) -> impl Iterator<Item = &str> {
        let addresses = self.removes_addresses.iter().map(|it| &it.from);
        let kept = self.keeps.iter().map(|it| &it.field);
        self.adds.iter().chain(&self.removes).chain(addresses).chain(kept).map(String::as_str)
    }

    /// Whether the pipeline stores an event at all.
    pub fn keep(&self, event: &Value) -> bool {
        self.keeps.iter().all(|Kept { field, values }| {
            let value = event.pointer(field).and_then(Value::as_str);
            value.is_some_and(|value| values.iter().any(|kept| kept == value))
        })
    }

    /// Whether the pipeline stores every event of a plan. All of these have the same stage.
    pub fn keep_all_planned(&self) -> bool {
        let is_met = |kept: &Kept| {
            kept.field == "/stage" && kept.values.iter().any(|value| value == "ResponseComplete")
        };
        self.keeps.iter().all(is_met)
    }

    /// Applies the pipeline's changes to a sent event, except for what it adds.
    pub fn change(&self, sent: &mut Value) {
        self.removes.iter().chain(&self.adds).for_each(|pointer| remove(sent, pointer));
        for RemovedAddresses { from, networks } in &self.removes_addresses {
            let Some(Value::Array(addresses)) = sent.pointer_mut(from) else { continue };
            addresses.retain(|address| {
                let address = address.as_str().and_then(|text| text.parse::<IpAddr>().ok());
                !address.is_some_and(|it| networks.iter().any(|network| network.contains(&it)))
            });
        }
    }

    /// Removes from a stored event what the pipeline adds.
    pub fn strip(&self, stored: &mut Value) {
        self.adds.iter().for_each(|pointer| remove(stored, pointer));
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(fields)) = value.pointer_mut(parent) {
        fields.shift_remove(&key.replace("~1", "/").replace("~0", "~"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_vector_does_is_declared() {
        let changes = Changes::of_vector();
        let mut sent = json!({"kind": "Event", "stage": "ResponseComplete", "verb": "get",
            "sourceIPs": ["203.0.113.7", "10.1.2.3", "fd00::1", "no address"]});
        assert!(changes.keep(&sent));
        assert!(!changes.keep(&json!({"stage": "RequestReceived"})));
        assert!(!changes.keep(&json!({})));
        changes.change(&mut sent);
        let mut stored = json!({"stage": "ResponseComplete", "timestamp": "…", "verb": "get",
            "subject": "audit.k8s.activity", "sourceIPs": ["203.0.113.7", "no address"]});
        changes.strip(&mut stored);
        assert_eq!(sent, stored);
    }

    #[test]
    fn a_file_with_a_mistake_is_told_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changes.yaml");
        let check = |text: &str, expected: &str| {
            std::fs::write(&path, text).unwrap();
            let message = Changes::read(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        check("add: [/a]", "add");
        check("adds: [a]", "write a path like");
        check("removes_addresses: [{from: /a, networks: [10.0.0.0/33]}]", "networks");
        std::fs::write(&path, "removes: [/user/extra, '/annotations/a~1b']").unwrap();
        let mut sent = json!({"user": {"extra": {}}, "annotations": {"a/b": "1", "c": "2"}});
        Changes::read(&path).unwrap().change(&mut sent);
        assert_eq!(sent, json!({"user": {}, "annotations": {"c": "2"}}));
    }
}
