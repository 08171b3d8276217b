//! What is to be verified, and where its parts are found.

use std::os::fd::BorrowedFd;

use orlop_cgroups::Record;

use crate::base::HostPid;
use crate::config::Config;
use crate::plan::{Host, HostWrite};

/// What is to be verified.
#[derive(Debug)]
pub(crate) struct Subject<'s> {
    pub(crate) config: &'s Config<'s>,
    pub(crate) host: Host,
    pub(crate) pid: HostPid,
    pub(crate) pidfd: BorrowedFd<'s>,
    /// The absolute path of the root file system, as the config's destinations may begin.
    pub(crate) rootfs: &'s str,
    /// Whether supplementary groups were to be set.
    pub(crate) sets_groups: bool,
    /// Whether the filter is loaded by now, and not only right before the command.
    pub(crate) filter_is_loaded: bool,
    /// The container's control groups, where it must have them, and the values that were written.
    pub(crate) cgroup: Option<(&'s Record, &'s [HostWrite])>,
}

/// Where in the container a mount goes; a destination may be written as the host sees it.
pub(super) fn target<'p>(rootfs: &str, destination: &'p str) -> &'p str {
    destination.strip_prefix(rootfs).filter(|rest| rest.starts_with('/')).unwrap_or(destination)
}

/// The field of a sysctl.
pub(super) fn sysctl_field(name: &str) -> String {
    format!("/linux/sysctl/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The file that a value was written to, for those values that are read back as they are written.
pub(super) fn value_path(record: &Record, write: &HostWrite) -> Option<String> {
    let (controller, _) = write.file.split_once('.')?;
    let is_number = |word: &str| word == "max" || word.parse::<i64>().is_ok();
    let is_plain = matches!(controller, "memory" | "pids" | "cpu") && write.value.split(' ').all(is_number);
    let directory = record.path(controller)?;
    is_plain.then(|| format!("{directory}/{}", write.file))
}

/// The container's control groups: of which controllers, and where.
pub(super) fn directories(record: &Record) -> impl Iterator<Item = (&str, String)> {
    let unified = record.paths.unified.iter().map(|path| match &record.payload {
        Some(payload) => ("", format!("{path}/{payload}")),
        None => ("", path.clone()),
    });
    unified.chain(record.paths.v1.iter().map(|(name, path)| (name.as_str(), path.clone())))
}
