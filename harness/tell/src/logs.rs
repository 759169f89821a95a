//! Logs: details of what a program does, for users who ask for them.
//!
//! Logs go to standard error through a thread of their own, like the [story](crate::output). So
//! they never block the program: lines that nobody reads are dropped. While a screen is shown,
//! they are held back.
//!
//! Only our own crates are logged, whatever the filter says. At their finest levels, the libraries
//! for HTTP, NATS and TLS log headers and frames, which contain tokens and passwords.

use std::io;

use clap::{ArgAction, Args, ValueEnum};
use tracing::{Metadata, Subscriber, subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::output;
use edges::plain::{is_obeyed, plain};

/// Flags for logs.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Writes logs to standard error: -v logs each step, -vv also each connection and retry.
    /// Without this flag, the variable `RUST_LOG` chooses what is logged.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    /// Format of the logs.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, global = true)]
    log_format: LogFormat,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=info target=… message=… server=…`
    #[default]
    Logfmt,
    /// One JSON object in each line.
    Json,
}

impl LogArgs {
    /// Starts logging. A program calls it once, before anything else.
    pub fn start(self) {
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        let (filter, complaint) = filter(self.verbose, &variable);
        if let Some(complaint) = complaint {
            output::tell(complaint);
        }
        let logs = logs(filter, self.log_format, move || ToStory(self.log_format));
        // A program that uses this as a library may have a subscriber already.
        subscriber::set_global_default(logs).ok();
    }
}

/// Returns the filter, and a complaint if the variable is wrong. A flag wins over the variable.
fn filter(verbose: u8, variable: &str) -> (EnvFilter, Option<String>) {
    match (verbose, variable) {
        (0, "") => (EnvFilter::new(WARNINGS), None),
        (0, variable) => match EnvFilter::try_new(variable) {
            Ok(filter) => (filter, None),
            Err(error) => {
                let text = format!("{VARIABLE} is not understood, and ignored: {error}");
                (EnvFilter::new(WARNINGS), Some(text))
            }
        },
        (1, _) => (EnvFilter::new("info"), None),
        _ => (EnvFilter::new("debug"), None),
    }
}

fn logs<W>(filter: EnvFilter, format: LogFormat, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = match format {
        LogFormat::Logfmt => {
            let logfmt = tracing_logfmt::builder().with_span_name(false).with_span_path(false);
            logfmt.layer().with_writer(writer).boxed()
        }
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true);
            json.with_current_span(false).with_span_list(false).with_writer(writer).boxed()
        }
    };
    Registry::default().with(layer).with(filter).with(filter_fn(is_ours))
}

/// Whether an event comes from one of our own crates.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    OURS.contains(&name)
}

/// The crates whose events are logged. A test checks that each crate that logs is in the list.
const OURS: [&str; 7] = [
    "auditstorm_backfill",
    "auditstorm_generator",
    "auditstorm_suite",
    "auditstorm_verifier",
    "load",
    "stores",
    "tell",
];

/// Passes each line to the story.
struct ToStory(LogFormat);

impl io::Write for ToStory {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        output::log(safe(text.trim_end_matches('\n'), self.0));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a line safe for a terminal. It keeps its format.
fn safe(line: &str, format: LogFormat) -> String {
    match format {
        LogFormat::Logfmt => plain(line),
        // Only strings can contain control characters. In JSON, their escapes have four digits.
        LogFormat::Json => line.chars().fold(String::new(), |safe, c| {
            if is_obeyed(c) {
                format!("{safe}\\u{:04x}", u32::from(c))
            } else {
                safe + c.encode_utf8(&mut [0; 4])
            }
        }),
    }
}

const VARIABLE: &str = "RUST_LOG";
const WARNINGS: &str = "warn";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    /// Keeps lines as they would be written.
    #[derive(Clone)]
    struct Kept(LogFormat, Arc<Mutex<Vec<String>>>);

    impl io::Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(line.to_vec()).unwrap();
            let text = text.strip_suffix('\n').expect("a write is a line");
            self.1.lock().unwrap().push(safe(text, self.0));
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(verbose: u8, variable: &str, format: LogFormat) -> Vec<String> {
        let kept = Kept(format, Arc::default());
        let writer = kept.clone();
        let logs = logs(filter(verbose, variable).0, format, move || writer.clone());
        subscriber::with_default(logs, || {
            let server = "\u{1b}[2Jvector\u{202e}\n\"8080\"";
            tracing::info!(server, took_ms = 12, "connected");
            tracing::debug!(attempt = 3, "asked again");
            tracing::warn!(target: "hyper::proto", "authorization: Bearer secret");
            tracing::error!(target: "rustls", "a library says so");
            tracing::info!(target: "auditstorm_verifier::scan", "reading");
            tracing::info!(target: "auditstorm_verifiers", "nobody of ours");
        });
        let lines = kept.1.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_flag_says_what_is_logged_and_without_it_the_variable() {
        let count = |verbose, variable| logged(verbose, variable, LogFormat::Logfmt).len();
        assert_eq!(count(0, ""), 0, "only warnings");
        assert_eq!((count(1, ""), count(2, ""), count(9, "")), (2, 3, 3));
        assert_eq!((count(0, "trace"), count(1, "trace"), count(2, "off")), (3, 2, 3));
        assert_eq!(count(0, "info,tell=off"), 1);
        assert_eq!(count(0, "tell=debug"), 2);
        assert_eq!(count(0, "tell=loud"), 0, "what is not understood is ignored");
        let (_, complaint) = filter(0, "tell=loud");
        assert!(complaint.unwrap().starts_with("RUST_LOG is not understood"));
        assert_eq!(filter(1, "tell=loud").1, None);
    }

    #[test]
    fn no_library_is_logged_whatever_is_asked_for() {
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            for variable in ["trace", "hyper=trace,rustls=trace,tell=trace"] {
                let text = logged(0, variable, format).join("\n");
                assert!(text.contains("connected"), "{text}");
                assert!(!text.contains("Bearer") && !text.contains("library"), "{text}");
            }
        }
    }

    #[test]
    fn a_line_is_of_its_format_and_no_terminal_obeys_it() {
        let logfmt = &logged(1, "", LogFormat::Logfmt)[0];
        let told = r#" level=info target=tell::logs::tests message=connected server="\u{1b}[2Jv"#;
        assert!(logfmt.starts_with("ts=") && logfmt.contains(told), "{logfmt}");
        assert!(logfmt.ends_with(r#"\u{202e}\n\"8080\"" took_ms=12"#), "{logfmt}");
        let json = &logged(1, "", LogFormat::Json)[0];
        assert_eq!(plain(json), **json);
        let line: Value = serde_json::from_str(json).unwrap();
        assert_eq!(line["server"], "\u{1b}[2Jvector\u{202e}\n\"8080\"");
        assert_eq!((&line["level"], &line["took_ms"]), (&"INFO".into(), &12.into()));
        assert_eq!(line["message"], "connected");
    }
}
