//! A container's control groups where its processes are now. The state file says where they were put; a container that may write the
//! cgroup file systems can have moved itself since then, and its old control groups can be gone.

use orlop_cgroups::{Cgroup, Members, Present};

use super::existing;
use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step};
use crate::state::Record;

/// The control groups that a new process of the container enters: those its init is in. It lives, as the caller knows by a pidfd.
pub(crate) fn of_init(procfs: &Procfs, record: &Record) -> Result<Option<Cgroup>> {
    let Some(recorded) = &record.cgroup else { return Ok(None) };
    let Some(init) = record.init else { return Ok(existing::open(record)) };
    let now = procfs.process_cgroups(init.pid)?;
    let found = Cgroup::present(recorded, init.pid.as_pid(), &now, |_| true).map_err(|error| Error::cgroup(&error))?;
    Ok(Some(found.cgroup))
}

/// The same as `cgroup`, but in the v2 tree the very cgroup of the init, which may lie below.
pub(crate) fn beside_init(record: &Record, cgroup: &Cgroup) -> Result<Cgroup> {
    let mut beside = cgroup.record().clone();
    let mount = beside.unified_mount.clone().unwrap_or_default();
    if let Some(init) = record.init
        && let Some(dir) = Procfs::open()?
            .process_cgroups(init.pid)?
            .unified_dir(&mount, init.pid.as_pid())
            .map_err(|error| Error::cgroup(&error))?
    {
        beside.paths.unified = Some(dir);
    }
    beside.made.clear();
    Ok(Cgroup::open(beside))
}

/// The control groups of the container to read and to limit: those its init is in, where it is alone there, else those on record.
pub(crate) fn here(record: &Record) -> Result<Option<Cgroup>> {
    Ok(look(record, is_alone)?.map(|found| found.cgroup))
}

/// As [`here`], for an operation that cannot do without.
pub(crate) fn require_here(record: &Record) -> Result<Cgroup> {
    here(record)?.map_or_else(|| existing::require(record), Ok)
}

/// All control groups that hold processes of the container and none of others: those that its init is in, and those on record where
/// it has moved away from them.
pub(crate) fn all(record: &Record) -> Result<Vec<Cgroup>> {
    let Some(found) = look(record, is_alone)? else { return Ok(Vec::new()) };
    let recorded = found.moved.as_ref().and_then(|_| existing::open(record));
    Ok([Some(found.cgroup), recorded].into_iter().flatten().collect())
}

/// The control groups that the container has moved to, away from those on record, and where it is alone.
pub(crate) fn elsewhere(record: &Record) -> Result<Option<Cgroup>> {
    Ok(look(record, is_alone)?.and_then(|found| found.moved))
}

/// Whether one container of many, whose init lives, is paused.
pub(crate) fn is_frozen_of_many(
    freezers: &mut orlop_cgroups::Freezers,
    cgroup: Option<&orlop_cgroups::Record>,
    init: HostPid,
) -> Result<bool> {
    let Some(cgroup) = cgroup else { return Ok(false) };
    match freezers.look(cgroup).map_err(|error| Error::cgroup(&error))? {
        Some(frozen) => Ok(frozen),
        None => is_frozen_elsewhere(cgroup, init),
    }
}

/// A process that is frozen by the v1 freezer dies only once it is thawed. A freeze that is still on its way ends, too.
pub(crate) fn thaw_dying(record: &Record) -> Result<()> {
    let (Some(cgroup), Some(init)) = (&record.cgroup, record.init) else { return Ok(()) };
    let mut freezers = orlop_cgroups::Freezers::default();
    if is_frozen_of_many(&mut freezers, Some(cgroup), init.pid)? {
        for cgroup in all(record)? {
            cgroup.release_killed().map_err(|error| Error::cgroup(&error))?;
        }
    }
    Ok(())
}

/// Whether a container is paused whose freezer on record is gone, and whose init lives.
fn is_frozen_elsewhere(cgroup: &orlop_cgroups::Record, init: HostPid) -> Result<bool> {
    let now = match Procfs::open()?.process_cgroups(init) {
        Ok(now) => now,
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ESRCH)) => return Ok(false),
        Err(error) => return Err(error),
    };
    Cgroup::present(cgroup, init.as_pid(), &now, |_| true)
        .and_then(|found| found.cgroup.record().is_paused())
        .map_err(|error| Error::cgroup(&error))
}

fn look(record: &Record, accept: fn(&Procfs, Beside<'_>) -> bool) -> Result<Option<Present>> {
    let Some(recorded) = &record.cgroup else { return Ok(None) };
    let unmoved = || Ok(Some(Present { cgroup: Cgroup::open(recorded.clone()), moved: None }));
    let Some(init) = record.init else { return unmoved() };
    let procfs = Procfs::open()?;
    let now = match procfs.process_cgroups(init.pid) {
        Ok(now) => now,
        // It has ended: what the record says is all that is known.
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ESRCH)) => return unmoved(),
        Err(error) => return Err(error),
    };
    // Read before it is made sure that the pid still means the init: what was read is then the init's.
    if init.open()?.is_none() {
        return unmoved();
    }
    let own_namespace = record.has_own_pid_namespace();
    let accept = |members: &Members| accept(&procfs, Beside { init: init.pid, own_namespace, members });
    Cgroup::present(recorded, init.pid.as_pid(), &now, accept).map(Some).map_err(|error| Error::cgroup(&error))
}

/// The processes of a cgroup that the init of a container is in.
struct Beside<'m> {
    init: HostPid,
    own_namespace: bool,
    members: &'m Members,
}

/// Whether all of them are the container's: in its pid namespace, or descendants of what is.
fn is_alone(procfs: &Procfs, beside: Beside<'_>) -> bool {
    let namespace = |pid| procfs.pid_namespace(pid).ok();
    let own = namespace(beside.init).filter(|_| beside.own_namespace);
    let is_inside = |pid| pid == beside.init || (own.is_some() && namespace(pid) == own);
    // One that ends while it is looked at is nobody's.
    let is_ours = |pid: HostPid| {
        let mut pid = Some(pid);
        // Deeper than any tree of processes that is not made to be deep: such a one is not ours to judge.
        for _ in 0..64 {
            match pid {
                None => return false,
                Some(now) if is_inside(now) => return true,
                Some(now) => match procfs.parent(now) {
                    Ok(Some(parent)) => pid = HostPid::new(parent),
                    Ok(None) => return true,
                    Err(_) => return false,
                },
            }
        }
        false
    };
    let Members { pids, hidden } = beside.members;
    *hidden == 0 && pids.iter().all(|pid| is_ours(HostPid::of_member(*pid)))
}

/// Whether a process is in one of several control groups.
pub(crate) fn hold(cgroups: &[Cgroup], pid: HostPid) -> Result<bool> {
    for cgroup in cgroups {
        if cgroup.processes().map_err(|error| Error::cgroup(&error))?.contains(pid.as_pid()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Does something with each of several control groups; what has come to be gone is no error.
pub(crate) fn each(cgroups: &[Cgroup], act: impl Fn(&Cgroup) -> orlop_cgroups::Result<()>) -> Result<()> {
    let mut done = false;
    let mut gone = None;
    for cgroup in cgroups {
        match act(cgroup) {
            Ok(()) => done = true,
            Err(error) if error.kind() == orlop_cgroups::Kind::NotFound && cgroups.len() > 1 => {
                gone = gone.or(Some(error));
            }
            Err(error) => return Err(Error::cgroup(&error)),
        }
    }
    match gone {
        Some(error) if !done => Err(Error::cgroup(&error)),
        _ if cgroups.is_empty() => {
            Err(Error::new(Kind::Unsupported, Step::Cgroup).with_reason("the container has none"))
        }
        _ => Ok(()),
    }
}
