//! Process file descriptors: a process named once and for all, however often its pid is used again.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use rustix::process::PidfdFlags;

use super::errno::errno;
use crate::base::id::HostPid;

/// The file system type of pidfds since Linux 6.9 (`PID_FS_MAGIC` of linux/magic.h); before, they share one anonymous inode.
const PID_FS_MAGIC: i64 = 0x5049_4446;

/// `pidfd_open(2)`, Linux 5.3. The fd is close-on-exec by itself.
pub(crate) fn open(pid: HostPid) -> nix::Result<OwnedFd> {
    rustix::process::pidfd_open(pid.as_pid(), PidfdFlags::empty()).map_err(errno)
}

/// `pidfd_send_signal(2)`, Linux 5.1. Signal 0 only asks, which rustix cannot say, nor a real-time signal.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the fd is open as long as it is borrowed, and a null siginfo is what the call documents for "as kill(2)".
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    Errno::result(result).map(drop)
}

/// Whether the process's number is still its own: it is until somebody reaps it, or nobody has to, since its parent ignores SIGCHLD.
pub(crate) fn keeps_number(pidfd: BorrowedFd<'_>) -> bool {
    !matches!(send_signal(pidfd, 0), Err(Errno::ESRCH))
}

/// `PIDFD_GET_PID_NAMESPACE` of linux/pidfd.h, Linux 6.11: the pid namespace of a living process.
pub(crate) fn pid_namespace(pidfd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    const GET_PID_NAMESPACE: u32 = 0xff05;
    let none = 0usize;
    // The type of a request differs between C libraries.
    // SAFETY: the fd is open as long as it is borrowed; the request takes no argument but a zero.
    let fd = unsafe { libc::syscall(libc::SYS_ioctl, pidfd.as_raw_fd(), GET_PID_NAMESPACE, none) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: a new descriptor, close-on-exec, that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The inode that no other process since boot has; `None` before Linux 6.9.
pub(crate) fn inode(pidfd: BorrowedFd<'_>) -> nix::Result<Option<u64>> {
    // The type of the field differs between C libraries.
    #[allow(clippy::unnecessary_cast, reason = "it is i64 with one C library and u64 with another")]
    let kind = fstatfs(pidfd)?.filesystem_type().0 as i64;
    if kind == PID_FS_MAGIC { Ok(Some(fstat(pidfd)?.st_ino)) } else { Ok(None) }
}

/// Whether the pidfd has an inode that was found before: then it is the same process. A kernel that has such inodes is taken for
/// granted, since nothing that was found by one lives on under another.
pub(crate) fn has_inode(pidfd: BorrowedFd<'_>, inode: u64) -> nix::Result<bool> {
    Ok(fstat(pidfd)?.st_ino == inode)
}

/// Whether all threads of the process have ended; it may still wait to be reaped.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>) -> nix::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::ZERO) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// How a child ended, and what it used.
#[derive(Debug)]
pub(crate) struct Reaped {
    /// The status of one that exited, or the signal that killed it.
    pub(crate) status: std::result::Result<i32, i32>,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// In KiB.
    pub(crate) peak_memory: u64,
}

/// waitid(2) with its fifth argument, which no C library passes on: waits for the end of a child, and reaps it.
pub(crate) fn reap_with_usage(pidfd: BorrowedFd<'_>) -> nix::Result<Reaped> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        let (id, fd) = (libc::P_PIDFD, pidfd.as_raw_fd());
        // SAFETY: both pointers lead to places of their type, of this function alone, which the kernel fills.
        let result =
            unsafe { libc::syscall(libc::SYS_waitid, id, fd, info.as_mut_ptr(), libc::WEXITED, usage.as_mut_ptr()) };
        match Errno::result(result) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // SAFETY: plain values, all of them zero before the kernel wrote some.
    let info = unsafe { info.assume_init() };
    // SAFETY: as above.
    let usage = unsafe { usage.assume_init() };
    // SAFETY: waitid fills this part of a siginfo.
    let status = unsafe { info.si_status() };
    let time = |time: libc::timeval| {
        let nanoseconds = u32::try_from(time.tv_usec).unwrap_or(0).saturating_mul(1000);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
    };
    Ok(Reaped {
        status: if info.si_code == libc::CLD_EXITED { Ok(status) } else { Err(status) },
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

/// Waits until the process has ended; `false` when `deadline` passes before.
pub(crate) fn wait_until(pidfd: BorrowedFd<'_>, deadline: Instant) -> nix::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout_until(deadline)) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

/// What is left until `deadline` as `poll(2)` counts it: milliseconds, rounded up so that a short rest is not a busy loop.
pub(crate) fn timeout_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    let milliseconds = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(milliseconds).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_and_then_for_ever_ended() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pidfd = open(HostPid::new(i32::try_from(child.id()).unwrap()).unwrap()).unwrap();
        assert!(!has_ended(pidfd.as_fd()).unwrap());
        assert!(!wait_until(pidfd.as_fd(), Instant::now() + Duration::from_millis(5)).unwrap());
        send_signal(pidfd.as_fd(), 0).unwrap();
        send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert!(wait_until(pidfd.as_fd(), Instant::now() + Duration::from_secs(10)).unwrap());
        assert!(has_ended(pidfd.as_fd()).unwrap(), "a zombie has ended");
        child.wait().unwrap();
        assert!(has_ended(pidfd.as_fd()).unwrap());
        assert_eq!(send_signal(pidfd.as_fd(), 0), Err(Errno::ESRCH));
    }

    #[test]
    fn a_pid_namespace_is_that_of_procfs() {
        let own = open(HostPid::new(std::process::id().cast_signed()).unwrap()).unwrap();
        let namespace = match pid_namespace(own.as_fd()) {
            Err(Errno::ENOTTY | Errno::EINVAL) => {
                eprintln!("skipped a_pid_namespace_is_that_of_procfs: needs Linux 6.11");
                return;
            }
            namespace => fstat(namespace.unwrap()).unwrap(),
        };
        let named = nix::sys::stat::stat("/proc/self/ns/pid").unwrap();
        assert_eq!((namespace.st_dev, namespace.st_ino), (named.st_dev, named.st_ino));
    }

    #[test]
    fn the_inode_belongs_to_the_process_not_to_the_fd() {
        let own = HostPid::new(nix::unistd::getpid().as_raw()).unwrap();
        let (one, two) = (open(own).unwrap(), open(own).unwrap());
        let parent = open(HostPid::new(nix::unistd::getppid().as_raw()).unwrap()).unwrap();
        match inode(one.as_fd()).unwrap() {
            Some(inode_of_one) => {
                assert_eq!(inode(two.as_fd()).unwrap(), Some(inode_of_one));
                assert_ne!(inode(parent.as_fd()).unwrap(), Some(inode_of_one));
            }
            None => eprintln!("skipped the_inode_belongs_to_the_process_not_to_the_fd: needs Linux 6.9"),
        }
    }
}
