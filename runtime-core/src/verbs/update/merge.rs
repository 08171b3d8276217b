//! Limits laid over limits. Pure functions.

use orlop_cgroups::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};

/// What is to be written so that `new` holds: itself, and those of the current limits without which it cannot be said.
///
/// The swap limit of cgroup v2 is the difference between two numbers of the specification; a CPU quota and its period are one
/// file there, and one property under systemd; a cgroup that is no longer idle needs its weight again.
pub(super) fn with_companions<'a>(new: &Resources<'a>, current: &Resources<'a>) -> Resources<'a> {
    let mut effective = new.clone();
    if let (Some(new), Some(old)) = (&mut effective.memory, &current.memory)
        && new.swap.is_some()
    {
        new.limit = new.limit.or(old.limit);
    }
    if let (Some(new), Some(old)) = (&mut effective.cpu, &current.cpu) {
        match (set(new.quota), set(new.period)) {
            (Some(_), None) => new.period = old.period,
            (None, Some(_)) => new.quota = old.quota,
            _ => {}
        }
        // The kernel forgets the weight of an idle cgroup.
        if new.idle == Some(0) {
            new.shares = set(new.shares).or(old.shares);
        }
    }
    effective
}

fn set<T: PartialEq + Default>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// The limits after the update: `new` where it says something, else `current`.
pub(super) fn merged<'a>(current: &Resources<'a>, new: Resources<'a>) -> Resources<'a> {
    let mut merged = current.clone();
    if let Some(new) = new.memory {
        let old = merged.memory.unwrap_or_default();
        merged.memory = Some(Memory {
            limit: new.limit.or(old.limit),
            reservation: new.reservation.or(old.reservation),
            swap: swap_after(&new, &old),
            kernel: old.kernel,
            kernel_tcp: old.kernel_tcp,
            swappiness: new.swappiness.or(old.swappiness),
            disable_oom_killer: new.disable_oom_killer.or(old.disable_oom_killer),
            use_hierarchy: new.use_hierarchy.or(old.use_hierarchy),
            // A wish about one update, not a limit.
            check_before_update: old.check_before_update,
        });
    }
    if let Some(new) = new.cpu {
        let old = merged.cpu.take().unwrap_or_default();
        merged.cpu = Some(Cpu {
            shares: set(new.shares).or(old.shares),
            quota: set(new.quota).or(old.quota),
            burst: new.burst.or(old.burst),
            period: set(new.period).or(old.period),
            realtime_runtime: set(new.realtime_runtime).or(old.realtime_runtime),
            realtime_period: set(new.realtime_period).or(old.realtime_period),
            cpus: if new.cpus.is_empty() { old.cpus } else { new.cpus },
            mems: if new.mems.is_empty() { old.mems } else { new.mems },
            // A weight ends idleness.
            idle: new.idle.or(old.idle.filter(|_| set(new.shares).is_none())),
        });
    }
    if let Some(limit) = new.pids.and_then(|pids| pids.limit) {
        merged.pids = Some(orlop_cgroups::Pids { limit: Some(limit) });
    }
    if let Some(new) = new.block_io {
        let old = merged.block_io.get_or_insert_default();
        merge_block_io(old, new);
    }
    for page in new.hugepage_limits {
        match merged.hugepage_limits.iter_mut().find(|old| old.page_size == page.page_size) {
            Some(old) => *old = page,
            None => merged.hugepage_limits.push(page),
        }
    }
    if let Some(new) = new.network {
        let old = merged.network.get_or_insert_default();
        old.class_id = new.class_id.or(old.class_id);
        for priority in new.priorities {
            match old.priorities.iter_mut().find(|known| known.name == priority.name) {
                Some(known) => *known = priority,
                None => old.priorities.push(priority),
            }
        }
    }
    merged.rdma.extend(new.rdma);
    if ["cpu.weight", "cpu.weight.nice"].iter().any(|weight| new.unified.contains_key(*weight)) {
        merged.unified.remove("cpu.idle");
    }
    merged.unified.extend(new.unified);
    merged
}

/// Lifting the memory limit lifts the common limit with swap as well, unless another one is given for that.
fn swap_after(new: &Memory, old: &Memory) -> Option<i64> {
    match (new.limit, new.swap) {
        (Some(..=-1), None) => old.swap.map(|_| -1),
        (_, swap) => swap.or(old.swap),
    }
}

fn merge_block_io(old: &mut BlockIo, new: BlockIo) {
    old.weight = set(new.weight).or(old.weight);
    old.leaf_weight = set(new.leaf_weight).or(old.leaf_weight);
    for device in new.weight_device {
        let same = |known: &&mut WeightDevice| (known.major, known.minor) == (device.major, device.minor);
        match old.weight_device.iter_mut().rev().find(same) {
            Some(known) => {
                known.weight = device.weight.or(known.weight);
                known.leaf_weight = device.leaf_weight.or(known.leaf_weight);
            }
            None => old.weight_device.push(device),
        }
    }
    for (known, new) in [
        (&mut old.throttle_read_bps_device, new.throttle_read_bps_device),
        (&mut old.throttle_write_bps_device, new.throttle_write_bps_device),
        (&mut old.throttle_read_iops_device, new.throttle_read_iops_device),
        (&mut old.throttle_write_iops_device, new.throttle_write_iops_device),
    ] {
        for device in new {
            let same = |known: &&mut ThrottleDevice| (known.major, known.minor) == (device.major, device.minor);
            match known.iter_mut().rev().find(same) {
                Some(known) => known.rate = device.rate,
                None => known.push(device),
            }
        }
    }
}

/// What to write so that the limits that `changed` has set are again as in `current`; one that was not limited before gets no
/// limit, where there is such a value.
pub(super) fn restored<'a>(changed: &Resources<'a>, current: &Resources<'a>) -> Resources<'a> {
    let mut restored = current.clone();
    restored.devices.clear();
    if let Some(changed) = changed.memory {
        let memory = restored.memory.get_or_insert_default();
        memory.limit = memory.limit.or(changed.limit.map(|_| -1));
        memory.swap = memory.swap.or(changed.swap.map(|_| -1));
        memory.reservation = memory.reservation.or(changed.reservation.map(|_| -1));
        (memory.kernel, memory.kernel_tcp) = (None, None);
    }
    if let Some(changed) = &changed.cpu {
        let cpu = restored.cpu.get_or_insert_default();
        cpu.quota = set(cpu.quota).or(changed.quota.map(|_| -1));
        cpu.shares = set(cpu.shares).or(changed.shares.map(|_| 1024));
        cpu.burst = cpu.burst.or(changed.burst.map(|_| 0));
        cpu.idle = cpu.idle.or(changed.idle.map(|_| 0));
    }
    if changed.pids.is_some() && restored.pids.is_none_or(|pids| pids.limit.is_none()) {
        restored.pids = Some(orlop_cgroups::Pids { limit: Some(-1) });
    }
    restored
}
