//! A process of a container that this program started, and how it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::{Error, Result};
use super::id::{ContainerId, HostPid};
use super::step::Step;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status, 0 to 255.
    Code(u8),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// The status as a shell reports it: the code, or 128 plus the signal's number.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// A process this program started in a container: its pid and a pidfd, which polls readable when the process ends.
#[derive(Debug)]
pub struct Container {
    id: ContainerId,
    pid: HostPid,
    pidfd: OwnedFd,
    warnings: Vec<String>,
    notes: Vec<String>,
}

impl Container {
    pub(crate) fn new(
        id: ContainerId,
        pid: HostPid,
        pidfd: OwnedFd,
        warnings: Vec<String>,
        notes: Vec<String>,
    ) -> Self {
        Self { id, pid, pidfd, warnings, notes }
    }

    /// What the caller should know although the operation succeeded (an unknown field or capability), one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was decided, for a debug log: one line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The container's id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The pid of the process, as this program's pid namespace numbers it.
    #[must_use]
    pub fn pid(&self) -> HostPid {
        self.pid
    }

    /// Waits until the process ends and reaps it. Only its parent can: the program that called `create`, `run` or `exec`, or the
    /// child subreaper that adopted it.
    ///
    /// # Errors
    /// [`crate::Kind::System`] with ECHILD when it is not this program's child.
    pub fn wait(&self) -> Result<Exit> {
        wait_for(self.pidfd.as_fd(), true)
    }
}

/// Waits for the end of a child of this program; reaps it, or leaves it for another wait.
pub(crate) fn wait_for(pidfd: BorrowedFd<'_>, reap: bool) -> Result<Exit> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let keep = if reap { WaitPidFlag::empty() } else { WaitPidFlag::WNOWAIT };
    loop {
        match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED | keep) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::os(Step::Wait, errno as i32).object("the process")),
        }
    }
}

impl std::os::fd::AsRawFd for Container {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
