//! Has something done to a part of a sandbox that runs elsewhere: killed, started, or both.

use std::path::Path;

use crate::control::{Order, give};
use crate::error::SandboxError;
use crate::owner::Owner;
use crate::report;

/// Gives an order to the `up` that owns the directory, and waits until it is done: what is started
/// answers then.
///
/// # Errors
///
/// Returns an error if no sandbox runs there, or the part does not come back.
pub(crate) async fn order(dir: &Path, order: Order) -> Result<(), SandboxError> {
    if Owner::of(dir)?.is_none() {
        return Err(SandboxError::NotRunning { dir: dir.to_owned() });
    }
    give(dir, order).await?;
    report::print_line(&format!("{} of the sandbox in {}", order.done(), dir.display()));
    Ok(())
}
