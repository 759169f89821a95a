//! A live screen: a thread that draws the newest view.
//!
//! It has a thread of its own, so that a terminal that does not take what is written to it (a slow
//! line, Ctrl-S) loses pictures and never holds up the run, except for a second at most at its
//! beginning and its end. If drawing fails, or the terminal goes away, the run goes on without a
//! screen. Lines that are told or logged meanwhile are shown after it, some thousand at most.

pub mod picture;
mod terminal;

use std::io::{self, Stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::{Held, hold};
use ratatui::Frame;
use terminal::{give_back, give_back_mutely, give_back_on_panic, is_taken, take};

pub use terminal::is_ours;

/// A screen that shows views, until it is dropped.
#[derive(Debug)]
pub struct Screen<View> {
    orders: SyncSender<Order<View>>,
    /// Set when nothing more is to be drawn.
    is_over: Arc<AtomicBool>,
    /// First tells whether the terminal could be taken over, and is closed when drawing is over.
    drawing: Receiver<io::Result<()>>,
    signals: tokio::task::JoinHandle<()>,
    /// What is told meanwhile is written below the screen before, when this one has gone.
    _held: Held,
}

/// What the drawing thread is to do.
#[derive(Debug)]
enum Order<View> {
    Draw(Box<View>),
    /// The terminal has another size.
    Redraw,
    /// Ctrl-Z: give the terminal back and stop.
    Suspend,
    /// Go on after that.
    Resume,
    End,
}

/// Fills a frame with a view.
pub type Draw<View> = fn(&mut Frame<'_>, &View);

impl<View: Send + 'static> Screen<View> {
    /// Takes the terminal over. Needs a tokio runtime for the signals that belong to a terminal.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if the terminal cannot be had.
    pub fn start(draw: Draw<View>) -> io::Result<Self> {
        // What was told before belongs on the screen before.
        let held = hold();
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let signals = Signals::new()?;
        give_back_on_panic();
        let (says, drawing) = sync_channel(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::Builder::new().name("screen".to_owned());
        thread.spawn(move || {
            let (taken, terminal) = match take().inspect_err(|_| give_back()) {
                Ok(terminal) => (Ok(()), Some(terminal)),
                Err(error) => (Err(error), None),
            };
            says.send(taken).ok();
            if terminal.is_some() {
                obey(&receiver, terminal, draw, &over);
            }
        })?;
        // A terminal that takes nothing now may do so later.
        if let Ok(taken) = drawing.recv_timeout(LAG_MAX) {
            taken?;
        }
        let signals = tokio::spawn(attend_signals(signals, orders.clone()));
        Ok(Self { orders, is_over, drawing, signals, _held: held })
    }

    /// Shows a view, unless the terminal is still busy with earlier ones.
    pub fn show(&self, view: View) {
        self.orders.try_send(Order::Draw(Box::new(view))).ok();
    }
}

impl<View> Drop for Screen<View> {
    fn drop(&mut self) {
        self.signals.abort();
        self.is_over.store(true, Ordering::Release);
        // If it has more to do, it wakes anyway.
        self.orders.try_send(Order::End).ok();
        loop {
            match self.drawing.recv_timeout(LAG_MAX) {
                // The terminal was taken over only now.
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return give_back(),
                Err(RecvTimeoutError::Timeout) => return give_back_mutely(),
            }
        }
    }
}

/// Draws what is ordered until told to end. What cannot be drawn is not shown.
fn obey<View>(
    orders: &Receiver<Order<View>>,
    mut terminal: Option<Terminal<CrosstermBackend<Stderr>>>,
    draw: Draw<View>,
    is_over: &AtomicBool,
) {
    let mut shown: Option<Box<View>> = None;
    while let Ok(order) = orders.recv() {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        match order {
            Order::Draw(view) => shown = Some(view),
            Order::Suspend => {
                terminal = None;
                give_back();
                kill_process(getpid(), Signal::STOP).ok();
            }
            Order::Resume if terminal.is_none() && is_ours() => terminal = take().ok(),
            Order::Resume | Order::Redraw => {}
            Order::End => return,
        }
        // After a panic it is not ours any more.
        if let (true, Some(terminal), Some(view)) = (is_taken(), &mut terminal, &shown) {
            terminal.draw(|frame| draw(frame, view)).ok();
        }
    }
}

/// The signals of a terminal, beside those that ask to stop anyway.
struct Signals {
    suspend: tokio::signal::unix::Signal,
    resume: tokio::signal::unix::Signal,
    resized: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            suspend: signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
            resume: signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            resized: signal(SignalKind::window_change())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }
}

/// Passes signals on until the program ends. A terminal that hangs up, or Ctrl-\, asks for an
/// orderly stop.
async fn attend_signals<View>(mut signals: Signals, orders: SyncSender<Order<View>>) {
    loop {
        let order = tokio::select! {
            _ = signals.suspend.recv() => Order::Suspend,
            _ = signals.resume.recv() => Order::Resume,
            _ = signals.resized.recv() => Order::Redraw,
            _ = signals.hangup.recv() => {
                kill_process(getpid(), Signal::TERM).ok();
                continue;
            }
            _ = signals.quit.recv() => {
                kill_process(getpid(), Signal::TERM).ok();
                continue;
            }
        };
        orders.try_send(order).ok();
    }
}

const ORDERS_MAX: usize = 4;

/// How long a terminal is waited for.
const LAG_MAX: Duration = Duration::from_secs(1);
