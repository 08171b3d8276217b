//! A process that goes on as another one: by a fork of its own, or made by an exec server.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::end::end;
use super::entered::pid_namespace;
use super::init::Init;
use super::report;
use super::served::Place;
use crate::base::sys::pidfd;
use crate::base::{Error, HostPid, Kind, Result, Step, wait_for};

impl Init {
    /// After a fork of its own the init goes on as another child of ours. The first one ends then, unless it is held: by who traces it, or
    /// by a freezer.
    pub(super) fn follow_fork(&mut self, deadline: Instant) -> Result<bool> {
        // What an exec server has made comes first; the server itself goes on.
        if self.follow_server()? {
            return Ok(true);
        }
        if self.forks == 0 {
            return Ok(false);
        }
        let Some(next) = self.take_forked() else { return Ok(false) };
        self.spare.clear();
        let (pid, first) = self.go_on_by_fork(next)?;
        match self.wait_for_the_first(first.as_fd(), deadline) {
            Ok(()) => wait_for(first.as_fd(), true).map(|_| true),
            // What holds it may let it go, or not.
            Err(error) => {
                end(pid, first.as_fd());
                Err(error)
            }
        }
    }

    fn wait_for_the_first(&self, first: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, poll};
        let cancel = self.cancel.as_ref().map_or(first, AsFd::as_fd);
        loop {
            let mut fds = [first, cancel].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, pidfd::timeout_until(deadline)) {
                Ok(0) if Instant::now() >= deadline => return Err(self.timed_out()),
                Ok(0) | Err(Errno::EINTR) => {}
                // Without a cancel both are the same, which may end between the kernel's look at the first and at the second.
                Ok(_) if self.cancel.is_none() || fds.first().and_then(PollFd::any).unwrap_or(false) => return Ok(()),
                Ok(_) => return Err(self.cancelled()),
                Err(errno) => return Err(not_followed(errno)),
            }
        }
    }

    /// Takes what the exec server has made for the init, once the server has told of it.
    pub(super) fn follow_server(&mut self) -> Result<bool> {
        let Some(made) = self.place.as_ref().and_then(Place::made) else { return Ok(false) };
        self.told_in = self.place.take();
        match made {
            // One that is none of ours was made for another process than this: that may be who has forked this one.
            Ok(made) => self.go_on_as(made).map(|_| true).inspect_err(|_| self.refused = true),
            Err(errno) => {
                self.refused = true;
                Err(report::not_made(errno))
            }
        }
    }

    /// What the init names as its fork, once.
    pub(super) fn take_forked(&self) -> Option<HostPid> {
        self.told_in.as_ref().map_or_else(|| self.block.take_forked(), Place::forked).and_then(HostPid::new)
    }

    /// Takes what the init names as its fork for the init; returns the one before.
    ///
    /// A process that an exec server has made has its fork named by the kernel where nobody else can write. Elsewhere the name comes from
    /// a block that the process itself can write, and in a pid namespace with others it may be traced by who has the right to. So it is
    /// followed no more often than planned, and only to a child of ours in the pid namespace that is entered: one of another container, or
    /// of this program, is not taken for it, and so not killed in its stead.
    pub(super) fn go_on_by_fork(&mut self, next: HostPid) -> Result<(HostPid, OwnedFd)> {
        self.forks = self.forks.saturating_sub(1);
        let before = (self.pid, self.go_on_as(next)?);
        let Some(entered) = self.enters.filter(|_| self.forks == 0) else { return Ok(before) };
        match pid_namespace(self.pid, self.pidfd.as_fd()) {
            Ok(found) if found == entered => Ok(before),
            // The caller has not the right to look, and so has given no container the right to trace.
            Err(Errno::EACCES | Errno::EPERM) => Ok(before),
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                (self.pid, self.pidfd) = before;
                Err(not_followed(errno))
            }
            _ => {
                (self.pid, self.pidfd) = before;
                Err(not_followed(Errno::ECHILD).with_reason("it names a process that is not in its pid namespace"))
            }
        }
    }

    /// Takes another child of ours for the init; returns the pidfd of the one before.
    fn go_on_as(&mut self, next: HostPid) -> Result<OwnedFd> {
        if next == self.pid {
            return Err(not_followed(Errno::ECHILD));
        }
        let pidfd = pidfd::open(next).map_err(not_followed)?;
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::PIDFd(pidfd.as_fd()), flags).map_err(not_followed)?;
        self.pid = next;
        Ok(std::mem::replace(&mut self.pidfd, pidfd))
    }

    pub(super) fn cancelled(&self) -> Error {
        let (step, object) = report::progress(&self.block);
        Error::new(Kind::Cancelled, step).with_object(object).with_reason("cancelled by the caller")
    }
}

fn not_followed(errno: Errno) -> Error {
    Error::os(Step::Clone, errno as i32).with_object("the init's own fork")
}
