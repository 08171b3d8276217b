//! The OCI `linux.resources` object, complete for runtime-spec 1.3.
//!
//! Strings are borrowed from the JSON text where it allows that. Every field is optional as in the specification, `null` counts
//! as absent, and unknown fields are passed over: whoever wants to refuse those does so before.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A string that borrows from the JSON text where it has no escapes; null is empty. Serde's own `Cow` copies inside an `Option`.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
        fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text))
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(""))
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(""))
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_str(self)
        }
    }
    deserializer.deserialize_option(Text)
}

/// `linux.resources`: the limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources<'a> {
    /// Device access rules, applied in order; empty means that the rules are left as they are.
    #[serde(borrow, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRule<'a>>,
    /// Memory limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// CPU time and placement.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu<'a>>,
    /// Number of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Block I/O weights and throttles.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
    /// Huge page limits, one per page size.
    #[serde(borrow, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<HugepageLimit<'a>>,
    /// Network class and priorities (cgroup v1 only).
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network<'a>>,
    /// RDMA limits by device name.
    #[serde(borrow, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<Cow<'a, str>, Rdma>,
    /// cgroup v2 files and what to write to them, line by line.
    #[serde(borrow, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

/// One entry of `devices`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRule<'a> {
    /// Allowed or denied.
    #[serde(deserialize_with = "null_is_default")]
    pub allow: bool,
    /// `c`, `b`, or `a` for both; empty or absent means `a`.
    #[serde(rename = "type", borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub kind: Cow<'a, str>,
    /// Major number; absent or -1 means every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Minor number; absent or -1 means every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Any of `r` (read), `w` (write), `m` (mknod).
    #[serde(borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub access: Cow<'a, str>,
}

/// `memory`; amounts in bytes, -1 for no limit, 0 counts as absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Hard limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Soft limit (v1) or best-effort protection (v2 `memory.low`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Limit of memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// Kernel memory (cgroup v1 before kernel 5.16 only; newer ones refuse).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    /// Kernel TCP buffer memory (cgroup v1 only).
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// Tendency to swap, 0 to 100 (cgroup v1 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// Processes over the limit wait instead of being killed (cgroup v1 only).
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    /// Hierarchical accounting; always on in today's kernels, so only `false` on v1 would differ, and that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_hierarchy: Option<bool>,
    /// Refuse a new limit that is below what is used now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_before_update: Option<bool>,
}

/// `cpu`; times in microseconds, 0 counts as absent except for `burst` and `idle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cpu<'a> {
    /// Relative weight, 2 to 262144; on v2 converted to `cpu.weight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// CPU time per period; negative for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// What may be saved up from earlier periods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Length of a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Realtime time per realtime period (cgroup v1 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    /// Length of a realtime period (cgroup v1 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// CPUs in list form, for example `0-2,7`.
    #[serde(borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub cpus: Cow<'a, str>,
    /// Memory nodes in list form.
    #[serde(borrow, deserialize_with = "text", skip_serializing_if = "str::is_empty")]
    pub mems: Cow<'a, str>,
    /// 1 schedules the container only when nothing else runs; 0 is normal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
}

/// `pids`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    /// Highest number of processes and threads; negative for no limit, 0 is written as 1 as runc does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// `blockIO`; weights from 10 to 1000 (v1) or 1 to 1000 (bfq), 0 counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockIo {
    /// Weight for all devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weight of the cgroup's own tasks against its children (cgroup v1 with CFQ only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    /// Weights for single devices.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// Read limits in bytes per second.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<ThrottleDevice>,
    /// Write limits in bytes per second.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<ThrottleDevice>,
    /// Read limits in operations per second.
    #[serde(
        rename = "throttleReadIOPSDevice",
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub throttle_read_iops_device: Vec<ThrottleDevice>,
    /// Write limits in operations per second.
    #[serde(
        rename = "throttleWriteIOPSDevice",
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub throttle_write_iops_device: Vec<ThrottleDevice>,
}

/// The weight of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Leaf weight (cgroup v1 with CFQ only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// The throttle of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Bytes or operations per second; 0 removes the limit.
    pub rate: u64,
}

/// The limit of one huge page size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HugepageLimit<'a> {
    /// Page size in the kernel's words: `64KB`, `2MB`, `1GB`. runc's own tests write it in small letters.
    #[serde(borrow, alias = "pagesize")]
    pub page_size: Cow<'a, str>,
    /// Limit in bytes.
    pub limit: u64,
}

/// `network` (cgroup v1 only).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network<'a> {
    /// Class of the container's packets; 0 counts as absent.
    #[serde(rename = "classID", skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    /// Priorities by network interface.
    #[serde(borrow, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<InterfacePriority<'a>>,
}

/// The priority of packets on one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePriority<'a> {
    /// Interface name in the runtime's network namespace.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Priority.
    pub priority: u32,
}

/// The limits of one RDMA device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rdma {
    /// Highest number of open handles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    /// Highest number of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}

impl Resources<'_> {
    /// The fields that another one leaves without effect, and why: JSON pointers relative to `linux.resources`. Worth a warning,
    /// since none of them is an error.
    #[must_use]
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        if !self.idles() {
            return Vec::new();
        }
        let shares = self.cpu.as_ref().and_then(|cpu| cpu.shares).is_some_and(|shares| shares != 0);
        let unified = |file: &str| self.unified.contains_key(file);
        let table = [
            (
                shares,
                "/cpu/shares",
                "unable to apply both CPUShares and CPUIdle: an idle cgroup has no weight, the shares are ignored",
            ),
            (
                unified("cpu.weight"),
                "/unified/cpu.weight",
                "unable to apply both cpu.weight and cpu.idle: an idle cgroup has no weight, cpu.weight is ignored",
            ),
            (
                unified("cpu.weight.nice"),
                "/unified/cpu.weight.nice",
                "unable to apply both cpu.weight.nice and cpu.idle: an idle cgroup has no weight, cpu.weight.nice is ignored",
            ),
        ];
        table.into_iter().filter(|(set, ..)| *set).map(|(_, pointer, why)| (pointer, why)).collect()
    }

    /// Whether the cgroup becomes an idle one, which has no weight: the kernel refuses one.
    pub(crate) fn idles(&self) -> bool {
        self.idle() == Some(true)
    }

    /// What is said about idleness; `unified` comes last and so counts.
    pub(crate) fn idle(&self) -> Option<bool> {
        let unified = self.unified.get("cpu.idle").map(|value| value.trim() == "1");
        unified.or_else(|| self.cpu.as_ref()?.idle.map(|idle| idle == 1))
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Resources<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Resources {
            devices: self.devices.into_iter().map(DeviceRule::into_owned).collect(),
            memory: self.memory,
            cpu: self.cpu.map(|cpu| Cpu {
                shares: cpu.shares,
                quota: cpu.quota,
                burst: cpu.burst,
                period: cpu.period,
                realtime_runtime: cpu.realtime_runtime,
                realtime_period: cpu.realtime_period,
                cpus: own(cpu.cpus),
                mems: own(cpu.mems),
                idle: cpu.idle,
            }),
            pids: self.pids,
            block_io: self.block_io,
            hugepage_limits: self
                .hugepage_limits
                .into_iter()
                .map(|page| HugepageLimit { page_size: own(page.page_size), limit: page.limit })
                .collect(),
            network: self.network.map(|network| Network {
                class_id: network.class_id,
                priorities: network
                    .priorities
                    .into_iter()
                    .map(|one| InterfacePriority { name: own(one.name), priority: one.priority })
                    .collect(),
            }),
            rdma: self.rdma.into_iter().map(|(name, limits)| (own(name), limits)).collect(),
            unified: self.unified.into_iter().map(|(file, value)| (own(file), own(value))).collect(),
        }
    }
}

impl DeviceRule<'_> {
    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> DeviceRule<'static> {
        DeviceRule {
            allow: self.allow,
            kind: Cow::Owned(self.kind.into_owned()),
            major: self.major,
            minor: self.minor,
            access: Cow::Owned(self.access.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_cgroup_has_no_weight() {
        let table: [(&str, &[&str]); 7] = [
            (r#"{"cpu":{"shares":512,"idle":1}}"#, &["/cpu/shares"]),
            (r#"{"cpu":{"shares":0,"idle":1}}"#, &[]),
            (r#"{"cpu":{"shares":512,"idle":0}}"#, &[]),
            (r#"{"cpu":{"shares":512}}"#, &[]),
            (
                r#"{"unified":{"cpu.idle":"1","cpu.weight":"8","cpu.weight.nice":"1"}}"#,
                &["/unified/cpu.weight", "/unified/cpu.weight.nice"],
            ),
            (r#"{"cpu":{"shares":512},"unified":{"cpu.idle":"1\n"}}"#, &["/cpu/shares"]),
            (r#"{"cpu":{"shares":512,"idle":1},"unified":{"cpu.idle":"0"}}"#, &[]),
        ];
        for (json, expected) in table {
            let resources: Resources<'_> = serde_json::from_str(json).unwrap();
            let found = resources.without_effect();
            assert_eq!(found.iter().map(|(pointer, _)| *pointer).collect::<Vec<_>>(), expected, "{json}");
            assert!(found.iter().all(|(_, why)| why.starts_with("unable to apply both ")), "{json}");
        }
    }

    const FULL: &str = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}],
"memory":{"limit":1,"reservation":2,"swap":3,"kernel":4,"kernelTCP":5,"swappiness":6,"disableOOMKiller":true,"useHierarchy":true,
"checkBeforeUpdate":true},"cpu":{"shares":1,"quota":-1,"burst":3,"period":4,"realtimeRuntime":5,"realtimePeriod":6,"cpus":"0-1",
"mems":"0","idle":1},"pids":{"limit":7},"blockIO":{"weight":10,"leafWeight":11,"weightDevice":[{"major":8,"minor":0,"weight":12,
"leafWeight":13}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":2}],
"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":3}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":4}]},
"hugepageLimits":[{"pageSize":"2MB","limit":9}],"network":{"classID":1,"priorities":[{"name":"lo","priority":2}]},
"rdma":{"mlx5_0":{"hcaHandles":3,"hcaObjects":4}},"unified":{"memory.high":"1"}}"#;

    #[test]
    fn every_field_survives_a_round_trip() {
        let resources: Resources<'_> = serde_json::from_str(FULL).unwrap();
        let written: serde_json::Value = serde_json::to_value(&resources).unwrap();
        let expected: serde_json::Value = serde_json::from_str(FULL).unwrap();
        assert_eq!(written, expected);
        assert_eq!(resources.clone().into_owned(), resources);
    }

    #[test]
    fn null_counts_as_absent_and_strings_are_borrowed() {
        let text = r#"{"devices":null,"memory":null,"cpu":{"cpus":null,"shares":null},"hugepageLimits":null,"rdma":null,"unified":null,
"blockIO":{"weightDevice":null},"pids":{"limit":null},"network":{"priorities":null},"future":1}"#;
        let resources: Resources<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(resources.cpu, Some(Cpu::default()));
        assert!(resources.devices.is_empty());
        let resources: Resources<'_> = serde_json::from_str(FULL).unwrap();
        assert!(matches!(resources.devices[1].access, Cow::Borrowed("rw")));
        assert!(matches!(resources.hugepage_limits[0].page_size, Cow::Borrowed(_)));
    }
}
