//! The directory that is archived: which files it has, and that nobody changes them meanwhile.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::ArchiveError;
use crate::manifest::{MANIFEST_FILE, Sum};

/// A file of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path in the archive.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What changes when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    inode: u64,
    modified_ns: i128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let seconds = i128::from(metadata.mtime());
        Self {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified_ns: seconds * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// The files of a directory, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    /// In the order of their names.
    pub(crate) files: Vec<Found>,
    /// Links, pipes and the like.
    pub(crate) left_out: Vec<PathBuf>,
}

impl Tree {
    /// Lists a directory and those in it. Hidden files are nobody's results: they are what a
    /// killed process left of a file that it had not finished.
    pub(crate) fn read(root: &Path) -> Result<Self, ArchiveError> {
        let mut tree = Self::default();
        tree.add(root, "")?;
        if tree.files.is_empty() {
            return Err(ArchiveError::Empty { path: root.to_owned() });
        }
        tree.files.sort_by(|one, other| one.name.cmp(&other.name));
        tree.left_out.sort();
        Ok(tree)
    }

    fn add(&mut self, folder: &Path, above: &str) -> Result<(), ArchiveError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::Source { path, source }
        };
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            let wrong = |fact| ArchiveError::FileName { path: path.clone(), fact };
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or(wrong("it is not UTF-8"))?;
            if name.starts_with('.') {
                continue;
            }
            if name.contains('\\') || name.chars().any(char::is_control) {
                return Err(wrong("it has a backslash or a control character in it"));
            }
            let name = format!("{above}{name}");
            let metadata = fs::symlink_metadata(&path).map_err(unreadable(&path))?;
            if metadata.is_dir() {
                self.add(&path, &format!("{name}/"))?;
            } else if !metadata.is_file() {
                self.left_out.push(path);
            } else if name == MANIFEST_FILE {
                return Err(wrong("the archive has a file of its own of this name"));
            } else {
                self.files.push(Found { name, path, stamp: Stamp::of(&metadata) });
            }
        }
        Ok(())
    }
}

/// Reads a file piece by piece, and finds out if it was changed meanwhile.
#[derive(Debug)]
pub(crate) struct Reader {
    found: Found,
    file: File,
    sum: Sum,
}

impl Reader {
    pub(crate) fn open(found: &Found) -> Result<Self, ArchiveError> {
        let source = |source| ArchiveError::Source { path: found.path.clone(), source };
        let file = File::open(&found.path).map_err(source)?;
        Ok(Self { found: found.clone(), file, sum: Sum::default() })
    }

    pub(crate) fn found(&self) -> &Found {
        &self.found
    }

    /// Reads the next bytes: as many as asked for, but at the end of the file.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<Bytes, ArchiveError> {
        let mut piece = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.file.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let path = self.found.path.clone();
                    return Err(ArchiveError::Source { path, source });
                }
            }
        }
        piece.truncate(filled);
        self.sum.add(&piece);
        Ok(piece.into())
    }

    /// Returns the SHA-256 of what was read, if it was the whole file, and one that stood still.
    pub(crate) fn finish(self) -> Result<String, ArchiveError> {
        let changed = || ArchiveError::Changed { path: self.found.path.clone() };
        let is_same = |metadata: Metadata| Stamp::of(&metadata) == self.found.stamp;
        // The name may lead to another file by now.
        let stands = fs::symlink_metadata(&self.found.path).is_ok_and(is_same);
        if !stands || self.sum.bytes() != self.found.stamp.bytes {
            return Err(changed());
        }
        Ok(self.sum.hex())
    }
}

/// How much is read at once where nothing else decides it.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// Returns the SHA-256 of a file.
pub(crate) fn sha256_of(found: &Found) -> Result<String, ArchiveError> {
    let mut reader = Reader::open(found)?;
    while !reader.read(PIECE_BYTES)?.is_empty() {}
    reader.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_by_name_without_hidden_ones_and_links_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::write(dir.path().join(name), name).unwrap();
        fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for name in ["z.json", "b/c/2.bin", "a", ".a.1234", "b/1.bin"] {
            file(name);
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let tree = Tree::read(dir.path()).unwrap();
        let names: Vec<&str> = tree.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a", "b/1.bin", "b/c/2.bin", "z.json"]);
        assert_eq!(tree.left_out, [dir.path().join("link")]);
        file("manifest.json");
        let error = Tree::read(dir.path()).unwrap_err();
        assert!(error.to_string().contains("a file of its own"), "{error}");
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger-0.bin");
        let check = |change: &dyn Fn()| {
            fs::write(&path, "0123456789").unwrap();
            let found = Tree::read(dir.path()).unwrap().files.remove(0);
            let mut reader = Reader::open(&found).unwrap();
            assert_eq!(reader.read(4).unwrap(), "0123");
            change();
            while !reader.read(4).unwrap().is_empty() {}
            reader.finish()
        };
        assert_eq!(check(&|| {}).unwrap(), crate::manifest::sha256(b"0123456789"));
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "0123456789 and more").unwrap(),
            &|| fs::write(&path, "012345").unwrap(),
            &|| {
                // Another file under its name, of the same length.
                fs::write(dir.path().join(".new"), "abcdefghij").unwrap();
                fs::rename(dir.path().join(".new"), &path).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let error = check(change).unwrap_err();
            assert!(matches!(error, ArchiveError::Changed { .. }), "{number}: {error}");
        }
    }
}
