//! `start`: lets a created container execute its command.

use std::time::Duration;

use crate::{ContainerId, Result, Runtime};

/// What `start` is told.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// How long the command may take to be executed (hooks have their own timeouts).
    pub deadline: Duration,
}

impl Default for StartOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60) }
    }
}

/// Runs the startContainer hooks, lets the container's init execute its command, and runs the poststart hooks.
///
/// # Errors
/// [`crate::Kind::WrongStatus`] unless the container is `created`; [`crate::Kind::Command`] when the command cannot be executed.
pub fn start(_runtime: &Runtime, _id: &ContainerId, _options: &StartOptions) -> Result<()> {
    todo!()
}
