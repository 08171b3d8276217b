//! `exec`: a further process in a running container.

mod entering;
mod execution;
mod kept;
mod options;
mod process;
mod server;

pub(super) use kept::Kept;
pub use options::{ExecOptions, ExecProcess, SubCgroup, User};
pub use server::{ExecServer, exec_server};

use crate::base::{ContainerId, Process, Result, Runtime};

/// Executes a process in the running container `id` and returns once the command has taken over.
///
/// # Errors
/// [`crate::Kind::WrongStatus`] unless the container is running or created (or paused, with `ignore_paused`);
/// [`crate::Kind::Command`] when the command cannot be executed.
pub fn exec(runtime: &Runtime, id: &ContainerId, options: ExecOptions) -> Result<Process> {
    execution::execute(runtime, id, &options, None)
}

/// As [`exec`], by what `kept` knows of the container.
pub(super) fn exec_again(runtime: &Runtime, id: &ContainerId, options: &ExecOptions, kept: &Kept) -> Result<Process> {
    execution::execute(runtime, id, options, Some(kept))
}
