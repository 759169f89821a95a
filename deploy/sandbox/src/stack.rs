//! All parts of one sandbox: started in order, watched, stopped in the opposite order.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use futures_util::future::select_all;
use tempfile::Builder;

use crate::error::SandboxError;
use crate::process::{Launch, Process};

/// The directory of a sandbox and what runs in it.
#[derive(Debug)]
pub(crate) struct Stack {
    dir: PathBuf,
    processes: Vec<Process>,
}

impl Stack {
    /// An empty stack.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), processes: Vec::new() }
    }

    /// A folder inside the sandbox's directory, made if it is not there.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be made.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, SandboxError> {
        let folder = self.dir.join(name);
        fs::create_dir_all(&folder).map_err(SandboxError::io("create", &folder))?;
        Ok(folder)
    }

    /// Starts a part. From here on it is watched and will be stopped.
    ///
    /// # Errors
    ///
    /// Returns an error if its process cannot be made.
    pub(crate) fn start(&mut self, launch: Launch) -> Result<&mut Process, SandboxError> {
        let process = Process::start(launch, &self.folder("logs")?)?;
        self.processes.push(process);
        Ok(self.processes.last_mut().expect("one was pushed just now"))
    }

    /// Stops the part that was started last and forgets it, so that it can be tried again.
    pub(crate) async fn discard_last(&mut self) {
        if let Some(mut process) = self.processes.pop() {
            process.stop().await;
        }
    }

    /// Waits until any part ends, and says which and how.
    pub(crate) async fn broken(&mut self) -> SandboxError {
        first_end(self.processes.iter_mut()).await
    }

    /// The parts of some names, and all others.
    pub(crate) fn split(&mut self, names: &[&str]) -> (Vec<&mut Process>, Vec<&mut Process>) {
        self.processes.iter_mut().partition(|process| names.contains(&process.name()))
    }

    /// Says whether a part is down by order.
    pub(crate) fn is_down(&self, name: &str) -> bool {
        self.processes.iter().any(|process| process.name() == name && process.is_down())
    }

    /// Stops all parts, the last one first: what feeds a store stops before the store does.
    pub(crate) async fn stop(&mut self) {
        while let Some(mut process) = self.processes.pop() {
            process.stop().await;
        }
    }
}

/// Waits until the first of some parts ends by itself, and says which and how.
pub(crate) async fn first_end(processes: impl IntoIterator<Item = &mut Process>) -> SandboxError {
    let ends = processes.into_iter().map(|process| Box::pin(process.ended()));
    let (error, _, _) = select_all(ends).await;
    error
}

/// Finds ports that are free at this moment, all different.
///
/// Another process may take one before its use: who calls this must be ready to try again.
///
/// # Errors
///
/// Returns an error if the machine has no free port.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], SandboxError> {
    let failed = |error| SandboxError::io("find a free port at", Path::new("127.0.0.1"))(error);
    let mut ports = [0; COUNT];
    let mut held = Vec::with_capacity(COUNT);
    for port in &mut ports {
        let listener = TcpListener::bind(local(0)).map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Finds the ports that a file names, if they still are free, or else others, which it names then:
/// whoever was told of a part finds it where it was.
///
/// # Errors
///
/// Returns an error if the machine has no free port, or the file cannot be written.
pub(crate) fn same_ports<const COUNT: usize>(file: &Path) -> Result<[u16; COUNT], SandboxError> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let named: Vec<u16> = text.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    if let Ok(ports) = <[u16; COUNT]>::try_from(named)
        && ports.iter().all(|port| is_free(&local(*port)))
    {
        return Ok(ports);
    }
    let ports = free_ports()?;
    write_whole(file, ports.map(|port| port.to_string()).join(" "))?;
    Ok(ports)
}

/// Whether nobody listens there.
pub(crate) fn is_free(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// A port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Writes a file so that a reader sees all of it or none.
///
/// # Errors
///
/// Returns an error if it cannot be written.
pub(crate) fn write_whole(path: &Path, text: impl AsRef<[u8]>) -> Result<(), SandboxError> {
    let write = || {
        let folder = path.parent().unwrap_or(path);
        // Not with the library's own permissions: others may read the file, as any other.
        let mut file = Builder::new().make_in(folder, |partial| File::create_new(partial))?;
        file.as_file_mut().write_all(text.as_ref())?;
        file.persist(path).map_err(|unkept| unkept.error)
    };
    write().map(drop).map_err(SandboxError::io("write", path))
}

/// Removes a file of an earlier run, if there is one.
///
/// # Errors
///
/// Returns an error if it is there and cannot be removed.
pub(crate) fn remove_stale(path: &Path) -> Result<(), SandboxError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
