//! Stands in for the query API of the Activity server: the same paths, bodies and words, over the
//! sandbox's `ClickHouse`. It pages rightly unless it is told to page as the real server does.
//!
//! It speaks HTTP/1.1 without TLS on a port of this machine, and believes the headers of a front
//! proxy from everybody.

mod answer;
mod binary;
mod check;
mod cursor;
mod event;
mod faults;
mod filter;
mod go_base64;
mod go_json;
mod leak;
mod literal;
mod metrics;
mod page;
mod request;
mod scope;
mod server;
mod service;
mod sql;
mod status;
mod times;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod whole_tenants;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tracing::info;

use self::faults::Faults;
pub(crate) use self::faults::ReadPlan;
use self::service::Service;
use crate::error::SandboxError;
use crate::stack::write_whole;
use crate::stop_signals::StopSignals;

/// Where it listens, what it asks, and how it misbehaves.
#[derive(Debug)]
pub(crate) struct QueryApiOptions {
    pub(crate) clickhouse: SocketAddr,
    pub(crate) listen: SocketAddr,
    /// Where to write down the address.
    pub(crate) address_file: PathBuf,
    /// Where to write down victims.
    pub(crate) faults_file: PathBuf,
    pub(crate) plan: ReadPlan,
}

/// Serves until it is told to stop.
///
/// # Errors
///
/// Returns an error if it cannot listen, or not write its files.
pub(crate) async fn query_api(options: QueryApiOptions) -> Result<(), SandboxError> {
    let mut signals = StopSignals::listen()?;
    let faults = Faults::open(options.plan, &options.faults_file)?;
    let listener = TcpListener::bind(options.listen).await;
    let at = PathBuf::from(options.listen.to_string());
    let listener = listener.map_err(SandboxError::io("listen on", &at))?;
    let address = listener.local_addr().map_err(SandboxError::io("listen on", &at))?;
    let service = Service::new(options.clickhouse, faults);
    let serve = server::serve(listener, service);
    // Clients wait in the queue of the port from here on.
    write_whole(&options.address_file, format!("{address}\n"))?;
    info!("listening on {address}");
    tokio::select! {
        () = serve => {}
        _ = signals.next() => {}
    }
    Ok(())
}
