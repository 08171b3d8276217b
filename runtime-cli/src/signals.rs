//! Signals of a foreground command. Until the container's command runs, those that ask a program to end cancel what is being made;
//! from then on all are read from a descriptor, and belong to the container.
#![allow(unsafe_code, reason = "a signal handler is installed and writes to a descriptor by its number")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Failure;

/// The signals that ask a program to end.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];

/// The first signal that came while something was being made; 0: none.
static CAME: AtomicI32 = AtomicI32::new(0);
/// The writing end of the pipe that tells the library of it.
static TELL: AtomicI32 = AtomicI32::new(-1);

/// All signals of this process. What is sent before anyone reads is kept by the kernel, so nothing is lost between here and the
/// event loop.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    /// Both ends, kept open: the library polls the reading one, and closes its own when the command runs. A handler that writes after
    /// that, with nobody to read, would get this process a SIGPIPE, and the container after it.
    _pipe: (OwnedFd, OwnedFd),
}

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
    /// Prepares for a container to be made: blocks all signals but those that ask to end. The descriptor polls readable once one of
    /// these came; a second one ends the program where it is.
    pub(crate) fn take() -> Result<(Self, OwnedFd), Failure> {
        let failed = |errno| Failure::os("prepare for signals", errno);
        let (cancel, tell) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed)?;
        TELL.store(tell.as_raw_fd(), Ordering::Relaxed);
        for signal in ENDING {
            cancel_on(signal).map_err(failed)?;
        }
        let mut blocked = SigSet::all();
        ENDING.into_iter().for_each(|signal| blocked.remove(signal));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None).map_err(failed)?;
        let fd =
            SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
        let reader = cancel.try_clone().map_err(|error| Failure::io("prepare for signals", &error))?;
        Ok((Self { fd, _pipe: (reader, tell) }, cancel))
    }

    /// From now on every signal belongs to the container. Returns the one that came too late to cancel anything.
    pub(crate) fn hand_over(&self) -> Result<Option<i32>, Failure> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
            .map_err(|errno| Failure::os("block signals", errno))?;
        Ok(came())
    }

    /// The next signal that is waiting, if any.
    pub(crate) fn next(&self) -> Result<Option<Request>, Failure> {
        match self.fd.read_signal() {
            Ok(signal) => Ok(signal.map(|info| request(info.ssi_signo.cast_signed()))),
            Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(Failure::os("read a signal", errno)),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The signal that has cancelled what was being made.
pub(crate) fn came() -> Option<i32> {
    Some(CAME.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// Has `signal` cancel what is being made, unless the caller ignores it (nohup(1)): then it goes on being ignored.
fn cancel_on(signal: Signal) -> nix::Result<()> {
    // Without SA_RESTART: a call that waits returns.
    let action = SigAction::new(SigHandler::Handler(cancel), SaFlags::empty(), SigSet::empty());
    // SAFETY: `cancel` calls nothing but write(2) and _exit(2), which may be called in a signal handler.
    let before = unsafe { sigaction(signal, &action) }?;
    if before.handler() == SigHandler::SigIgn {
        // SAFETY: no handler, so nothing is called.
        unsafe { sigaction(signal, &before) }?;
    }
    Ok(())
}

/// The handler. The child that becomes the init shares this memory for a moment, but has no handlers (CLONE_CLEAR_SIGHAND).
extern "C" fn cancel(signal: libc::c_int) {
    if CAME.swap(signal, Ordering::Relaxed) != 0 {
        // SAFETY: ends the process at once; what it leaves is found by `delete --force` and `gc`.
        unsafe { libc::_exit(128 + signal) }
    }
    let tell: RawFd = TELL.load(Ordering::Relaxed);
    let errno = Errno::last_raw();
    // SAFETY: writes one byte of a constant; a number that is no descriptor would be EBADF. An empty pipe takes the byte.
    unsafe { libc::write(tell, c"x".as_ptr().cast(), 1) };
    // What was interrupted finds its own errno.
    Errno::set_raw(errno);
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
