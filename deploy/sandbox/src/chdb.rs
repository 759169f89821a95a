//! Runs the `ClickHouse` library as a server, in a process of its own.
#![expect(
    unsafe_code,
    reason = "a C library can be called in no other way; only here is it called"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::SandboxError;
use crate::stack::write_whole;

/// The ports to listen on at 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// HTTP interface.
    pub(crate) http: u16,
    /// Native protocol.
    pub(crate) tcp: u16,
}

/// Serves until the process is killed.
///
/// The library is made to run queries, not to serve. But a query can open the listeners, and one
/// that never ends keeps them open.
///
/// # Errors
///
/// Returns an error if the library cannot be loaded, or ends by itself, as it does when a port is
/// taken; else it does not return.
pub(crate) fn serve(library: &Path, data: &Path, ports: Ports) -> Result<(), SandboxError> {
    let engine = |reason: String| SandboxError::Engine(reason);
    let words = arguments(data, ports, config_of_users(data)?.as_deref())?;
    let mut argv: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    let count = c_int::try_from(argv.len()).expect("a handful of arguments fits an int");

    // SAFETY: Loading runs the library's initializers. It is the pinned and verified one, or one
    // that the person named, and nothing else runs in this process yet.
    let library = unsafe { Library::new(library) }.map_err(|error| engine(error.to_string()))?;
    // SAFETY: The types are those of the library's C header, for both functions.
    let (query, error_of) = unsafe {
        (
            library.get::<QueryFn>(b"chdb_query_cmdline\0"),
            library.get::<ErrorFn>(b"chdb_result_error\0"),
        )
    };
    let query = query.map_err(|error| engine(error.to_string()))?;
    let error_of = error_of.map_err(|error| engine(error.to_string()))?;

    // SAFETY: `argv` holds `count` pointers to strings that end in zero and live until the return.
    let result = unsafe { query(count, argv.as_mut_ptr()) };
    if result.is_null() {
        return Err(engine("without an answer".to_owned()));
    }
    // SAFETY: `result` came from the library and has not been freed.
    let message = unsafe { error_of(result) };
    if message.is_null() {
        return Err(engine("without an error".to_owned()));
    }
    // SAFETY: A message that is not null is a string that ends in zero, owned by `result`.
    let message = unsafe { CStr::from_ptr(message) };
    Err(engine(message.to_string_lossy().into_owned()))
}

type QueryFn = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
type ErrorFn = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// Makes a configuration of the file `users.xml` in the data folder, if somebody has put it there.
///
/// The library has no place of its own where `CREATE USER` could keep users.
fn config_of_users(data: &Path) -> Result<Option<PathBuf>, SandboxError> {
    let users = data.join("users.xml");
    if !users.exists() {
        return Ok(None);
    }
    let config = data.join("config.xml");
    let named = format!("<users_config>{}</users_config>", users.display());
    write_whole(&config, format!("<clickhouse>{named}</clickhouse>\n"))?;
    Ok(Some(config))
}

fn arguments(
    data: &Path,
    ports: Ports,
    config: Option<&Path>,
) -> Result<Vec<CString>, SandboxError> {
    const SERVE: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
        SELECT sleepEachRow(1) FROM system.numbers FORMAT Null \
        SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0";
    let (http, tcp) = (ports.http.to_string(), ports.tcp.to_string());
    let data = data.to_string_lossy();
    let config = config.map(Path::to_string_lossy);
    let config = config.as_deref().into_iter().flat_map(|config| ["--config-file", config]);
    let words = ["clickhouse", "--multiquery", "--query", SERVE, "--http_port", &http]
        .into_iter()
        .chain(["--tcp_port", &tcp, "--listen_host", "127.0.0.1", "--path", &data])
        .chain(["--log-level=warning"])
        .chain(config);
    let words: Result<_, _> = words.map(CString::new).collect();
    words.map_err(|_| SandboxError::Engine("its path holds a zero byte".to_owned()))
}
