//! Certifies what the check of a run has found, in a form that an auditor may keep: a statement of
//! in-toto, signed or to be signed. It asks no server; the directory of the run has all it needs.

mod envelope;
mod key;
mod merkle;
mod statement;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use edges::plain::plain;
use plans::plan::Plan;
use report::error::ShowError;
use report::reconciled::read_report;
use runs::report::{REPORT_FILE, Report};
use runs::run_dir::{RunDir, RunDirError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::envelope::{Envelope, PAYLOAD_TYPE, signed_bytes};
pub use self::key::KeyError;
use self::key::{PublicKey, SigningKey};
use self::statement::{Certified, differences, hex};

/// Why there is no certificate, or none that could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Run(#[from] RunDirError),
    #[error(transparent)]
    Report(#[from] ShowError),
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(
        "{} contradicts the run beside it: {fact}; reconcile the run again", path.display()
    )]
    Contradiction { path: PathBuf, fact: String },
    #[error("{} is no certificate: {fact}", path.display())]
    NotOne { path: PathBuf, fact: String },
}

/// A run that was checked, as its directory records it.
#[derive(Debug)]
pub struct CheckedRun {
    plan: Plan,
    report: Report,
    report_sha256: String,
}

impl CheckedRun {
    /// Reads the results of a check, whatever they are.
    ///
    /// # Errors
    ///
    /// Returns [`CertificateError`] if the run was not checked, or its files contradict each other.
    pub fn read(dir: &Path) -> Result<Self, CertificateError> {
        let (dir, plan) = RunDir::open(dir)?;
        let path = dir.file(REPORT_FILE);
        let report = read_report(dir.path())?;
        let text = fs::read(&path)
            .map_err(|source| CertificateError::Unreadable { path: path.clone(), source })?;
        let run = Self { plan, report, report_sha256: hex(&Sha256::digest(text)) };
        match run.certified().contradiction() {
            Some(fact) => Err(CertificateError::Contradiction { path, fact }),
            None => Ok(run),
        }
    }

    fn certified(&self) -> Certified<'_> {
        let Self { plan, report, report_sha256 } = self;
        Certified { plan, report, report_sha256 }
    }

    /// Returns the statement, for other tools to sign.
    pub fn statement(&self) -> Vec<u8> {
        self.certified().statement().to_string().into_bytes()
    }

    /// Returns the statement in a signed envelope.
    ///
    /// # Errors
    ///
    /// Returns [`CertificateError::Key`] if the key cannot be used.
    pub fn certificate(&self, key: &Path) -> Result<Vec<u8>, CertificateError> {
        let key = SigningKey::read(key)?;
        let payload = self.statement();
        let signature = key.sign(&signed_bytes(PAYLOAD_TYPE, &payload))?;
        let envelope = Envelope::new(&payload, key.id(), &signature);
        let mut text = serde_json::to_vec(&envelope).expect("it has strings alone");
        text.push(b'\n');
        Ok(text)
    }

    /// Checks a certificate: whether this key has signed it, and whether it states what this run's
    /// directory says.
    ///
    /// # Errors
    ///
    /// Returns [`CertificateError`] if the file is no certificate, or the key cannot be used.
    pub fn check(&self, file: &Path, key: &Path) -> Result<CertificateCheck, CertificateError> {
        let key = PublicKey::read(key)?;
        let text = read(file)?;
        let not_one = |fact: String| CertificateError::NotOne { path: file.to_owned(), fact };
        let envelope: Envelope =
            serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
        let verify = |message: &[u8], signature: &[u8]| key.verifies(message, signature);
        let (payload, is_signed) = envelope.open(verify).map_err(not_one)?;
        let mut faults = Vec::new();
        if !is_signed {
            faults.push("it is not signed by this key, or was changed since".to_owned());
        }
        faults.extend(self.faults(file, &payload)?);
        Ok(self.checked(file, faults))
    }

    /// Checks a statement that is in no envelope.
    ///
    /// # Errors
    ///
    /// Returns [`CertificateError`] if the file is no statement.
    pub fn check_statement(&self, file: &Path) -> Result<CertificateCheck, CertificateError> {
        let faults = self.faults(file, &read(file)?)?;
        Ok(self.checked(file, faults))
    }

    fn faults(&self, file: &Path, payload: &[u8]) -> Result<Vec<String>, CertificateError> {
        let certified: Value = serde_json::from_slice(payload).map_err(|error| {
            let fact = format!("what it states is no JSON: {error}");
            CertificateError::NotOne { path: file.to_owned(), fact }
        })?;
        Ok(differences(&certified, &self.certified().statement()))
    }

    fn checked(&self, file: &Path, faults: Vec<String>) -> CertificateCheck {
        let states = format!(
            "the verdict {} of the run {}",
            self.report.verdict.as_str(),
            self.report.run_id
        );
        CertificateCheck { file: file.to_owned(), states, faults }
    }
}

/// What the check of a certificate found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateCheck {
    file: PathBuf,
    states: String,
    /// Whatever is wrong with it.
    pub faults: Vec<String>,
}

impl fmt::Display for CertificateCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.faults.is_empty() {
            return writeln!(f, "{file} certifies {}", self.states);
        }
        writeln!(f, "{file} does not certify {}:", self.states)?;
        for fault in self.faults.iter().take(FAULTS_SHOWN_MAX) {
            writeln!(f, "  {}", plain(fault))?;
        }
        let more = self.faults.len().saturating_sub(FAULTS_SHOWN_MAX);
        if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
    }
}

const FAULTS_SHOWN_MAX: usize = 50;

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
