//! Where an exec server tells of the processes that it makes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use orlop_init::wire;

use super::block::InitBlock;
use crate::base::{Error, HostPid, Result, Step};

/// Where a server tells of the processes that it makes: one place for each that it has been asked for and that is not known yet.
#[derive(Debug)]
pub(crate) struct Places {
    pub(super) server: Arc<InitBlock>,
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
        // What was made with it before may have been ended without being looked at.
        if let Some(made) = self.server.made(number) {
            made.process.store(0, Ordering::Release);
            made.forked.store(0, Ordering::Release);
        }
        Ok(Place { all: Arc::clone(self), number })
    }
}

impl Place {
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// What the server has said, once: the process, or the errno.
    pub(super) fn made(&self) -> Option<std::result::Result<HostPid, i32>> {
        match self.all.server.made(self.number)?.process.swap(0, Ordering::AcqRel) {
            0 => None,
            errno if errno < 0 => Some(Err(errno.saturating_neg())),
            pid => Some(HostPid::new(pid).ok_or(Errno::ECHILD as i32)),
        }
    }

    /// The fork by which what it has made goes on, once.
    pub(super) fn forked(&self) -> Option<i32> {
        let pid = self.all.server.made(self.number)?.forked.swap(0, Ordering::AcqRel);
        (pid > 0).then_some(pid)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}
