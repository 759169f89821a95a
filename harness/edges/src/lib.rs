//! What all programs ask of the machine and the network before they do anything: the time, files,
//! addresses, whom TLS trusts, when to stop, and with which exit code to end.

pub mod address;
pub mod clock;
pub mod exit;
pub mod files;
pub mod plain;
pub mod secret;
pub mod shutdown;
pub mod staged;
pub mod trust;
