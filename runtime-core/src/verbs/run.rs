//! `run`: create and start in one.

use crate::base::{ContainerId, Error, Process, Result, Runtime};
use crate::parent::options::CreateOptions;
use crate::parent::prepare;
use crate::verbs::create::make;
use crate::verbs::delete::{DeleteOptions, delete};
use crate::verbs::start::{StartOptions, start};

/// Creates and starts the container `id`; the caller may [`Process::wait`] for it and then [`crate::delete`] it.
///
/// # Errors
/// Any step may fail; nothing is left behind then.
pub fn run(runtime: &Runtime, id: &ContainerId, options: CreateOptions) -> Result<Process> {
    let bundle = prepare::read_bundle(&options)?;
    let config = bundle.config()?;
    // startContainer hooks run in the container that is ready, before its command: its init has to wait for them. So it has for who
    // watches it execute a command under a filter.
    let hooks = config.hooks.as_ref().is_some_and(|hooks| !hooks.start_container.is_empty());
    let has_filter = config.linux.as_ref().is_some_and(|linux| linux.seccomp.is_some());
    let waits = hooks || (has_filter && prepare::is_verified(&config, &options));
    let container = make(runtime, id, &options, &bundle, &config, waits)?;
    if waits && let Err(error) = start(runtime, id, &StartOptions::default()) {
        let force = DeleteOptions::default().force(true);
        return Err(match delete(runtime, id, &force) {
            Ok(report) => report.into_errors().fold(error, Error::and),
            Err(further) => error.and(further),
        });
    }
    Ok(container)
}
