//! Files of the v1 controllers.

use super::{Absent, Mounts, Place, Write, refuse, size};
use crate::error::{Error, Result};
use crate::resources::{BlockIo, Cpu, Memory, Network, ThrottleDevice};

const MEMORY: Place = Place::V1("memory");
const CPU: Place = Place::V1("cpu");
const BLKIO: Place = Place::V1("blkio");

pub(super) fn memory(memory: &Memory, list: &mut Vec<Write<'_>>) -> Result<()> {
    let limit = size(memory.limit, "/memory/limit")?;
    let swap = size(memory.swap, "/memory/swap")?;
    // The kernel demands limit <= memsw at every moment. Which of the two has to move first depends on what is set now, so the
    // limit goes first and, when refused, again after the other one.
    if let Some(limit) = limit {
        list.push(Write::new(MEMORY, "memory.limit_in_bytes", limit.to_string(), "/memory/limit").retried());
    }
    let (swap, absent) = match (limit, swap) {
        // No memory limit lifts the common limit too, where there is one.
        (Some(-1), None) => (Some(-1), Absent::Ignore),
        (_, swap) => (swap, Absent::Fail),
    };
    if let Some(swap) = swap {
        let write = Write::new(MEMORY, "memory.memsw.limit_in_bytes", swap.to_string(), "/memory/swap");
        list.push(write.or(absent).retried());
    }
    if let Some(reservation) = size(memory.reservation, "/memory/reservation")? {
        list.push(Write::new(MEMORY, "memory.soft_limit_in_bytes", reservation.to_string(), "/memory/reservation"));
    }
    // The kernel still has the files; for the first one it answers ENOTSUPP since 5.16, which then is the error.
    if let Some(kernel @ 1..) = memory.kernel {
        list.push(Write::new(MEMORY, "memory.kmem.limit_in_bytes", kernel.to_string(), "/memory/kernel"));
    }
    if let Some(tcp) = size(memory.kernel_tcp, "/memory/kernelTCP")? {
        list.push(Write::new(MEMORY, "memory.kmem.tcp.limit_in_bytes", tcp.to_string(), "/memory/kernelTCP"));
    }
    if memory.disable_oom_killer == Some(true) {
        list.push(Write::new(MEMORY, "memory.oom_control", "1", "/memory/disableOOMKiller"));
    }
    match memory.swappiness {
        None => {}
        Some(swappiness @ 0..=100) => {
            list.push(Write::new(MEMORY, "memory.swappiness", swappiness.to_string(), "/memory/swappiness"));
        }
        // -1 as an unsigned number, which older engines write for "not set".
        Some(u64::MAX) => {}
        Some(other) => return Err(Error::resources("/memory/swappiness", format!("{other} is not between 0 and 100"))),
    }
    if memory.use_hierarchy == Some(false) {
        return Err(refuse("/memory/useHierarchy", "accounting without hierarchy is gone from the kernel"));
    }
    Ok(())
}

pub(super) fn cpu(cpu: &Cpu<'_>, weighed: bool, list: &mut Vec<Write<'_>>) -> Result<()> {
    // First, since an idle cgroup refuses shares, and forgets them.
    if let Some(idle) = cpu.idle {
        list.push(Write::new(CPU, "cpu.idle", idle.to_string(), "/cpu/idle"));
    }
    match cpu.shares {
        None | Some(0) => {}
        Some(2..=262_144) if !weighed => {}
        // The kernel clamps other values without a word.
        Some(shares @ 2..=262_144) => list.push(Write::new(CPU, "cpu.shares", shares.to_string(), "/cpu/shares")),
        Some(shares) => return Err(Error::resources("/cpu/shares", format!("{shares} is not between 2 and 262144"))),
    }
    // Period, burst and quota are checked against each other and against the parent's quota.
    if let Some(period @ 1..) = cpu.period {
        list.push(Write::new(CPU, "cpu.cfs_period_us", period.to_string(), "/cpu/period").retried());
    }
    if let Some(burst) = cpu.burst {
        let absent = if burst == 0 { Absent::Ignore } else { Absent::Fail };
        list.push(Write::new(CPU, "cpu.cfs_burst_us", burst.to_string(), "/cpu/burst").or(absent).retried());
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        list.push(Write::new(CPU, "cpu.cfs_quota_us", quota.max(-1).to_string(), "/cpu/quota").retried());
    }
    if let Some(period @ 1..) = cpu.realtime_period {
        list.push(Write::new(CPU, "cpu.rt_period_us", period.to_string(), "/cpu/realtimePeriod").retried());
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        list.push(Write::new(CPU, "cpu.rt_runtime_us", runtime.to_string(), "/cpu/realtimeRuntime").retried());
    }
    Ok(())
}

pub(super) fn block_io(io: &BlockIo, list: &mut Vec<Write<'_>>) -> Result<()> {
    let bfq = |file, value: &str| Absent::Instead { file, value: value.to_owned() };
    if let Some(weight) = io.weight.filter(|weight| *weight != 0).map(|weight| weight.to_string()) {
        let absent = bfq("blkio.bfq.weight", &weight);
        list.push(Write::new(BLKIO, "blkio.weight", weight, "/blockIO/weight").or(absent));
    }
    if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
        list.push(Write::new(BLKIO, "blkio.leaf_weight", weight.to_string(), "/blockIO/leafWeight"));
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|weight| *weight != 0).map(line) {
            let absent = bfq("blkio.bfq.weight_device", &weight);
            let pointer = format!("/blockIO/weightDevice/{index}/weight");
            list.push(Write::new(BLKIO, "blkio.weight_device", weight, pointer).or(absent));
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0).map(line) {
            let pointer = format!("/blockIO/weightDevice/{index}/leafWeight");
            list.push(Write::new(BLKIO, "blkio.leaf_weight_device", weight, pointer));
        }
    }
    let throttles: [(&str, &str, &[ThrottleDevice]); 4] = [
        ("blkio.throttle.read_bps_device", "throttleReadBpsDevice", &io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", "throttleWriteBpsDevice", &io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", "throttleReadIOPSDevice", &io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", "throttleWriteIOPSDevice", &io.throttle_write_iops_device),
    ];
    for (file, field, devices) in throttles {
        for (index, device) in devices.iter().enumerate() {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            list.push(Write::new(BLKIO, file, value, format!("/blockIO/{field}/{index}/rate")));
        }
    }
    Ok(())
}

pub(super) fn network<'a>(network: &'a Network<'_>, mounts: Mounts<'_>, list: &mut Vec<Write<'a>>) -> Result<()> {
    const NO_V2: &str = "packet classes and priorities exist on cgroup v1 only, and the controller is not mounted";
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        if !(mounts.v1)("net_cls") {
            return Err(refuse("/network/classID", NO_V2));
        }
        list.push(Write::new(Place::V1("net_cls"), "net_cls.classid", class.to_string(), "/network/classID"));
    }
    for (index, priority) in network.priorities.iter().enumerate() {
        let pointer = format!("/network/priorities/{index}");
        if !(mounts.v1)("net_prio") {
            return Err(refuse(pointer, NO_V2));
        }
        if priority.name.is_empty() || priority.name.contains([' ', '\n']) {
            return Err(Error::resources(format!("{pointer}/name"), "an interface name has no blanks"));
        }
        let value = format!("{} {}", priority.name, priority.priority);
        list.push(Write::new(Place::V1("net_prio"), "net_prio.ifpriomap", value, pointer));
    }
    Ok(())
}
