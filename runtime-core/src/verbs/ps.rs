//! `ps`: the processes of a container.

use crate::base::{ContainerId, Error, HostPid, Result, Runtime};
use crate::parent::{cgroup, liveness};
use crate::state::Store;

/// The pids of all processes in the container's control groups and below them, wherever it has moved to, ascending, as the caller's pid namespace numbers
/// them. A container without a cgroup of its own shows its first process. A stopped one has none.
///
/// # Errors
/// [`crate::Kind::NotFound`] when there is no such container; [`crate::Kind::System`] when its cgroup cannot be read.
pub fn ps(runtime: &Runtime, id: &ContainerId) -> Result<Vec<HostPid>> {
    let entry = Store::find(runtime, id)?;
    let mut all = std::collections::BTreeSet::new();
    for cgroup in cgroup::all(&entry.record)? {
        let members = cgroup.processes().map_err(|error| Error::cgroup(&error))?;
        all.extend(members.pids.into_iter().map(HostPid::of_member));
    }
    if all.is_empty() {
        let alive = liveness::facts(&entry)?.init.is_some();
        return Ok(entry.record.init.filter(|_| alive).map(|init| init.pid).into_iter().collect());
    }
    Ok(all.into_iter().collect())
}
