//! Rules of the code that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use walkdir::WalkDir;

use crate::stack::root;

const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const MAIN_LINES_MAX: usize = 60;

/// Every crate, with the crates of this workspace that it may use. It may not use any others.
pub(crate) const DIRECTIONS: [(&str, &[&str]); 19] = [
    ("events", &[]),
    ("harness/edges", &["events"]),
    ("harness/plans", &["events"]),
    ("harness/runs", &["edges", "events", "plans"]),
    ("harness/capacity", &["events", "runs"]),
    ("harness/stores", &["edges", "events", "plans", "runs"]),
    ("harness/load", &["edges", "events", "plans", "runs"]),
    ("harness/tell", &["edges", "runs"]),
    ("harness/queries", &["edges", "events", "plans", "runs", "stores"]),
    ("harness/ready", &["edges", "events", "load", "plans", "runs", "stores", "tell"]),
    ("harness/archive", &["edges"]),
    ("harness/notify", &["edges"]),
    ("generator", &["edges", "events", "load", "plans", "queries", "runs", "stores", "tell"]),
    ("backfill", &["edges", "events", "load", "plans", "ready", "runs", "stores", "tell"]),
    ("verifier/report", &["capacity", "edges", "events", "plans", "runs", "tell"]),
    (
        "verifier",
        &[
            "archive", "edges", "events", "plans", "queries", "ready", "report", "runs", "stores",
            "tell",
        ],
    ),
    ("deploy/sandbox", &[]),
    (
        "deploy/suite",
        &["archive", "capacity", "edges", "events", "notify", "plans", "report", "runs", "tell"],
    ),
    (
        "tests",
        &[
            "edges",
            "events",
            "load",
            "plans",
            "queries",
            "runs",
            "stores",
            "auditstorm-backfill",
            "auditstorm-generator",
            "auditstorm-sandbox",
            "auditstorm-suite",
            "auditstorm-verifier",
        ],
    ),
];

/// Crates that would give the pure library access to the outside world.
const IMPURE: [&str; 11] = [
    "tokio",
    "hyper",
    "hyper-util",
    "async-nats",
    "clickhouse",
    "clap",
    "rayon",
    "indicatif",
    "prometheus-client",
    "ratatui",
    "tracing",
];

/// The one file that may hold unsafe code: it loads the ClickHouse library.
const UNSAFE_FILE: &str = "deploy/sandbox/src/chdb.rs";

fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let is_ours = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let is_made = entry.depth() == 1 && (name == "target" || name == "runs");
        entry.depth() == 0 || !(name.starts_with('.') || is_made)
    };
    WalkDir::new(root())
        .into_iter()
        .filter_entry(is_ours)
        .map(Result::unwrap)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)))
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

pub(crate) fn sources() -> Vec<(String, String)> {
    let files = files(&["rs"]);
    assert!(files.len() > 50, "only {} source files were found", files.len());
    files.iter().map(|path| (shown(path), fs::read_to_string(path).unwrap())).collect()
}

fn manifest(folder: &str) -> toml::Table {
    fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap().parse().unwrap()
}

fn dependencies(manifest: &toml::Table, tables: &[&str]) -> BTreeSet<String> {
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn crates_depend_in_one_direction() {
    let packages: Vec<(String, &[&str])> = DIRECTIONS
        .iter()
        .map(|(folder, allowed)| {
            let name = manifest(folder)["package"]["name"].as_str().unwrap().to_owned();
            (name, *allowed)
        })
        .collect();
    let names: BTreeSet<&str> = packages.iter().map(|(name, _)| name.as_str()).collect();
    for ((folder, _), (name, allowed)) in DIRECTIONS.iter().zip(&packages) {
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let used = dependencies(&manifest(folder), &tables);
        let ours = used.iter().map(String::as_str).filter(|used| names.contains(used));
        for used in ours {
            assert!(allowed.contains(&used), "{name} must not depend on {used}");
        }
    }
    let members = manifest("")["workspace"]["members"].as_array().unwrap().len();
    assert_eq!(members, DIRECTIONS.len(), "every member has its line in DIRECTIONS");
}

#[test]
fn the_library_of_events_is_pure() {
    let used = dependencies(&manifest("events"), &["dependencies"]);
    for impure in IMPURE {
        assert!(!used.contains(impure), "events must not depend on {impure}");
    }
    let doors = ["std::fs", "std::net", "std::env", "std::thread", "std::process", "async fn"];
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("events/src/")) {
        for door in doors {
            assert!(!text.contains(door), "{path} uses {door}");
        }
    }
}

#[test]
fn every_version_stands_in_the_one_list() {
    for (folder, _) in DIRECTIONS {
        let manifest = manifest(folder);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(table).and_then(toml::Value::as_table) else { continue };
            for (name, value) in table {
                let inherits = value.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(inherits, Some(true), "{folder}: {name} needs `.workspace = true`");
            }
        }
    }
}

/// Those of all others are dropped, because libraries log headers, and with them tokens.
#[test]
fn what_logs_is_named_where_logs_are_filtered() {
    let filter = fs::read_to_string(root().join("harness/tell/src/logs.rs")).unwrap();
    let (_, ours) = filter.split_once("const OURS").unwrap();
    let (ours, _) = ours.split_once(';').unwrap().1.split_once("];").unwrap();
    let logging = DIRECTIONS
        .iter()
        .map(|(folder, _)| manifest(folder))
        .filter(|manifest| dependencies(manifest, &["dependencies"]).contains("tracing"));
    let names: Vec<String> = logging
        .map(|manifest| manifest["package"]["name"].as_str().unwrap().replace('-', "_"))
        .filter(|name| name != "auditstorm_sandbox")
        .collect();
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        assert!(ours.contains(&format!("\"{name}\"")), "{name} is not in OURS");
    }
}

#[test]
fn lines_fit() {
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let length = line.chars().count();
            assert!(length <= LINE_CHARS_MAX, "{path}:{}: {length} characters", number + 1);
        }
    }
}

/// Finds functions that are too long.
struct Functions<'p> {
    path: &'p str,
}

impl Functions<'_> {
    fn check(&self, name: &syn::Ident, body: &syn::Block) {
        let span = body.span();
        let lines = span.end().line - span.start().line + 1;
        let path = self.path;
        assert!(lines <= FUNCTION_LINES_MAX, "{path}: {name} has {lines} lines");
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_and_mains_are_short() {
    for (path, text) in sources() {
        let file = syn::parse_file(&text).unwrap();
        Functions { path: &path }.visit_file(&file);
        if path.ends_with("src/main.rs") {
            assert!(text.lines().count() <= MAIN_LINES_MAX, "{path} is not thin");
        }
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    for (path, text) in sources() {
        let has_unsafe = text.lines().any(|line| {
            let code = line.split("//").next().unwrap();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        let is_this_file = path == "tests/it/tidy.rs";
        assert!(!has_unsafe || path == UNSAFE_FILE || is_this_file, "{path} has unsafe code");
    }
}

#[test]
fn files_are_named_for_what_they_hold() {
    for (path, _) in sources() {
        let name = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        for vague in ["utils", "util", "common", "helpers", "manager", "misc", "mod"] {
            assert_ne!(name, vague, "{path}");
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_tests_neither_ignored_nor_meant_to_panic() {
    // The words are put together here, so that this file does not break its own rule.
    let forbidden = ["allow(", "ignore]", "ignore =", "should_panic"]
        .map(|rest| [format!("#[{rest}"), format!("#![{rest}")]);
    for (path, text) in sources() {
        for attribute in forbidden.as_flattened() {
            assert!(!text.contains(attribute.as_str()), "{path} has {attribute}");
        }
    }
}

#[test]
fn the_map_is_short_and_its_paths_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(map.lines().count() < 150, "ARCHITECTURE.md is a map, not a territory");
    let paths = map.split('`').skip(1).step_by(2).filter(|code| code.contains('/'));
    let paths: Vec<&str> = paths.filter(|code| !code.contains([' ', '<', '*', ':'])).collect();
    assert!(paths.len() > 10, "the map names files");
    for path in paths {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
}
