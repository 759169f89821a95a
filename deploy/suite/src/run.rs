//! Runs the steps of a suite, one after the other, from where it was interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capacity::search::Step as SearchStep;
use edges::clock::Clock;
use edges::exit::Exit;
use edges::shutdown::{Shutdown, Stop};
use events::event::MicroTime;
use plans::profile::Profile;
use tell::output::tell;
use tokio::time::sleep;

use crate::capacity::{CAPACITY, is_plateau, plateau_name, searched};
use crate::compare::{Against, compared};
use crate::error::SuiteError;
use crate::executor::local::Local;
use crate::executor::{Ending, Executor as _, Job as _, Program, Task};
use crate::load::{Loaded, load};
use crate::sandbox::{Sandbox, tail};
use crate::search::Capacity;
use crate::step::{Ended, Event, State, Step, exit_of};
use crate::suite::{Compare, Scenario, SeedHistory, found_from};
use crate::suite_dir::{PipelineLock, SuiteDir};

/// What a suite runs on.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) local: Local,
    /// The directory of the sandbox to start, if any.
    pub(crate) sandbox: Option<PathBuf>,
    /// The directory of the history's run.
    pub(crate) history: PathBuf,
    /// The folder in which profiles are looked for.
    pub(crate) profiles: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
}

/// Why not all steps were done. The same command goes on with them.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The user stopped it.
    Stopped,
    /// A step that all others need did not succeed.
    Blocked {
        step: Step,
        exit: Exit,
        log: PathBuf,
    },
    Broken(SuiteError),
}

impl From<SuiteError> for Halt {
    fn from(error: SuiteError) -> Self {
        Self::Broken(error)
    }
}

/// A suite at work.
struct Runner<'d> {
    dir: &'d mut SuiteDir,
    local: Local,
    clock: Clock,
    shutdown: Shutdown,
    sandbox: Option<Sandbox>,
    history: PathBuf,
    profiles: PathBuf,
}

/// Does all steps that are not done yet.
///
/// # Errors
///
/// Returns [`Halt`] if it cannot go on.
pub(crate) async fn run(dir: &mut SuiteDir, place: Place) -> Result<(), Halt> {
    let Place { local, sandbox, history, profiles, clock, mut shutdown } = place;
    dir.note(clock.now(), Event::Taken)?;
    let flags = dir.suite.sandbox.clone();
    let starting = async {
        match sandbox {
            Some(at) => Sandbox::start(&local, &at, &flags, clock).await.map(Some),
            None => Ok(None),
        }
    };
    let sandbox = tokio::select! {
        started = starting => started?,
        () = shutdown.asked(Stop::Drain) => return Err(Halt::Stopped),
    };
    let env = sandbox.as_ref().map(|it| it.env.clone()).unwrap_or_default();
    let local = local.with_env(env);
    // Until the suite ends, no other one uses this pipeline.
    let webhook = local.variable("VECTOR_WEBHOOK_URL").unwrap_or_default();
    let _pipeline = PipelineLock::take(&webhook)?;
    let mut runner = Runner { dir, local, clock, shutdown, sandbox, history, profiles };
    let done = runner.all().await;
    if let Some(sandbox) = runner.sandbox.take() {
        sandbox.stop().await;
    }
    done
}

impl Runner<'_> {
    async fn all(&mut self) -> Result<(), Halt> {
        let scenarios = self.dir.suite.scenarios.clone();
        for scenario in &scenarios {
            self.ready(scenario).await?;
        }
        if self.dir.suite.capacity.is_some() {
            self.ready(&Scenario::plain(CAPACITY.to_owned())).await?;
        }
        if let Some(seed) = self.dir.suite.seed.clone() {
            self.seed(&seed).await?;
        }
        for scenario in &scenarios {
            for repetition in 1..=scenario.repeat {
                self.scenario(scenario, repetition).await?;
            }
        }
        if let Some(capacity) = self.dir.suite.capacity.clone() {
            self.search(&capacity).await?;
        }
        if self.dir.suite.compare == Compare::Gate {
            for scenario in &scenarios {
                self.confirm(scenario).await?;
            }
        }
        Ok(())
    }

    /// Waits until all servers answer, and checks the pipeline for what a scenario will do.
    async fn ready(&mut self, scenario: &Scenario) -> Result<(), Halt> {
        let step = Step::Ready { scenario: scenario.name().to_owned() };
        if self.dir.journal.ended(&step).is_some() {
            return Ok(());
        }
        let attempt = self.dir.begin(self.clock.now(), &step)?;
        let profile = self.dir.profile(scenario.name()).display().to_string();
        let args = [vec!["preflight".to_owned(), profile], scenario.scale_flags()].concat();
        let within_us = i64::try_from(self.dir.suite.ready.within.get().us()).unwrap_or(i64::MAX);
        let deadline = self.clock.now().saturating_add(within_us);
        loop {
            let task = self.task(&step, attempt, Program::Verifier, args.clone(), CHECK_LIMIT);
            match exit_of(self.run_task(&task).await?.code()) {
                Exit::Done => break,
                Exit::Unreachable if self.clock.now() < deadline => {
                    tell(format_args!("{step}: a server does not answer yet; it is asked again"));
                    self.pause(ASK_AGAIN).await?;
                }
                exit => return Err(Halt::Blocked { step, exit, log: task.log }),
            }
        }
        self.end(&step, attempt, 0, Vec::new())
    }

    /// Loads what is missing of the history, looks for all of it in the table, and inserts what
    /// the table has lost.
    async fn seed(&mut self, seed: &SeedHistory) -> Result<(), Halt> {
        let history = self.history.display().to_string();
        let profile = found_from(&self.profiles, &seed.profile);
        let load = vec![
            "run".to_owned(),
            profile,
            format!("--events={}", seed.events.get()),
            format!("--days={}", seed.days),
            format!("--out={history}"),
        ];
        self.must(&Step::Seed, Program::Backfill, load, SEED_LIMIT).await?;
        let step = Step::SeedCheck;
        if self.dir.journal.ended(&step).is_some() {
            return Ok(());
        }
        let attempt = self.dir.begin(self.clock.now(), &step)?;
        let check = vec!["reconcile".to_owned(), history.clone(), "--report".to_owned()];
        let task = self.task(&step, attempt, Program::Verifier, check, SEED_LIMIT);
        let mut exit = exit_of(self.run_task(&task).await?.code());
        if exit == Exit::Lossy {
            tell("the table has lost events of the history, so they are inserted again");
            let args = vec!["repair".to_owned(), history];
            let log = self.dir.log(&step, attempt, "repair");
            let repair = Task { log, args, program: Program::Backfill, ..task.clone() };
            exit = exit_of(self.run_task(&repair).await?.code());
            if exit == Exit::Done {
                exit = exit_of(self.run_task(&task).await?.code());
            }
        }
        match exit {
            Exit::Done => self.end(&step, attempt, 0, Vec::new()),
            exit => Err(Halt::Blocked { step, exit, log: task.log }),
        }
    }

    /// Runs a step that all others need.
    async fn must(
        &mut self,
        step: &Step,
        program: Program,
        args: Vec<String>,
        limit: Duration,
    ) -> Result<(), Halt> {
        if self.dir.journal.ended(step).is_some() {
            return Ok(());
        }
        let attempt = self.dir.begin(self.clock.now(), step)?;
        let task = self.task(step, attempt, program, args, limit);
        match exit_of(self.run_task(&task).await?.code()) {
            Exit::Done => self.end(step, attempt, 0, Vec::new()),
            exit => Err(Halt::Blocked { step: step.clone(), exit, log: task.log }),
        }
    }

    /// Sends plateau after plateau, until the highest sustained rate is found or given up.
    async fn search(&mut self, capacity: &Capacity) -> Result<(), Halt> {
        let text = self.dir.record.capacity_profile.clone().unwrap_or_default();
        let base = Profile::parse(&text, CAPACITY)
            .map_err(|source| SuiteError::Profile { scenario: CAPACITY.to_owned(), source })?;
        loop {
            let searched = searched(self.dir, capacity);
            let SearchStep::Try { rate, duration, is_confirmation } = searched.step else {
                return Ok(());
            };
            let name = plateau_name(searched.number());
            let profile = capacity.profile_of(&base, rate, duration);
            self.dir.write(&format!("profiles/{name}.yaml"), profile.as_bytes())?;
            let what = if is_confirmation { "to confirm it" } else { "" };
            tell(format_args!("{name}: {rate} for {} s {what}", duration.as_secs()));
            self.scenario(&Scenario::plain(name), 1).await?;
        }
    }

    /// Runs a scenario again if it is worse than earlier ones, and that may be chance.
    async fn confirm(&mut self, scenario: &Scenario) -> Result<(), Halt> {
        for _ in 0..CONFIRMATIONS_MAX {
            let done = self.dir.journal.last_repetition(scenario.name());
            // One that was interrupted comes first.
            if done > scenario.repeat {
                self.scenario(scenario, done).await?;
            }
            let outcome = compared(self.dir, scenario).map(|it| it.outcome);
            if outcome != Some(Against::Suspected) || done >= scenario.repeat + CONFIRMATIONS_MAX {
                return Ok(());
            }
            let name = scenario.name();
            tell(format_args!("{name}: it may be worse than before, so it is run again"));
            self.scenario(scenario, done + 1).await?;
        }
        Ok(())
    }

    /// Sends the events of a scenario, and looks for them.
    async fn scenario(&mut self, scenario: &Scenario, repetition: u32) -> Result<(), Halt> {
        let name = scenario.name().to_owned();
        let run = self.load(scenario, repetition).await?;
        if !run.join("run.json").exists() {
            tell(format_args!("{name}: no run was begun, so there is nothing to check"));
            return Ok(());
        }
        let shown = run.display().to_string();
        if scenario.readback {
            let step = Step::Readback { scenario: name.clone(), repetition };
            let args = vec!["readback".to_owned(), shown.clone()];
            self.look(&step, args, scenario).await?;
        }
        let args = vec![
            "reconcile".to_owned(),
            shown,
            "--report".to_owned(),
            format!("--wait={}", scenario.wait.get()),
        ];
        self.look(&Step::Check { scenario: name, repetition }, args, scenario).await
    }

    /// Sends the events of a scenario, and returns the directory of the run. A load that something
    /// interrupts, be it with this suite or alone, is run again in another directory.
    async fn load(&mut self, scenario: &Scenario, repetition: u32) -> Result<PathBuf, Halt> {
        let name = scenario.name().to_owned();
        let step = Step::Load { scenario: name.clone(), repetition };
        for killed in 1.. {
            match self.dir.journal.state(&step) {
                State::Ended(ended) => return Ok(self.dir.run(&name, repetition, ended.attempt)),
                State::Interrupted { attempts } => {
                    self.leftovers(scenario, repetition, attempts).await?;
                }
                State::Fresh => {}
            }
            let attempt = self.dir.begin(self.clock.now(), &step)?;
            let run = self.dir.run(&name, repetition, attempt);
            let order = self.order(&step, attempt);
            let (local, clock) = (self.local.clone(), self.clock);
            let loading = load(&local, scenario, order, &run, clock);
            let Loaded { ending, notes } = self.unless_halted(loading).await?;
            match ending {
                Ending::Signal(signal) if killed < KILLED_MAX => {
                    tell(format_args!("{step}: signal {signal} ended it; it is run again"));
                }
                _ => self.end(&step, attempt, ending.code(), notes)?,
            }
        }
        unreachable!("it ends after a few loads")
    }

    /// Looks for the events of loads that were interrupted, which also lets the pipeline come to
    /// rest. On a sandbox of the suite there is nothing to find, because it was killed as well.
    async fn leftovers(
        &mut self,
        scenario: &Scenario,
        repetition: u32,
        attempts: u32,
    ) -> Result<(), Halt> {
        for attempt in 1..=attempts {
            let name = scenario.name().to_owned();
            let run = self.dir.run(&name, repetition, attempt);
            if self.sandbox.is_some() || !run.join("run.json").exists() {
                continue;
            }
            let step = Step::Leftover { scenario: name, repetition, attempt };
            let args = vec!["reconcile".to_owned(), run.display().to_string()];
            self.look(&step, args, scenario).await?;
        }
        Ok(())
    }

    /// Runs a step that judges, unless it has ended.
    async fn look(
        &mut self,
        step: &Step,
        args: Vec<String>,
        scenario: &Scenario,
    ) -> Result<(), Halt> {
        if self.dir.journal.ended(step).is_some() {
            return Ok(());
        }
        let attempt = self.dir.begin(self.clock.now(), step)?;
        let limit = Duration::from_micros(scenario.wait.get().us()) + CHECK_LIMIT;
        let task = self.task(step, attempt, Program::Verifier, args, limit);
        let mut ending = self.run_task(&task).await?;
        for _ in 1..KILLED_MAX {
            if let Ending::Signal(signal) = ending {
                tell(format_args!("{step}: signal {signal} ended it; it is run again"));
                ending = self.run_task(&task).await?;
            }
        }
        let notes = match exit_of(ending.code()) {
            Exit::Done | Exit::Lossy | Exit::Threshold | Exit::Unknown => Vec::new(),
            _ => vec![format!("{ending}; see {}", self.inside(&task.log))],
        };
        self.end(step, attempt, ending.code(), notes)
    }

    fn order(&self, step: &Step, attempt: u32) -> crate::load::Order {
        let sandbox = self.sandbox.as_ref().map(|it| it.dir.clone());
        let log = |part: &str| self.dir.log(step, attempt, part);
        let (generator, watch) = (log("generator"), log("watch"));
        crate::load::Order {
            sandbox,
            recovery: Duration::from_micros(self.dir.suite.recovery.within.get().us()),
            interval: self.interval(step),
            profile: match step {
                Step::Load { scenario, .. } => self.dir.profile(scenario),
                _ => PathBuf::new(),
            },
            logs: crate::load::Logs { generator, watch, faults: log("fault") },
        }
    }

    /// The time between two looks at the pipeline. Plateaus need some looks at each batch, because
    /// the backlog rises and falls with the batches.
    fn interval(&self, step: &Step) -> Duration {
        let of_plateau = matches!(step, Step::Load { scenario, .. } if is_plateau(scenario));
        let capacity = self.dir.suite.capacity.as_ref().filter(|_| of_plateau);
        let batch_time = capacity.map(|it| it.options().judge.batch_time);
        let looks = batch_time.map_or(INTERVAL_MAX, |it| it / LOOKS_AT_BATCH);
        looks.clamp(INTERVAL_MIN, INTERVAL_MAX)
    }

    fn task(
        &self,
        step: &Step,
        attempt: u32,
        program: Program,
        args: Vec<String>,
        limit: Duration,
    ) -> Task {
        let part = program.name().trim_start_matches("auditstorm-");
        Task { program, args, log: self.dir.log(step, attempt, part), limit }
    }

    /// Runs a task to its end.
    async fn run_task(&mut self, task: &Task) -> Result<Ending, Halt> {
        let local = self.local.clone();
        let running = async {
            let mut job = local.start(task)?;
            job.ended().await
        };
        self.unless_halted(running).await
    }

    /// Does some work, unless the user stops the suite or its sandbox ends. What was started for
    /// the work is ended then.
    async fn unless_halted<T>(
        &mut self,
        work: impl Future<Output = Result<T, SuiteError>>,
    ) -> Result<T, Halt> {
        let sandbox = &mut self.sandbox;
        let broken = async {
            match sandbox {
                Some(sandbox) => sandbox.broken().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = work => Ok(done?),
            () = self.shutdown.asked(Stop::Drain) => Err(Halt::Stopped),
            error = broken => Err(Halt::Broken(error)),
        }
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        self.unless_halted(async {
            sleep(pause).await;
            Ok(())
        })
        .await
    }

    fn end(&mut self, step: &Step, attempt: u32, exit: u8, notes: Vec<String>) -> Result<(), Halt> {
        let ended = Event::Ended { of: step.clone(), attempt, exit, notes };
        self.dir.note(self.clock.now(), ended)?;
        if let Some(Ended { begun, over, .. }) = self.dir.journal.ended(step) {
            tell(format_args!("{step}: {} after {}", said(exit), took(begun, over)));
        }
        Ok(())
    }

    fn inside<'p>(&self, path: &'p Path) -> std::path::Display<'p> {
        path.strip_prefix(self.dir.path()).unwrap_or(path).display()
    }
}

/// How long a step took.
pub(crate) fn took(begun: MicroTime, ended: MicroTime) -> String {
    let tenths = (ended.0 - begun.0).max(0) / 100_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

fn said(exit: u8) -> String {
    match exit_of(exit) {
        Exit::Done => "ok".to_owned(),
        Exit::Lossy => "lossy".to_owned(),
        Exit::Threshold => "a threshold failed".to_owned(),
        Exit::Unknown => "unknown".to_owned(),
        _ => format!("exit code {exit}"),
    }
}

impl Halt {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Stopped => Exit::Stopped,
            Self::Blocked { exit, .. } => *exit,
            Self::Broken(error) => error.exit(),
        }
    }

    /// The reason in a line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Stopped => "the same command goes on from here".to_owned(),
            Self::Blocked { step, exit, log } => {
                let text = fs::read_to_string(log).unwrap_or_default();
                let blockers = text.lines().filter_map(|line| line.strip_prefix("BLOCKER"));
                match blockers.map(str::trim).next() {
                    Some(blocker) => format!("{step} found a blocker: {blocker}"),
                    None => format!("{step} ended with exit code {}", *exit as u8),
                }
            }
            Self::Broken(error) => edges::exit::chain(error),
        }
    }

    /// The reason with the last lines of the log, for the terminal.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Blocked { log, .. } => {
                let (reason, log_lines) = (self.reason(), tail(log));
                format!("{reason}; nothing can go on without it\n{}:\n{log_lines}", log.display())
            }
            Self::Stopped | Self::Broken(_) => self.reason(),
        }
    }
}

/// How often a program that was killed is run at most.
const KILLED_MAX: u32 = 3;
/// How many more runs a scenario has at most to confirm a regression.
const CONFIRMATIONS_MAX: u32 = 2;
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(1);
const LOOKS_AT_BATCH: u32 = 8;
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long a program takes beside what it was told to wait for.
const CHECK_LIMIT: Duration = Duration::from_mins(30);
const SEED_LIMIT: Duration = Duration::from_hours(24);
