//! Where an exec server tells of the processes that it makes.

use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use orlop_init::wire;

use super::block::InitBlock;
use crate::base::{Error, HostPid, Result, Step};

/// Where a server tells of the processes that it makes: one place for each that it has been asked for and that is not known yet.
#[derive(Debug)]
pub(crate) struct Places {
    server: Arc<InitBlock>,
    free: Mutex<Vec<u8>>,
}

/// One of them; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Places>,
    number: u8,
}

impl Places {
    /// Those in the block of `server`, which was launched with [`wire::PLACES`] of them.
    pub(super) fn of(server: Arc<InitBlock>) -> Arc<Self> {
        Arc::new(Self { server, free: Mutex::new((0..=u8::MAX).collect()) })
    }

    pub(super) fn take(self: &Arc<Self>) -> Result<Place> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(|| {
            Error::os(Step::Clone, Errno::EAGAIN as i32)
                .with_object("a process for the command")
                .with_reason(format!("{} are being made by this server", wire::PLACES))
        })?;
        Ok(Place { all: Arc::clone(self), number })
    }
}

impl Place {
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// What the server has said, once: the process, or the errno.
    pub(super) fn made(&self) -> Option<std::result::Result<HostPid, i32>> {
        let made = self.all.server.take_made(self.number)?;
        Some(made.and_then(|pid| HostPid::new(pid).ok_or(Errno::ECHILD as i32)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}
