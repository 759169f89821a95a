//! What a program prints: the story on standard error, the result on standard output.
//!
//! Printing never ends a program, nor holds it up. If the reader has closed the pipe, printing
//! stops quietly. A full disk is an error and not a panic. If the terminal takes nothing (Ctrl-S,
//! or a pipe that nobody reads), lines of the story are lost, but no time: a thread of its own
//! writes them, and lines are dropped while it is behind. Only the result waits for its reader,
//! when everything else is done.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use serde::Serialize;

use edges::plain::plain_lines;

/// Writes a line of the story to standard error, soon, or not at all if nobody reads it. Control
/// sequences are escaped.
pub fn tell(line: impl Display) {
    STORY.tell(plain_lines(&line.to_string()), LINES_MAX);
    start_teller();
}

/// As [`tell`], of a line of the logs, which has no control sequences. If both are too many, logs
/// are left out first.
pub(crate) fn log(line: String) {
    STORY.tell(line, LOG_LINES_MAX);
    start_teller();
}

fn start_teller() {
    TELLER.call_once(|| {
        let teller = std::thread::Builder::new().name("story".to_owned());
        // Without a thread there is no story, and the program goes on.
        teller.spawn(|| STORY.write_all_to(&mut io::stderr())).ok();
    });
}

/// Waits until what was told is written, for a second at most. A program ends with it.
pub fn finish() {
    if TELLER.is_completed() {
        STORY.finish(FINISH_LIMIT);
    }
}

/// Keeps lines back until what it returns is dropped: they would spoil what is drawn on the
/// terminal meanwhile. What was told before is written before, if that takes no longer than a
/// second.
pub fn hold() -> Held {
    STORY.hold(FINISH_LIMIT);
    Held(())
}

/// Lines wait as long as it is there.
#[derive(Debug)]
pub struct Held(());

impl Drop for Held {
    fn drop(&mut self) {
        STORY.release();
    }
}

/// Writes a result to standard output. A reader that has gone away, as `head` does, ends it
/// quietly.
///
/// # Errors
///
/// Returns the operating system's error if it cannot be written.
pub fn show(text: impl Display) -> io::Result<()> {
    show_by(|out| write!(out, "{}", plain_lines(&text.to_string())))
}

/// Writes a result as JSON, as [`show`] writes text.
///
/// # Errors
///
/// Returns the operating system's error if it cannot be written.
pub fn show_json(result: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(result).map_err(io::Error::other)?;
    show_by(|out| writeln!(out, "{text}"))
}

/// Writes a result piece by piece, as [`show`] writes text.
///
/// # Errors
///
/// Returns the error of `write`, unless it is that of a reader that has gone away.
pub fn show_by(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    finish();
    show_on(io::stdout().lock(), write)
}

fn show_on(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left in the buffer has no reader either.
            drop(out.into_parts());
            Ok(())
        }
        result => result,
    }
}

/// Lines that wait to be written.
struct Story {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: VecDeque<String>,
    is_writing: bool,
    dropped: u64,
    /// How many keep lines back.
    holds: u32,
}

impl State {
    fn is_busy(&mut self) -> bool {
        self.is_writing || (self.holds == 0 && !self.lines.is_empty())
    }
}

impl Story {
    const fn new() -> Self {
        let state = State { lines: VecDeque::new(), is_writing: false, dropped: 0, holds: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes a line, unless `lines_max` wait already.
    fn tell(&self, line: String, lines_max: usize) {
        let mut state = self.lock();
        if state.lines.len() < lines_max {
            state.lines.push_back(line);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Writes lines for ever. If standard error is closed, nobody wants the lines.
    fn write_all_to(&self, out: &mut impl Write) {
        loop {
            let line = self.next();
            out.write_all(line.as_bytes()).ok();
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> String {
        let state = self.lock();
        let nothing = |state: &mut State| state.lines.is_empty() || state.holds > 0;
        let waited = self.changed.wait_while(state, nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        let line = state.lines.pop_front().unwrap_or_default();
        if state.lines.is_empty() && state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            return format!("{line}\n({dropped} lines are left out: nobody took them)\n");
        }
        line + "\n"
    }

    fn finish(&self, limit: Duration) {
        drop(self.changed.wait_timeout_while(self.lock(), limit, State::is_busy));
    }

    /// Keeps lines back as soon as those before are written, or after a while.
    fn hold(&self, limit: Duration) {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, State::is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.holds += 1;
    }

    fn release(&self) {
        self.lock().holds -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static STORY: Story = Story::new();
static TELLER: Once = Once::new();

/// More lines than wait in any run whose output is read; a few hundred kilobytes.
const LINES_MAX: usize = LOG_LINES_MAX + 256;
/// As many as a screen may keep back.
const LOG_LINES_MAX: usize = 1_024;
const FINISH_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a line only when it is let.
    struct Stopped {
        goes_on: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.goes_on.recv().map_err(io::Error::other)?;
            self.taken.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_terminal_that_is_stopped_costs_lines_and_no_time() {
        const LINES: usize = 3 * LINES_MAX;
        let story = Arc::new(Story::new());
        let ((go_on, goes_on), (taken, told)) = (channel(), channel());
        let teller = Arc::clone(&story);
        std::thread::spawn(move || teller.write_all_to(&mut Stopped { goes_on, taken }));
        // All of this returns at once, though nothing is taken.
        story.tell("line 0".to_owned(), LINES_MAX);
        story.finish(Duration::from_millis(1));
        (1..LINES).for_each(|number| story.tell(format!("line {number}"), LINES_MAX));
        story.finish(Duration::from_millis(1));
        assert!(told.try_recv().is_err());
        let mut lines = Vec::new();
        while lines.last().is_none_or(|last: &String| !last.contains("are left out")) {
            go_on.send(()).unwrap();
            lines.push(told.recv().unwrap());
        }
        assert!(lines.len() <= LINES_MAX + 1, "{}", lines.len());
        assert_eq!(lines[1], "line 1\n");
        let left_out = format!("({} lines are left out", LINES - lines.len());
        assert!(lines.last().unwrap().contains(&left_out), "{lines:?}");
        story.finish(Duration::from_mins(1));
    }

    /// Takes every line at once.
    struct Taking(Sender<String>);

    impl Write for Taking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_while_a_screen_is_shown_and_logs_keep_none_of_the_others_out() {
        let story = Arc::new(Story::new());
        let (taken, told) = channel();
        let teller = Arc::clone(&story);
        std::thread::spawn(move || teller.write_all_to(&mut Taking(taken)));
        story.tell("before".to_owned(), LINES_MAX);
        story.finish(Duration::from_mins(1));
        story.hold(Duration::from_mins(1));
        assert_eq!(told.try_recv().unwrap(), "before\n");
        let logged = LOG_LINES_MAX + 7;
        (0..logged).for_each(|number| story.tell(format!("log {number}"), LOG_LINES_MAX));
        story.tell("the end".to_owned(), LINES_MAX);
        // It does not wait for what is kept back.
        story.finish(Duration::from_mins(1));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "the screen is spoilt");
        story.release();
        story.finish(Duration::from_mins(1));
        let lines: Vec<String> = told.try_iter().collect();
        assert_eq!((lines.len(), lines[0].as_str()), (LOG_LINES_MAX + 1, "log 0\n"));
        let last = "the end\n(7 lines are left out: nobody took them)\n";
        assert_eq!(lines.last().unwrap(), last);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is_one() {
        let show = |kind| show_on(Failing(kind), |out| write!(out, "whole"));
        show(io::ErrorKind::BrokenPipe).unwrap();
        assert_eq!(
            show(io::ErrorKind::StorageFull).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
