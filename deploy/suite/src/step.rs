//! The steps of a suite, and the journal that says how far it is. Pure.
//!
//! The journal is a file of JSON lines. A step that was begun and has not ended was interrupted:
//! it is begun again. A load is then begun in another directory, because no event is sent twice.

use std::fmt;

use edges::exit::Exit;
use events::event::MicroTime;
use serde::{Deserialize, Serialize};

/// A step of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step", deny_unknown_fields)]
pub(crate) enum Step {
    /// The pipeline is checked before a scenario is run.
    Ready { scenario: String },
    /// The history is loaded.
    Seed,
    /// The history is looked for in the table.
    SeedCheck,
    /// The events of a scenario are sent, while the pipeline is watched.
    Load { scenario: String, repetition: u32 },
    /// A run whose load was interrupted is looked for, too.
    Leftover { scenario: String, repetition: u32, attempt: u32 },
    /// The run is read back through the query API.
    Readback { scenario: String, repetition: u32 },
    /// Every event of the run is looked for.
    Check { scenario: String, repetition: u32 },
    /// The directory of the suite is copied to its archive.
    Archive,
    /// A webhook is told of the verdict: the one of this number in the suite, from 1.
    Notify { number: u32 },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { scenario } => write!(f, "ready {scenario}"),
            Self::Seed => f.write_str("seed"),
            Self::SeedCheck => f.write_str("seed-check"),
            Self::Load { scenario, repetition } => write!(f, "load {scenario} {repetition}"),
            Self::Leftover { scenario, repetition, attempt } => {
                write!(f, "leftover {scenario} {repetition} {attempt}")
            }
            Self::Readback { scenario, repetition } => {
                write!(f, "readback {scenario} {repetition}")
            }
            Self::Check { scenario, repetition } => write!(f, "check {scenario} {repetition}"),
            Self::Archive => f.write_str("archive"),
            Self::Notify { number } => write!(f, "notify {number}"),
        }
    }
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) at: MicroTime,
    pub(crate) event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// A process began to work on the suite.
    Taken,
    /// A step was begun. Attempts count from 1.
    Begun { of: Step, attempt: u32 },
    /// A step ended with this exit code. What went wrong beside it is in the notes.
    Ended {
        of: Step,
        attempt: u32,
        exit: u8,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// It could not go on.
    Halted { exit: u8, reason: String },
    /// All steps are done.
    Finished { exit: u8 },
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It was not begun.
    Fresh,
    /// It was begun so many times, and never ended.
    Interrupted {
        attempts: u32,
    },
    Ended(Ended),
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) attempt: u32,
    pub(crate) exit: u8,
    pub(crate) notes: Vec<String>,
    pub(crate) begun: MicroTime,
    pub(crate) over: MicroTime,
}

/// All that was written down about the steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// How far a step is.
    pub(crate) fn state(&self, step: &Step) -> State {
        let mut state = State::Fresh;
        let mut begun = MicroTime(0);
        for Entry { at, event } in &self.entries {
            match event {
                Event::Begun { of, attempt } if of == step => {
                    begun = *at;
                    state = State::Interrupted { attempts: *attempt };
                }
                Event::Ended { of, attempt, exit, notes } if of == step => {
                    let (attempt, exit, notes) = (*attempt, *exit, notes.clone());
                    state = State::Ended(Ended { attempt, exit, notes, begun, over: *at });
                }
                _ => {}
            }
        }
        state
    }

    /// How a step ended, if it has.
    pub(crate) fn ended(&self, step: &Step) -> Option<Ended> {
        match self.state(step) {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// The number of the last repetition of a scenario whose load was begun; 0 if none was.
    pub(crate) fn last_repetition(&self, name: &str) -> u32 {
        let begun = self.entries.iter().filter_map(|it| match &it.event {
            Event::Begun { of: Step::Load { scenario, repetition }, .. } if scenario == name => {
                Some(*repetition)
            }
            _ => None,
        });
        begun.max().unwrap_or(0)
    }

    /// How often the suite was interrupted.
    pub(crate) fn interruptions(&self) -> u32 {
        let taken = self.entries.iter().filter(|it| it.event == Event::Taken).count();
        u32::try_from(taken.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// The exit code of a suite whose steps are all done.
    pub(crate) fn finished(&self) -> Option<u8> {
        self.entries.iter().rev().find_map(|it| match it.event {
            Event::Finished { exit } => Some(exit),
            _ => None,
        })
    }

    /// When it began, and when the last thing was written down.
    pub(crate) fn period(&self) -> Option<(MicroTime, MicroTime)> {
        Some((self.entries.first()?.at, self.entries.last()?.at))
    }

    /// The steps that ended, with how they did, in their order.
    pub(crate) fn all_ended(&self) -> Vec<(Step, Ended)> {
        let steps = self.entries.iter().filter_map(|it| match &it.event {
            Event::Ended { of, .. } => Some(of),
            _ => None,
        });
        let mut seen: Vec<Step> = Vec::new();
        for step in steps {
            if !seen.contains(step) {
                seen.push(step.clone());
            }
        }
        seen.into_iter().filter_map(|step| self.ended(&step).map(|it| (step, it))).collect()
    }
}

/// The worst of some exit codes. A proven loss is the worst, then a threshold that was missed.
/// Then come runs that could not be made or checked, by the reason. It is `Done` of none.
pub(crate) fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
    let weight = |exit: &Exit| match exit {
        Exit::Done => 0,
        Exit::Unknown => 1,
        Exit::Unreachable => 2,
        Exit::Machine => 3,
        Exit::Usage => 4,
        Exit::Stopped => 5,
        Exit::Threshold => 6,
        Exit::Lossy => 7,
    };
    exits.into_iter().max_by_key(weight).unwrap_or(Exit::Done)
}

/// The exit code that a program ended with. One that no program of ours has is a failure of this
/// machine: something else ended the program.
pub(crate) fn exit_of(code: u8) -> Exit {
    [
        Exit::Done,
        Exit::Lossy,
        Exit::Usage,
        Exit::Unreachable,
        Exit::Unknown,
        Exit::Threshold,
        Exit::Machine,
        Exit::Stopped,
    ]
    .into_iter()
    .find(|exit| *exit as u8 == code)
    .unwrap_or(Exit::Machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64, event: Event) -> Entry {
        Entry { at: MicroTime(at), event }
    }

    fn load() -> Step {
        Step::Load { scenario: "smoke".to_owned(), repetition: 1 }
    }

    fn begun(attempt: u32) -> Event {
        Event::Begun { of: load(), attempt }
    }

    fn over(attempt: u32, exit: u8) -> Event {
        Event::Ended { of: load(), attempt, exit, notes: Vec::new() }
    }

    #[test]
    fn a_step_that_was_begun_and_not_ended_was_interrupted() {
        let mut journal = Journal::default();
        assert_eq!(journal.state(&load()), State::Fresh);
        journal.add(entry(1, Event::Taken));
        journal.add(entry(2, begun(1)));
        assert_eq!(journal.state(&load()), State::Interrupted { attempts: 1 });
        journal.add(entry(3, Event::Taken));
        journal.add(entry(4, begun(2)));
        assert_eq!(journal.state(&load()), State::Interrupted { attempts: 2 });
        journal.add(entry(5, over(2, 0)));
        let found = journal.ended(&load()).unwrap();
        assert_eq!((found.attempt, found.begun.0, found.over.0), (2, 4, 5));
        assert_eq!(journal.state(&Step::Seed), State::Fresh, "another step");
        assert_eq!((journal.interruptions(), journal.finished()), (1, None));
        journal.add(entry(6, Event::Finished { exit: 5 }));
        assert_eq!(journal.finished(), Some(5));
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let notes = vec!["`stop nats` failed".to_owned()];
        let with_notes = Event::Ended { of: Step::Seed, attempt: 1, exit: 6, notes };
        let halted = Event::Halted { exit: 130, reason: "x".to_owned() };
        let finished = Event::Finished { exit: 0 };
        for event in [Event::Taken, begun(1), over(1, 0), with_notes, halted, finished] {
            let entry = entry(7, event);
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
        }
    }

    #[test]
    fn a_loss_weighs_more_than_a_missed_threshold_and_that_more_than_what_is_unknown() {
        use Exit::{Done, Lossy, Threshold, Unknown};
        assert_eq!(worst([]), Done);
        assert_eq!(worst([Done, Unknown, Done]), Unknown);
        assert_eq!(worst([Threshold, Unknown, Done]), Threshold);
        assert_eq!(worst([Unknown, Lossy, Threshold]), Lossy);
        assert_eq!(worst([Exit::Machine, Unknown]), Exit::Machine);
        assert_eq!(exit_of(137), Exit::Machine);
        assert_eq!(exit_of(130), Exit::Stopped);
    }
}
