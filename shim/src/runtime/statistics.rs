//! The runtime's statistics as containerd's messages.

use std::collections::BTreeMap;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use orlop::Stats;

use crate::proto::Any;
use crate::proto::metrics::{Rdma, RdmaEntry, v1, v2};

/// The message of the kind that containerd expects on this host: v1's where any hierarchy of v1 is mounted.
pub(super) fn message(stats: &Stats) -> Any {
    let unified = statfs("/sys/fs/cgroup").is_ok_and(|facts| facts.filesystem_type() == CGROUP2_SUPER_MAGIC);
    if unified {
        Any::of("io.containerd.cgroups.v2.Metrics", &in_v2(stats))
    } else {
        Any::of("io.containerd.cgroups.v1.Metrics", &in_v1(stats))
    }
}

fn in_v1(stats: &Stats) -> v1::Metrics {
    let cgroup = &stats.cgroup;
    let cpu = v1::Cpu {
        usage: Some(v1::CpuUsage {
            total: cgroup.cpu.usage.total,
            kernel: cgroup.cpu.usage.kernel,
            user: cgroup.cpu.usage.user,
            per_cpu: cgroup.cpu.usage.percpu.clone(),
        }),
        throttling: Some(v1::Throttle {
            periods: cgroup.cpu.throttling.periods,
            throttled_periods: cgroup.cpu.throttling.throttled_periods,
            throttled_time: cgroup.cpu.throttling.throttled_time,
        }),
    };
    let hugetlb = cgroup.hugetlb.iter().map(|(size, huge)| v1::Hugetlb {
        usage: huge.usage,
        max: huge.max,
        failcnt: huge.failcnt,
        pagesize: size.clone(),
    });
    v1::Metrics {
        hugetlb: hugetlb.collect(),
        pids: Some(pids(stats)),
        cpu: Some(cpu),
        memory: Some(memory_in_v1(stats)),
        blkio: Some(blkio(stats)),
        rdma: rdma(stats),
        memory_oom_control: None,
    }
}

fn pids(stats: &Stats) -> v1::Pids {
    v1::Pids { current: stats.cgroup.pids.current, limit: stats.cgroup.pids.limit }
}

fn memory_in_v1(stats: &Stats) -> v1::Memory {
    let memory = &stats.cgroup.memory;
    let raw = |key: &str| raw(&memory.raw, key);
    macro_rules! entry {
        ($from:expr) => {
            Some(v1::MemoryEntry { limit: $from.limit, usage: $from.usage, max: $from.max, failcnt: $from.failcnt })
        };
    }
    v1::Memory {
        cache: raw("cache"),
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pg_pg_in: raw("pgpgin"),
        pg_pg_out: raw("pgpgout"),
        pg_fault: raw("pgfault"),
        pg_maj_fault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        hierarchical_swap_limit: raw("hierarchical_memsw_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_rss_huge: raw("total_rss_huge"),
        total_mapped_file: raw("total_mapped_file"),
        total_dirty: raw("total_dirty"),
        total_writeback: raw("total_writeback"),
        total_pg_pg_in: raw("total_pgpgin"),
        total_pg_pg_out: raw("total_pgpgout"),
        total_pg_fault: raw("total_pgfault"),
        total_pg_maj_fault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        total_unevictable: raw("total_unevictable"),
        usage: entry!(memory.usage),
        swap: entry!(memory.swap),
        kernel: entry!(memory.kernel),
        kernel_tcp: entry!(memory.kernel_tcp),
    }
}

fn blkio(stats: &Stats) -> v1::BlkIo {
    let blkio = &stats.cgroup.blkio;
    macro_rules! list {
        ($field:ident) => {
            blkio
                .$field
                .iter()
                .map(|entry| v1::BlkIoEntry {
                    op: entry.op.clone(),
                    device: String::new(),
                    major: entry.major,
                    minor: entry.minor,
                    value: entry.value,
                })
                .collect()
        };
    }
    v1::BlkIo {
        io_service_bytes_recursive: list!(io_service_bytes_recursive),
        io_serviced_recursive: list!(io_serviced_recursive),
        io_queued_recursive: list!(io_queued_recursive),
        io_service_time_recursive: list!(io_service_time_recursive),
        io_wait_time_recursive: list!(io_wait_time_recursive),
        io_merged_recursive: list!(io_merged_recursive),
        io_time_recursive: list!(io_time_recursive),
        sectors_recursive: list!(sectors_recursive),
    }
}

fn rdma(stats: &Stats) -> Option<Rdma> {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let devices = &stats.cgroup.rdma;
    (!devices.is_empty()).then(|| Rdma {
        current: devices
            .iter()
            .map(|(device, rdma)| RdmaEntry {
                device: device.clone(),
                hca_handles: narrow(rdma.hca_handles),
                hca_objects: narrow(rdma.hca_objects),
            })
            .collect(),
        limit: devices
            .iter()
            .map(|(device, rdma)| RdmaEntry {
                device: device.clone(),
                hca_handles: narrow(rdma.hca_handles_limit),
                hca_objects: narrow(rdma.hca_objects_limit),
            })
            .collect(),
    })
}

macro_rules! psi {
    ($from:expr) => {
        $from.as_ref().map(|psi| v2::Psi {
            some: Some(v2::PsiData {
                avg10: psi.some.avg10,
                avg60: psi.some.avg60,
                avg300: psi.some.avg300,
                total: psi.some.total,
            }),
            full: Some(v2::PsiData {
                avg10: psi.full.avg10,
                avg60: psi.full.avg60,
                avg300: psi.full.avg300,
                total: psi.full.total,
            }),
        })
    };
}

fn in_v2(stats: &Stats) -> v2::Metrics {
    let cgroup = &stats.cgroup;
    let micros = |nanos: u64| nanos / 1000;
    let cpu = v2::Cpu {
        usage_usec: micros(cgroup.cpu.usage.total),
        user_usec: micros(cgroup.cpu.usage.user),
        system_usec: micros(cgroup.cpu.usage.kernel),
        nr_periods: cgroup.cpu.throttling.periods,
        nr_throttled: cgroup.cpu.throttling.throttled_periods,
        throttled_usec: micros(cgroup.cpu.throttling.throttled_time),
        psi: psi!(cgroup.cpu.psi),
        nr_bursts: cgroup.cpu.burst.bursts_periods,
        burst_usec: micros(cgroup.cpu.burst.burst_time),
    };
    let hugetlb = cgroup.hugetlb.iter().map(|(size, huge)| v2::Hugetlb {
        current: huge.usage,
        max: huge.max,
        pagesize: size.clone(),
        failcnt: huge.failcnt,
    });
    v2::Metrics {
        pids: Some(pids(stats)),
        cpu: Some(cpu),
        memory: Some(memory_in_v2(stats)),
        rdma: rdma(stats),
        io: Some(v2::Io { usage: io(stats), psi: psi!(cgroup.blkio.psi) }),
        hugetlb: hugetlb.collect(),
        memory_events: None,
    }
}

fn memory_in_v2(stats: &Stats) -> v2::Memory {
    let memory = &stats.cgroup.memory;
    let raw = |key: &str| raw(&memory.raw, key);
    // The runtime counts memory and swap together, as v1 did; here swap stands alone.
    let swap_limit = match memory.swap.limit {
        u64::MAX => u64::MAX,
        both => both.saturating_sub(memory.usage.limit),
    };
    v2::Memory {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        workingset_refault: raw("workingset_refault"),
        workingset_activate: raw("workingset_activate"),
        workingset_nodereclaim: raw("workingset_nodereclaim"),
        pgrefill: raw("pgrefill"),
        pgscan: raw("pgscan"),
        pgsteal: raw("pgsteal"),
        pgactivate: raw("pgactivate"),
        pgdeactivate: raw("pgdeactivate"),
        pglazyfree: raw("pglazyfree"),
        pglazyfreed: raw("pglazyfreed"),
        thp_fault_alloc: raw("thp_fault_alloc"),
        thp_collapse_alloc: raw("thp_collapse_alloc"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        swap_usage: memory.swap.usage.saturating_sub(memory.usage.usage),
        swap_limit,
        max_usage: memory.usage.max,
        swap_max_usage: 0,
        psi: psi!(memory.psi),
    }
}

/// The tables by operation as one entry for each device.
fn io(stats: &Stats) -> Vec<v2::IoEntry> {
    let mut devices: BTreeMap<(u64, u64), v2::IoEntry> = BTreeMap::new();
    let blkio = &stats.cgroup.blkio;
    for (bytes, list) in [(true, &blkio.io_service_bytes_recursive), (false, &blkio.io_serviced_recursive)] {
        for entry in list {
            let device = devices.entry((entry.major, entry.minor)).or_insert_with(|| v2::IoEntry {
                major: entry.major,
                minor: entry.minor,
                ..v2::IoEntry::default()
            });
            match (bytes, entry.op.as_str()) {
                (true, "Read") => device.rbytes = entry.value,
                (true, "Write") => device.wbytes = entry.value,
                (false, "Read") => device.rios = entry.value,
                (false, "Write") => device.wios = entry.value,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

fn raw(lines: &BTreeMap<String, u64>, key: &str) -> u64 {
    lines.get(key).copied().unwrap_or_default()
}
