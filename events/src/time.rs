//! How moments are counted.

/// Microseconds since the Unix epoch.
pub type UnixMicros = i64;
