//! Programs with a wrong clock. They use Debian's libfaketime, which is preloaded only into them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Lets a program see a time that is this many seconds ahead, or behind if negative. Durations that
/// it waits for do not change.
pub fn set(program: &mut Command, seconds: i64) {
    if seconds == 0 {
        return;
    }
    program
        .env("LD_PRELOAD", library())
        .env("FAKETIME", format!("{seconds:+}s"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // The timestamps of files stay right.
        .env("NO_FAKE_STAT", "1")
        // Otherwise a killed program leaves its shared memory behind.
        .env("FAKETIME_DISABLE_SHM", "1");
}

/// The library for programs with several threads, in the folder of the machine's architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap();
    let paths = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    found.expect("no libfaketime: run `make setup`, or install Debian's package faketime")
}
