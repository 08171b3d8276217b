//! The few system calls that the standard library and nix do not have: by rustix, and by hand what it has not either.
#![allow(unsafe_code, reason = "each function wraps one system call and says why it is sound")]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{tcgetwinsize, tcsetwinsize};

pub(crate) use rustix::termios::Winsize as WindowSize;

/// Takes the file descriptor that was sent over the Unix socket `socket`; `None` when there is none. Does not wait.
pub(crate) fn receive_fd(socket: BorrowedFd<'_>) -> nix::Result<Option<OwnedFd>> {
    // The sender adds at least one byte: a message without data cannot carry a file descriptor.
    let mut name = [0_u8; 4096];
    let mut iov = [std::io::IoSliceMut::new(&mut name)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            other => break other?,
        }
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this message alone, so nobody else owns them; all are
            // taken, so that none is leaked if there should be several.
            let owned: Vec<OwnedFd> = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
            return Ok(owned.into_iter().next());
        }
    }
    Ok(None)
}

/// The window size of the terminal `tty`.
pub(crate) fn window_size(tty: BorrowedFd<'_>) -> nix::Result<WindowSize> {
    tcgetwinsize(tty).map_err(errno)
}

/// Sets the window size of the terminal `tty`; its foreground processes get SIGWINCH.
pub(crate) fn set_window_size(tty: BorrowedFd<'_>, size: WindowSize) -> nix::Result<()> {
    tcsetwinsize(tty, size).map_err(errno)
}

/// Opens the other end of the pseudoterminal whose master is `master` (ioctl_tty(2), TIOCGPTPEER; Linux 4.13), without a path
/// and so in whatever mount namespace its devpts lies.
pub(crate) fn open_peer(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(errno)
}

/// The same number as nix has it, whose errors the rest of this program speaks.
fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Sends `signal` to the process behind `pidfd` (pidfd_send_signal(2); Linux 5.1). Not by rustix, which has no realtime signals.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed (the kernel fills it in as for kill(2)); the other arguments are plain numbers.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(done).map(drop)
}

/// Opens a pidfd of the process `pid` (pidfd_open(2); Linux 5.3).
pub(crate) fn open_pidfd(pid: i32) -> nix::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).map_err(errno)
}

/// Makes the mount at `path` and all below it read-only (mount_setattr(2); Linux 5.12).
pub(crate) fn set_read_only(path: &Path) -> nix::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let change = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let (flags, place) = (libc::AT_RECURSIVE | libc::AT_NO_AUTOMOUNT, &raw const change);
    // SAFETY: the path ends in a zero byte, and `place` points to a structure of the given size, which the kernel only reads.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            place,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// Takes over a descriptor that the caller has passed by number, if it is open for writing.
#[cfg(feature = "criu")]
pub(crate) fn take_writable(number: std::os::fd::RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_GETFL takes no argument; a number that is no descriptor is EBADF.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFL) })?;
    // Nobody else in this program can mean the first three, which are streams.
    if number < 3 || flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(Errno::EBADF);
    }
    // SAFETY: it is open, and was passed for this use: nothing else in this program knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks a descriptor of this process non-blocking.
pub(crate) fn set_nonblocking(fd: impl AsFd) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
