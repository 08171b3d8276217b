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
    change(runtime, id, &[Status::Running, Status::Created], OTHERWISE, |cgroups, facts, record| {
        let frozen = cgroup::each(cgroups, |cgroup| match &facts.init {
            Some(init) => cgroup.freeze_watching(init.as_fd()),
            None => cgroup.freeze(),
        });
        if let Err(error) = frozen {
            release(cgroups);
            return Err(if error.kind() == Kind::WrongStatus { error.with_hint(OTHERWISE) } else { error });
        }
        // `kill` takes no lock. What the v1 freezer holds with the signal already sent would never end.
        match record.init {
            Some(init) if Procfs::open()?.is_being_killed(init.pid)? => {
                release(cgroups);
                Err(Error::new(Kind::WrongStatus, Step::Signal)
                    .with_object(id.as_str())
                    .with_reason("it is being killed")
                    .with_hint(OTHERWISE))
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
    change(runtime, id, &[Status::Paused], "container not paused", |cgroups, _, _| cgroup::each(cgroups, Cgroup::thaw))
}

fn change(
    runtime: &Runtime,
    id: &ContainerId,
    from: &[Status],
    otherwise: &str,
    act: impl FnOnce(&[Cgroup], &Facts, &Record) -> Result<()>,
) -> Result<()> {
    // Read once without the lock: an unknown id is told at once, whatever another operation is doing.
    let entry = Store::find(runtime, id)?;
    let _lock = entry.lock()?;
    let facts = liveness::facts(&entry)?;
    if !from.contains(&facts.status) {
        return Err(Error::new(Kind::WrongStatus, Step::FindContainer).with_object(id.as_str()).with_reason(otherwise));
    }
    cgroup::require(&entry.record)?;
    act(&cgroup::all(&entry.record)?, &facts, &entry.record)
}

/// What was frozen runs again; why it is, is what the caller is told.
fn release(cgroups: &[Cgroup]) {
    for cgroup in cgroups {
        drop(cgroup.release_killed());
    }
}
