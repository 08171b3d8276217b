//! `update`: changes the limits of a container.

mod merge;

use orlop_cgroups::{BlockIo, Cpu, Memory, Pids, Resources};

use crate::base::{ContainerId, Error, Kind, Report, Result, Runtime, Status, Step, options};
use crate::config;
use crate::parent::{cgroup, liveness, resctrl};
use crate::state::{Record, Store};

options! {
    /// What `update` is told: either [`resources`](Self::resources), or any of the others. What is `None` stays as it is.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct UpdateOptions {
        /// A JSON object with the members of runtime-spec's `linux.resources`.
        pub resources: Option<Vec<u8>>,
        /// Weight for block I/O, 10 to 1000.
        pub blkio_weight: Option<u16>,
        /// Length of a CPU period, in microseconds; 0 leaves it to the system.
        pub cpu_period: Option<u64>,
        /// CPU time in a period, in microseconds; negative for no limit.
        pub cpu_quota: Option<i64>,
        /// CPU time that may be saved up from earlier periods, in microseconds.
        pub cpu_burst: Option<u64>,
        /// Relative CPU weight, 2 to 262144.
        pub cpu_shares: Option<u64>,
        /// Length of a realtime period, in microseconds (cgroup v1 only).
        pub cpu_rt_period: Option<u64>,
        /// Realtime CPU time in a realtime period, in microseconds (cgroup v1 only).
        pub cpu_rt_runtime: Option<i64>,
        /// 1 schedules the container only when nothing else runs; 0 is normal.
        pub cpu_idle: Option<i64>,
        /// CPUs in list form, for example `0-2,7`.
        pub cpuset_cpus: Option<String>,
        /// Memory nodes in list form.
        pub cpuset_mems: Option<String>,
        /// Memory limit in bytes; -1 for none.
        pub memory: Option<i64>,
        /// Soft limit of memory in bytes.
        pub memory_reservation: Option<i64>,
        /// Limit of memory and swap together, in bytes; -1 for no limit of swap.
        pub memory_swap: Option<i64>,
        /// Deprecated and without effect, as in runc: a warning tells so.
        pub kernel_memory: Option<i64>,
        /// Deprecated and without effect, as in runc: a warning tells so.
        pub kernel_memory_tcp: Option<i64>,
        /// Highest number of processes and threads; negative for no limit.
        pub pids_limit: Option<i64>,
        /// The L3 line of the resctrl schemata.
        pub l3_cache_schema: Option<String>,
        /// The MB line of the resctrl schemata.
        pub mem_bw_schema: Option<String>,
    }
}

impl UpdateOptions {
    /// The limits that the single options name.
    fn named(&self) -> Resources<'_> {
        let memory = Memory {
            limit: self.memory,
            reservation: self.memory_reservation,
            swap: self.memory_swap,
            kernel: self.kernel_memory,
            kernel_tcp: self.kernel_memory_tcp,
            ..Memory::default()
        };
        let cpu = Cpu {
            shares: self.cpu_shares,
            quota: self.cpu_quota,
            burst: self.cpu_burst,
            period: self.cpu_period,
            realtime_runtime: self.cpu_rt_runtime,
            realtime_period: self.cpu_rt_period,
            cpus: self.cpuset_cpus.as_deref().unwrap_or_default().into(),
            mems: self.cpuset_mems.as_deref().unwrap_or_default().into(),
            idle: self.cpu_idle,
        };
        Resources {
            memory: (memory != Memory::default()).then_some(memory),
            cpu: (cpu != Cpu::default()).then_some(cpu),
            pids: self.pids_limit.map(|limit| Pids { limit: Some(limit) }),
            block_io: self.blkio_weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
            ..Resources::default()
        }
    }
}

/// Changes limits of the container `id`, all that are named or none, and keeps them in its state.
///
/// The result holds what the caller should know although the update succeeded, one line each.
///
/// # Errors
/// [`Kind::NotFound`] when there is no such container; [`Kind::WrongStatus`] ("container not running") when it is stopped;
/// [`Kind::InvalidConfig`] with a pointer for a value that can never be set; [`Kind::InvalidArgument`] for an object of resources
/// together with single options; otherwise what the kernel refused. All limits are then as before.
pub fn update(runtime: &Runtime, id: &ContainerId, options: &UpdateOptions) -> Result<Report> {
    let named = options.named();
    let mut new = match &options.resources {
        Some(_) if named != Resources::default() => {
            return Err(Error::new(Kind::InvalidArgument, Step::CheckArguments)
                .with_reason("limits are given both as a resources object and one by one"));
        }
        Some(bytes) => config::load_resources(bytes)?,
        None => named,
    };
    // Told at once, whatever another operation on the container is doing.
    drop(Store::find(runtime, id)?);
    let store = Store::open(runtime)?.ok_or_else(|| crate::state::not_found(id))?;
    let locked = store.lock(id)?;
    let record = locked.record()?.ok_or_else(|| crate::state::not_found(id))?;
    if matches!(liveness::facts_locked(&locked, &record)?.status, Status::Stopped | Status::Creating) {
        return Err(liveness::not_running(&record));
    }
    let config = locked.config()?;
    let current = current(&record, &config)?;
    let warnings = set_aside(&mut new, &current);
    let effective = merge::with_companions(&new, &current);
    let merged = merge::merged(&current, new).into_owned();

    let schemas = resctrl::check_update(&record, options.l3_cache_schema.as_deref(), options.mem_bw_schema.as_deref())?;
    // First what may fail for want of buffer, then what the kernel may refuse, and last what cannot fail.
    locked.prepare(&Record { resources: Some(Box::new(merged)), ..record.clone() })?;
    if effective != Resources::default() {
        cgroup::require_here(&record)?.update(&effective).map_err(|error| Error::cgroup(&error))?;
    }
    if let Some(update) = schemas
        && let Err(error) = update.apply()
    {
        return Err(take_back(&record, &effective, &current, error));
    }
    locked.commit()?;
    Ok(warnings.into_iter().collect())
}

/// The limits the container has: as the last update left them, or as its config says.
fn current<'a>(record: &'a Record, config: &'a [u8]) -> Result<Resources<'a>> {
    if let Some(resources) = &record.resources {
        return Ok((**resources).clone());
    }
    let resources = config::load(config)?.linux.and_then(|linux| linux.resources);
    Ok(resources.map_or_else(Resources::default, |resources| *resources))
}

/// Takes out of `new` what an update does not do, and says so; says too which of the rest will have no effect.
fn set_aside(new: &mut Resources<'_>, current: &Resources<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    // Engines send the devices along with what they want changed. runc leaves the device rules alone too: other tools (for GPUs)
    // may have added to them.
    let devices = std::mem::take(&mut new.devices);
    if !devices.is_empty() && devices != current.devices {
        warnings.push("update does not change device rules: /devices differs from what the container has".to_owned());
    }
    if let Some(memory) = &mut new.memory
        && (memory.kernel.take().is_some() | memory.kernel_tcp.take().is_some())
    {
        warnings.push("kernel memory limits are ignored: the kernel has none any more".to_owned());
        new.memory = new.memory.filter(|memory| *memory != Memory::default());
    }
    warnings.extend(new.without_effect().into_iter().map(|(pointer, why)| format!("resources {pointer}: {why}")));
    warnings
}

/// Puts the limits back after a later step has failed with `error`.
fn take_back(record: &Record, changed: &Resources<'_>, current: &Resources<'_>, error: Error) -> Error {
    let restore = merge::restored(changed, current);
    match cgroup::here(record).ok().flatten().map(|cgroup| cgroup.update(&restore)) {
        Some(Err(second)) => error.and(Error::cgroup(&second)),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
