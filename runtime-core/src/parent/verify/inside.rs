//! Facts that the kernel tells only to who is in the container's namespaces: a child of the runtime enters them, reads, and ends.

use std::ffi::CStr;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::base::procfs::Procfs;
use crate::base::sys;

/// Reads a file below `proc`, the runtime's own, as a process in these namespaces of `pidfd`'s process finds it; at most a page.
pub(super) fn read(pidfd: BorrowedFd<'_>, namespaces: u64, proc: &Procfs, path: &CStr) -> Result<String, Errno> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let act = || {
        if namespaces != 0 {
            sys::setns(pidfd, namespaces)?;
        }
        let file = proc.open_file(path, OFlag::O_RDONLY)?;
        let mut bytes = [0u8; 4096];
        let length = nix::unistd::read(file.as_fd(), &mut bytes)?;
        nix::unistd::write(&writer, bytes.get(..length).unwrap_or_default()).map(drop)
    };
    sys::in_child(0, &act)??;
    drop(writer);
    let mut text = Vec::new();
    std::fs::File::from(reader)
        .read_to_end(&mut text)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// What stands at a path inside a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The mount it is on, by its number in mountinfo.
    pub(super) mount: u64,
    /// It is that mount's root.
    pub(super) is_root: bool,
    /// The type and permissions (`S_IF*`).
    pub(super) mode: u32,
    /// The device that a node stands for.
    pub(super) device: (u32, u32),
    /// The file itself.
    pub(super) inode: u64,
}

/// Looks at `path` below `root`, never leaving it.
pub(super) fn place(root: BorrowedFd<'_>, path: &str) -> Result<Place, Errno> {
    let path = std::ffi::CString::new(path).map_err(|_| Errno::EINVAL)?;
    let file = sys::openat2(root, &path, OFlag::O_PATH, sys::ResolveFlags::IN_ROOT | sys::ResolveFlags::NO_MAGICLINKS)?;
    place_of(file.as_fd())
}

/// Looks at an open file.
pub(super) fn place_of(file: BorrowedFd<'_>) -> Result<Place, Errno> {
    let found = sys::statx(file)?;
    Ok(Place {
        mount: found.mount,
        is_root: found.is_mount_root,
        mode: found.mode,
        device: found.device,
        inode: found.inode,
    })
}
