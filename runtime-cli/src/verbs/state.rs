//! `orlop state`.

use orlop::{ContainerId, HostPid};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;

command! {
    "state: ID
print the state of a container as JSON
",
    "
The fields are those of the OCI runtime specification, and as in runc: rootfs, created, owner.

$ orlop state web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let id = container_id(args.operand()?)?;
    let state = orlop::state(&session.runtime, &id)?;
    let text = serde_json::to_string_pretty(&state).map_err(|error| Failure::new(error.to_string()))?;
    super::print(&(text + "\n"))
}

/// The pid of the container's init; 0 when it has ended.
pub(super) fn pid(session: &Session<'_>, id: &ContainerId) -> Result<i32, Failure> {
    Ok(orlop::state(&session.runtime, id)?.pid.map_or(0, HostPid::get))
}
