//! A process of a container that this program started, and how it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::error::{Error, Result};
use super::id::HostPid;
use super::report::Report;
use super::signal::Signal;
use super::step::Step;
use super::sys::pidfd;

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

/// What a process has used, as getrusage(2) counts it: with all of its descendants that were waited for, and with the little that its
/// own set-up took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time outside the kernel.
    pub user: Duration,
    /// Processor time of the kernel for it.
    pub system: Duration,
    /// The most memory that one of these processes had at a time, in bytes (its resident set).
    pub peak_memory: u64,
}

/// A process of a container that this program started, like [`std::process::Child`]: dropping it neither kills nor reaps it. Its
/// pidfd polls readable when the process ends.
#[derive(Debug)]
pub struct Process {
    pid: HostPid,
    pidfd: OwnedFd,
    report: Report,
}

impl Process {
    pub(crate) fn new(pid: HostPid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, report: Report::default() }
    }

    pub(crate) fn with_report(self, report: Report) -> Self {
        Self { report, ..self }
    }

    /// Its pid, as this program's pid namespace numbers it.
    #[must_use]
    pub fn id(&self) -> HostPid {
        self.pid
    }

    /// Its pidfd.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The pidfd alone, for a caller that needs nothing else.
    #[must_use]
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// What is to be said of how it was made.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Waits until the process ends and reaps it. Only its parent can: the program that called `create`, `run` or `exec`, or the
    /// child subreaper that adopted it.
    ///
    /// # Errors
    /// [`crate::Kind::System`] with ECHILD when it is not this program's child.
    pub fn wait(&self) -> Result<Exit> {
        wait_for(self.pidfd(), true)
    }

    /// As [`Self::wait`], and tells what the process has used. What a whole container uses, its control group knows
    /// ([`crate::stats`]).
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_with_usage(&self) -> Result<(Exit, Usage)> {
        let reaped = pidfd::reap_with_usage(self.pidfd())
            .map_err(|errno| Error::os(Step::Wait, errno as i32).with_object("the process"))?;
        let exit = match reaped.status {
            Ok(code) => Exit::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(signal) => Exit::Signal(signal),
        };
        let peak_memory = reaped.peak_memory.saturating_mul(1024);
        Ok((exit, Usage { user: reaped.user, system: reaped.system, peak_memory }))
    }

    /// Reaps the process if it has ended; `None` while it runs.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(&self) -> Result<Option<Exit>> {
        let ended = pidfd::has_ended(self.pidfd()).map_err(|errno| Error::os(Step::Wait, errno as i32))?;
        ended.then(|| self.wait()).transpose()
    }

    /// Sends a signal to this process, and to no other that may have its number by then.
    ///
    /// # Errors
    /// [`crate::Kind::System`], with ESRCH when it has been reaped.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        pidfd::send_signal(self.pidfd(), signal.number())
            .map_err(|errno| Error::os(Step::Signal, errno as i32).with_object(format!("process {}", self.pid)))
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
            Err(errno) => return Err(Error::os(Step::Wait, errno as i32).with_object("the process")),
        }
    }
}

/// Has that act on a child which takes only numbers. In a program that ignores SIGCHLD, or reaps children that are not its own, a
/// number can be another process's as soon as this one has ended: it is looked at before, and after.
///
/// # Errors
/// The action's; that the process is gone.
pub(crate) fn by_number<T>(pid: HostPid, process: BorrowedFd<'_>, act: impl FnOnce(HostPid) -> Result<T>) -> Result<T> {
    let done = if pidfd::keeps_number(process) { Some(act(pid)?) } else { None };
    done.filter(|_| pidfd::keeps_number(process)).ok_or_else(|| {
        Error::os(Step::Wait, libc::ESRCH)
            .with_object(format!("process {pid}"))
            .with_reason("it has ended, and was reaped by another")
            .with_hint("the program must neither ignore SIGCHLD nor reap children that it has not started")
    })
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl std::os::fd::AsRawFd for Process {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child of the test, as `exec` would hand it over.
    fn child(script: &str) -> Process {
        #[allow(clippy::zombie_processes, reason = "what is tested reaps it")]
        let child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = HostPid::new(i32::try_from(child.id()).unwrap()).unwrap();
        Process::new(pid, pidfd::open(pid).unwrap())
    }

    #[test]
    fn a_process_and_its_descendants_are_counted() {
        let (exit, usage) =
            child("sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; exit 7").wait_with_usage().unwrap();
        assert_eq!(exit, Exit::Code(7));
        assert!(usage.user + usage.system > Duration::from_millis(5), "{usage:?}");
        assert!((256 << 10..64 << 20).contains(&usage.peak_memory), "{usage:?}");
        let (exit, idle) = child("kill -9 $$").wait_with_usage().unwrap();
        assert_eq!(exit, Exit::Signal(9));
        assert!(idle.user + idle.system < usage.user + usage.system, "{idle:?} {usage:?}");
    }

    #[test]
    fn a_process_is_reaped_once() {
        let process = child("exit 0");
        process.wait_with_usage().unwrap();
        assert_eq!(process.wait_with_usage().unwrap_err().errno(), Some(libc::ECHILD));
    }
}
