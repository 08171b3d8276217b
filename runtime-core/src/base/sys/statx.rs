//! `statx(2)`, which tells the mount that a file is on.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

use super::Result;

/// What is used of statx(2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statx {
    /// The mount by its number in mountinfo (Linux 5.8).
    pub(crate) mount: u64,
    /// The file is the root of its mount (Linux 5.8).
    pub(crate) is_mount_root: bool,
    pub(crate) mode: u32,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

/// `statx(2)` of an open file.
pub(crate) fn statx(file: BorrowedFd<'_>) -> Result<Statx> {
    const BASIC: libc::c_uint = 0x7ff;
    const MNT_ID: libc::c_uint = 0x1000;
    const ATTR_MOUNT_ROOT: u64 = 0x2000;
    let mut words = [0u64; 32];
    let (fd, empty, flags) = (file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: struct statx has 256 bytes, and the buffer lives through the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_statx, fd, empty, flags, BASIC | MNT_ID, words.as_mut_ptr()) })?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let half = |at: usize| bytes.get(at..at + 2).and_then(|part| part.try_into().ok()).map_or(0, u16::from_ne_bytes);
    let word = |at: usize| bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let long = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_ne_bytes);
    if word(0) & MNT_ID == 0 {
        return Err(Errno::ENOSYS);
    }
    // linux/stat.h: attributes, mode, inode, the device that a node stands for, the mount.
    Ok(Statx {
        is_mount_root: long(8) & ATTR_MOUNT_ROOT != 0,
        mode: u32::from(half(28)),
        inode: long(32),
        device: (word(128), word(132)),
        mount: long(144),
    })
}
