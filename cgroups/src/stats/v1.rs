//! Statistics of the v1 controllers.

use super::parse::{blkio, file_number, key_values, list, rdma};
use super::{BlkioEntry, HugetlbStats, MemoryEntry, Stats};
use crate::dir::Dir;
use crate::error::Result;
use crate::part::Part;

pub(super) fn read(part: &Part, dir: &Dir, stats: &mut Stats) -> Result<()> {
    type Reader = fn(&Dir, &mut Stats) -> Result<()>;
    let readers: [(&str, Reader); 8] = [
        ("cpu", cpu),
        ("cpuacct", cpuacct),
        ("cpuset", cpuset),
        ("memory", memory),
        ("pids", pids),
        ("blkio", block_io),
        ("hugetlb", hugetlb),
        ("rdma", rdma_devices),
    ];
    readers.iter().filter(|(name, _)| part.has(name)).try_for_each(|(_, read)| read(dir, stats))
}

fn cpu(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let Some(text) = dir.read_if_there("cpu.stat")? else { return Ok(()) };
    for (key, value) in key_values(&text) {
        match key {
            "nr_periods" => stats.cpu.throttling.periods = value,
            "nr_throttled" => stats.cpu.throttling.throttled_periods = value,
            "throttled_time" => stats.cpu.throttling.throttled_time = value,
            "nr_bursts" => stats.cpu.burst.bursts_periods = value,
            "burst_time" => stats.cpu.burst.burst_time = value,
            _ => {}
        }
    }
    Ok(())
}

/// Times in `cpuacct.stat` are in hundredths of a second on every architecture this runs on (USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

fn cpuacct(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = file_number(dir, "cpuacct.usage")?.unwrap_or_default();
    if let Some(text) = dir.read_if_there("cpuacct.stat")? {
        for (key, value) in key_values(&text) {
            let nanoseconds = value.saturating_mul(NANOSECONDS_PER_TICK);
            match key {
                "user" => usage.user = nanoseconds,
                "system" => usage.kernel = nanoseconds,
                _ => {}
            }
        }
    }
    if let Some(text) = dir.read_if_there("cpuacct.usage_percpu")? {
        usage.percpu = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    }
    // A header line, then `cpu user system` for each CPU.
    for line in dir.read_if_there("cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        let mut numbers = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok());
        if let (Some(user), Some(kernel)) = (numbers.next(), numbers.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn cpuset(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let read_list = |file: &str| -> Result<Vec<u16>> {
        let Some(text) = dir.read_if_there(file)? else { return Ok(Vec::new()) };
        list(&text).ok_or_else(|| dir.malformed(file, &text))
    };
    let number = |file: &str| Ok(file_number(dir, file)?.unwrap_or_default());
    let cpuset = &mut stats.cpuset;
    cpuset.cpus = read_list("cpuset.cpus")?;
    cpuset.mems = read_list("cpuset.mems")?;
    cpuset.cpu_exclusive = number("cpuset.cpu_exclusive")?;
    cpuset.mem_hardwall = number("cpuset.mem_hardwall")?;
    cpuset.mem_exclusive = number("cpuset.mem_exclusive")?;
    cpuset.memory_migrate = number("cpuset.memory_migrate")?;
    cpuset.memory_spread_page = number("cpuset.memory_spread_page")?;
    cpuset.memory_spread_slab = number("cpuset.memory_spread_slab")?;
    cpuset.memory_pressure = number("cpuset.memory_pressure")?;
    cpuset.sched_load_balance = number("cpuset.sched_load_balance")?;
    let level = dir.read_if_there("cpuset.sched_relax_domain_level")?;
    cpuset.sched_relax_domain_level = level.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    Ok(())
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    if let Some(text) = dir.read_if_there("memory.stat")? {
        memory.raw = key_values(&text).map(|(key, value)| (key.to_owned(), value)).collect();
        memory.cache = memory.raw.get("cache").copied().unwrap_or_default();
    }
    memory.usage = memory_entry(dir, "memory")?;
    memory.swap = memory_entry(dir, "memory.memsw")?;
    memory.kernel = memory_entry(dir, "memory.kmem")?;
    memory.kernel_tcp = memory_entry(dir, "memory.kmem.tcp")?;
    Ok(())
}

fn memory_entry(dir: &Dir, prefix: &str) -> Result<MemoryEntry> {
    let number = |file: &str| Ok(file_number(dir, &format!("{prefix}.{file}"))?.unwrap_or_default());
    Ok(MemoryEntry {
        limit: number("limit_in_bytes")?,
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failcnt: number("failcnt")?,
    })
}

fn pids(dir: &Dir, stats: &mut Stats) -> Result<()> {
    stats.pids.current = file_number(dir, "pids.current")?.unwrap_or_default();
    stats.pids.limit = file_number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or_default();
    Ok(())
}

/// Which files have numbers depends on the I/O scheduler: BFQ's own (two of them always, the rest in debugging kernels), those of
/// the throttle for this and lower cgroups, or of this cgroup alone. CFQ is gone since 5.0. The first set that is there counts.
fn block_io(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let read = |file: &str| -> Result<Vec<BlkioEntry>> {
        Ok(dir.read_if_there(file)?.map(|text| blkio(&text)).unwrap_or_default())
    };
    let blkio = &mut stats.blkio;
    for prefix in ["blkio.bfq.", "blkio."] {
        let file = |name: &str| format!("{prefix}{name}_recursive");
        let bytes = read(&file("io_service_bytes"))?;
        if bytes.is_empty() {
            continue;
        }
        blkio.io_service_bytes_recursive = bytes;
        blkio.io_serviced_recursive = read(&file("io_serviced"))?;
        blkio.io_queued_recursive = read(&file("io_queued"))?;
        blkio.io_service_time_recursive = read(&file("io_service_time"))?;
        blkio.io_wait_time_recursive = read(&file("io_wait_time"))?;
        blkio.io_merged_recursive = read(&file("io_merged"))?;
        blkio.io_time_recursive = read(&file("time"))?;
        blkio.sectors_recursive = read(&file("sectors"))?;
        return Ok(());
    }
    for suffix in ["_recursive", ""] {
        blkio.io_service_bytes_recursive = read(&format!("blkio.throttle.io_service_bytes{suffix}"))?;
        blkio.io_serviced_recursive = read(&format!("blkio.throttle.io_serviced{suffix}"))?;
        if !blkio.io_service_bytes_recursive.is_empty() {
            break;
        }
    }
    Ok(())
}

fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for size in super::v2::page_sizes(dir, ".usage_in_bytes")? {
        // Reservations are counted apart since 5.7, and then they are what the limit is about.
        let mut entry = HugetlbStats::default();
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = file_number(dir, &format!("{prefix}.usage_in_bytes"))? else { continue };
            entry.usage = usage;
            entry.max = file_number(dir, &format!("{prefix}.max_usage_in_bytes"))?.unwrap_or_default();
            entry.failcnt = file_number(dir, &format!("{prefix}.failcnt"))?.unwrap_or_default();
            break;
        }
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}

fn rdma_devices(dir: &Dir, stats: &mut Stats) -> Result<()> {
    if let (Some(current), Some(limits)) = (dir.read_if_there("rdma.current")?, dir.read_if_there("rdma.max")?) {
        stats.rdma = rdma(&current, &limits);
    }
    Ok(())
}
