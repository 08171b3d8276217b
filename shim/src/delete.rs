//! `delete`: cleans up after a shim that is gone, so that nothing of the container is left.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::arguments::Arguments;
use crate::bundle::{OPTIONS_FILE, PID_FILE};
use crate::idmap::Layers;
use crate::proto::encode;
use crate::proto::task::DeleteResponse;
use crate::rootfs;
use crate::runtime::{self, Container};
use crate::socket::Socket;
use crate::start::ADDRESS_FILE;

/// As if the container had been killed, which it is if it lives.
const KILLED: u32 = 137;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Made {
    root: String,
    systemd_cgroup: bool,
}

/// Deletes the container `given.id` with all it holds, and answers how it ended.
///
/// # Errors
/// In one line, for containerd.
pub(crate) fn delete(given: &Arguments) -> Result<ExitCode, String> {
    let bundle = bundle(given)?;
    let made = match std::fs::read(bundle.join(OPTIONS_FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("read {OPTIONS_FILE}: {error}"))?,
        // The container was never made.
        Err(_) => Made::default(),
    };
    let root = runtime::root(&made.root, &given.namespace);
    let container = Container::new(root, made.systemd_cgroup, &given.id).map_err(|failure| failure.message)?;
    let mut warnings = Vec::new();
    match container.delete(true) {
        Ok(further) => warnings.extend(further),
        Err(failure) => warnings.push(failure.message),
    }
    Layers::clean(&bundle.join("rootfs"));
    if let Err(failure) = rootfs::unmount_all(&bundle.join("rootfs")) {
        warnings.push(failure.message);
    }
    if let Some(socket) = std::fs::read_to_string(bundle.join(ADDRESS_FILE)).ok().as_deref().and_then(Socket::at)
        && let Err(error) = socket.remove_if_unserved()
    {
        warnings.push(error.to_string());
    }
    for warning in &warnings {
        // containerd logs what is here, and takes the answer all the same.
        let _nobody_may_read = writeln!(std::io::stderr(), "{warning}");
    }
    let pid = std::fs::read_to_string(bundle.join(PID_FILE)).ok().and_then(|text| text.trim().parse().ok());
    let response =
        DeleteResponse { pid: pid.unwrap_or(0), exit_status: KILLED, exited_at: Some(SystemTime::now().into()) };
    let written = std::io::stdout().lock().write_all(&encode(&response));
    written.map(|()| ExitCode::SUCCESS).map_err(|error| format!("write the answer: {error}"))
}

/// The container's bundle: the one that is named, or beside the working directory.
fn bundle(given: &Arguments) -> Result<PathBuf, String> {
    if !given.bundle.is_empty() {
        return Ok(PathBuf::from(&given.bundle));
    }
    let here = std::env::current_dir().map_err(|error| format!("the bundle: {error}"))?;
    Ok(here.parent().unwrap_or(Path::new("/")).join(&given.id))
}
