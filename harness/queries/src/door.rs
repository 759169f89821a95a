//! A way to ask: the query API over HTTP, the table in SQL, or another one.

use std::future::Future;

use crate::error::AskError;
use crate::page::Page;
use crate::question::Question;

/// A way to ask.
pub trait Door: Send + Sync {
    /// Asks for a page: the first one, or the one that a cursor of this door continues with. A
    /// cursor belongs to the question that it was given for.
    ///
    /// # Errors
    ///
    /// Returns [`AskError`] if there is no answer. A door never asks twice.
    fn ask(
        &self,
        question: &Question,
        cursor: Option<&str>,
    ) -> impl Future<Output = Result<Page, AskError>> + Send;

    /// Like [`Self::ask`]. If the door leads straight to a server that keeps a log of queries, the
    /// page has this name there.
    ///
    /// # Errors
    ///
    /// Like [`Self::ask`].
    fn ask_as(
        &self,
        _name: &str,
        question: &Question,
        cursor: Option<&str>,
    ) -> impl Future<Output = Result<Page, AskError>> + Send {
        self.ask(question, cursor)
    }

    /// Whether pages have their names in the log of the server that they are asked of.
    fn keeps_names(&self) -> bool {
        false
    }

    /// Where it leads, for people, without secrets.
    fn place(&self) -> &str;
}
