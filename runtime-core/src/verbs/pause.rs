//! `pause` and `resume`: stop all processes of a container, and let them run again.

use std::os::fd::AsFd;

use orlop_cgroups::Cgroup;

use crate::base::procfs::Procfs;
use crate::base::{ContainerId, Error, Kind, Result, Runtime, Status, Step};
use crate::parent::cgroup;
use crate::parent::liveness::{self, Facts};
use crate::state::{Record, Store};

/// Freezes all processes of the container and waits until they have stopped.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] ("container not running") unless it is running or
/// created, or when it is killed meanwhile; [`Kind::Timeout`] when the processes do not stop, which then run on.
pub fn pause(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    const OTHERWISE: &str = "container not running";
    change(runtime, id, &[Status::Running, Status::Created], OTHERWISE, |cgroup, facts, record| {
        let outcome = match &facts.init {
            Some(init) => cgroup.freeze_watching(init.as_fd()),
            None => cgroup.freeze(),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == orlop_cgroups::Kind::NotFrozen => {
                return Err(Error::cgroup(&error).kind_is(Kind::WrongStatus).hint(OTHERWISE));
            }
            Err(error) => return Err(Error::cgroup(&error)),
        }
        // `kill` takes no lock. What the v1 freezer holds with the signal already sent would never end.
        match record.init {
            Some(init) if Procfs::open()?.is_being_killed(init.pid)? => {
                cgroup.release_killed().map_err(|error| Error::cgroup(&error))?;
                Err(Error::new(Kind::WrongStatus, Step::Signal)
                    .object(id.as_str())
                    .detail("it is being killed")
                    .hint(OTHERWISE))
            }
            _ => Ok(()),
        }
    })
}

/// Lets the processes of a paused container run again.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] ("container not paused") unless it is paused.
pub fn resume(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    change(runtime, id, &[Status::Paused], "container not paused", |cgroup, _, _| {
        cgroup.thaw().map_err(|error| Error::cgroup(&error))
    })
}

fn change(
    runtime: &Runtime,
    id: &ContainerId,
    from: &[Status],
    otherwise: &str,
    act: impl FnOnce(&Cgroup, &Facts, &Record) -> Result<()>,
) -> Result<()> {
    // Read once without the lock: an unknown id is told at once, whatever another operation is doing.
    let entry = Store::find(runtime, id)?;
    let _lock = entry.lock()?;
    let facts = liveness::facts(&entry)?;
    if !from.contains(&facts.status) {
        return Err(Error::new(Kind::WrongStatus, Step::FindContainer).object(id.as_str()).detail(otherwise));
    }
    act(&cgroup::require(&entry.record)?, &facts, &entry.record)
}
