//! Has a part of a sandbox that runs elsewhere killed and started again.

use std::path::Path;

use crate::control::{Order, give};
use crate::error::SandboxError;
use crate::owner::Owner;
use crate::report;

/// Gives the order to the `up` that owns the directory, and waits until the part answers again.
///
/// # Errors
///
/// Returns an error if no sandbox runs there, or the part does not come back.
pub(crate) async fn restart(dir: &Path, order: Order) -> Result<(), SandboxError> {
    if Owner::of(dir)?.is_none() {
        return Err(SandboxError::NotRunning { dir: dir.to_owned() });
    }
    give(dir, order).await?;
    let part = order.part.process_name();
    report::print_line(&format!("restarted {part} of the sandbox in {}", dir.display()));
    Ok(())
}
