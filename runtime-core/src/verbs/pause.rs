//! `pause` and `resume`: stop all processes of a container, and let them run again.

use crate::base::{ContainerId, Error, Kind, Result, Runtime, Status, Step};
use crate::parent::{cgroup, liveness};
use crate::state::Store;

/// Freezes all processes of the container and waits until they have stopped.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] ("container not running") unless it is running or
/// created; [`Kind::Timeout`] when the processes do not stop, which then run on.
pub fn pause(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    change(runtime, id, &[Status::Running, Status::Created], "container not running", |cgroup| cgroup.freeze())
}

/// Lets the processes of a paused container run again.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] ("container not paused") unless it is paused.
pub fn resume(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    change(runtime, id, &[Status::Paused], "container not paused", |cgroup| cgroup.thaw())
}

fn change(
    runtime: &Runtime,
    id: &ContainerId,
    from: &[Status],
    otherwise: &str,
    act: impl FnOnce(&orlop_cgroups::Cgroup) -> orlop_cgroups::Result<()>,
) -> Result<()> {
    // Read once without the lock: an unknown id is told at once, whatever another operation is doing.
    let entry = Store::find(runtime, id)?;
    let _lock = entry.lock()?;
    if !from.contains(&liveness::facts(&entry)?.status) {
        return Err(Error::new(Kind::WrongStatus, Step::FindContainer).object(id.as_str()).detail(otherwise));
    }
    act(&cgroup::require(&entry.record)?).map_err(|error| Error::cgroup(&error))
}
