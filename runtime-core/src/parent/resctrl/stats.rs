//! The `intel_rdt` member of runc's statistics.

use std::fs::read_dir;
use std::path::Path;

use serde::Serialize;

use super::files::read;
use crate::state::IntelRdtRecord;

/// What resctrl tells of a container, under the names of `runc events`; empty without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IntelRdtStats {
    /// What the processor can do with its L3 cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    /// The L3 line of the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// The L3 line of the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// What the processor can do with memory bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    /// The MB line of the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    /// The MB line of the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// All lines of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Memory bandwidth used, by cache domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MbmStats>>,
    /// Cache occupied, by cache domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CmtStats>>,
}

/// What the processor can do with its L3 cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct L3CacheInfo {
    /// The largest capacity bit mask, in hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    /// The fewest bits a mask may have.
    #[serde(skip_serializing_if = "zero")]
    pub min_cbm_bits: u64,
    /// How many classes of service there can be.
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// What the processor can do with memory bandwidth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemBwInfo {
    /// The step between two values, in percent.
    #[serde(skip_serializing_if = "zero")]
    pub bandwidth_gran: u64,
    /// Whether delay is a linear function of the value (1) or not (0).
    #[serde(skip_serializing_if = "zero")]
    pub delay_linear: u64,
    /// The least value, in percent.
    #[serde(skip_serializing_if = "zero")]
    pub min_bandwidth: u64,
    /// How many classes of service there can be.
    #[serde(skip_serializing_if = "zero")]
    pub num_closids: u64,
}

/// Memory bandwidth used in one cache domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MbmStats {
    /// Bytes from and to all memory.
    pub mbm_total_bytes: u64,
    /// Bytes from and to the memory of the same node.
    pub mbm_local_bytes: u64,
}

/// Cache occupied in one cache domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CmtStats {
    /// Bytes.
    pub llc_occupancy: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn zero(value: &u64) -> bool {
    *value == 0
}

/// What resctrl tells of the container. A file that is not there belongs to a feature the processor lacks.
pub(crate) fn stats(record: &IntelRdtRecord) -> IntelRdtStats {
    let class = Path::new(&record.path);
    let root = class.parent().unwrap_or(class);
    let host = lines(&root.join("schemata"));
    let schemata = lines(&class.join("schemata"));
    let mut stats = IntelRdtStats::default();
    let l3 = root.join("info/L3");
    if l3.is_dir() {
        stats.l3_cache_info = Some(L3CacheInfo {
            cbm_mask: first_line(&l3.join("cbm_mask")),
            min_cbm_bits: number(&l3.join("min_cbm_bits")),
            num_closids: number(&l3.join("num_closids")),
        });
        stats.l3_cache_schema_root = line_of(&host, "L3");
        stats.l3_cache_schema = line_of(&schemata, "L3");
    }
    let mb = root.join("info/MB");
    if mb.is_dir() {
        stats.mem_bw_info = Some(MemBwInfo {
            bandwidth_gran: number(&mb.join("bandwidth_gran")),
            delay_linear: number(&mb.join("delay_linear")),
            min_bandwidth: number(&mb.join("min_bandwidth")),
            num_closids: number(&mb.join("num_closids")),
        });
        stats.mem_bw_schema_root = line_of(&host, "MB");
        stats.mem_bw_schema = line_of(&schemata, "MB");
    }
    let group = record.monitoring_path.as_ref().map_or(class, |path| Path::new(path));
    monitor(&root.join("info/L3_MON/mon_features"), &group.join("mon_data"), &mut stats);
    stats.schemata = schemata;
    stats
}

fn monitor(features: &Path, data: &Path, stats: &mut IntelRdtStats) {
    let features = lines(features);
    let has = |feature: &str| features.iter().any(|line| line == feature);
    let mut domains: Vec<_> = read_dir(data)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mon_L3_")))
        .collect();
    domains.sort();
    if has("mbm_total_bytes") || has("mbm_local_bytes") {
        let read = |domain: &std::path::PathBuf| MbmStats {
            mbm_total_bytes: number(&domain.join("mbm_total_bytes")),
            mbm_local_bytes: number(&domain.join("mbm_local_bytes")),
        };
        stats.mbm_stats = Some(domains.iter().map(read).collect());
    }
    if has("llc_occupancy") {
        let read = |domain: &std::path::PathBuf| CmtStats { llc_occupancy: number(&domain.join("llc_occupancy")) };
        stats.cmt_stats = Some(domains.iter().map(read).collect());
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = read(&path.to_string_lossy()).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn line_of(lines: &[String], resource: &str) -> String {
    lines.iter().find(|line| line.split(':').next() == Some(resource)).cloned().unwrap_or_default()
}

fn first_line(path: &Path) -> String {
    lines(path).into_iter().next().unwrap_or_default()
}

fn number(path: &Path) -> u64 {
    first_line(path).parse().unwrap_or(0)
}
