//! What a container is doing, told from facts: its process, its freezer, its FIFO. The state file says only what cannot change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use orlop_cgroups::Freezers;

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{Error, HostPid, Kind, Result, Status, Step};
use crate::parent::cgroup;
use crate::state::{Brief, Entry, InitProcess, Locked, Phase, Record};

impl InitProcess {
    /// What identifies the process behind `pidfd`, whose pid is `pid`: the inode of the pidfd where the kernel has such, else
    /// the start time.
    pub(crate) fn of(pid: HostPid, pidfd: BorrowedFd<'_>) -> Result<Self> {
        let inode = pidfd::inode(pidfd).map_err(|errno| Error::os(Step::WriteState, errno as i32))?;
        let start_time = if inode.is_some() { None } else { Procfs::open()?.start_time(pid)? };
        Ok(Self { pid, pidfd_inode: inode, start_time })
    }

    /// A pidfd of this very process, or `None` when it has ended: also when it waits to be reaped, and when its pid has gone to
    /// another.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>> {
        let failed =
            |errno: Errno| Error::os(Step::FindContainer, errno as i32).with_object(format!("process {}", self.pid));
        let pidfd = match pidfd::open(self.pid) {
            Ok(pidfd) => pidfd,
            // EINVAL, and ENOENT since Linux 6.17: the number now means a thread of another process.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let same = match (self.pidfd_inode, self.start_time) {
            (Some(inode), _) => pidfd::has_inode(pidfd.as_fd(), inode).map_err(failed)?,
            // Read after the pidfd was opened: if the time is right, the pidfd is, since the pid was still in use.
            (None, Some(time)) => Procfs::open()?.start_time(self.pid)? == Some(time),
            (None, None) => false,
        };
        if !same || pidfd::has_ended(pidfd.as_fd()).map_err(failed)? {
            return Ok(None);
        }
        Ok(Some(pidfd))
    }
}

/// The facts about a container at one moment.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its status.
    pub(crate) status: Status,
    /// Its first process, unless that has ended.
    pub(crate) init: Option<OwnedFd>,
}

/// The facts about a container that may be changing.
pub(crate) fn facts(entry: &Entry) -> Result<Facts> {
    Liveness::of(&entry.record).facts(|| entry.has_exec_fifo())
}

/// Whether a container whose first process lived when `init` was opened is paused now; `None` when that process has ended.
pub(crate) fn is_paused(record: &Record, init: BorrowedFd<'_>) -> Result<Option<bool>> {
    let Some(process) = record.init else { return Ok(None) };
    let ended = pidfd::has_ended(init);
    if ended.map_err(|errno| Error::os(Step::FindContainer, errno as i32).with_object("the container's init"))? {
        return Ok(None);
    }
    cgroup::is_frozen_of_many(&mut Freezers::default(), record.cgroup.as_ref(), process.pid).map(Some)
}

/// The status of a container that is only to be described, as one of many that `freezers` is for.
pub(crate) fn status_briefly(brief: &Brief<'_>, freezers: &mut Freezers) -> Result<Status> {
    let vital = Liveness { phase: brief.phase, init: brief.init, cgroup: brief.cgroup.as_ref() };
    vital.facts_with(freezers, || brief.has_exec_fifo()).map(|facts| facts.status)
}

/// The facts about a container that only this caller changes.
pub(crate) fn facts_locked(locked: &Locked, record: &Record) -> Result<Facts> {
    Liveness::of(record).facts(|| locked.has_exec_fifo())
}

/// What of a container's record its status depends on.
struct Liveness<'v> {
    phase: Phase,
    init: Option<InitProcess>,
    cgroup: Option<&'v orlop_cgroups::Record>,
}

impl<'v> Liveness<'v> {
    fn of(record: &'v Record) -> Self {
        Self { phase: record.phase, init: record.init, cgroup: record.cgroup.as_ref() }
    }

    fn facts(&self, has_fifo: impl FnOnce() -> Result<bool>) -> Result<Facts> {
        self.facts_with(&mut Freezers::default(), has_fifo)
    }

    /// In the order of cost: most questions end at the process.
    fn facts_with(&self, freezers: &mut Freezers, has_fifo: impl FnOnce() -> Result<bool>) -> Result<Facts> {
        if self.phase != Phase::Created {
            return Ok(Facts { status: Status::Creating, init: None });
        }
        let stopped = Ok(Facts { status: Status::Stopped, init: None });
        let Some(process) = self.init else { return stopped };
        let Some(init) = process.open()? else { return stopped };
        let status = if cgroup::is_frozen_of_many(freezers, self.cgroup, process.pid)? {
            Status::Paused
        } else if has_fifo()? && is_waiting(self.init)? {
            Status::Created
        } else {
            Status::Running
        };
        Ok(Facts { status, init: Some(init) })
    }
}

/// Whether the container is created and not started, frozen or not.
pub(crate) fn waits_for_start(entry: &Entry) -> Result<bool> {
    Ok(entry.has_exec_fifo()? && is_waiting(entry.record.init)?)
}

/// Whether a container with a FIFO really waits at it: a `start` that was killed may have let the command be executed without
/// removing the FIFO.
fn is_waiting(init: Option<InitProcess>) -> Result<bool> {
    let Some(init) = init else {
        return Ok(false);
    };
    match cgroup::is_init_program(&Procfs::open()?, init.pid) {
        Ok(waiting) => Ok(waiting),
        // Nobody may look at it (another user's, or hidden), or it ends just now: the FIFO is the better witness.
        Err(Errno::EACCES | Errno::EPERM | Errno::ENOENT | Errno::ESRCH) => Ok(true),
        Err(errno) => Err(Error::os(Step::FindContainer, errno as i32).with_object(format!("/proc/{}/exe", init.pid))),
    }
}

/// The error of an operation that needs a live container, in the words engines look for.
pub(crate) fn not_running(record: &Record) -> Error {
    Error::new(Kind::WrongStatus, Step::FindContainer)
        .with_object(record.id.as_str())
        .with_reason("container not running")
}
