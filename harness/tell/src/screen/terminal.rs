//! The terminal while the screen is shown: taken over, and given back however the program ends.
//!
//! The keyboard stays as it is but for two things: what is typed is not shown, so that it cannot
//! spoil the picture, and not kept for the shell. Ctrl-C and Ctrl-Z send their signals as always.

use std::io::{self, Stderr, Write as _, stderr};
use std::sync::Mutex;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Says whether standard error is a terminal that is ours: one that can be drawn on, and whose
/// foreground we are. A program in the background would be stopped for touching it.
pub fn is_ours() -> bool {
    let is_plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let foreground = rustix::termios::tcgetpgrp(stderr());
    !is_plain && foreground.is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Takes the terminal over: an alternate screen, no cursor, no echo.
///
/// # Errors
///
/// Returns the operating system's error if standard error is no terminal.
pub(super) fn take() -> io::Result<Terminal<CrosstermBackend<Stderr>>> {
    let before = tcgetattr(stderr())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
    *lock() = Some(before);
    tcsetattr(stderr(), OptionalActions::Drain, &silent)?;
    execute!(stderr(), EnterAlternateScreen, Hide)?;
    Terminal::new(CrosstermBackend::new(stderr()))
}

/// Says whether the terminal was taken and not yet given back.
pub(super) fn is_taken() -> bool {
    lock().is_some()
}

/// Gives the terminal back as it was. Once is enough, and more does no harm.
pub(super) fn give_back() {
    let Some(before) = lock().take() else { return };
    // If the terminal is gone, there is nobody to give it back to.
    execute!(stderr(), Show, LeaveAlternateScreen).ok();
    stderr().flush().ok();
    tcsetattr(stderr(), OptionalActions::Flush, &before).ok();
}

/// Gives back as much as possible without writing, for a terminal that takes nothing.
pub(super) fn give_back_mutely() {
    let Some(before) = lock().take() else { return };
    tcsetattr(stderr(), OptionalActions::Now, &before).ok();
}

/// From now on, a panic gives the terminal back before it tells what went wrong.
pub(super) fn give_back_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        tell(panic);
    }));
}

/// How the terminal was, while it is taken.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
