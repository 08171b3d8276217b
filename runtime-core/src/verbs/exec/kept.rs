//! What one exec finds out and the next one need not.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::entering::{init_of, join_time_of_restore, wrong_status};
use super::options::ExecOptions;
use crate::base::{ContainerId, Result, Runtime, Status};
use crate::config::{self, Config};
use crate::parent::launch::Program;
use crate::parent::liveness::is_paused;
use crate::parent::prepare::compile_seccomp;
use crate::state::{Record, Store};

/// What is kept between the execs in one container. Another container may have its id one day: what is kept holds as long as the process
/// lives that was the container's first one when it was found, as the kernel says by its pidfd.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    found: Mutex<Option<Arc<Found>>>,
}

/// A container, as its directory describes it: nothing there changes while its first process lives.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    /// The container's first process.
    pub(super) init_pidfd: OwnedFd,
    /// With its own process.
    pub(super) config: Config<'static>,
    pub(super) filter: Option<orlop_seccomp::Filter>,
    pub(super) program: Program,
}

impl Kept {
    /// The container `id`, which may be entered, and whether it is paused.
    pub(super) fn find(
        &self,
        runtime: &Runtime,
        id: &ContainerId,
        options: &ExecOptions,
    ) -> Result<(Arc<Found>, bool)> {
        // A thread that panicked while it held the lock has left nothing half-done.
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = known
            && let Some(paused) = is_paused(&found.record, found.init_pidfd.as_fd())?
        {
            if paused && !options.ignore_paused {
                return Err(wrong_status(&found.record, Status::Paused));
            }
            return Ok((found, paused));
        }
        let entry = Store::find(runtime, id)?;
        let (init_pidfd, paused) = init_of(&entry, options)?;
        let bytes = entry.config()?;
        let mut config = config::load(&bytes)?;
        join_time_of_restore(&entry.record, &mut config);
        let filter = compile_seccomp(&config)?;
        let (config, program) = (config.into_owned(), Program::new()?);
        let found = Arc::new(Found { record: entry.record, init_pidfd, config, filter, program });
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        Ok((found, paused))
    }
}
