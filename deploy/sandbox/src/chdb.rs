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

/// Whether the server keeps a log of queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryLog {
    Kept,
    Off,
}

impl QueryLog {
    /// Its part of the server's configuration. An empty one means the defaults.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Kept => "<query_log><database>system</database></query_log>",
            Self::Off => "",
        }
    }
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
pub(crate) fn serve(
    library: &Path,
    data: &Path,
    ports: Ports,
    log: QueryLog,
) -> Result<(), SandboxError> {
    let engine = |reason: String| SandboxError::Engine(reason);
    remove_old_log(data)?;
    let words = arguments(data, ports, config(data, log)?.as_deref())?;
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

/// Makes a configuration, if one is needed: for the log of queries, or for the file `users.xml` in
/// the data folder, if somebody has put it there.
///
/// The library has no place of its own where `CREATE USER` could keep users.
fn config(data: &Path, log: QueryLog) -> Result<Option<PathBuf>, SandboxError> {
    let users = data.join("users.xml");
    if !users.exists() && log == QueryLog::Off {
        return Ok(None);
    }
    let config = data.join("config.xml");
    let named = if users.exists() {
        format!("<users_config>{}</users_config>", users.display())
    } else {
        String::new()
    };
    write_whole(&config, format!("<clickhouse>{}{named}</clickhouse>\n", log.config()))?;
    Ok(Some(config))
}

/// Removes the log of queries of an earlier start. The library does not know the tables of its
/// system database again, and makes none where there is one.
fn remove_old_log(data: &Path) -> Result<(), SandboxError> {
    let old = data.join("data/system/query_log");
    match std::fs::remove_dir_all(&old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::io("remove", &old)(error))
        }
        _ => Ok(()),
    }
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
