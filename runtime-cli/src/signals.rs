//! Signals of a foreground command: all are taken from a file descriptor, none by a handler.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Failure;

/// All signals of this process, blocked and readable. What is sent before anyone reads is kept by the kernel, so nothing is
/// lost between here and the event loop.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

/// What a signal asks of the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// A child ended.
    Reap,
    /// The terminal's window changed.
    Resize,
    /// Pass this signal on to the container.
    Forward(i32),
}

impl Signals {
    /// Blocks all signals. Must come before the container is made, so that its end cannot be missed.
    pub(crate) fn take() -> Result<Self, Failure> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None).map_err(|errno| Failure::os("block signals", errno))?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        fd.map(Self).map_err(|errno| Failure::os("open a signalfd", errno))
    }

    /// The next signal that is waiting, if any.
    pub(crate) fn next(&self) -> Result<Option<Request>, Failure> {
        match self.0.read_signal() {
            Ok(signal) => Ok(signal.map(|info| request(info.ssi_signo.cast_signed()))),
            Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(Failure::os("read a signal", errno)),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn request(signal: i32) -> Request {
    match Signal::try_from(signal) {
        Ok(Signal::SIGCHLD) => Request::Reap,
        Ok(Signal::SIGWINCH) => Request::Resize,
        _ => Request::Forward(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_but_two_belongs_to_the_container() {
        assert_eq!(request(libc::SIGCHLD), Request::Reap);
        assert_eq!(request(libc::SIGWINCH), Request::Resize);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGTSTP, 34, 64] {
            assert_eq!(request(signal), Request::Forward(signal));
        }
    }
}
