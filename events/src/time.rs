//! How the library represents moments.

/// Microseconds since the Unix epoch.
pub type UnixMicros = i64;
