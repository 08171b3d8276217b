//! The execution of the command, watched by ptrace(2): a seccomp filter may be loaded right before it, when an init that waits has not got it
//! yet. The command stands still after its execve, before its first instruction, until its filter has been compared.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use orlop_seccomp::Filter;

use super::difference::Difference;
use super::facts;
use crate::base::sys::{self, pidfd};
use crate::base::{Error, HostPid, Result, Step};

/// Between two looks at a process that does not stand still yet. ptrace(2) has no descriptor that could be polled.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// How long a killed init may take to be gone.
const DEATH: Duration = Duration::from_secs(1);

/// An init that is traced until its command has been compared. It is killed where it does not come to that, be it that the runtime ends.
#[derive(Debug)]
pub(crate) struct Execution<'e> {
    pid: HostPid,
    pidfd: BorrowedFd<'e>,
    /// How many filters the init had before its own.
    inherited: u64,
    filter: &'e Filter,
    arrived: Cell<bool>,
    compared: Cell<bool>,
}

impl<'e> Execution<'e> {
    /// Begins to trace an init that waits.
    pub(crate) fn watch(pid: HostPid, pidfd: BorrowedFd<'e>, inherited: u64, filter: &'e Filter) -> Result<Self> {
        let options = ptrace::Options::PTRACE_O_TRACEEXEC | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::seize(Pid::from_raw(pid.get()), options).map_err(|errno| {
            let error = failed(errno).with_object(format!("process {pid} by ptrace(2)"));
            error.with_hint("another program traces it, or Yama or a seccomp filter around the runtime forbids tracing")
        })?;
        Ok(Self { pid, pidfd, inherited, filter, arrived: Cell::new(false), compared: Cell::new(false) })
    }

    /// Lets the init go on after a signal, and tells whether it stands behind its execve.
    pub(crate) fn has_come(&self) -> Result<bool> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        while !self.arrived.get() {
            let signal = match waitid(Id::Pid(self.raw()), flags) {
                Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, libc::PTRACE_EVENT_EXEC)) => {
                    self.arrived.set(true);
                    continue;
                }
                Ok(WaitStatus::PtraceEvent(_, signal, 0)) => Some(signal),
                Ok(WaitStatus::PtraceEvent(..)) => None,
                Ok(_) | Err(Errno::ECHILD) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            match ptrace::cont(self.raw(), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(self.arrived.get())
    }

    /// Waits for the execve, and compares the filter of what has been executed.
    ///
    /// # Errors
    /// [`Step::Verify`]: it has another filter; the process stays where it is, to be killed.
    pub(crate) fn check(&self, deadline: Instant) -> Result<()> {
        while !self.has_come()? {
            // A command that its own filter kills has no first instruction either.
            if pidfd::has_ended(self.pidfd).map_err(failed)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(failed(Errno::ETIMEDOUT));
            }
            std::thread::sleep(PAUSE);
        }
        let status = facts::status_of(self.pid)?;
        let number = |name: &str| status.get(name).and_then(|text| text.parse::<u64>().ok());
        if let Some(difference) = super::verdict::filters(self.inherited, number("Seccomp"), number("Seccomp_filters"))
        {
            return Err(difference.into_error());
        }
        // The kernel tells the program to whom the host's root is, where it can be told at all.
        match sys::seccomp_filter(self.raw(), self.inherited) {
            Ok(found) if found == self.filter.instructions => {}
            Ok(found) => {
                let promised = format!("the profile's program of {} instructions", self.filter.instructions.len());
                let found = format!("another one of {}", found.len());
                return Err(Difference::new("/linux/seccomp", promised, found).into_error());
            }
            Err(Errno::EACCES | Errno::EPERM | Errno::EIO | Errno::EINVAL | Errno::EMEDIUMTYPE) => {}
            Err(errno) => return Err(failed(errno)),
        }
        ptrace::detach(self.raw(), None).map_err(failed)?;
        self.compared.set(true);
        Ok(())
    }

    fn raw(&self) -> Pid {
        Pid::from_raw(self.pid.get())
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        if self.compared.get() {
            return;
        }
        // What fails here adds nothing: the caller has an error to report already, or the init has ended.
        let killed = pidfd::send_signal(self.pidfd, libc::SIGKILL).or(Ok(()));
        let ended = killed.and_then(|()| pidfd::wait_until(self.pidfd, Instant::now() + DEATH)).unwrap_or(false);
        // It is its parent's to reap, who does not hear of its end while it is traced.
        let parent = facts::status_of(self.pid).ok().and_then(|status| status.get("PPid")?.parse::<u32>().ok());
        if ended && parent.is_some_and(|parent| parent != std::process::id()) {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
            waitid(Id::Pid(self.raw()), flags).ok();
        }
    }
}

fn failed(errno: Errno) -> Error {
    Error::os(Step::Verify, errno as i32).with_field("/linux/seccomp")
}
