//! The seccomp agent, which answers the calls that a profile leaves to user space.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use serde::Serialize;

use crate::base::{Error, HostPid, Result, Status, Step};
use crate::parent::hooks::HookState;
use crate::state::Record;

/// How long an agent may take to accept the connection and to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent gets with the listener (runtime-spec config-linux.md, "The Container Process State").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'s> {
    oci_version: &'s str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'s str,
    state: HookState<'s>,
}

/// Sends the listener, and whose it is, to the agent that the profile names.
pub(crate) fn send_listener(
    listener: &OwnedFd,
    profile: Option<&orlop_seccomp::Profile<'_>>,
    record: &Record,
    status: Status,
    pid: HostPid,
) -> Result<()> {
    let field = "/linux/seccomp/listenerPath";
    let Some(path) = profile.and_then(|profile| profile.listener_path.as_deref()) else {
        return Err(Error::config(field, "is missing"));
    };
    let state = ContainerProcessState {
        oci_version: &record.oci_version,
        fds: ["seccompFd"],
        pid: pid.get(),
        metadata: profile.and_then(|profile| profile.listener_metadata.as_deref()).unwrap_or(""),
        state: HookState::of(record, status, record.init.map(|init| init.pid)),
    };
    let failed = |detail: String| {
        Error::os(Step::SendSeccompListener, libc::EINVAL).with_object(path).with_field(field).with_reason(detail)
    };
    let json = serde_json::to_vec(&state).map_err(|error| failed(error.to_string()))?;
    orlop_seccomp::notify::send(path, &json, listener.as_fd(), PATIENCE).map_err(|error| {
        let made = Error::io(Step::SendSeccompListener, &error).with_object(path).with_field(field);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ECONNREFUSED | libc::EACCES) => made
                .with_reason("failed to connect with seccomp agent")
                .with_hint("it must listen before the container is made"),
            _ => made,
        }
    })
}
