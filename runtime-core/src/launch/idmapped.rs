//! A user namespace that exists only for its id maps, as an idmapped mount takes it.

use std::os::fd::OwnedFd;

use super::idmaps;
use crate::config::IdMapping;
use crate::plan::IdMaps;
use crate::procfs::Procfs;
use crate::{Error, HostPid, Result, Step, pidfd, sys};
use std::os::fd::AsFd as _;

/// Makes a user namespace with these maps and returns a descriptor of it; the process it took is gone by then.
pub(crate) fn user_namespace(uids: &[IdMapping], gids: &[IdMapping], field: &str) -> Result<OwnedFd> {
    let failed =
        |errno: nix::errno::Errno| Error::os(Step::MapIds, errno as i32).object("for an idmapped mount").field(field);
    let (pid, process) = sys::spawn_sleeper(nix::libc::CLONE_NEWUSER).map_err(failed)?;
    let result = (|| {
        let pid = HostPid::new(pid).ok_or_else(|| failed(nix::errno::Errno::ESRCH))?;
        let maps = IdMaps { uids: uids.to_vec(), gids: gids.to_vec() };
        idmaps::write(pid, &maps, false).map_err(|error| error.field(field))?;
        Procfs::open()?.open_namespace(pid, "user")
    })();
    // The namespace lives on in its descriptor.
    let ended = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
    debug_assert!(ended.is_ok());
    crate::verbs::wait_for(process.as_fd(), true)?;
    result
}
