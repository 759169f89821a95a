//! Lanes and the webhook against servers that it starts itself.
#![expect(clippy::unwrap_used, reason = "what cannot be had here fails the test, as it should")]

mod certificates;
mod lists;
mod server;
mod webhook;
