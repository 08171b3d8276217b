//! `delete`: takes away everything a container holds.
//!
//! Every step may have been done before by a `delete` that was killed: what is gone already is no error, and what remains is
//! found from the state directory, which goes last. So `delete --force`, repeated, comes to an end from wherever it starts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use orlop_cgroups::{Cgroup, Driver, Layout, REMOVE_TIMEOUT, Spec};

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{CgroupDriver, ContainerId, Error, Kind, Report, Result, Rights, Runtime, Status, Step, options};
use crate::config;
use crate::parent::facts::cgroups_optional;
use crate::parent::hooks::{self, HookKind, HookState, InRuntime};
use crate::parent::{cgroup, liveness, resctrl};
use crate::state::{CLAIM_GRACE, Locked, Phase, Record, Store, not_found};

/// How often a first process that is slow to die is looked at more closely.
const DYING_LOOK: Duration = Duration::from_millis(100);

options! {
    /// What `delete` is told.
    #[derive(Debug, Clone)]
    pub struct DeleteOptions {
        /// Kill the container if it is running. Also succeeds if it does not exist or its state file is damaged.
        pub force: bool,
        /// How long to wait for another operation on the container, and again for its processes to end.
        pub deadline: Duration,
    }
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self { force: false, deadline: Duration::from_secs(10) }
    }
}

/// Deletes the container `id`: its processes, control groups, resctrl groups and state; then runs its poststop hooks.
///
/// A `created` container is killed first, as runc does. The result holds what went wrong with poststop hooks, which by
/// runtime-spec does not count as a failure but is to be logged.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container, unless `force` is set; [`Kind::WrongStatus`] when it is running or paused
/// and `force` is not set; [`Kind::Timeout`] when a deadline passes. Otherwise the first thing that could not be removed, with
/// the others after it: all are tried, and `delete` may be called again.
pub fn delete(runtime: &Runtime, id: &ContainerId, options: &DeleteOptions) -> Result<Report> {
    let unfinished = match delete_existing(runtime, id, options) {
        Err(error) if options.force && error.kind() == Kind::NotFound => finish_deleted(runtime, id),
        result => result,
    };
    unfinished.map(Report::from_iter)
}

fn delete_existing(runtime: &Runtime, id: &ContainerId, options: &DeleteOptions) -> Result<Vec<Error>> {
    let store = Store::open(runtime)?.ok_or_else(|| not_found(id))?;
    let (locked, record) = lock_claimed(&store, id, Instant::now() + options.deadline)?;
    let record = match record {
        Ok(Some(record)) => record,
        // Its create died before it had made anything, so there was no container.
        Ok(None) => return locked.remove().and_then(|()| if options.force { Ok(vec![]) } else { Err(not_found(id)) }),
        Err(error) if options.force && error.kind() == Kind::State => return delete_damaged(runtime, locked),
        Err(error) => return Err(error),
    };
    let facts = liveness::facts_locked(&locked, &record)?;
    if matches!(facts.status, Status::Running | Status::Paused) && !options.force {
        return Err(Error::new(Kind::WrongStatus, Step::Delete)
            .with_reason(format!("cannot delete container {id} that is not stopped: {}", facts.status))
            .with_hint("kill it first, or use `delete --force`"));
    }
    let Some(init) = facts.init else { return tear_down(runtime, locked, &record) };
    // While there is an init to ask, since nobody else knows of them.
    let elsewhere = cgroup::elsewhere(&record)?;
    let failed = |error| Error::cgroup(&error);
    let mut warnings: Vec<Error> = elsewhere.iter().filter_map(|cgroup| cgroup.kill_all().err()).map(failed).collect();
    kill_init(&record, &init, options.deadline)?;
    // The container is gone whether or not these can be removed: they are not of the runtime's create.
    warnings.extend(elsewhere.iter().filter_map(|cgroup| cgroup.remove().err()).map(failed));
    warnings.extend(tear_down(runtime, locked, &record)?);
    Ok(warnings)
}

/// Locks the container and reads its record. One whose create has not come to write its intent gets the time for that.
fn lock_claimed(store: &Store, id: &ContainerId, deadline: Instant) -> Result<(Locked, Result<Option<Record>>)> {
    loop {
        let locked = store.lock_until(id, deadline)?;
        match locked.record() {
            Ok(None) if locked.is_being_claimed()? => drop(locked),
            record => return Ok((locked, record)),
        }
        std::thread::sleep(CLAIM_GRACE / 10);
    }
}

/// Kills the container's first process, and with it all others where they share its pid namespace.
fn kill_init(record: &Record, init: &OwnedFd, deadline: Duration) -> Result<()> {
    let failed = |errno: Errno| Error::os(Step::Signal, errno as i32).with_object(format!("init of {}", record.id));
    match pidfd::send_signal(init.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(failed(errno)),
    }
    cgroup::thaw_dying(record)?;
    let deadline = Instant::now() + deadline;
    loop {
        let look = deadline.min(Instant::now() + DYING_LOOK);
        if pidfd::wait_until(init.as_fd(), look).map_err(failed)? || is_gone_but_for_its_name(record)? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Kind::Timeout, Step::Delete)
                .with_object(record.id.as_str())
                .with_reason("container init still running")
                .with_hint("it may hang in the kernel (state D)"));
        }
    }
}

/// Whether nothing is left of the first process but its entry in the process table. The kernel keeps it there until every process
/// of its pid namespace is reaped, and one that an `exec` put there is reaped by whoever has inherited it, soon, late, or never.
fn is_gone_but_for_its_name(record: &Record) -> Result<bool> {
    match (record.init, record.has_own_pid_namespace()) {
        // The pid cannot have gone to another process, since the pidfd told that this one has not ended.
        (Some(init), true) => Procfs::open()?.has_released_memory(init.pid),
        _ => Ok(false),
    }
}

/// Removes everything but processes in the pid namespace of a live init: there is none when this is called.
pub(crate) fn tear_down(runtime: &Runtime, locked: Locked, record: &Record) -> Result<Vec<Error>> {
    // Before anything goes: with a config that cannot be read, the hooks would be lost in silence.
    let config = if record.poststop_hooks { Some(locked.config()?) } else { None };
    let mut failures = Failures::default();
    if let Some(cgroup) = cgroup::open(record) {
        failures.add(remove_cgroup(&cgroup, record));
    }
    if let Some(intel_rdt) = &record.intel_rdt {
        failures.add(resctrl::remove(intel_rdt));
    }
    failures.into_result()?;
    match config {
        None => locked.remove().map(|()| vec![]),
        // The specification has poststop hooks run when the container is deleted. Should this process be killed meanwhile, the
        // deleted directory tells `gc`, or the next `delete --force`, to run them.
        Some(config) => {
            let deleted = park(locked)?;
            let warnings = run_poststop(runtime, record, &config);
            deleted.remove().map(|()| warnings)
        }
    }
}

fn park(locked: Locked) -> Result<Locked> {
    let id = locked.id().clone();
    match locked.park() {
        Err(error) if error.errno().is_some_and(|errno| errno == libc::ENOTEMPTY || errno == libc::EEXIST) => {
            Err(error
                .with_reason(format!("an earlier container {id} has poststop hooks left to run"))
                .with_hint("run `orlop gc`"))
        }
        result => result,
    }
}

fn run_poststop(runtime: &Runtime, record: &Record, config: &[u8]) -> Vec<Error> {
    let config = match config::load(config) {
        Ok(config) => config,
        Err(error) => return vec![error.with_kind(Kind::Hook)],
    };
    let Some(hooks) = config.hooks else {
        return Vec::new();
    };
    let state = HookState::of(record, Status::Stopped, None);
    // The bundle may be gone by now; a hook then starts at the root.
    let bundle = Path::new(&record.bundle);
    let cwd = if bundle.is_dir() { bundle } else { Path::new("/") };
    hooks::run_all(HookKind::Poststop, &hooks.poststop, &state, &InRuntime { cwd, open_files: runtime.open_files })
}

/// Ends what a killed `delete` of `id` has begun: poststop hooks that are left to run.
pub(crate) fn finish_deleted(runtime: &Runtime, id: &ContainerId) -> Result<Vec<Error>> {
    let Some(store) = Store::open(runtime)? else {
        return Ok(Vec::new());
    };
    let deleted = match store.lock_tombstone(id) {
        Ok(deleted) => deleted,
        // Nothing was deleted, or the `delete` that did is at work on it.
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Timeout) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let warnings = match (deleted.record()?, deleted.config()) {
        (Some(record), Ok(config)) => run_poststop(runtime, &record, &config),
        // The hooks were run, and the directory was half removed.
        _ => Vec::new(),
    };
    deleted.remove().map(|()| warnings)
}

fn remove_cgroup(cgroup: &Cgroup, record: &Record) -> Result<()> {
    let failed = |error: orlop_cgroups::Error| Error::cgroup(&error);
    if record.phase == Phase::Creating {
        cgroup::kill_unfinished(cgroup)?;
    } else if record.phase == Phase::Restoring || !record.has_own_pid_namespace() {
        // What a restore has come to is in there; or its init is gone, the others need not be.
        cgroup.kill_all().map_err(failed)?;
    }
    // systemd kills what is left in a scope; by hand that is done once those that are dying have had their time.
    let patience = if cgroup.record().driver == Driver::Systemd { REMOVE_TIMEOUT } else { DYING_LOOK };
    match cgroup.remove_within(patience) {
        // An exec may have been on its way into the namespaces when they went, and wait for nobody any more.
        Err(error) if error.kind() == orlop_cgroups::Kind::Busy && record.phase == Phase::Created => {
            cgroup::kill_stragglers(cgroup)?;
            cgroup.remove().map_err(failed)
        }
        Err(error) if error.kind() == orlop_cgroups::Kind::Busy => cgroup.remove().map_err(failed),
        result => result.map_err(failed),
    }
}

/// Deletes a container whose state file cannot be read: its cgroup is where the copy of its config says, or where a container
/// without a path of its own gets one.
fn delete_damaged(runtime: &Runtime, locked: Locked) -> Result<Vec<Error>> {
    let driver = match runtime.cgroup_driver {
        CgroupDriver::Cgroupfs => Driver::Cgroupfs,
        CgroupDriver::Systemd => Driver::Systemd,
        // It says so of the one that deletes it, too, and there is no other word of where it might be.
        CgroupDriver::Disabled => return locked.remove().map(|()| vec![]),
    };
    let failed = |error: orlop_cgroups::Error| Error::cgroup(&error);
    let config = locked.config().ok();
    let config = config.as_deref().and_then(|bytes| config::load(bytes).ok());
    let path = config.and_then(|config| config.linux).and_then(|linux| linux.cgroups_path);
    let spec = Spec {
        id: locked.id().as_str(),
        cgroups_path: path.as_ref().map(|path| path.as_str()),
        driver,
        rootless: cgroups_optional(runtime, Rights::of_this_process()),
        ..Spec::default()
    };
    let record = Layout::detect().and_then(|layout| Cgroup::plan(&layout, &spec)).map_err(failed)?;
    let cgroup = Cgroup::open(record);
    cgroup.kill_all().and_then(|()| cgroup.remove()).map_err(failed)?;
    locked.remove().map(|()| vec![])
}

/// The failures of steps that are all tried: the first, and then the others.
#[derive(Debug, Default)]
struct Failures(Option<Error>);

impl Failures {
    fn add(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.0 = Some(match self.0.take() {
                Some(first) => first.and(error),
                None => error,
            });
        }
    }

    fn into_result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
