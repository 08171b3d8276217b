//! `statx(2)`, which tells the mount that a file is on.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use rustix::fs::{AtFlags, StatxFlags};

use super::errno::errno;

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
pub(crate) fn statx(file: BorrowedFd<'_>) -> nix::Result<Statx> {
    const ATTR_MOUNT_ROOT: u64 = 0x2000;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted).map_err(errno)?;
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::ENOSYS);
    }
    Ok(Statx {
        is_mount_root: found.stx_attributes.bits() & ATTR_MOUNT_ROOT != 0,
        mode: u32::from(found.stx_mode),
        inode: found.stx_ino,
        device: (found.stx_rdev_major, found.stx_rdev_minor),
        mount: found.stx_mnt_id,
    })
}
