//! The end of an init that is of no more use.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::init::Init;
use crate::base::sys::pidfd;
use crate::base::{HostPid, wait_for};

/// How long a killed process may take to be gone. One in a hierarchy of v1 that is frozen ends only when it is thawed: it is left
/// to that, and does nothing any more.
const GONE: Duration = Duration::from_secs(5);
/// How long an exec server may take to make a process that nobody wants any more, before it is killed itself.
const MADE: Duration = Duration::from_secs(1);

impl Init {
    /// Ends an init that is of no more use, with all that is in its pid namespace, and reaps it.
    pub(crate) fn kill(&mut self) {
        // Of the server, this was the last word: it lives on for other commands.
        self.wait_made();
        if self.refused {
            return;
        }
        end(self.pid, self.pidfd.as_fd());
        // The server may just have made it, as it may just have forked.
        if self.place.is_some() && self.follow_server().is_ok_and(|made| made) {
            end(self.pid, self.pidfd.as_fd());
        }
        while self.forks > 0
            && let Some(next) = self.take_forked()
            && self.go_on_by_fork(next).is_ok()
        {
            end(self.pid, self.pidfd.as_fd());
        }
    }

    /// Waits a moment for what an exec server was asked for.
    fn wait_made(&mut self) {
        self.cancel = None;
        // A word of it shows that it was made.
        self.goes_on = false;
        let deadline = Instant::now() + MADE;
        let mut seen = (false, false);
        while self.place.is_some() {
            // It may have made what stops before its first word.
            match self.follow_server() {
                Ok(false) if seen != (false, false) => {
                    // It has ended without a word.
                    self.place = None;
                    self.refused = true;
                }
                Ok(false) => match self.poll_until(deadline) {
                    Ok(Some(ready)) => seen = ready,
                    Ok(None) | Err(_) => return,
                },
                Ok(true) => {}
                // What was made is none of ours, or it said why it was not.
                Err(_) => self.refused = true,
            }
        }
    }
}

/// Ends a child and reaps it.
pub(super) fn end(pid: HostPid, pidfd: BorrowedFd<'_>) {
    // It may have ended by itself; either way it is reaped.
    if let Err(errno) = pidfd::send_signal(pidfd, libc::SIGKILL)
        && errno != Errno::ESRCH
        && !pidfd::has_ended(pidfd).unwrap_or(true)
    {
        // Where a sandbox around this one lacks the call: nobody else reaps this child, so that the number is its own.
        let pid = nix::unistd::Pid::from_raw(pid.get());
        let signalled = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        debug_assert!(matches!(signalled, Ok(()) | Err(Errno::ESRCH)));
    }
    if pidfd::wait_until(pidfd, Instant::now() + GONE).unwrap_or(false) {
        drop(wait_for(pidfd, true));
    }
}
