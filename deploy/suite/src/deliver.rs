//! What happens with a report: it is archived, and people are told of it. Neither changes the
//! verdict.

use archive::{Archive, ArchiveError, Options};
use edges::clock::Clock;
use edges::exit::chain;
use edges::secret::SecretString;
use notify::{Colour, Form, Limits, Message, NotifyError, Webhook};
use tell::output::tell;

use crate::error::SuiteError;
use crate::render::word;
use crate::step::{Event, Step};
use crate::suite::{Notify, NotifyForm};
use crate::suite_dir::SuiteDir;
use crate::summary::SuiteReport;

/// Where the directory of a suite is.
#[derive(Debug)]
pub(crate) enum Archived {
    /// The suite asks for no archive.
    Nowhere,
    At(String),
    /// It could not be archived.
    Failed,
}

impl Archived {
    pub(crate) fn address(&self) -> Option<&str> {
        match self {
            Self::At(address) => Some(address),
            Self::Nowhere | Self::Failed => None,
        }
    }
}

/// Archives a suite that has ended, if it asks for that. One that was archived is not archived
/// again; one whose upload was cut off is finished.
///
/// # Errors
///
/// Returns [`SuiteError`] if that cannot be written down.
pub(crate) async fn archive_once(dir: &mut SuiteDir, clock: Clock) -> Result<Archived, SuiteError> {
    let Some(address) = dir.suite.archive.clone() else { return Ok(Archived::Nowhere) };
    if let Some(done) = dir.journal.ended(&Step::Archive) {
        return Ok(done.notes.into_iter().next().map_or(Archived::Nowhere, Archived::At));
    }
    let attempt = dir.begin(clock.now(), &Step::Archive)?;
    match archive(dir, &address).await {
        Ok(at) => {
            tell(format_args!("archived in {at}"));
            let notes = vec![at.clone()];
            let ended = Event::Ended { of: Step::Archive, attempt, exit: 0, notes };
            dir.note(clock.now(), ended)?;
            Ok(Archived::At(at))
        }
        Err(error) => {
            let why = chain(&error);
            tell(format_args!("not archived: {why}; the same command tries it again"));
            Ok(Archived::Failed)
        }
    }
}

/// Tells all webhooks that were not told. What fails is said, and changes nothing else.
///
/// # Errors
///
/// Returns [`SuiteError`] if it cannot be written down who was told.
pub(crate) async fn notify_once(
    dir: &mut SuiteDir,
    report: &SuiteReport,
    archived: Option<&str>,
    clock: Clock,
) -> Result<(), SuiteError> {
    for (number, to) in (1..).zip(dir.suite.notify.clone()) {
        let step = Step::Notify { number };
        if dir.journal.ended(&step).is_some() {
            continue;
        }
        if let Err(error) = notify(&to, report, archived).await {
            let why = chain(&error);
            tell(format_args!("webhook {number} ({}) was not told: {why}", to.url_from));
            continue;
        }
        // Of a suite that goes on, people are told again when it has ended.
        if dir.journal.finished().is_some() {
            let attempt = dir.begin(clock.now(), &step)?;
            let ended = Event::Ended { of: step, attempt, exit: 0, notes: Vec::new() };
            dir.note(clock.now(), ended)?;
        }
    }
    Ok(())
}

/// Copies the directory of a suite to its archive, and returns the address of the copy.
async fn archive(dir: &SuiteDir, address: &str) -> Result<String, ArchiveError> {
    let archive = Archive::open(address, Options::default())?;
    let folder = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("suite");
    let uploaded = archive.upload(&folder, &format!("{}/{name}", dir.suite.name)).await?;
    Ok(uploaded.address)
}

/// Tells a webhook of a report. `archived` is where its directory was copied to.
async fn notify(
    to: &Notify,
    report: &SuiteReport,
    archived: Option<&str>,
) -> Result<(), NotifyError> {
    let url = std::env::var(&to.url_from).unwrap_or_default();
    let form = match to.form {
        NotifyForm::Slack => Form::Slack,
        NotifyForm::Json => Form::Json,
    };
    let webhook = Webhook::new(form, SecretString::from(url))?;
    webhook.send(&message(report, archived), Limits::default()).await
}

fn message(report: &SuiteReport, archived: Option<&str>) -> Message {
    let (word, tone) = word(report.exit);
    let colour = match tone {
        "good" => Colour::Good,
        "bad" => Colour::Danger,
        _ => Colour::Warning,
    };
    let mut message = Message::new(format!("Suite {}", report.suite), word, colour)
        .line(&report.sentence)
        .field("exit code", report.exit.to_string())
        .field("begun", report::figures::moment(report.begun));
    for scenario in &report.scenarios {
        let run = scenario.runs.iter().find(|run| run.exit == scenario.exit);
        let reason = run.and_then(|run| run.reasons.first()).map_or("passed", String::as_str);
        message = message.field(&scenario.name, reason);
    }
    match archived {
        Some(address) => message.field("archived", address),
        None => message,
    }
}
