//! Trying in a child what this process must not do itself.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::pidfd;
use super::spawn::CloneArgs;

/// A few system calls do not take as long.
const DEADLINE: Duration = Duration::from_secs(5);

/// Has a child in new namespaces (`CLONE_NEW*`), or in one that it enters first, do `act`, which may call nothing but the kernel. The answer
/// is 0, or the errno of what failed in the child.
///
/// # Errors
/// The errno of clone3(2); `ETIMEDOUT` where the child had to be killed.
pub(crate) fn in_child(
    namespaces: libc::c_int,
    act: &dyn Fn() -> Result<(), Errno>,
) -> Result<Result<(), Errno>, Errno> {
    let mut number: RawFd = -1;
    let args = CloneArgs::of_own_memory(namespaces, &mut number);
    // SAFETY: without CLONE_VM the child has a copy of this thread's stack, and calls nothing but the kernel.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        let code = act().map_or_else(|errno| errno as i32, |()| 0);
        // SAFETY: takes a number; nothing of the parent's is flushed or run.
        unsafe { libc::_exit(code) }
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD has put a new descriptor there.
    let child = unsafe { OwnedFd::from_raw_fd(number) };
    if !pidfd::wait_until(child.as_fd(), Instant::now() + DEADLINE)? {
        pidfd::send_signal(child.as_fd(), libc::SIGKILL)?;
    }
    loop {
        match waitid(Id::PIDFd(child.as_fd()), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, 0)) => return Ok(Ok(())),
            Ok(WaitStatus::Exited(_, errno)) => return Ok(Err(Errno::from_raw(errno))),
            Ok(WaitStatus::Signaled(..)) => return Err(Errno::ETIMEDOUT),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether setgroups(2) is allowed in the user namespace `namespace`: a fact of its own (user_namespaces(7)), which /proc tells only of
/// processes in it. `None` where it cannot be entered.
pub(crate) fn allows_setgroups(namespace: BorrowedFd<'_>) -> Option<bool> {
    let set = || {
        // SAFETY: reads no groups.
        Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) }).map(drop)
    };
    let act = || {
        // SAFETY: takes two numbers.
        let entered = unsafe { libc::syscall(libc::SYS_setns, namespace.as_raw_fd(), libc::CLONE_NEWUSER) };
        // Not the answer that is asked for.
        Errno::result(entered).map_err(|_| Errno::ENOENT)?;
        set()
    };
    match in_child(0, &act) {
        Ok(Ok(())) => Some(true),
        Ok(Err(Errno::EPERM)) => Some(false),
        _ => None,
    }
}

/// `setns(2)` of the calling thread, by a descriptor of a namespace or a process.
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    let flags = libc::c_int::try_from(flags).map_err(|_| Errno::EINVAL)?;
    // SAFETY: takes two numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags) }).map(drop)
}
