//! What fetching a part needs, wherever it comes from.

use std::fs;
use std::path::Path;

use crate::error::SandboxError;

/// The end of what a tool said.
pub(crate) fn last_lines(text: &[u8]) -> String {
    const LINES: usize = 8;
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Removes a folder, if there is one.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), SandboxError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
