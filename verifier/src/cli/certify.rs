//! `certify`: writes what an auditor may keep, and checks it.

use std::path::PathBuf;

use archive::local;
use clap::Args;
use edges::exit::Exit;
use edges::staged::write_whole;
use tell::output::{show, show_by};

use super::story::told;
use crate::certificate::{CertificateError, CheckedRun};
use crate::error::VerifyError;

/// Writes a certificate of what the check of a run has found, or checks one.
///
/// A certificate is a statement in the form of in-toto's test results, in a DSSE envelope. It is
/// made from the run's directory alone, and so can anybody check it who has that.
#[derive(Debug, Args)]
pub(super) struct CertifyArgs {
    /// Directory of a reconciled run, or address of its archive.
    run: PathBuf,
    /// Private key to sign with: Ed25519 or ECDSA P-256, PKCS#8 in PEM. With --verify, the public
    /// key.
    #[arg(long, value_name = "FILE", required_unless_present = "unsigned")]
    key: Option<PathBuf>,
    /// Writes the statement alone, for another tool to sign. With --verify, FILE is such a
    /// statement, and no signature is checked.
    #[arg(long = "unsigned-statement", conflicts_with = "key")]
    unsigned: bool,
    /// File for the certificate [default: standard output].
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    out: Option<PathBuf>,
    /// Checks this certificate against the run instead.
    #[arg(long, value_name = "FILE")]
    verify: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &CertifyArgs) -> Result<Exit, VerifyError> {
    let dir = local(&args.run)?;
    let run = CheckedRun::read(dir.path())?;
    if let Some(file) = &args.verify {
        let check = match &args.key {
            Some(key) => run.check(file, key)?,
            None => run.check_statement(file)?,
        };
        let exit = if check.faults.is_empty() { Exit::Done } else { Exit::Threshold };
        return Ok(told(show(&check), exit));
    }
    let text = match &args.key {
        Some(key) => run.certificate(key)?,
        None => run.statement(),
    };
    let Some(path) = &args.out else {
        return Ok(told(show_by(|out| out.write_all(&text)), Exit::Done));
    };
    write_whole(path, &text)
        .map_err(|source| CertificateError::Unwritable { path: path.clone(), source })?;
    Ok(Exit::Done)
}
