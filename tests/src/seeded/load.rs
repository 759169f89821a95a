//! Sends a run's events: with the generator, or with the loader, which is killed and continued.

use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::accounts::Account;
use super::draw::{Load, Run};
use super::wrong_clock;
use crate::stack::Stack;

impl Run {
    /// The directory of the run's record, relative to the stack's.
    pub fn dir(&self) -> String {
        format!("run-{}", self.index)
    }

    /// The table that its events come into.
    pub fn table(&self) -> String {
        match self.load {
            Load::History { replayed_days: 0, .. } => format!("audit.plain_{}", self.index),
            _ => "audit.audit_logs".to_owned(),
        }
    }

    /// Sends all events. Returns when the sender is done or has been given up.
    pub fn send(&self, stack: &Stack) {
        let profile = self.write_profile(stack);
        match &self.load {
            Load::Live { killed_after, .. } => {
                let args = ["run", &profile, "--out", &self.dir(), "--no-self-test"];
                let sender = self.begin(stack, "auditstorm-generator", &args);
                end(sender, *killed_after);
            }
            Load::History { kills, account, .. } => {
                for after in kills {
                    let args = self.args(&profile, *account);
                    end(self.begin(stack, "auditstorm-backfill", &args), Some(*after));
                }
                let args = self.args(&profile, Account::Full);
                let is_done = || {
                    let loader = self.begin(stack, "auditstorm-backfill", &args);
                    end(loader, None).is_some_and(|status| status.success())
                };
                // The ledger knows what is not done in the end.
                let _ = (0..TRIES).any(|_| is_done());
            }
        }
    }

    fn write_profile(&self, stack: &Stack) -> String {
        let (Load::Live { profile: text, .. } | Load::History { profile: text, .. }) = &self.load;
        let name = format!("profile-{}.yaml", self.index);
        std::fs::write(stack.path(&name), text).unwrap();
        name
    }

    fn args(&self, profile: &str, account: Account) -> Vec<String> {
        let Load::History { events, days, replayed_days, rows_per_insert, .. } = &self.load else {
            unreachable!("a live run has no loader")
        };
        let words = format!(
            "run {profile} --out {} --events {events} --days {days} --table {} \
             --rows-per-insert {rows_per_insert} --replay-from-day {replayed_days} \
             --replay-settle 4s --patience 5m --quiet --clickhouse-user {}",
            self.dir(),
            self.table(),
            account.user()
        );
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn begin(&self, stack: &Stack, name: &str, args: &[impl AsRef<str>]) -> Child {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let mut command = stack.command(name, &args);
        wrong_clock::set(&mut command, self.sender_clock);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The path of the run's record.
    pub fn path(&self, stack: &Stack) -> PathBuf {
        stack.path(&self.dir())
    }
}

/// How often a loader that does not finish is started again.
const TRIES: u32 = 3;

/// Waits until a sender ends, or kills it after a time. Returns its exit status if it ended by
/// itself.
fn end(mut sender: Child, killed_after: Option<Duration>) -> Option<ExitStatus> {
    const LOOK: Duration = Duration::from_millis(20);
    const LIMIT: Duration = Duration::from_mins(10);
    let mut waited = Duration::ZERO;
    while waited < killed_after.unwrap_or(LIMIT) {
        if let Some(status) = sender.try_wait().unwrap() {
            return Some(status);
        }
        sleep(LOOK);
        waited += LOOK;
    }
    sender.kill().unwrap();
    sender.wait().unwrap();
    None
}
