//! `run`: create and start in one.

use crate::CreateOptions;
use crate::base::{Container, ContainerId, Result, Runtime};

/// What `run` is told.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// All that `create` takes.
    pub create: CreateOptions,
}

/// Creates and starts the container `id`; the caller may [`Container::wait`] for it and then [`crate::delete`] it.
///
/// # Errors
/// Any step may fail; nothing is left behind then.
pub fn run(runtime: &Runtime, id: &ContainerId, options: RunOptions) -> Result<Container> {
    crate::creation::make_and_start(runtime, id, options.create)
}
