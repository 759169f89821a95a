//! Which process a sandbox directory belongs to.
//!
//! `DIR/pid` is locked by its owner, so the kernel ends the ownership with the process, and holds
//! the owner's id together with its start time, so that a recycled id is never taken for it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use procfs::process::Process;

use crate::error::SandboxError;

/// The right to run a sandbox in a directory, until dropped.
#[derive(Debug)]
pub(crate) struct Ownership {
    _lock: File,
}

/// A process that surely is the one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its id.
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start.
    start_ticks: u64,
}

impl Ownership {
    /// Takes a directory for this process.
    ///
    /// # Errors
    ///
    /// Returns [`SandboxError::Live`] if another process has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, SandboxError> {
        let path = dir.join("pid");
        let mut file = open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read(&mut file).map_or("unknown".to_owned(), |o| o.pid.to_string());
                return Err(SandboxError::Live { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(SandboxError::io("lock", &path)(error)),
        }
        let pid = std::process::id().cast_signed();
        let start_ticks = start_ticks(pid).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{pid} {start_ticks}\n").as_bytes()))
            .map_err(SandboxError::io("write", &path))?;
        Ok(Self { _lock: file })
    }
}

impl Owner {
    /// Finds the living owner of a directory.
    ///
    /// # Errors
    ///
    /// Returns an error if the directory's record cannot be read.
    pub(crate) fn of(dir: &Path) -> Result<Option<Self>, SandboxError> {
        let path = dir.join("pid");
        if !path.exists() {
            return Ok(None);
        }
        let mut file = open(&path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read(&mut file).filter(Self::lives)),
            Err(TryLockError::Error(error)) => Err(SandboxError::io("lock", &path)(error)),
        }
    }

    /// Says whether this very process still runs.
    pub(crate) fn lives(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }
}

fn open(path: &Path) -> Result<File, SandboxError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(SandboxError::io("open", path))
}

fn read(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let (pid, start_ticks) = text.trim().split_once(' ')?;
    Some(Owner { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}

/// Reads when a process started. A zombie counts as ended.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = Process::new(pid).and_then(|process| process.stat()).ok()?;
    (stat.state != 'Z').then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_until_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(dir.path()).unwrap(), None);
        let ownership = Ownership::take(dir.path()).unwrap();
        let owner = Owner::of(dir.path()).unwrap().unwrap();
        assert_eq!(owner.pid, std::process::id().cast_signed());
        assert!(owner.lives());
        assert!(matches!(Ownership::take(dir.path()), Err(SandboxError::Live { .. })));
        drop(ownership);
        assert_eq!(Owner::of(dir.path()).unwrap(), None);
        assert!(Ownership::take(dir.path()).is_ok());
    }

    #[test]
    fn a_recycled_id_is_not_the_owner() {
        let pid = std::process::id().cast_signed();
        assert!(!Owner { pid, start_ticks: 1 }.lives());
        assert!(!Owner { pid: i32::MAX, start_ticks: 1 }.lives());
    }
}
