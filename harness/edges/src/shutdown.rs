//! The user's wish to stop: the first signal asks to end in order, the second to end at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How urgently the user wants the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all: go on.
    No,
    /// Begin nothing new, settle what is under way.
    Drain,
    /// Leave at once.
    Now,
}

/// Tells tasks to stop.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Stop>);

impl Shutdown {
    /// Listens to SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if signals cannot be listened to.
    pub fn on_signals() -> io::Result<Self> {
        let (sender, receiver) = watch::channel(Stop::No);
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            for stop in [Stop::Drain, Stop::Now] {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                    () = sender.closed() => return,
                }
                sender.send_replace(stop);
            }
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// A shutdown that its holder asks for, and the handle to ask with.
    pub fn manual() -> (watch::Sender<Stop>, Self) {
        let (sender, receiver) = watch::channel(Stop::No);
        (sender, Self(receiver))
    }

    /// What is asked for now.
    pub fn stop(&self) -> Stop {
        *self.0.borrow()
    }

    /// Waits until at least `stop` is asked for; forever, if it never is.
    pub async fn asked(&mut self, stop: Stop) {
        if self.0.wait_for(|asked| *asked >= stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
