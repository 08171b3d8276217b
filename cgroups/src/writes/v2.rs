//! Files of the v2 controllers.

use std::borrow::Cow;

use super::{Absent, Mounts, Place, Write, refuse, size};
use crate::convert::{SwapMax, cpu_weight, io_weight, swap_max};
use crate::error::{Error, Result};
use crate::resources::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};

fn put<'a>(list: &mut Vec<Write<'a>>, file: &'static str, value: impl Into<Cow<'a, str>>, pointer: &'static str) {
    list.push(Write::new(Place::Unified, file, value, pointer));
}

fn limit_text(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

pub(super) fn memory(memory: &Memory, list: &mut Vec<Write<'_>>) -> Result<()> {
    let limit = size(memory.limit, "/memory/limit")?;
    if let Some(swap) = swap_max(limit, memory.swap)? {
        let (value, absent) = match swap {
            // Without swap on the host, unlimited swap and no swap are both given.
            SwapMax::Unlimited => ("max".to_owned(), Absent::Ignore),
            SwapMax::Bytes(0) => ("0".to_owned(), Absent::Ignore),
            SwapMax::Bytes(bytes) => (bytes.to_string(), Absent::Fail),
        };
        list.push(Write::new(Place::Unified, "memory.swap.max", value, "/memory/swap").or(absent));
    }
    if let Some(limit) = limit {
        put(list, "memory.max", limit_text(limit), "/memory/limit");
    }
    if let Some(reservation) = size(memory.reservation, "/memory/reservation")? {
        put(list, "memory.low", limit_text(reservation), "/memory/reservation");
    }
    if memory.swappiness.is_some_and(|swappiness| swappiness != u64::MAX) {
        return Err(refuse("/memory/swappiness", "cgroup v2 has no swappiness per cgroup"));
    }
    for (limit, pointer) in [(memory.kernel, "/memory/kernel"), (memory.kernel_tcp, "/memory/kernelTCP")] {
        if limit.is_some_and(|limit| limit > 0) {
            return Err(refuse(pointer, "cgroup v2 has no limit of its own for kernel memory, it counts as memory"));
        }
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(refuse(
            "/memory/disableOOMKiller",
            "cgroup v2 cannot disable the OOM killer; memory.high in unified throttles",
        ));
    }
    if memory.use_hierarchy == Some(false) {
        return Err(refuse("/memory/useHierarchy", "cgroup v2 always accounts hierarchically"));
    }
    Ok(())
}

pub(super) fn cpu(cpu: &Cpu<'_>, weighed: bool, list: &mut Vec<Write<'_>>) -> Result<()> {
    if let Some(idle) = cpu.idle {
        put(list, "cpu.idle", idle.to_string(), "/cpu/idle");
    }
    if let Some(weight) = cpu.shares.and_then(cpu_weight).filter(|_| weighed) {
        put(list, "cpu.weight", weight.to_string(), "/cpu/shares");
    }
    if let Some(burst) = cpu.burst {
        // Checked against the quota that follows.
        list.push(Write::new(Place::Unified, "cpu.max.burst", burst.to_string(), "/cpu/burst").retried());
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    let period = cpu.period.filter(|period| *period != 0);
    match (quota, period) {
        (None, None) => {}
        // The kernel keeps the period when none is written.
        (Some(quota), None) => put(list, "cpu.max", limit_text(quota), "/cpu/quota"),
        (Some(quota), Some(period)) => put(list, "cpu.max", format!("{} {period}", limit_text(quota)), "/cpu/quota"),
        (None, Some(period)) => {
            let mut write = Write::new(Place::Unified, "cpu.max", format!("max {period}"), "/cpu/period");
            write.keep_first = true;
            list.push(write);
        }
    }
    let realtime = [
        ("/cpu/realtimePeriod", cpu.realtime_period.is_some_and(|period| period != 0)),
        ("/cpu/realtimeRuntime", cpu.realtime_runtime.is_some_and(|runtime| runtime != 0)),
    ];
    match realtime.iter().find(|(_, set)| *set) {
        Some((pointer, _)) => Err(refuse(*pointer, "cgroup v2 has no realtime limits")),
        None => Ok(()),
    }
}

pub(super) fn block_io(io: &BlockIo, list: &mut Vec<Write<'_>>) -> Result<()> {
    // With the BFQ scheduler its own file has the specification's scale; io.weight has another one.
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        let value = io_weight(weight).unwrap_or(1).to_string();
        let absent = Absent::Instead { file: "io.weight", value };
        list.push(Write::new(Place::Unified, "io.bfq.weight", weight.to_string(), "/blockIO/weight").or(absent));
    }
    if io.leaf_weight.is_some_and(|weight| weight != 0) {
        return Err(refuse("/blockIO/leafWeight", "cgroup v2 has no leaf weight"));
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let name = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let value = format!("{name} {}", io_weight(weight).unwrap_or(1));
            let absent = Absent::Instead { file: "io.weight", value };
            let pointer = format!("/blockIO/weightDevice/{index}/weight");
            list.push(Write::new(Place::Unified, "io.bfq.weight", format!("{name} {weight}"), pointer).or(absent));
        }
        if device.leaf_weight.is_some_and(|weight| weight != 0) {
            return Err(refuse(format!("/blockIO/weightDevice/{index}/leafWeight"), "cgroup v2 has no leaf weight"));
        }
    }
    let throttles: [(&str, &str, &[ThrottleDevice]); 4] = [
        ("rbps", "throttleReadBpsDevice", &io.throttle_read_bps_device),
        ("wbps", "throttleWriteBpsDevice", &io.throttle_write_bps_device),
        ("riops", "throttleReadIOPSDevice", &io.throttle_read_iops_device),
        ("wiops", "throttleWriteIOPSDevice", &io.throttle_write_iops_device),
    ];
    for (key, field, devices) in throttles {
        for (index, device) in devices.iter().enumerate() {
            // The v1 rate 0 removes a limit; the v2 kernel wants a word for that.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {key}={rate}", device.major, device.minor);
            list.push(Write::new(Place::Unified, "io.max", value, format!("/blockIO/{field}/{index}/rate")));
        }
    }
    Ok(())
}

/// Files that belong to the life of a container, not to its limits: writing them here would move, kill or stop processes.
const RESERVED: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type", "cgroup.subtree_control"];

pub(super) fn unified<'a>(resources: &'a Resources<'_>, mounts: Mounts<'_>, list: &mut Vec<Write<'a>>) -> Result<()> {
    for (file, value) in &resources.unified {
        let pointer = format!("/unified/{}", file.replace('~', "~0").replace('/', "~1"));
        if file.contains('/') || !file.contains('.') || file.starts_with('.') {
            return Err(Error::resources(
                pointer,
                "it is a file name of the form CONTROLLER.PARAMETER, without a slash",
            ));
        }
        if RESERVED.contains(&file.as_ref()) {
            return Err(Error::resources(pointer, "this file is the runtime's own and no limit"));
        }
        if !mounts.unified {
            return Err(refuse(pointer, "invalid configuration: there is no cgroup v2 tree on this host"));
        }
        let controller = match file.split('.').next().unwrap_or_default() {
            "io" => "blkio",
            other => other,
        };
        if (mounts.v1)(controller) {
            return Err(refuse(
                pointer,
                "invalid configuration: on this host the controller is a cgroup v1 one, without such a file",
            ));
        }
        if resources.idles() && matches!(file.as_ref(), "cpu.weight" | "cpu.weight.nice") {
            continue;
        }
        for line in value.lines().filter(|line| !line.is_empty()) {
            list.push(Write::new(Place::Unified, file.as_ref(), line, pointer.clone()));
        }
    }
    Ok(())
}
