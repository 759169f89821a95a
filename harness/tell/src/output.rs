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
    STORY.tell(plain_lines(&line.to_string()));
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
}

impl Story {
    const fn new() -> Self {
        let state = State { lines: VecDeque::new(), is_writing: false, dropped: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn tell(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() < LINES_MAX {
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
        let nothing = |state: &mut State| state.lines.is_empty();
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
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        drop(self.changed.wait_timeout_while(self.lock(), limit, is_busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static STORY: Story = Story::new();
static TELLER: Once = Once::new();

/// More lines than wait in any run whose output is read; a few kilobytes.
const LINES_MAX: usize = 256;
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
        let story = Arc::new(Story::new());
        let ((go_on, goes_on), (taken, told)) = (channel(), channel());
        let teller = Arc::clone(&story);
        std::thread::spawn(move || teller.write_all_to(&mut Stopped { goes_on, taken }));
        // All of this returns at once, though nothing is taken.
        story.tell("line 0".to_owned());
        story.finish(Duration::from_millis(1));
        (1..1_000).for_each(|number| story.tell(format!("line {number}")));
        story.finish(Duration::from_millis(1));
        assert!(told.try_recv().is_err());
        let mut lines = Vec::new();
        while lines.last().is_none_or(|last: &String| !last.contains("are left out")) {
            go_on.send(()).unwrap();
            lines.push(told.recv().unwrap());
        }
        assert!(lines.len() <= LINES_MAX + 1, "{}", lines.len());
        assert_eq!(lines[1], "line 1\n");
        let left_out = format!("({} lines are left out", 1_000 - lines.len());
        assert!(lines.last().unwrap().contains(&left_out), "{lines:?}");
        story.finish(Duration::from_mins(1));
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
