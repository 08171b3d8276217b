//! `run`: create and start in one.

use crate::base::{ContainerId, Error, Process, Result, Runtime};
use crate::parent::network::Network;
use crate::parent::options::CreateOptions;
use crate::parent::prepare::{self, Common, Wanted};
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
    // While all that follows is found out and made.
    let network = Network::begin(&config);
    let common = Common::decide(runtime, &bundle, config, options.no_pivot)?;
    make_and_start(&Wanted::new(runtime, id, &bundle, &common, &options), network)
}

/// Makes the container and lets its command be executed, whatever is wanted of its wait.
pub(super) fn make_and_start(wanted: &Wanted<'_>, network: Network) -> Result<Process> {
    let Wanted { runtime, id, options, .. } = *wanted;
    let config = &wanted.common.config;
    // startContainer hooks run in the container that is ready, before its command: its init has to wait for them. So it has for who
    // watches it execute a command under a filter.
    let hooks = config.hooks.as_ref().is_some_and(|hooks| !hooks.start_container.is_empty());
    let has_filter = config.linux.as_ref().is_some_and(|linux| linux.seccomp.is_some());
    let waits = hooks || (has_filter && prepare::is_verified(config, options));
    let container = make(&Wanted { waits_for_start: waits, ..*wanted }, network)?;
    if waits && let Err(error) = start(runtime, id, &StartOptions::default()) {
        let force = DeleteOptions::default().force(true);
        return Err(match delete(runtime, id, &force) {
            Ok(report) => report.into_errors().fold(error, Error::and),
            Err(further) => error.and(further),
        });
    }
    Ok(container)
}
