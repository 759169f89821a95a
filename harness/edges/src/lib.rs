//! What every program needs from the machine and the network before it can begin: the time,
//! files, addresses, certificates that TLS trusts, signals to stop, and exit codes.
//!
//! Addresses are read in one place, strictly, so that none is guessed:
//!
//! ```rust
//! use edges::address::{Address, WEBHOOK};
//!
//! let address = Address::read("http://vector:8080/events", &WEBHOOK).unwrap();
//! assert_eq!((address.port, address.path.as_str()), (8080, "/events"));
//!
//! let error = Address::read("http://vector:0", &WEBHOOK).unwrap_err();
//! assert!(error.to_string().contains("port"));
//! ```

pub mod address;
pub mod clock;
pub mod credentials;
pub mod errors;
pub mod exit;
pub mod files;
pub mod plain;
pub mod secret;
pub mod shutdown;
pub mod staged;
pub mod trust;
