//! System calls that nix does not wrap, through rustix or, where it has not got them either, by hand. With safe defaults:
//! close-on-exec always, errors as [`Errno`].
#![allow(
    unsafe_code,
    reason = "the only module of this crate that talks to the kernel without nix; each use argues its case"
)]

mod errno;
pub(crate) mod lock;
mod network;
pub(crate) mod pidfd;
mod probe;
mod processors;
#[cfg(feature = "criu")]
pub(crate) mod socket;
mod spawn;
mod statx;
mod trace;
mod trial;

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use errno::errno;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use orlop_init::wire::{Header, SchedAttr};
use orlop_init::{Block, NotABlock};
use rustix::fs::{MemfdFlags, OFlags, SealFlags, memfd_create};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen, open_tree,
};
use rustix::process::PidfdGetfdFlags;

pub(crate) use network::NetworkMaker;
pub(crate) use probe::{
    clones_into_cgroups, filtered_mount_call, has_file_capability, limits, refused_mount_calls, refused_process_calls,
    try_mount, try_user_namespace,
};
pub(crate) use processors::Processors;
pub(crate) use rustix::fs::ResolveFlags;
pub(crate) use spawn::{Before, NotSpawned, Program, Spawn, netlink_socket_in, spawn, spawn_sleeper};
pub(crate) use statx::statx;
pub(crate) use trace::seccomp_filter;
pub(crate) use trial::{allows_setgroups, in_child, setns};

use super::id::HostPid;

type Result<T> = std::result::Result<T, Errno>;

/// `memfd_create(2)`: executable where `executable`, and sealable.
pub(crate) fn memfd(name: &CStr, executable: bool) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if executable {
        // Since Linux 6.3; before, every memfd was executable.
        match memfd_create(name, flags | MemfdFlags::EXEC) {
            Err(rustix::io::Errno::INVAL) => {}
            other => return other.map_err(errno),
        }
    }
    memfd_create(name, flags).map_err(errno)
}

/// Seals a memfd: from now on neither its content nor its size changes.
pub(crate) fn seal(fd: BorrowedFd<'_>) -> Result<()> {
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(fd, seals).map_err(errno)
}

/// `open_tree(2)` with OPEN_TREE_CLONE (Linux 5.2): a detached copy of the mount that holds `path`, seen from `path` on.
pub(crate) fn clone_tree(path: &CStr, recursive: bool, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, nofollow);
    open_tree(rustix::fs::CWD, path, flags).map_err(errno)
}

/// `open_tree(2)` as [`clone_tree`], of a file below `dir`, which may itself be a detached mount of this process's (Linux 6.15).
pub(crate) fn clone_tree_at(dir: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(dir, path, flags).map_err(errno)
}

/// A tmpfs that is mounted nowhere, for device nodes: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)` (Linux 5.2).
pub(crate) fn detached_tmpfs() -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(errno)?;
    fsconfig_create(&context).map_err(errno)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(errno)
}

/// `mount_setattr(2)` with MOUNT_ATTR_IDMAP (Linux 5.12) on a detached mount.
pub(crate) fn set_id_map(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attr = [MOUNT_ATTR_IDMAP, 0, 0, u64::from(userns.as_raw_fd().cast_unsigned())];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (fd, empty) = (tree.as_raw_fd(), c"".as_ptr());
    // SAFETY: struct mount_attr is four 64-bit words, whose size is passed along.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, fd, empty, flags, attr.as_ptr(), size_of_val(&attr)) };
    Errno::result(result).map(drop)
}

/// `pidfd_getfd(2)` (Linux 5.6): a duplicate of the descriptor `number` of another process.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd> {
    rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).map_err(errno)
}

/// `openat2(2)` (Linux 5.6), close-on-exec.
pub(crate) fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: OFlag, resolve: ResolveFlags) -> Result<OwnedFd> {
    let flags = OFlags::from_bits_retain(flags.bits().cast_unsigned()) | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, path, flags, rustix::fs::Mode::empty(), resolve).map_err(errno)
}

/// `sched_setattr(2)` of another process, which rustix does not have.
pub(crate) fn set_scheduler(pid: HostPid, attr: &SchedAttr) -> Result<()> {
    let attr: *const SchedAttr = attr;
    // SAFETY: the structure lives as long as the call, and carries its own size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, pid.get(), attr, 0) };
    Errno::result(result).map(drop)
}

/// The effective capabilities of this thread (capget(2)); none where they cannot be told.
pub(crate) fn effective_capabilities() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits())
}

/// The kind of namespace behind `fd`, as its CLONE_NEW* flag (`NS_GET_NSTYPE` of ioctl_ns(2), Linux 4.11).
pub(crate) fn namespace_type(fd: BorrowedFd<'_>) -> Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: takes no argument.
    let kind = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) })?;
    u64::try_from(kind).map_err(|_| Errno::EINVAL)
}

/// The caller's standard streams, open or not.
pub(crate) fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: the numbers are not -1, and nothing in this program closes the standard streams.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Whether `fd` is open and will be inherited: what a caller that passes descriptors by number has prepared.
pub(crate) fn is_inheritable(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no argument; a number that is no descriptor is EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// A shared, writable mapping of a file, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: std::ptr::NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping is memory like any other; what both sides change in it are atomics.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `size` bytes of `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>, size: usize) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = std::ptr::NonNull::new(base.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self { base, size })
    }

    /// Copies plain values into the mapping at `at`; `None` when they do not fit.
    pub(crate) fn put<T: Copy>(&mut self, at: usize, items: &[T]) -> Option<()> {
        let bytes = size_of_val(items);
        let end = at.checked_add(bytes)?;
        if end > self.size || !at.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: at..end lies inside the mapping.
        let target = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: the ranges do not overlap, since `items` is ordinary memory; a byte-wise copy keeps padding undefined, and
        // nobody reads padding.
        unsafe { std::ptr::copy_nonoverlapping(items.as_ptr().cast::<u8>(), target, bytes) };
        Some(())
    }

    /// Puts the header at the mapping's start.
    pub(crate) fn put_header(&mut self, header: Header) -> Option<()> {
        if self.size < size_of::<Header>() {
            return None;
        }
        // SAFETY: page-aligned and large enough; nobody else has the mapping yet.
        unsafe { self.base.cast::<Header>().write(header) };
        Some(())
    }

    /// The block of this build that the mapping holds.
    pub(crate) fn into_block(self) -> std::result::Result<MappedBlock, NotABlock> {
        // SAFETY: the mapping has `size` bytes at a page's start, and lives as long as `self`; what both sides change are atomics.
        unsafe { Block::new(self.base, self.size) }?;
        Ok(MappedBlock { mapping: self })
    }
}

/// The shared block of an init, as this process maps it.
#[derive(Debug)]
pub(crate) struct MappedBlock {
    mapping: Mapping,
}

// SAFETY: memory that belongs to the value alone, wherever that is.
unsafe impl Send for MappedBlock {}
// SAFETY: of what is shared, nothing but atomics changes once it is a block.
unsafe impl Sync for MappedBlock {}

impl MappedBlock {
    pub(crate) fn block(&self) -> Block<'_> {
        // SAFETY: as in `into_block`, by which it has passed, and it is borrowed from the mapping.
        unsafe { Block::checked_before(self.mapping.base, self.mapping.size) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new` with this size; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
    }
}
