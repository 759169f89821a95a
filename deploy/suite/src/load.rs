//! The load of a scenario: generator and watch start together, faults happen at their times, and
//! the watch goes on until the pipeline has recovered.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use edges::clock::{Clock, micros};
use edges::exit::Exit;
use tell::output::tell;
use tokio::sync::watch;

use crate::error::SuiteError;
use crate::executor::{Ending, Executor, Job as _, Program, Task};
use crate::order::Order as FaultOrder;
use crate::step::exit_of;
use crate::suite::{Fault, Scenario};

/// How a load is run.
#[derive(Debug)]
pub(crate) struct Order {
    /// The directory of the sandbox, if there is one.
    pub(crate) sandbox: Option<PathBuf>,
    /// How long the pipeline may take until it has recovered.
    pub(crate) recovery: Duration,
    /// The time between two looks at the pipeline.
    pub(crate) interval: Duration,
    pub(crate) profile: PathBuf,
    pub(crate) logs: Logs,
}

/// Where the output of the programs goes.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) generator: PathBuf,
    pub(crate) watch: PathBuf,
    pub(crate) faults: PathBuf,
}

/// How a load ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// How the generator ended.
    pub(crate) ending: Ending,
    /// What did not go as it should.
    pub(crate) notes: Vec<String>,
}

/// Runs a load to its end.
///
/// # Errors
///
/// Returns [`SuiteError`] if a program cannot be started.
pub(crate) async fn load(
    executor: &impl Executor,
    scenario: &Scenario,
    order: Order,
    run: &Path,
    clock: Clock,
) -> Result<Loaded, SuiteError> {
    let text = std::fs::read_to_string(&order.profile).map_err(SuiteError::io(&order.profile))?;
    let load_time = scenario.load_time(&text)?;
    let start = clock.now() + micros(LEAD);
    let mut watch = executor.start(&watch_task(&order, run, load_time))?;
    let mut generator =
        executor.start(&generator_task(scenario, &order, (run, start), load_time))?;
    tell(format_args!("load {}: {} s of events", scenario.name(), load_time.as_secs()));
    let notes = RefCell::new(Vec::new());
    let (over, is_over) = watch::channel(false);
    let faults = Faults { executor, order: &order, run, clock, notes: &notes };
    let generating = async {
        let ended = generator.ended().await;
        over.send_replace(true);
        ended
    };
    let (ended, faulted) =
        tokio::join!(generating, faults.all(start, &scenario.faults, is_over.clone()));
    faulted?;
    let ended = ended?;
    let is_killed = matches!(ended, Ending::Signal(_));
    if run.join("run.json").exists() && !is_killed {
        let watched = watch.ended().await?;
        if exit_of(watched.code()) != Exit::Done {
            notes.borrow_mut().push(format!("the watch ended with {watched}"));
        }
    } else {
        watch.stop().await;
    }
    if exit_of(ended.code()) != Exit::Done {
        let log = order.logs.generator.file_name().unwrap_or_default().to_string_lossy();
        notes.borrow_mut().push(format!("the generator ended with {ended}; see logs/{log}"));
    }
    Ok(Loaded { ending: ended, notes: notes.into_inner() })
}

fn watch_task(order: &Order, run: &Path, load_time: Duration) -> Task {
    let linger = format!("--linger={}s", order.recovery.as_secs().max(1));
    let mut args: Vec<String> =
        ["watch", "--quiet", "--until-still"].iter().map(|it| (*it).to_owned()).collect();
    let interval = format!("--interval={}ms", order.interval.as_millis());
    args.extend([linger, interval, run.display().to_string()]);
    args.extend(order.sandbox.iter().map(|dir| format!("--sandbox={}", dir.display())));
    let limit = load_time + order.recovery + LOAD_SLACK;
    Task { program: Program::Verifier, args, log: order.logs.watch.clone(), limit }
}

fn generator_task(
    scenario: &Scenario,
    order: &Order,
    (run, start): (&Path, i64),
    load_time: Duration,
) -> Task {
    let start = DateTime::from_timestamp_micros(start).expect("a time of this century");
    let mut args = vec!["run".to_owned(), order.profile.display().to_string()];
    args.extend(scenario.scale_flags());
    args.extend([
        format!("--out={}", run.display()),
        format!("--start-at={}", start.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
    ]);
    if !scenario.queries {
        args.push("--no-queries".to_owned());
    }
    let (log, limit) = (order.logs.generator.clone(), load_time + LOAD_SLACK);
    Task { program: Program::Generator, args, log, limit }
}

/// Does to the pipeline what was ordered.
struct Faults<'a, E> {
    executor: &'a E,
    order: &'a Order,
    run: &'a Path,
    clock: Clock,
    notes: &'a RefCell<Vec<String>>,
}

impl<E: Executor> Faults<'_, E> {
    /// Does all faults at their times. Those that are not due when the load is over are left out.
    async fn all(
        &self,
        start: i64,
        faults: &[Fault],
        mut is_over: watch::Receiver<bool>,
    ) -> Result<(), SuiteError> {
        let mut faults: Vec<&Fault> = faults.iter().collect();
        faults.sort_by_key(|fault| fault.at.get().us());
        for (number, fault) in faults.into_iter().enumerate() {
            let order = fault.order.value();
            let at = start + i64::try_from(fault.at.get().us()).unwrap_or(i64::MAX / 2);
            tokio::select! {
                () = self.clock.sleep_until(at) => self.one(number, order).await?,
                _ = is_over.wait_for(|it| *it) => {
                    let note = format!("`{order}` was not done: the load was over before");
                    self.notes.borrow_mut().push(note);
                }
            }
        }
        Ok(())
    }

    /// Does one, and marks its beginning and its end in the run.
    async fn one(&self, number: usize, order: &FaultOrder) -> Result<(), SuiteError> {
        tell(format_args!("fault: {order}"));
        self.mark(number, &order.to_string()).await?;
        let (program, args) = command(order, self.order.sandbox.as_deref());
        let log = numbered(&self.order.logs.faults, number, "");
        let shown = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ended = self.run(Task { program, args, log, limit: FAULT_LIMIT }).await?;
        if ended.code() == 0 {
            return self.mark(number, &format!("done: {order}")).await;
        }
        let note = format!("`{order}` failed with {ended}; see logs/{shown}");
        self.mark(number, &note).await?;
        self.notes.borrow_mut().push(note);
        Ok(())
    }

    async fn mark(&self, number: usize, text: &str) -> Result<(), SuiteError> {
        let args = vec!["mark".to_owned(), self.run.display().to_string(), text.to_owned()];
        let log = numbered(&self.order.logs.faults, number, "mark.");
        let ended =
            self.run(Task { program: Program::Verifier, args, log, limit: MARK_LIMIT }).await?;
        if ended.code() != 0 {
            self.notes.borrow_mut().push(format!("`{text}` could not be marked: {ended}"));
        }
        Ok(())
    }

    async fn run(&self, task: Task) -> Result<Ending, SuiteError> {
        self.executor.start(&task)?.ended().await
    }
}

fn numbered(log: &Path, number: usize, part: &str) -> PathBuf {
    log.with_extension(format!("{part}{}.log", number + 1))
}

/// The command that does what is ordered.
fn command(order: &FaultOrder, sandbox: Option<&Path>) -> (Program, Vec<String>) {
    let dir = || format!("--dir={}", sandbox.unwrap_or(Path::new(".")).display());
    let args = match order {
        FaultOrder::Shell { command } => {
            return (Program::Shell, vec!["-c".to_owned(), command.clone()]);
        }
        FaultOrder::Restart { part, down_for } => vec![
            "restart".to_owned(),
            dir(),
            format!("--down-for={}ms", down_for.as_millis()),
            (*part).to_owned(),
        ],
        FaultOrder::Stop { part } => vec!["stop".to_owned(), dir(), (*part).to_owned()],
        FaultOrder::Start { part } => vec!["start".to_owned(), dir(), (*part).to_owned()],
    };
    (Program::Sandbox, args)
}

/// The time until the first event is due: the programs have connected by then.
const LEAD: Duration = Duration::from_secs(5);
/// How long a program may take beside the load itself.
const LOAD_SLACK: Duration = Duration::from_mins(5);
/// The longest that a part stays down is ten minutes.
const FAULT_LIMIT: Duration = Duration::from_mins(15);
const MARK_LIMIT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_becomes_a_command() {
        #[track_caller]
        fn check(order: &str, program: Program, expected: &[&str]) {
            let (found, args) = command(&order.parse().unwrap(), Some(Path::new("/s")));
            assert_eq!(found, program);
            assert_eq!(args, expected);
        }
        let restart = ["restart", "--dir=/s", "--down-for=1500ms", "nats"];
        check("restart nats for 1500ms", Program::Sandbox, &restart);
        check("stop clickhouse", Program::Sandbox, &["stop", "--dir=/s", "clickhouse"]);
        check("kubectl get pods", Program::Shell, &["-c", "kubectl get pods"]);
    }
}
