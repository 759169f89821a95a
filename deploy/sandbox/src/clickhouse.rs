//! The few words that are spoken with `ClickHouse`, over its HTTP interface.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_ENCODING, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::error::SandboxError;

/// One server, reached over a new connection for each request: they are few and large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClickHouse {
    address: SocketAddr,
}

impl ClickHouse {
    /// The server at this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Says whether the server answers at all.
    pub(crate) async fn is_up(&self) -> bool {
        let ping = Request::get("/ping").header(HOST, self.address.to_string());
        let ping = ping.body(Full::default()).expect("a constant path makes a request");
        self.send(ping).await.is_ok()
    }

    /// Runs one statement.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be reached or refuses.
    pub(crate) async fn run(&self, sql: &str) -> Result<Bytes, SandboxError> {
        self.post("/", None, Bytes::copy_from_slice(sql.as_bytes())).await
    }

    /// Asks for rows, which come in the format `RowBinary`: all of them, or an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be reached or refuses.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Bytes, SandboxError> {
        // Without the wait an error may come after the first rows, with a status that says all is
        // well.
        const PATH: &str = "/?default_format=RowBinary&max_execution_time=60&wait_end_of_query=1";
        self.post(PATH, None, Bytes::copy_from_slice(sql.as_bytes())).await
    }

    /// Runs an INSERT whose text and rows are one gzipped body.
    ///
    /// `settings` is the query string: names and values that need no escaping, joined by `&`.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be reached or refuses.
    pub(crate) async fn insert(&self, settings: &str, body: Bytes) -> Result<(), SandboxError> {
        self.post(&format!("/?{settings}"), Some("gzip"), body).await.map(drop)
    }

    async fn post(
        &self,
        path: &str,
        encoding: Option<&'static str>,
        body: Bytes,
    ) -> Result<Bytes, SandboxError> {
        let mut request = Request::post(path).header(HOST, self.address.to_string());
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        let request = request.body(Full::new(body));
        self.send(request.expect("a path of plain settings makes a request")).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, SandboxError> {
        let unreachable = |error: &dyn std::error::Error| {
            SandboxError::ClickHouseUnreachable(format!("{}: {error}", self.address))
        };
        let stream = TcpStream::connect(self.address).await.map_err(|e| unreachable(&e))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| unreachable(&e))?;
        // It ends with the last use of `sender`; what goes wrong in it is told there.
        tokio::spawn(async move { drop(connection.await) });
        let response = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| unreachable(&e))?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let message = String::from_utf8_lossy(&body).trim().to_owned();
        Err(SandboxError::ClickHouseRefused { status: status.as_u16(), message })
    }
}
