//! Usage and limits as containerd takes them: `io.containerd.cgroups.v1.Metrics` and `…v2.Metrics`.

/// The messages of cgroup v1 and hybrid hosts.
pub(crate) mod v1 {
    messages! {
        Metrics {
            1 hugetlb: Vec<Hugetlb>,
            2 pids: Option<Pids>,
            3 cpu: Option<Cpu>,
            4 memory: Option<Memory>,
            5 blkio: Option<BlkIo>,
            6 rdma: Option<super::Rdma>,
            9 memory_oom_control: Option<MemoryOomControl>,
        }
        Hugetlb {
            1 usage: u64,
            2 max: u64,
            3 failcnt: u64,
            4 pagesize: String,
        }
        Pids {
            1 current: u64,
            2 limit: u64,
        }
        Cpu {
            1 usage: Option<CpuUsage>,
            2 throttling: Option<Throttle>,
        }
        CpuUsage {
            1 total: u64,
            2 kernel: u64,
            3 user: u64,
            4 per_cpu: Vec<u64>,
        }
        Throttle {
            1 periods: u64,
            2 throttled_periods: u64,
            3 throttled_time: u64,
        }
        Memory {
            1 cache: u64,
            2 rss: u64,
            3 rss_huge: u64,
            4 mapped_file: u64,
            5 dirty: u64,
            6 writeback: u64,
            7 pg_pg_in: u64,
            8 pg_pg_out: u64,
            9 pg_fault: u64,
            10 pg_maj_fault: u64,
            11 inactive_anon: u64,
            12 active_anon: u64,
            13 inactive_file: u64,
            14 active_file: u64,
            15 unevictable: u64,
            16 hierarchical_memory_limit: u64,
            17 hierarchical_swap_limit: u64,
            18 total_cache: u64,
            19 total_rss: u64,
            20 total_rss_huge: u64,
            21 total_mapped_file: u64,
            22 total_dirty: u64,
            23 total_writeback: u64,
            24 total_pg_pg_in: u64,
            25 total_pg_pg_out: u64,
            26 total_pg_fault: u64,
            27 total_pg_maj_fault: u64,
            28 total_inactive_anon: u64,
            29 total_active_anon: u64,
            30 total_inactive_file: u64,
            31 total_active_file: u64,
            32 total_unevictable: u64,
            33 usage: Option<MemoryEntry>,
            34 swap: Option<MemoryEntry>,
            35 kernel: Option<MemoryEntry>,
            36 kernel_tcp: Option<MemoryEntry>,
        }
        MemoryEntry {
            1 limit: u64,
            2 usage: u64,
            3 max: u64,
            4 failcnt: u64,
        }
        MemoryOomControl {
            1 oom_kill_disable: u64,
            2 under_oom: u64,
            3 oom_kill: u64,
        }
        BlkIo {
            1 io_service_bytes_recursive: Vec<BlkIoEntry>,
            2 io_serviced_recursive: Vec<BlkIoEntry>,
            3 io_queued_recursive: Vec<BlkIoEntry>,
            4 io_service_time_recursive: Vec<BlkIoEntry>,
            5 io_wait_time_recursive: Vec<BlkIoEntry>,
            6 io_merged_recursive: Vec<BlkIoEntry>,
            7 io_time_recursive: Vec<BlkIoEntry>,
            8 sectors_recursive: Vec<BlkIoEntry>,
        }
        BlkIoEntry {
            1 op: String,
            2 device: String,
            3 major: u64,
            4 minor: u64,
            5 value: u64,
        }
    }
}

/// The messages of cgroup v2 hosts.
pub(crate) mod v2 {
    messages! {
        Metrics {
            1 pids: Option<super::v1::Pids>,
            2 cpu: Option<Cpu>,
            4 memory: Option<Memory>,
            5 rdma: Option<super::Rdma>,
            6 io: Option<Io>,
            7 hugetlb: Vec<Hugetlb>,
            8 memory_events: Option<MemoryEvents>,
        }
        PsiData {
            1 avg10: f64,
            2 avg60: f64,
            3 avg300: f64,
            4 total: u64,
        }
        Psi {
            1 some: Option<PsiData>,
            2 full: Option<PsiData>,
        }
        Cpu {
            1 usage_usec: u64,
            2 user_usec: u64,
            3 system_usec: u64,
            4 nr_periods: u64,
            5 nr_throttled: u64,
            6 throttled_usec: u64,
            7 psi: Option<Psi>,
            8 nr_bursts: u64,
            9 burst_usec: u64,
        }
        Memory {
            1 anon: u64,
            2 file: u64,
            3 kernel_stack: u64,
            4 slab: u64,
            5 sock: u64,
            6 shmem: u64,
            7 file_mapped: u64,
            8 file_dirty: u64,
            9 file_writeback: u64,
            10 anon_thp: u64,
            11 inactive_anon: u64,
            12 active_anon: u64,
            13 inactive_file: u64,
            14 active_file: u64,
            15 unevictable: u64,
            16 slab_reclaimable: u64,
            17 slab_unreclaimable: u64,
            18 pgfault: u64,
            19 pgmajfault: u64,
            20 workingset_refault: u64,
            21 workingset_activate: u64,
            22 workingset_nodereclaim: u64,
            23 pgrefill: u64,
            24 pgscan: u64,
            25 pgsteal: u64,
            26 pgactivate: u64,
            27 pgdeactivate: u64,
            28 pglazyfree: u64,
            29 pglazyfreed: u64,
            30 thp_fault_alloc: u64,
            31 thp_collapse_alloc: u64,
            32 usage: u64,
            33 usage_limit: u64,
            34 swap_usage: u64,
            35 swap_limit: u64,
            36 max_usage: u64,
            37 swap_max_usage: u64,
            38 psi: Option<Psi>,
        }
        MemoryEvents {
            1 low: u64,
            2 high: u64,
            3 max: u64,
            4 oom: u64,
            5 oom_kill: u64,
            6 oom_group_kill: u64,
        }
        Io {
            1 usage: Vec<IoEntry>,
            2 psi: Option<Psi>,
        }
        IoEntry {
            1 major: u64,
            2 minor: u64,
            3 rbytes: u64,
            4 wbytes: u64,
            5 rios: u64,
            6 wios: u64,
        }
        Hugetlb {
            1 current: u64,
            2 max: u64,
            3 pagesize: String,
            4 failcnt: u64,
        }
    }
}

messages! {
    Rdma {
        1 current: Vec<RdmaEntry>,
        2 limit: Vec<RdmaEntry>,
    }
    RdmaEntry {
        1 device: String,
        2 hca_handles: u32,
        3 hca_objects: u32,
    }
}
