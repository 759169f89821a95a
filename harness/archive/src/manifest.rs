//! The list of what an archive has: `manifest.json`. Pure.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The manifest's name in the archive.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Version of the manifest.
const FORMAT: u32 = 1;

/// The longest manifest that is read: that of about 100,000 files.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 32 << 20;

/// What an archive has. Equal directories have equal manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// Length of all files together.
    bytes: u64,
    /// The files, in the order of their paths.
    pub(crate) files: Vec<File>,
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Path in the archive, with `/` between names.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// In lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

/// The first field of every version.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

impl Manifest {
    pub(crate) fn new(files: Vec<File>) -> Self {
        Self { format: FORMAT, bytes: files.iter().map(|file| file.bytes).sum(), files }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("it has strings and numbers alone");
        text.push(b'\n');
        text
    }

    /// Reads a manifest, or says what is wrong with it.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        let Head { format } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("its format is {format}, not {FORMAT}"));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        // Whoever can write to the archive must not be able to write elsewhere.
        match manifest.files.iter().find(|file| !is_inside(&file.path)) {
            Some(file) => Err(format!("it lists {:?}, which is no path of it", file.path)),
            None => Ok(manifest),
        }
    }
}

/// Whether a path leads to a file in the archive, and not to its manifest.
fn is_inside(path: &str) -> bool {
    let is_name = |name: &str| !name.starts_with('.') && !name.is_empty() && !name.contains('\\');
    path != MANIFEST_FILE && path.split('/').all(is_name)
}

/// The SHA-256 of some bytes, as it stands in a manifest.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.hex()
}

/// The SHA-256 of bytes that come one after another.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sum {
    bytes: u64,
    sha256: Sha256,
}

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sha256.update(bytes);
    }

    /// How many bytes were added.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn hex(self) -> String {
        self.sha256.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all that is written to it");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lists_only_what_is_in_its_archive() {
        let file =
            |path: &str| File { path: path.to_owned(), bytes: 1, sha256: sha256(b"x").clone() };
        let read = |path: &str| Manifest::read(&Manifest::new(vec![file(path)]).to_json());
        read("a/b.json").unwrap();
        for wrong in
            ["", "/etc/passwd", "../x", "a/../../x", "a//b", ".x", "a\\..\\b", "manifest.json"]
        {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("no path of it"), "{wrong}: {error}");
        }
    }

    #[test]
    fn other_versions_and_other_files_are_no_manifest() {
        for (text, expected) in [
            (r#"{"format": 2, "what": 1}"#, "its format is 2, not 1"),
            (r#"{"format": 1, "bytes": 0, "files": [], "x": 1}"#, "unknown field"),
            ("<html>", "expected value"),
        ] {
            let error = Manifest::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_sum_is_that_of_sha256sum() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
