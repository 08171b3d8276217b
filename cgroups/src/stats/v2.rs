//! Statistics of the v2 tree.

use std::os::fd::AsFd;

use super::parse::{file_number, file_psi, key_values, number, rdma};
use super::{BlkioEntry, BlkioStats, HugetlbStats, MemoryEntry, Stats};
use crate::dir::{Dir, keyed};
use crate::error::{Error, Result};
use crate::sys;

/// Reads what there is; on a hybrid host (`alone` false) a figure that a v1 controller has given stays.
pub(super) fn read(dir: &Dir, alone: bool, stats: &mut Stats) -> Result<()> {
    pids(dir, alone, stats)?;
    memory(dir, stats)?;
    stats.memory.psi = file_psi(dir, "memory.pressure")?;
    if let Some(text) = dir.read_if_there("io.stat")? {
        io(&text, &mut stats.blkio);
    }
    stats.blkio.psi = file_psi(dir, "io.pressure")?;
    // This file is there even without the controller, so on a hybrid host it must not hide what v1 says.
    if alone && let Some(text) = dir.read_if_there("cpu.stat")? {
        cpu(&text, stats);
    }
    stats.cpu.psi = file_psi(dir, "cpu.pressure")?;
    hugetlb(dir, stats)?;
    if let (Some(current), Some(limits)) = (dir.read_if_there("rdma.current")?, dir.read_if_there("rdma.max")?) {
        stats.rdma = rdma(&current, &limits);
    }
    misc(dir, stats)
}

fn pids(dir: &Dir, alone: bool, stats: &mut Stats) -> Result<()> {
    if let Some(current) = file_number(dir, "pids.current")? {
        stats.pids.current = current;
        stats.pids.limit = file_number(dir, "pids.max")?.filter(|limit| *limit != u64::MAX).unwrap_or_default();
    } else if alone {
        stats.pids.current = u64::try_from(dir.processes()?.len()).unwrap_or(u64::MAX);
    }
    Ok(())
}

fn memory(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let Some(text) = dir.read_if_there("memory.stat")? else { return Ok(()) };
    let memory = &mut stats.memory;
    memory.raw = key_values(&text).map(|(key, value)| (key.to_owned(), value)).collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or_default();
    memory.usage = entry(dir, "memory")?;
    let swap = entry(dir, "memory.swap")?;
    // v1 counts memory and swap together, and this is v1's field. A common high-water mark cannot be told from two.
    memory.swap = MemoryEntry {
        limit: swap.limit.saturating_add(memory.usage.limit),
        usage: swap.usage.saturating_add(memory.usage.usage),
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

fn entry(dir: &Dir, prefix: &str) -> Result<MemoryEntry> {
    let number = |file: &str| Ok(file_number(dir, &format!("{prefix}.{file}"))?.unwrap_or_default());
    Ok(MemoryEntry { limit: number("max")?, usage: number("current")?, max: number("peak")?, failcnt: 0 })
}

fn cpu(text: &str, stats: &mut Stats) {
    let cpu = &mut stats.cpu;
    for (key, value) in key_values(text) {
        let nanoseconds = value.saturating_mul(1000);
        match key {
            "usage_usec" => cpu.usage.total = nanoseconds,
            "user_usec" => cpu.usage.user = nanoseconds,
            "system_usec" => cpu.usage.kernel = nanoseconds,
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = nanoseconds,
            "nr_bursts" => cpu.burst.bursts_periods = value,
            "burst_usec" => cpu.burst.burst_time = nanoseconds,
            _ => {}
        }
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0` as the v1 tables.
fn io(text: &str, blkio: &mut BlkioStats) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| {
            let (major, minor) = device.split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        }) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            if let Some(value) = number(value) {
                table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
            }
        }
    }
}

/// The page sizes there are files for, found by the names of the files themselves.
pub(super) fn page_sizes(dir: &Dir, suffix: &str) -> Result<Vec<String>> {
    let entries =
        sys::entries(dir.as_fd()).map_err(|errno| Error::os("list the cgroup", errno).with_object(dir.path()))?;
    let mut sizes: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.name.strip_prefix("hugetlb.")?.strip_suffix(suffix))
        .filter(|size| !size.contains('.'))
        .map(str::to_owned)
        .collect();
    sizes.sort();
    Ok(sizes)
}

fn hugetlb(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for size in page_sizes(dir, ".current")? {
        let prefix = format!("hugetlb.{size}");
        let usage = match file_number(dir, &format!("{prefix}.rsvd.current"))? {
            Some(usage) => Some(usage),
            None => file_number(dir, &format!("{prefix}.current"))?,
        };
        let events = dir.read_if_there(&format!("{prefix}.events"))?;
        let entry = HugetlbStats {
            usage: usage.unwrap_or_default(),
            max: 0,
            failcnt: events.and_then(|text| keyed(&text, "max")).unwrap_or_default(),
        };
        stats.hugetlb.insert(size, entry);
    }
    Ok(())
}

fn misc(dir: &Dir, stats: &mut Stats) -> Result<()> {
    for (key, value) in key_values(&dir.read_if_there("misc.current")?.unwrap_or_default()) {
        stats.misc.entry(key.to_owned()).or_default().usage = value;
    }
    for (key, value) in key_values(&dir.read_if_there("misc.events")?.unwrap_or_default()) {
        let key = key.strip_suffix(".max").unwrap_or(key);
        stats.misc.entry(key.to_owned()).or_default().events = value;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines_become_v1_tables() {
        let mut blkio = BlkioStats::default();
        io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \nnonsense\n", &mut blkio);
        let text = serde_json::to_string(&blkio).unwrap();
        assert_eq!(
            text,
            r#"{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2}],"ioServicedRecursive":[{"major":8,"op":"Read","value":3},{"major":8,"op":"Write","value":4}]}"#
        );
    }

    #[test]
    fn cpu_lines_are_nanoseconds() {
        let mut stats = Stats::default();
        cpu("usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nthrottled_usec 1\n", &mut stats);
        let text = serde_json::to_string(&stats.cpu).unwrap();
        assert_eq!(
            text,
            r#"{"usage":{"total":5000,"kernel":2000,"user":3000},"throttling":{"periods":7,"throttledTime":1000}}"#
        );
    }

    #[test]
    fn nothing_used_has_runcs_empty_shape() {
        let text = serde_json::to_string(&Stats::default()).unwrap();
        assert_eq!(
            text,
            r#"{"cpu":{},"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{}}"#
        );
    }
}
