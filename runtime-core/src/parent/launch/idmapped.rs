//! The user namespace whose id maps an idmapped mount takes: one that exists only for them, or the one that is joined.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::idmaps;
use super::namespaces::open_namespace;
use crate::base::procfs::Procfs;
use crate::base::sys::{self, pidfd};
use crate::base::{Error, HostPid, Result, Step, by_number};
use crate::config::NamespaceType;
use crate::plan::{IdMapped, IdMaps, MountMaps};

/// A user namespace with these maps.
pub(crate) fn namespace(maps: &MountMaps, field: &str) -> Result<OwnedFd> {
    match maps {
        MountMaps::Given(maps) => made(maps, field),
        MountMaps::Joined { path, field } => open_namespace(path, NamespaceType::User, field),
    }
}

/// Makes a user namespace and returns a descriptor of it; the process it took is gone by then.
fn made(maps: &IdMaps, field: &str) -> Result<OwnedFd> {
    let failed = |errno: nix::errno::Errno| {
        Error::os(Step::MapIds, errno as i32).with_object("for an idmapped mount").with_field(field)
    };
    let (pid, process) = sys::spawn_sleeper(nix::libc::CLONE_NEWUSER).map_err(failed)?;
    let result = (|| {
        let pid = HostPid::new(pid).ok_or_else(|| failed(nix::errno::Errno::ESRCH))?;
        idmaps::write(pid, process.as_fd(), maps, true).map_err(|error| error.with_field(field))?;
        by_number(pid, process.as_fd(), |pid| Procfs::open()?.open_namespace(pid, "user"))
    })();
    // The namespace lives on in its descriptor.
    let ended = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
    debug_assert!(ended.is_ok());
    crate::base::wait_for(process.as_fd(), true)?;
    result
}

/// Maps the ids of the detached mount `tree` of `path`.
pub(crate) fn apply(tree: BorrowedFd<'_>, idmap: &IdMapped, path: &str, field: &str) -> Result<()> {
    let userns = namespace(&idmap.maps, field)?;
    sys::set_id_map(tree, userns.as_fd(), idmap.recursive).map_err(|errno| {
        let error =
            Error::os(Step::BindMount, errno as i32).with_object(path).with_field(field).with_reason("mapping ids");
        match errno {
            nix::errno::Errno::EINVAL => {
                error.with_hint("the file system or the kernel does not support idmapped mounts")
            }
            nix::errno::Errno::EPERM => error.with_hint("it is idmapped already, or belongs to another user namespace"),
            _ => error,
        }
    })
}
