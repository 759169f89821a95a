//! Tests of uploads and downloads, with stores that fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use edges::exit::{Exit, chain};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt as _};
use tempfile::TempDir;

use crate::download::{Downloaded, download};
use crate::error::ArchiveError;
use crate::faulty::{Ask, Faulty, gone};
use crate::folder::Folder;
use crate::objects::Objects;
use crate::options::Options;
use crate::store::Store;
use crate::upload::{Uploaded, upload};

const OPTIONS: Options = Options {
    lanes: 2,
    part_bytes: 1_000,
    request: std::time::Duration::from_secs(5),
    patience: std::time::Duration::from_secs(5),
    total: std::time::Duration::from_mins(1),
};

/// A run's directory: small files and one that goes in parts, some in a directory of their own.
fn run() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("shard 2#")).unwrap();
    for (name, bytes) in [
        ("run.json", 700),
        ("ledger-0.bin", 4_321),
        ("empty", 0),
        ("just-one-part.bin", 1_000),
        ("shard 2#/ledger-1.bin", 2_000),
        ("report 100%.md", 300),
    ] {
        let text: Vec<u8> = (0..bytes).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect();
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn bucket(store: &Arc<Faulty>) -> Store {
    let stores = (Arc::clone(store) as _, Some(Arc::clone(store) as _));
    Store::Objects(Objects::new(stores, "perf/runs/1", PLACE.to_owned(), OPTIONS))
}

const PLACE: &str = "s3://bucket/perf/runs/1";

async fn up(store: &Store, dir: &Path) -> Result<Uploaded, ArchiveError> {
    upload(store, (PLACE.to_owned(), OPTIONS.lanes), dir).await
}

async fn down(store: &Store, into: &Path) -> Result<Downloaded, ArchiveError> {
    download(store, (PLACE, OPTIONS.lanes), into).await
}

/// All files under a directory that are not hidden, with their contents.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let tree = crate::tree::Tree::read(dir).unwrap();
    tree.files.iter().map(|it| (it.name.clone(), fs::read(&it.path).unwrap())).collect()
}

#[track_caller]
fn told(error: &ArchiveError, expected: &str, exit: Exit) {
    let text = chain(error);
    assert!(text.contains(expected), "{text}");
    assert_eq!(error.exit(), exit, "{text}");
}

#[tokio::test]
async fn what_was_uploaded_comes_back_the_same_and_is_not_sent_again() {
    let far = tempfile::tempdir().unwrap();
    let faulty = Faulty::new();
    for store in [bucket(&faulty), Store::Folder(Folder { path: far.path().join("runs/1") })] {
        let (run, here) = (run(), tempfile::tempdir().unwrap());
        let first = up(&store, run.path()).await.unwrap();
        assert_eq!((first.files, first.files_sent), (6, 6));
        assert_eq!((first.bytes, first.bytes_sent), (8_321, 8_321));
        let again = up(&store, run.path()).await.unwrap();
        assert_eq!((again.files, again.files_sent, again.bytes_sent), (6, 0, 0));
        let fetched = down(&store, here.path()).await.unwrap();
        assert_eq!((fetched.files, fetched.bytes), (6, 8_321));
        assert_eq!(contents(here.path()), contents(run.path()));
        // A second download finds all of it there.
        down(&store, here.path()).await.unwrap();
        // Of a run that was reconciled since, only what is new is sent.
        fs::write(run.path().join("report.json"), "new").unwrap();
        fs::write(run.path().join("run.json"), "changed").unwrap();
        let more = up(&store, run.path()).await.unwrap();
        assert_eq!((more.files, more.files_sent, more.bytes_sent), (7, 2, 10));
        told(&down(&store, here.path()).await.unwrap_err(), "is not empty", Exit::Usage);
    }
    assert!(faulty.open.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_is_cut_off_anywhere_is_no_archive_and_the_next_one_finishes_it() {
    let run = run();
    for ask in [Ask::Put, Ask::Part, Ask::Complete, Ask::Get, Ask::List, Ask::Delete] {
        for number in 1.. {
            let faulty = Faulty::new();
            let store = bucket(&faulty);
            faulty.cut_off_at(ask, number);
            let first = up(&store, run.path()).await;
            let was_last = faulty.count(ask) < number;
            faulty.obey(|_, _| None);
            let here = tempfile::tempdir().unwrap();
            if was_last {
                assert_eq!(first.unwrap().files_sent, 6);
                break;
            }
            told(&first.unwrap_err(), "Connection reset by peer", Exit::Unreachable);
            let fetched = down(&store, here.path()).await;
            told(&fetched.unwrap_err(), "no complete archive", Exit::Usage);
            up(&store, run.path()).await.unwrap();
            assert!(faulty.open.lock().unwrap().is_empty(), "{ask:?} {number}: parts are left");
            down(&store, here.path()).await.unwrap();
            assert_eq!(contents(here.path()), contents(run.path()));
        }
    }
}

#[tokio::test]
async fn files_that_arrived_before_a_cut_are_not_sent_again() {
    let (run, faulty) = (run(), Faulty::new());
    let store = bucket(&faulty);
    faulty.obey(|ask, key| {
        (ask == Ask::Put && key.ends_with("run.json")).then(|| gone("Broken pipe"))
    });
    up(&store, run.path()).await.unwrap_err();
    faulty.obey(|_, _| None);
    let second = up(&store, run.path()).await.unwrap();
    assert!(second.files_sent < 6, "{second:?}");
    let asked = faulty.asked.lock().unwrap();
    let (last, key) = asked.last().unwrap();
    assert_eq!((*last, key.as_str()), (Ask::Put, "perf/runs/1/manifest.json"));
}

#[tokio::test]
async fn an_old_manifest_goes_before_what_it_lists() {
    let (run, faulty) = (run(), Faulty::new());
    let store = bucket(&faulty);
    up(&store, run.path()).await.unwrap();
    fs::write(run.path().join("run.json"), "changed").unwrap();
    faulty.cut_off_at(Ask::Put, 1);
    up(&store, run.path()).await.unwrap_err();
    faulty.obey(|_, _| None);
    let here = tempfile::tempdir().unwrap();
    told(&down(&store, here.path()).await.unwrap_err(), "no complete archive", Exit::Usage);
}

#[tokio::test]
async fn a_directory_that_is_written_to_while_it_is_uploaded_is_no_archive() {
    let changes: [fn(&Path); 3] = [
        |dir| fs::write(dir.join("empty"), "is so no more").unwrap(),
        |dir| fs::write(dir.join("new.json"), "{}").unwrap(),
        |dir| fs::remove_file(dir.join("run.json")).unwrap(),
    ];
    for change in changes {
        let (run, faulty) = (run(), Faulty::new());
        let store = bucket(&faulty);
        let (dir, done) = (run.path().to_owned(), Mutex::new(false));
        faulty.obey(move |ask, _| {
            // When the last part of the largest file is there.
            let is_now =
                ask == Ask::Complete && !std::mem::replace(&mut done.lock().unwrap(), true);
            is_now.then(|| change(&dir));
            None
        });
        let error = up(&store, run.path()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Changed { .. } | ArchiveError::Source { .. }));
        assert_eq!(error.exit(), Exit::Usage);
        let here = tempfile::tempdir().unwrap();
        told(&down(&store, here.path()).await.unwrap_err(), "no complete archive", Exit::Usage);
    }
}

#[tokio::test]
async fn damage_is_found_by_name() {
    let (run, faulty) = (run(), Faulty::new());
    let store = bucket(&faulty);
    up(&store, run.path()).await.unwrap();
    let key = Key::from("perf/runs/1/run.json");
    let right = fs::read(run.path().join("run.json")).unwrap();
    let mut flipped = right.clone();
    flipped[17] ^= 1;
    for (bytes, expected) in [
        (Some(flipped), "run.json has another SHA-256"),
        (Some(right[1..].to_vec()), "run.json has another length"),
        (Some([&right[..], b"x"].concat()), "run.json has another length"),
        (None, "run.json is missing"),
    ] {
        match bytes {
            Some(bytes) => drop(faulty.put(&key, bytes.into()).await.unwrap()),
            None => faulty.delete(&key).await.unwrap(),
        }
        let here = tempfile::tempdir().unwrap();
        let error = down(&store, here.path()).await.unwrap_err();
        told(&error, expected, Exit::Usage);
        assert!(!here.path().join("run.json").exists(), "what is damaged is not kept");
    }
    // The next upload repairs it.
    assert_eq!(up(&store, run.path()).await.unwrap().files_sent, 1);
    down(&store, tempfile::tempdir().unwrap().path()).await.unwrap();
    let manifest = Key::from("perf/runs/1/manifest.json");
    faulty.put(&manifest, "{\"format\": 9}".into()).await.unwrap();
    let error = down(&store, tempfile::tempdir().unwrap().path()).await.unwrap_err();
    told(&error, "runs/1/manifest.json is no manifest", Exit::Usage);
}

#[tokio::test]
async fn who_may_not_write_or_has_no_bucket_is_told_so() {
    let (run, faulty) = (run(), Faulty::new());
    let store = bucket(&faulty);
    let check = async |asked: Ask, error: fn() -> Error, expected: &str| {
        faulty.obey(move |ask, _| (ask == asked).then(error));
        let error = up(&store, run.path()).await.unwrap_err();
        told(&error, expected, Exit::Usage);
        assert!(error.to_string().starts_with(PLACE), "{error}");
    };
    check(Ask::Put, denied, "may not be used with these credentials").await;
    check(Ask::List, denied, "403 AccessDenied").await;
    check(Ask::List, no_bucket, "no bucket of this name").await;
    check(Ask::Get, no_bucket, "no bucket of this name").await;
    let here = tempfile::tempdir().unwrap();
    told(&down(&store, here.path()).await.unwrap_err(), "no bucket", Exit::Usage);
}

fn denied() -> Error {
    let source = "status code: 403 Forbidden: <Code>AccessDenied</Code>".into();
    Error::PermissionDenied { path: "x".to_owned(), source }
}

fn no_bucket() -> Error {
    let source = "status code: 404 Not Found: <Code>NoSuchBucket</Code>".into();
    Error::NotFound { path: "x".to_owned(), source }
}

#[tokio::test]
async fn a_failure_of_this_machine_is_told_from_a_directory_that_is_named_wrong() {
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join("run.json"), "{}").unwrap();
    let source = std::io::ErrorKind::StorageFull.into();
    let error = ArchiveError::Folder { path: "/kept".into(), source };
    told(&error, "cannot use the archive in /kept: no storage space", Exit::Machine);
    let store = Store::Folder(Folder { path: "/proc/no/place".into() });
    told(&up(&store, run.path()).await.unwrap_err(), "/proc/no/place", Exit::Usage);
    let nothing = up(&store, &run.path().join("none")).await.unwrap_err();
    told(&nothing, "cannot read", Exit::Usage);
    let empty = tempfile::tempdir().unwrap();
    told(&up(&store, empty.path()).await.unwrap_err(), "no files", Exit::Usage);
}

#[tokio::test]
async fn a_download_stays_out_of_what_it_did_not_write() {
    let (run, faulty) = (run(), Faulty::new());
    let store = bucket(&faulty);
    up(&store, run.path()).await.unwrap();
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("mine.txt"), "mine").unwrap();
    told(&down(&store, here.path()).await.unwrap_err(), "is not empty", Exit::Usage);
    assert_eq!(contents(here.path()).len(), 1);
    // What a cut-off download has left is completed.
    let here = tempfile::tempdir().unwrap();
    faulty.obey(|ask, key| {
        (ask == Ask::Get && key.ends_with("run.json")).then(|| gone("Connection reset by peer"))
    });
    told(&down(&store, here.path()).await.unwrap_err(), "reset", Exit::Unreachable);
    faulty.obey(|_, _| None);
    down(&store, here.path()).await.unwrap();
    assert_eq!(contents(here.path()), contents(run.path()));
}

#[tokio::test]
async fn an_upload_to_a_store_that_is_silent_ends_in_time() {
    let run = run();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let options = Options {
        request: std::time::Duration::from_millis(200),
        patience: std::time::Duration::from_millis(400),
        ..OPTIONS
    };
    let objects = Objects::s3_for_tests(&endpoint, PLACE, options);
    let error = up(&Store::Objects(objects), run.path()).await.unwrap_err();
    told(&error, "does not answer", Exit::Unreachable);
    assert!(!chain(&error).contains("SECRET"), "{}", chain(&error));
}
