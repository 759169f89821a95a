//! Programs as children that end with the bench, and what they cost.

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
    #[expect(clippy::cast_precision_loss, reason = "days in ticks are exact in an f64")]
    pub(crate) fn finish(mut self) -> Run {
        let stdout = self.0.stdout.take().map(read_in_background);
        let seen = procfs::process::Process::new(self.0.id().cast_signed()).unwrap();
        let mut memory_bytes_max = 0;
        let stat = loop {
            let stat = seen.stat().unwrap();
            if stat.state == 'Z' {
                break stat;
            }
            let peak_kib = seen.status().ok().and_then(|status| status.vmhwm);
            memory_bytes_max = peak_kib.map_or(memory_bytes_max, |kib| kib << 10);
            sleep(Duration::from_millis(20));
        };
        let ticks = stat.utime + stat.stime;
        let cpu_s = ticks as f64 / procfs::ticks_per_second() as f64;
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

/// User and system time of this thread so far.
pub(crate) fn thread_cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

fn read_in_background(stdout: ChildStdout) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || std::io::read_to_string(stdout).unwrap())
}
