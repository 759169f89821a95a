//! Prometheus, unpacked but not installed: the tests let a real one scrape the programs' metrics.
//!
//! Neither pip nor npm has it, so it is Debian's package. Debian offers one version per release,
//! hence none can be pinned; apt verifies what it fetches by the signatures of the machine's own
//! sources. No run of the pipeline needs it: where it cannot be had, `setup` goes on without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::SandboxError;
use crate::fetching::{last_lines, remove_folder};
use crate::guard::guarded;
use crate::parts::on_path;
use crate::report;

/// Makes Prometheus ready in `home`, unless it is there or on PATH; tells why, if it cannot be had.
///
/// It is made beside its place and then moved there, under the lock of `setup`.
pub(crate) fn offer(home: &Path) {
    let folder = home.join(NAME);
    if folder.join(NAME).is_file() {
        report::print_line(&format!("{NAME}: already in {}", folder.display()));
    } else if let Some(program) = on_path(NAME) {
        report::print_line(&format!("{NAME}: {}, on PATH", program.display()));
    } else {
        report::say(&format!("fetching {NAME} …"));
        match install(home, &folder) {
            Ok(()) => {
                let line = format!("{NAME}: fetched, verified by apt, in {}", folder.display());
                report::print_line(&line);
            }
            Err(error) => {
                report::say("going on without Prometheus, which only the tests of metrics need");
                report::say_error(&error);
            }
        }
    }
}

fn install(home: &Path, folder: &Path) -> Result<(), SandboxError> {
    let work = home.join(format!("{NAME}.partial"));
    remove_folder(&work)?;
    remove_folder(folder)?;
    for path in [work.join("lists/partial"), work.join("cache/archives/partial")] {
        fs::create_dir_all(&path).map_err(SandboxError::io("create", &path))?;
    }
    let programs = fetch(&work);
    let moved = programs.and_then(|programs| {
        fs::rename(programs, folder).map_err(SandboxError::io("move a part to", folder))
    });
    remove_folder(&work)?;
    moved
}

/// Fetches and unpacks the package, with apt's lists and caches inside `work`. Returns the folder
/// of its programs.
fn fetch(work: &Path) -> Result<PathBuf, SandboxError> {
    let apt = |words: &[&str]| {
        let mut command = guarded(Path::new("apt-get"));
        command
            .arg("-q")
            .arg(format!("-oDir::State::lists={}", work.join("lists").display()))
            .arg(format!("-oDir::Cache={}", work.join("cache").display()))
            // Else apt would work as a user that may not write here, and say so.
            .args(["-oAPT::Sandbox::User=root"])
            .args(words);
        command
    };
    run("apt-get", apt(&["update"]).current_dir(work))?;
    run("apt-get", apt(&["download", NAME]).current_dir(work))?;
    let entries = fs::read_dir(work).map_err(SandboxError::io("read", work))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let package = paths.find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    let package = package.ok_or_else(|| SandboxError::Fetch {
        tool: "apt-get",
        part: NAME,
        detail: "it fetched no package".to_owned(),
    })?;
    let unpacked = work.join("unpacked");
    let mut unpack = guarded(Path::new("dpkg-deb"));
    run("dpkg-deb", unpack.arg("-x").arg(&package).arg(&unpacked))?;
    Ok(unpacked.join("usr/bin"))
}

fn run(tool: &'static str, command: &mut Command) -> Result<(), SandboxError> {
    let output = command.output().map_err(SandboxError::io("run", Path::new(tool)))?;
    if output.status.success() {
        return Ok(());
    }
    let detail = last_lines(&output.stderr);
    Err(SandboxError::Fetch { tool, part: NAME, detail })
}

/// The package, its program and its folder.
const NAME: &str = "prometheus";
