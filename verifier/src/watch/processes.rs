//! The processes of a sandbox on this machine: what they use, by part.
//!
//! A sandbox is the parent of its parts. One that is restarted is another process of the same
//! part, so that parts are told by name and processes by ID and time of start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use events::timeline::UnixMicros;
use procfs::process::{Process, all_processes_with_root};
use runs::observation::ResourceUse;

use crate::error::VerifyError;

/// Follows the processes of a sandbox.
#[derive(Debug)]
pub struct Processes {
    /// The file that holds the sandbox's own process ID.
    pid_file: PathBuf,
    ticks_per_second: u64,
    page_bytes: u64,
    /// CPU time of each process, in ticks, and when it was read.
    last: Option<(BTreeMap<ProcessKey, u64>, UnixMicros)>,
}

/// A process: its ID, and when it was started, in ticks since the machine was.
type ProcessKey = (i32, u64);

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    key: ProcessKey,
    part: String,
    ticks: u64,
    memory_bytes: u64,
}

impl Processes {
    /// The processes of the sandbox in a directory, whether or not it is up.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::NoSandbox`] if there never was one.
    pub(crate) fn of(dir: &Path) -> Result<Self, VerifyError> {
        let pid_file = dir.join("pid");
        if !pid_file.is_file() {
            return Err(VerifyError::NoSandbox { dir: dir.to_owned() });
        }
        Ok(Self {
            pid_file,
            ticks_per_second: procfs::ticks_per_second(),
            page_bytes: procfs::page_size(),
            last: None,
        })
    }

    /// Reads what each part used since the last time; nothing at the first.
    pub(crate) fn read(&mut self, proc: &Path, now: UnixMicros) -> Vec<ResourceUse> {
        let text = fs::read_to_string(&self.pid_file).unwrap_or_default();
        let owner = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
        let found = owner.map_or_else(Vec::new, |owner| self.children(proc, owner));
        self.compare(&found, now)
    }

    fn children(&self, proc: &Path, owner: i32) -> Vec<Found> {
        let Ok(processes) = all_processes_with_root(proc) else { return Vec::new() };
        processes.flatten().filter_map(|process| self.child(&process, owner)).collect()
    }

    /// What a process is; `None` if it is no child of the owner, or gone.
    fn child(&self, process: &Process, owner: i32) -> Option<Found> {
        let stat = process.stat().ok().filter(|stat| stat.ppid == owner)?;
        Some(Found {
            key: (process.pid(), stat.starttime),
            part: part_name(&process.cmdline().ok()?)?,
            ticks: stat.utime + stat.stime,
            memory_bytes: process.statm().ok()?.resident * self.page_bytes,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "years in ticks are exact in an f64")]
    fn compare(&mut self, found: &[Found], now: UnixMicros) -> Vec<ResourceUse> {
        let ticks = found.iter().map(|process| (process.key, process.ticks)).collect();
        let Some((before, since)) = self.last.replace((ticks, now)) else { return Vec::new() };
        let seconds = edges::clock::seconds((now - since).max(1));
        let mut parts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for process in found {
            // A process that was not there has used all of its time since.
            let earlier = before.get(&process.key).copied().unwrap_or(0);
            let used = process.ticks.saturating_sub(earlier);
            let sum = parts.entry(&process.part).or_default();
            *sum = (sum.0 + used, sum.1 + process.memory_bytes);
        }
        let resource = |(part, (used, memory_bytes)): (&str, (u64, u64))| ResourceUse {
            part: part.to_owned(),
            cpu_cores: used as f64 / self.ticks_per_second as f64 / seconds,
            memory_bytes,
        };
        parts.into_iter().map(resource).collect()
    }
}

/// Which part of the pipeline a command line is of. The sandbox's own programs have their part
/// as first argument, Vector its role in its configuration's name.
fn part_name(words: &[String]) -> Option<String> {
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let roles = ["vector-sidecar", "vector-aggregator"];
    let role = words
        .iter()
        .filter_map(|word| Path::new(word).file_stem()?.to_str())
        .find(|stem| roles.contains(stem));
    let name = match program {
        // In between, before it becomes the part.
        "auditstorm-sandbox" if words.get(1).is_some_and(|word| word == "guard") => return None,
        "auditstorm-sandbox" => words.get(1)?,
        "nats-server" => "nats",
        "vector" => role.unwrap_or("vector"),
        other => other,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use edges::exit::Exit;

    use super::*;

    /// Lays a process down as the kernel shows it.
    fn lay(proc: &Path, pid: u32, cmdline: &str, parent: u32, ticks: u64, started: u64) {
        let folder = proc.join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let half = ticks / 2;
        let rest = ticks - half;
        let stat = format!(
            "{pid} (a) b) S {parent} 1 1 0 -1 4194560 9 9 9 9 {half} {rest} 7 7 20 0 4 0 \
             {started} 9 100 99 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
        );
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("statm"), "900 100 50 1 0 300 0\n").unwrap();
        fs::write(folder.join("cmdline"), cmdline.replace(' ', "\0")).unwrap();
    }

    #[test]
    fn a_part_that_is_restarted_is_the_same_part() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path().join("proc");
        let none = Processes::of(dir.path()).unwrap_err();
        assert_eq!(none.to_string(), format!("no sandbox in {}", dir.path().display()));
        assert_eq!(none.exit(), Exit::Usage);
        fs::write(dir.path().join("pid"), "10 12345\n").unwrap();
        let own = "auditstorm-sandbox relay --batch-wait=1000ms";
        lay(&proc, 11, own, 10, 500, 1);
        lay(&proc, 12, "/x/nats-server -js", 10, 50, 2);
        lay(&proc, 13, "/x/nats-server -js", 99, 50, 2);
        let known = Processes::of(dir.path()).unwrap();
        let mut processes = Processes { ticks_per_second: 100, page_bytes: 4_096, ..known };
        assert_eq!(processes.read(&proc, 0), [], "nothing to compare with");
        lay(&proc, 12, "/x/nats-server -js", 10, 100, 2);
        fs::remove_dir_all(proc.join("11")).unwrap();
        lay(&proc, 14, own, 10, 20, 3);
        let used = processes.read(&proc, 2_000_000);
        let part = |part: &str, cpu_cores| ResourceUse {
            part: part.to_owned(),
            cpu_cores,
            memory_bytes: 409_600,
        };
        assert_eq!(used, [part("nats", 0.25), part("relay", 0.1)]);
        fs::remove_file(dir.path().join("pid")).unwrap();
        assert_eq!(processes.read(&proc, 3_000_000), [], "a sandbox that is down uses nothing");
    }

    #[test]
    fn parts_are_told_by_their_command_lines() {
        let check = |words: &[&str], expected: Option<&str>| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(part_name(&words).as_deref(), expected, "{words:?}");
        };
        check(&["auditstorm-sandbox", "clickhouse", "--library", "/x"], Some("clickhouse"));
        check(&["auditstorm-sandbox", "guard", "--parent", "1"], None);
        check(
            &["/usr/bin/clickhouse", "server", "--config-file=/x/config.xml"],
            Some("clickhouse"),
        );
        check(&["/x/vector", "--config", "/d/vector-sidecar.yaml"], Some("vector-sidecar"));
        check(&["/x/vector"], Some("vector"));
        check(&[], None);
    }
}
