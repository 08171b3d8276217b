//! What a container uses, in the shape of `runc events --stats`.

pub(crate) mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cgroup::Cgroup;
use crate::error::Result;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn zero(value: &u64) -> bool {
    *value == 0
}

fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Usage and limits of a container: the `data` of runc's `stats` event, without `intel_rdt` and `network_interfaces`, which are no
/// matter of control groups. What the host has no controller for is left at zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: CpuStats,
    /// CPU and memory placement (cgroup v1 only, as with runc).
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Block I/O.
    pub blkio: BlkioStats,
    /// Huge pages by page size.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// RDMA usage and limits by device; not part of runc's output, and left out when there is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, RdmaStats>,
    /// Miscellaneous resources by name (cgroup v2); not part of runc's output, and left out when there are none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub misc: BTreeMap<String, MiscStats>,
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuStats {
    /// Time used.
    #[serde(skip_serializing_if = "unset")]
    pub usage: CpuUsage,
    /// Time refused by the quota.
    #[serde(skip_serializing_if = "unset")]
    pub throttling: Throttling,
    /// Time lost waiting for a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
    /// Time taken beyond the quota by `burst`; not part of runc's output.
    #[serde(skip_serializing_if = "unset")]
    pub burst: Burst,
}

/// CPU time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// In all.
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
    /// By CPU (cgroup v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By CPU, in the kernel (cgroup v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// By CPU, in user mode (cgroup v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
}

/// What the CPU quota refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods with a quota.
    #[serde(skip_serializing_if = "zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "zero")]
    pub throttled_periods: u64,
    /// Time waited for the next period, in nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub throttled_time: u64,
}

/// What was used beyond the CPU quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Burst {
    /// Periods in which that happened.
    #[serde(skip_serializing_if = "zero")]
    pub bursts_periods: u64,
    /// Time, in nanoseconds.
    #[serde(skip_serializing_if = "zero")]
    pub burst_time: u64,
}

/// Pressure stall information of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Psi {
    /// At least one process waited.
    #[serde(skip_serializing_if = "unset")]
    pub some: Pressure,
    /// All processes waited.
    #[serde(skip_serializing_if = "unset")]
    pub full: Pressure,
}

/// Shares of time lost, in percent, over three spans, and the time lost in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Over 10 seconds.
    pub avg10: f64,
    /// Over 60 seconds.
    pub avg60: f64,
    /// Over 300 seconds.
    pub avg300: f64,
    /// In all, in microseconds.
    pub total: u64,
}

/// CPU and memory placement on cgroup v1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "these are the names of the kernel's files")]
pub struct CpusetStats {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryStats {
    /// Page cache.
    #[serde(skip_serializing_if = "zero")]
    pub cache: u64,
    /// Memory.
    #[serde(skip_serializing_if = "unset")]
    pub usage: MemoryEntry,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "unset")]
    pub swap: MemoryEntry,
    /// Kernel memory (cgroup v1).
    #[serde(skip_serializing_if = "unset")]
    pub kernel: MemoryEntry,
    /// Kernel TCP buffers (cgroup v1).
    #[serde(rename = "kernelTCP", skip_serializing_if = "unset")]
    pub kernel_tcp: MemoryEntry,
    /// The lines of `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// Limit; the largest number means none.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    /// High-water mark.
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    /// How often the limit was hit (cgroup v1).
    pub failcnt: u64,
}

/// Processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// Processes and threads there are.
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// Limit; 0 means none.
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// Block I/O, a list of counters by device and operation for each kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlkioStats {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting now.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Time being served, in nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Time waiting, in nanoseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Merged operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Disk time, in milliseconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Time lost waiting for I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One counter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number of the device.
    #[serde(skip_serializing_if = "zero")]
    pub major: u64,
    /// Minor number of the device.
    #[serde(skip_serializing_if = "zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The count.
    #[serde(skip_serializing_if = "zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbStats {
    /// In use (reservations included where the kernel counts them).
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    /// High-water mark (cgroup v1).
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// One RDMA device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RdmaStats {
    /// Handles in use.
    pub hca_handles: u64,
    /// Objects in use.
    pub hca_objects: u64,
    /// Limit of handles; the largest number means none.
    pub hca_handles_limit: u64,
    /// Limit of objects; the largest number means none.
    pub hca_objects_limit: u64,
}

/// One miscellaneous resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MiscStats {
    /// In use.
    pub usage: u64,
    /// How often the limit was about to be exceeded.
    pub events: u64,
}

/// All readers of statistics at once, for the test that gives them garbage.
#[cfg(any(all(test, feature = "systemd"), fuzzing))]
pub(crate) fn parse_all(text: &str) {
    parse::number(text);
    parse::key_values(text).for_each(drop);
    parse::psi(text);
    parse::blkio(text);
    parse::list(text);
    parse::rdma(text, text);
}

impl Cgroup {
    /// What the container uses now. Controllers and files that are not there are passed over.
    ///
    /// # Errors
    /// [`Kind::System`](crate::Kind::System) when a file that is there cannot be read or understood.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for part in &self.parts {
            let Some(dir) = part.dir_if_there()? else { continue };
            if part.is_unified() {
                v2::read(dir, self.record.is_v2(), &mut stats)?;
            } else {
                v1::read(part, dir, &mut stats)?;
            }
        }
        Ok(stats)
    }
}
