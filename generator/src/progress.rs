//! What is shown of a run on standard error while it goes on.

use edges::shutdown::Shutdown;
use tell::output::tell;
use tell::screen::{Screen, is_ours};

use crate::draw::draw;
use crate::lines::Lines;
use crate::view::{About, Gatherer, Moment, View};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// A live screen if there is a terminal, lines if there is none.
    Screen,
    Lines,
    Nothing,
}

/// The progress of a run.
#[derive(Debug)]
pub(crate) enum Shown {
    Screen { screen: Screen<View>, gatherer: Gatherer, shutdown: Shutdown },
    Lines(Lines),
    Nothing,
}

impl Shown {
    /// Begins to show progress. A terminal that cannot be drawn on gets lines instead of a screen.
    pub(crate) fn begin(telling: Telling, about: About, shutdown: Shutdown) -> Self {
        match telling {
            Telling::Nothing => Self::Nothing,
            Telling::Screen if is_ours() => match Screen::start(draw) {
                Ok(screen) => Self::Screen { screen, gatherer: Gatherer::new(about), shutdown },
                Err(_) => Self::Lines(Lines::new(about)),
            },
            Telling::Screen | Telling::Lines => Self::Lines(Lines::new(about)),
        }
    }

    pub(crate) fn tell(&mut self, moment: &Moment<'_>) {
        match self {
            Self::Screen { screen, gatherer, shutdown } => {
                screen.show(gatherer.view(moment, shutdown.stop()));
            }
            Self::Lines(lines) => {
                if let Some(line) = lines.line(moment) {
                    tell(line);
                }
            }
            Self::Nothing => {}
        }
    }
}
