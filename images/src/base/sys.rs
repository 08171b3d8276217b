//! System calls that no crate wraps.
#![allow(unsafe_code, reason = "wraps system calls")]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Has the kernel begin to write `length` bytes of `file` from `offset` on, without waiting: sync_file_range(2), so that
/// the fsync at the end finds little left to do. It is a hint; where the file system cannot, fsync does all of it.
pub(crate) fn begin_writeback(file: &File, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes no pointers.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Marks every descriptor of this process but the standard streams close-on-exec: close_range(2). On kernels that cannot
/// (before 5.11) those that a caller has left open stay so.
pub(crate) fn close_others_on_exec() {
    // By its number, since musl has no function for it.
    // SAFETY: with this flag nothing is closed now, and the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Takes over the descriptor `number` that this process has inherited through the execution of its program. Nothing else in the
/// process may own it; one that is not open is an error.
pub(crate) fn inherited(number: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_SETFD takes no pointers, and reports a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it is open, and by this function's contract nobody else closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
