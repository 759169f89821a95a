//! Programs whose clock is wrong, by Debian's libfaketime, preloaded into them alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Has a program see a time that is so many seconds ahead, or behind. What it waits for lasts as
/// long as ever.
pub fn set(program: &mut Command, seconds: i64) {
    if seconds == 0 {
        return;
    }
    program
        .env("LD_PRELOAD", library())
        .env("FAKETIME", format!("{seconds:+}s"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // The times of files stay true.
        .env("NO_FAKE_STAT", "1")
        // Else a program that is killed leaves its share of memory behind.
        .env("FAKETIME_DISABLE_SHM", "1");
}

/// The library for programs of several threads: in the folder of the machine's architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap();
    let paths = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    found.expect("no libfaketime: run `make setup`, or install Debian's package faketime")
}
