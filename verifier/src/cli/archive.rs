//! `archive` and `fetch`: keep run directories elsewhere, and get them back.

use std::path::PathBuf;

use archive::{Archive, ArchiveError, Options, download};
use clap::Args;
use edges::exit::Exit;
use edges::shutdown::{Shutdown, Stop};
use tell::output::show;

use super::story::{tell, told};
use crate::error::VerifyError;

/// Copies a run directory, or any other, to a bucket or another directory, with a manifest of
/// SHA-256 hashes that is written last. What is there already is not sent again.
#[derive(Debug, Args)]
pub(super) struct ArchiveArgs {
    /// The directory to copy.
    dir: PathBuf,
    #[arg(value_name = "ADDRESS", help = ADDRESS_HELP)]
    to: String,
    /// The archive's name under the address [default: the directory's].
    #[arg(long)]
    name: Option<String>,
}

/// Fetches an archive into a directory, and checks every file of it.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Address of the archive, as `archive` printed it.
    #[arg(value_name = "ADDRESS")]
    from: String,
    /// A directory that is empty or not there yet.
    dir: PathBuf,
}

const ADDRESS_HELP: &str = "Where archives are kept: a directory, s3://bucket/prefix, \
    gs://bucket/prefix or az://container/prefix. Credentials come from the environment";

/// Runs `archive`.
pub(super) async fn upload(args: &ArchiveArgs) -> Result<Exit, VerifyError> {
    let full = std::path::absolute(&args.dir);
    let own = full.ok().and_then(|full| Some(full.file_name()?.to_str()?.to_owned()));
    let name = args.name.clone().or(own).unwrap_or_default();
    let work =
        async { Archive::open(&args.to, Options::default())?.upload(&args.dir, &name).await };
    let Some(done) = until_stopped(work).await? else { return Ok(Exit::Stopped) };
    for path in &done.left_out {
        tell(&format!("{} is no file, and was left out", path.display()));
    }
    tell(&format!(
        "{} files, {} bytes; sent {} files, {} bytes",
        done.files, done.bytes, done.files_sent, done.bytes_sent
    ));
    Ok(told(show(format_args!("{}\n", done.address)), Exit::Done))
}

/// Runs `fetch`.
pub(super) async fn fetch(args: &FetchArgs) -> Result<Exit, VerifyError> {
    let work = download(&args.from, &args.dir, Options::default());
    let Some(done) = until_stopped(work).await? else { return Ok(Exit::Stopped) };
    tell(&format!("{} files, {} bytes, all as the manifest says", done.files, done.bytes));
    Ok(told(show(format_args!("{}\n", args.dir.display())), Exit::Done))
}

/// Returns nothing if the user stops it. The same command goes on where it was stopped.
async fn until_stopped<T>(
    work: impl Future<Output = Result<T, ArchiveError>>,
) -> Result<Option<T>, VerifyError> {
    let mut shutdown = Shutdown::on_signals().map_err(|source| VerifyError::Start { source })?;
    tokio::select! {
        done = Box::pin(work) => Ok(Some(done?)),
        () = shutdown.asked(Stop::Drain) => Ok(None),
    }
}
