//! `--verify`: what the kernel says of a container that is ready to execute its command, against what its config promises.
//!
//! The facts are read by the runtime, from outside: of the init below the runtime's own /proc, and of its file system below
//! `/proc/PID/root`, where every path is resolved inside that root. Nothing that the init says is believed.

mod facts;
mod inside;
mod mounts;
mod verdict;

use std::os::fd::BorrowedFd;

use crate::base::{Error, HostPid, Kind, Result, Step};
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
    pub(crate) cgroup: Option<(&'s orlop_cgroups::Record, &'s [HostWrite])>,
}

/// Compares; the error names every difference.
///
/// # Errors
/// [`Step::Verify`]: a difference, or a fact that cannot be read, which is as bad.
pub(crate) fn check(subject: &Subject<'_>) -> Result<()> {
    let facts = facts::read(subject)?;
    let errors = verdict::differences(subject, &facts).into_iter().map(|difference| {
        Error::new(Kind::System, Step::Verify)
            .with_field(difference.field)
            .with_reason(format!("promised {}, found {}", difference.promised, difference.found))
    });
    match errors.reduce(Error::and) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
