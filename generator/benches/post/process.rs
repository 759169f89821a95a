//! Programs as children that end with the bench, and what they cost.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// What a program wrote and cost, from its start to its end.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) stdout: String,
    /// User and system time of all its threads.
    pub(crate) cpu_s: f64,
    /// The most memory that it held at once.
    pub(crate) memory_bytes_max: u64,
}

/// A child that is killed when the bench forgets it, panics or is killed itself.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        // The sandbox's program knows how to make a child end with its parent, then becomes it.
        let guard = beside("auditstorm-sandbox");
        let parent = std::process::id().to_string();
        let child = Command::new(&guard)
            .args(["guard", "--parent", &parent, "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let hint = |error| panic!("{}: {error}; run `make release`", guard.display());
        Self(child.unwrap_or_else(hint))
    }

    /// Waits for the end. The costs are read while the kernel still keeps them for us: from the
    /// end of a child until it is waited for.
    pub(crate) fn finish(mut self) -> Run {
        let stdout = self.0.stdout.take().map(read_in_background);
        let stat = PathBuf::from(format!("/proc/{}/stat", self.0.id()));
        let status = stat.with_file_name("status");
        let mut memory_bytes_max = 0;
        while state(&stat) != "Z" {
            memory_bytes_max = memory_peak(&status).unwrap_or(memory_bytes_max);
            sleep(Duration::from_millis(20));
        }
        let cpu_s = cpu_s(&stat);
        assert!(self.0.wait().unwrap().success(), "a program failed");
        let stdout = stdout.unwrap().join().unwrap();
        Run { stdout, cpu_s, memory_bytes_max }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns the path of a program of this workspace, built as this bench is.
pub(crate) fn beside(name: &str) -> PathBuf {
    let bench = std::env::current_exe().unwrap();
    bench.ancestors().nth(2).unwrap().join(name)
}

/// User and system time so far, in the kernel's ticks of 10 ms, of a process or a thread.
pub(crate) fn cpu_s(stat: &Path) -> f64 {
    const TICKS_PER_S: f64 = 100.0;
    let fields = fields(stat);
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

fn state(stat: &Path) -> String {
    fields(stat)[0].clone()
}

/// The fields after the program's name, which may hold spaces: the state is the first.
fn fields(stat: &Path) -> Vec<String> {
    let text = read_to_string(stat).unwrap();
    let (_, rest) = text.rsplit_once(") ").unwrap();
    rest.split(' ').map(str::to_owned).collect()
}

fn memory_peak(status: &Path) -> Option<u64> {
    let text = read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

fn read_in_background(stdout: ChildStdout) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || std::io::read_to_string(stdout).unwrap())
}
