//! The pid namespace that a process enters, and the one that a process is in.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use orlop_init::wire::Op;

use super::resources::{Given, Opened};
use crate::base::HostPid;
use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::plan::{Plan, Resource};

const NEWPID: u32 = libc::CLONE_NEWPID.cast_unsigned();

/// What identifies a namespace: device and inode.
pub(super) type Namespace = (u64, u64);

/// The existing pid namespace that the plan's process enters with its last fork; `None` where it enters none, or where the caller
/// may not look: then it may not trace what is in there either, nor does a container that it has made.
pub(super) fn entered(plan: &Plan, opened: &[Opened<'_>], given: &Given<'_>) -> Option<Namespace> {
    let mut ops = plan.program.ops.iter().map(|record| &record.op);
    let joined = |op: &Op| match op {
        Op::Setns { fd, flags } if flags & NEWPID != 0 => Some(fd.0 as usize),
        _ => None,
    };
    let slot = ops.find_map(joined)?;
    let fd = opened.get(slot)?.as_fd();
    match plan.resources.get(slot)? {
        Resource::InitPidfd => pid_namespace(given.init_pid?, fd).ok(),
        _ => identity(fd).ok(),
    }
}

fn identity(namespace: BorrowedFd<'_>) -> nix::Result<Namespace> {
    let status = fstat(namespace)?;
    Ok((status.st_dev, status.st_ino))
}

/// The pid namespace of a process.
pub(super) fn pid_namespace(pid: HostPid, pidfd: BorrowedFd<'_>) -> nix::Result<Namespace> {
    match pidfd::pid_namespace(pidfd) {
        Ok(namespace) => identity(namespace.as_fd()),
        // Before Linux 6.11, and of a process that has ended.
        Err(_) => {
            let procfs = Procfs::open().map_err(|error| Errno::from_raw(error.errno().unwrap_or(libc::EIO)))?;
            procfs.of_process(pid, pidfd)?.own_namespace(c"pid")
        }
    }
}
