//! Device nodes for a user namespace, which may make none itself.
//!
//! Where the host has the same node, it is what the container gets, as with every runtime. Where it has not, or the config gives
//! another mode or owner, a node is made on a file system of its own that is mounted nowhere: it is the host's, so that the node
//! counts, and the container sees that one node of it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::base::{Error, Result, Step, sys};
use crate::plan::DeviceNode;

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// A detached mount of the node.
pub(super) fn open(node: &DeviceNode) -> Result<OwnedFd> {
    let failed = |errno: Errno| {
        Error::os(Step::MakeDevice, errno as i32).with_object(node.path.as_str()).with_field(&node.field)
    };
    let path = CString::new(node.path.as_str()).map_err(|_| failed(Errno::EINVAL))?;
    let host = fstatat(AT_FDCWD, path.as_c_str(), AtFlags::empty()).ok();
    let same = host.as_ref().is_some_and(|host| is_same_device(host, node));
    if same && host.is_some_and(|host| is_as_wanted(&host, node)) {
        return sys::clone_tree(&path, false, false).map_err(failed);
    }
    match make(node) {
        // Before Linux 6.15 nothing that is not mounted can be cloned: the host's node has to do, with its mode and owner.
        Err(Errno::EINVAL | Errno::EPERM) if same => sys::clone_tree(&path, false, false).map_err(failed),
        Err(errno @ Errno::EINVAL) => {
            Err(failed(errno).with_hint("before Linux 6.15, make the node on the host first"))
        }
        other => other.map_err(failed),
    }
}

fn is_same_device(host: &FileStat, node: &DeviceNode) -> bool {
    let kind = SFlag::S_IFMT.bits();
    host.st_mode & kind == node.mode & kind
        && host.st_rdev == nix::sys::stat::makedev(node.major.into(), node.minor.into())
}

fn is_as_wanted(host: &FileStat, node: &DeviceNode) -> bool {
    node.file_mode.is_none_or(|mode| host.st_mode & PERMISSIONS == mode & PERMISSIONS)
        && node.uid.is_none_or(|uid| host.st_uid == uid)
        && node.gid.is_none_or(|gid| host.st_gid == gid)
}

fn make(node: &DeviceNode) -> nix::Result<OwnedFd> {
    const NAME: &std::ffi::CStr = c"node";
    let room = sys::detached_tmpfs()?;
    let kind = SFlag::from_bits_truncate(node.mode & SFlag::S_IFMT.bits());
    let device = nix::sys::stat::makedev(node.major.into(), node.minor.into());
    mknodat(&room, NAME, kind, Mode::empty(), device)?;
    let (uid, gid) = (node.uid.or(node.root.0), node.gid.or(node.root.1));
    fchownat(&room, NAME, uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    // Not by mknod, to which the runtime's umask applies.
    let mode = Mode::from_bits_truncate(node.mode & PERMISSIONS);
    fchmodat(&room, NAME, mode, FchmodatFlags::FollowSymlink)?;
    sys::clone_tree_at(room.as_fd(), NAME)
}
