//! The lock of a directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::{FlockOperation, flock};

use super::errno::errno;

/// A directory with an exclusive `flock(2)` on it, as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Lock {
    /// Takes the lock if nobody has it; else the directory comes back with [`Errno::EWOULDBLOCK`].
    pub(crate) fn try_take(directory: OwnedFd) -> Result<Self, (OwnedFd, Errno)> {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(directory)),
            Err(failed) => Err((directory, errno(failed))),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said aloud, since a child between clone and exec has a copy of the fd, which would keep the lock beyond the close. Should
        // it fail, that close is what remains.
        let released = flock(&self.0, FlockOperation::Unlock);
        debug_assert!(released.is_ok());
    }
}
