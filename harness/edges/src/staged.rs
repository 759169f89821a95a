//! A file that gets its name only when it is complete: after a crash there is the old file or the
//! new one, never half of one.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, PersistError};

/// A file that is written under a temporary name in the same folder. It is deleted, unless it is
/// kept; a process that is killed leaves it there, hidden.
///
/// The temporary name is drawn, and must not exist yet. So two machines that share a volume never
/// write the same file, even if their processes have the same number, as the first processes of
/// containers do.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: NamedTempFile,
}

impl Staged {
    /// Creates the file beside its place.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it cannot, or the path has no name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_string_lossy();
        // Not with the library's own permissions: others may read the file, as any other.
        let file = Builder::new()
            .prefix(&format!(".{name}."))
            .make_in(folder_of(path), |waiting| File::create_new(waiting))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Waits until the disk has the file, and gives it its name, whatever had that before.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it cannot.
    pub fn keep(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|unkept| unkept.error)?;
        sync_name(&self.path)
    }

    /// As [`Self::keep`], unless there is a file of that name.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::AlreadyExists`] if there is, or the operating system's error.
    pub fn keep_new(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        match self.file.persist_noclobber(&self.path) {
            Ok(_) => {}
            // The library knows two ways, of which file systems may have neither.
            Err(PersistError { error, file }) if has_no_links(&error) => {
                copy_new(file.path(), &self.path)?;
            }
            Err(unkept) => return Err(unkept.error),
        }
        sync_name(&self.path)
    }
}

/// Writes to the file itself: the library would add the temporary name to errors.
impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
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

/// Waits until the disk has a file's name, where the file system lets anybody wait for that.
fn sync_name(path: &Path) -> io::Result<()> {
    match sync_folder(folder_of(path)) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// The folder that a file is in, or will be.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// Where there is no other way, a crash can leave half a file.
fn copy_new(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

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
    fn without_links_there_is_still_only_one_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let mut staged = Staged::create(&path).unwrap();
        staged.write_all(b"one").unwrap();
        copy_new(staged.file.path(), &path).unwrap();
        let error = copy_new(staged.file.path(), &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        drop(staged);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["run.json"]);
    }

    #[test]
    fn who_may_read_other_files_may_read_this_one_and_errors_do_not_tell_its_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        let (path, other) = (folder.path().join("report.html"), folder.path().join("other"));
        write_whole(&path, b"new").unwrap();
        fs::write(&other, b"as files are").unwrap();
        assert_eq!(mode(&path), mode(&other));
        let error = write_whole(&folder.path().join("none/report.html"), b"new").unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    }

    #[test]
    fn what_a_killed_process_left_is_hidden_and_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let mut killed = Staged::create(&path).unwrap();
        killed.write_all(b"half").unwrap();
        std::mem::forget(killed);
        assert!(names(folder.path()).iter().all(|name| name.starts_with(".report.json.")));
        write_whole(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()).len(), 2);
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
