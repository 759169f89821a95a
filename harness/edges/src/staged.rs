//! A file that gets its name only when it is complete: after a crash there is the old file or the
//! new one, never half of one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file that is written under a temporary name in the same folder. It is deleted, unless it is
/// kept.
///
/// The temporary name must not exist yet. So two machines that share a volume never write the same
/// file, even if their processes have the same number, as the first processes of containers do.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Its name until it is kept.
    waiting: PathBuf,
    file: File,
    is_kept: bool,
}

impl Staged {
    /// Creates the file beside its place.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it cannot, or the path has no name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_string_lossy();
        let process = std::process::id();
        for number in 0..NAMES_MAX {
            let waiting = path.with_file_name(format!(".{name}.{process}-{number}"));
            match File::create_new(&waiting) {
                Ok(file) => {
                    return Ok(Self { path: path.to_owned(), waiting, file, is_kept: false });
                }
                // Another machine's, or of a process that was killed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Waits until the disk has the file, and gives it its name, whatever had that before.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it cannot.
    pub fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.waiting, &self.path)?;
        // From here on, another process may use the temporary name.
        self.is_kept = true;
        Ok(())
    }

    /// As [`Self::keep`], unless there is a file of that name.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::AlreadyExists`] if there is, or the operating system's error.
    pub fn keep_new(self) -> io::Result<()> {
        self.file.sync_all()?;
        match fs::hard_link(&self.waiting, &self.path) {
            Err(error) if has_no_links(&error) => self.copy_new(),
            linked => linked,
        }
    }

    /// On file systems without hard links, a crash can leave half a file.
    fn copy_new(&self) -> io::Result<()> {
        let mut file = File::create_new(&self.path)?;
        io::copy(&mut File::open(&self.waiting)?, &mut file)?;
        file.sync_all()
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_kept {
            fs::remove_file(&self.waiting).ok();
        }
    }
}

/// Writes a file whole, in place of what is there. If that fails, what is there stays.
///
/// # Errors
///
/// Returns the operating system's error.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = Staged::create(path)?;
    staged.write_all(bytes)?;
    staged.keep()
}

/// Waits until the disk has the names of a folder's files.
///
/// # Errors
///
/// Returns the operating system's error.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

/// More than the number of files that killed processes leave behind, or that processes write at the
/// same time.
const NAMES_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_fails_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write_whole(&path, b"old").unwrap();
        let mut staged = Staged::create(&path).unwrap();
        staged.write_all(b"half of the n").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(staged);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // It cannot be put in a directory's place.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        write_whole(&taken, b"new").unwrap_err();
        assert_eq!(names(folder.path()), ["report.json", "taken"]);
    }

    #[test]
    fn two_processes_of_one_number_write_to_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        // Of another machine, and of a process that was killed there.
        let (mut one, mut other) = (Staged::create(&path).unwrap(), Staged::create(&path).unwrap());
        one.write_all(b"one").unwrap();
        other.write_all(b"other").unwrap();
        one.keep_new().unwrap();
        let error = other.keep_new().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["run.json"]);
    }

    #[test]
    fn only_one_of_many_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let firsts: usize = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || {
                        let mut staged = Staged::create(path).unwrap();
                        staged.write_all(&[number; 100]).unwrap();
                        usize::from(staged.keep_new().is_ok())
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        assert_eq!(firsts, 1);
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 100 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(folder.path()), ["run.json"]);
    }
}
