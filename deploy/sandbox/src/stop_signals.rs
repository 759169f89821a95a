//! The two ways to be asked to stop.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::SandboxError;

/// Waits for SIGINT and SIGTERM, from its making on.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A person at the terminal (SIGINT).
    Interrupted,
    /// `down`, or whoever manages processes here (SIGTERM).
    Terminated,
}

impl StopSignals {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// Returns an error if the system does not allow it.
    pub(crate) fn listen() -> Result<Self, SandboxError> {
        let on = |kind| signal(kind).map_err(SandboxError::io("listen for", Path::new("signals")));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        }
    }
}

impl Stop {
    /// The documented exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Terminated => 0,
        }
    }
}
