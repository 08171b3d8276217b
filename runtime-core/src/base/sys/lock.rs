//! The lock of a directory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

/// A directory with an exclusive `flock(2)` on it, as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Lock {
    /// Takes the lock if nobody has it; else the directory comes back with [`Errno::EWOULDBLOCK`].
    pub(crate) fn try_take(directory: OwnedFd) -> Result<Self, (OwnedFd, Errno)> {
        // SAFETY: the fd is owned, so it is open; the call touches no memory of this program.
        match Errno::result(unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
            Ok(_) => Ok(Self(directory)),
            Err(errno) => Err((directory, errno)),
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
        // SAFETY: the fd is owned, so it is open; the call touches no memory of this program.
        unsafe { libc::flock(self.0.as_raw_fd(), libc::LOCK_UN) };
    }
}
