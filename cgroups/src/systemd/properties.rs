//! From a resources object to unit properties: a pure function. The names are those of systemd.resource-control(5) over the bus.
//!
//! systemd must know the limits, since it writes its own idea of them whenever it reloads. What it has no property for is in the
//! files only.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::dbus::value::Value;
use super::property::Property;
use super::quota::per_second;
use crate::convert::{SwapMax, cpu_weight, swap_max};
use crate::devices::{DeviceKind, RuleSet};
use crate::error::{Error, Result};
use crate::resources::{Cpu, Resources};

/// systemd's word for no limit.
const INFINITY: u64 = u64::MAX;

/// The properties for `resources`. `v2` says which names the manager understands, `version` which of them (0 when unknown).
pub(super) fn properties(resources: &Resources<'_>, v2: bool, version: u32) -> Result<Vec<Property>> {
    let mut list = Vec::new();
    if !resources.devices.is_empty() {
        devices(&RuleSet::from_rules(&resources.devices)?, &mut list);
    }
    if let Some(memory) = &resources.memory {
        let pairs = [
            (if v2 { "MemoryMax" } else { "MemoryLimit" }, memory.limit),
            ("MemoryLow", memory.reservation.filter(|_| v2)),
        ];
        for (name, bytes) in pairs {
            if let Some(bytes) = bytes.filter(|bytes| *bytes != 0) {
                list.push(Property::new(name, Value::Uint64(u64::try_from(bytes).unwrap_or(INFINITY))));
            }
        }
        if v2 && let Some(swap) = swap_max(memory.limit, memory.swap)? {
            let bytes = match swap {
                SwapMax::Unlimited => INFINITY,
                SwapMax::Bytes(bytes) => u64::try_from(bytes).unwrap_or(INFINITY),
            };
            list.push(Property::new("MemorySwapMax", Value::Uint64(bytes)));
        }
    }
    if let Some(weight) = idle_weight(resources).filter(|_| v2 && version >= 252) {
        list.push(Property::new("CPUWeight", Value::Uint64(weight)));
    }
    if let Some(cpu) = &resources.cpu {
        cpu_properties(cpu, resources.idles(), v2, version, &mut list)?;
    }
    if !v2 && let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight).filter(|weight| *weight != 0) {
        list.push(Property::new("BlockIOWeight", Value::Uint64(u64::from(weight))));
    }
    if let Some(limit) = resources.pids.and_then(|pids| pids.limit) {
        // 0 is no value for systemd.
        let tasks = if limit < 0 { INFINITY } else { u64::try_from(limit.max(1)).unwrap_or(INFINITY) };
        list.push(Property::new("TasksMax", Value::Uint64(tasks)));
    }
    if v2 {
        unified(&resources.unified, resources.idles(), version, &mut list)?;
    }
    Ok(list)
}

/// The weight by which systemd knows of idleness since version 252: 0 for an idle unit. One that is not idle any more has the
/// default until it gets another.
fn idle_weight(resources: &Resources<'_>) -> Option<u64> {
    resources.idle().map(|idle| if idle { 0 } else { INFINITY })
}

fn cpu_properties(cpu: &Cpu<'_>, idles: bool, v2: bool, version: u32, list: &mut Vec<Property>) -> Result<()> {
    if v2 {
        if let Some(weight) = cpu.shares.and_then(cpu_weight).filter(|_| !idles) {
            list.push(Property::new("CPUWeight", Value::Uint64(weight)));
        }
    } else if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        list.push(Property::new("CPUShares", Value::Uint64(shares)));
    }
    let period = cpu.period.filter(|period| *period != 0);
    cpu_quota(cpu.quota.filter(|quota| *quota != 0), period, version, list);
    for (name, text, pointer) in
        [("AllowedCPUs", &cpu.cpus, "/cpu/cpus"), ("AllowedMemoryNodes", &cpu.mems, "/cpu/mems")]
    {
        // Older versions leave placement to the files.
        if !text.is_empty() && version >= 244 {
            list.push(Property::new(name, Value::bytes(&bits(text, pointer)?)));
        }
    }
    Ok(())
}

/// systemd has the quota per second.
fn cpu_quota(quota: Option<i64>, period: Option<u64>, version: u32, list: &mut Vec<Property>) {
    if let Some(period) = period.filter(|_| version >= 242) {
        list.push(Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)));
    }
    if let Some(quota) = quota {
        let per_second = match u64::try_from(quota) {
            Err(_) => INFINITY,
            Ok(quota) => per_second(quota, period).unwrap_or(INFINITY),
        };
        list.push(Property::new("CPUQuotaPerSecUSec", Value::Uint64(per_second)));
    }
}

/// A list such as `0-2,7` as the bit mask systemd wants, lowest byte first.
fn bits(text: &str, pointer: &str) -> Result<Vec<u8>> {
    let refuse = || Error::resources(pointer, format!("{text:?} is not a list of numbers such as 0-2,7"));
    let mut mask = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (Ok(from), Ok(to)) = (from.trim().parse::<u16>(), to.trim().parse::<u16>()) else {
            return Err(refuse());
        };
        if from > to {
            return Err(refuse());
        }
        for number in usize::from(from)..=usize::from(to) {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            if let Some(byte) = mask.get_mut(number / 8) {
                *byte |= 1 << (number % 8);
            }
        }
    }
    if mask.is_empty() { Err(refuse()) } else { Ok(mask) }
}

/// systemd knows allow lists only. For a deny list it denies everything, and the filter attached afterwards says what holds; the
/// container does not run yet.
fn devices(rules: &RuleSet, list: &mut Vec<Property>) {
    let mut allowed = Vec::new();
    let policy = if rules.allows_everything() { "auto" } else { "strict" };
    if !rules.default_allow {
        for (what, access) in rules.exceptions() {
            let (group, node) = match what.kind {
                DeviceKind::Char => ("char", "/dev/char"),
                DeviceKind::Block => ("block", "/dev/block"),
            };
            let path = match (what.major, what.minor) {
                (Some(major), Some(minor)) => format!("{node}/{major}:{minor}"),
                (Some(major), None) => format!("{group}-{major}"),
                (None, None) => format!("{group}-*"),
                // It has no words for one minor number of every driver; the filter has.
                (None, Some(_)) => continue,
            };
            allowed.push(Value::Struct(vec![Value::string(path), Value::string(access.text())]));
        }
    }
    // An empty list first takes away what the unit had: assignments to this property add up.
    list.push(Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), Vec::new())));
    list.push(Property::new("DevicePolicy", Value::string(policy)));
    if !allowed.is_empty() {
        list.push(Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), allowed)));
    }
}

fn unified(
    files: &BTreeMap<Cow<'_, str>, Cow<'_, str>>,
    idles: bool,
    version: u32,
    list: &mut Vec<Property>,
) -> Result<()> {
    for (file, value) in files {
        let value = value.trim();
        let pointer = format!("/unified/{file}");
        let refuse = || Error::resources(pointer.clone(), format!("{value:?} is not a number or \"max\""));
        let number = || if value == "max" { Ok(INFINITY) } else { value.parse::<u64>().map_err(|_| refuse()) };
        let property = match file.as_ref() {
            "cpu.weight" if !idles => Property::new("CPUWeight", Value::Uint64(number()?)),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let quota = match words.next() {
                    Some("max") => -1,
                    Some(quota) => quota.parse().map_err(|_| refuse())?,
                    None => return Err(refuse()),
                };
                let period = words.next().map(str::parse).transpose().map_err(|_| refuse())?;
                cpu_quota(Some(quota), period, version, list);
                continue;
            }
            "cpuset.cpus" if version >= 244 => Property::new("AllowedCPUs", Value::bytes(&bits(value, &pointer)?)),
            "cpuset.mems" if version >= 244 => {
                Property::new("AllowedMemoryNodes", Value::bytes(&bits(value, &pointer)?))
            }
            "memory.high" => Property::new("MemoryHigh", Value::Uint64(number()?)),
            "memory.low" => Property::new("MemoryLow", Value::Uint64(number()?)),
            "memory.min" => Property::new("MemoryMin", Value::Uint64(number()?)),
            "memory.max" => Property::new("MemoryMax", Value::Uint64(number()?)),
            "memory.swap.max" => Property::new("MemorySwapMax", Value::Uint64(number()?)),
            "pids.max" => Property::new("TasksMax", Value::Uint64(number()?.max(1))),
            _ => continue,
        };
        list.push(property);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str, v2: bool, version: u32) -> std::result::Result<Vec<String>, String> {
        let resources: Resources<'_> = serde_json::from_str(json).unwrap();
        let list = properties(&resources, v2, version).map_err(|error| error.to_string())?;
        Ok(list.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn limits_become_properties() {
        let table: [(&str, bool, u32, &[&str]); 16] = [
            ("{}", true, 257, &[]),
            (
                r#"{"memory":{"limit":1024,"reservation":512,"swap":2048}}"#,
                true,
                257,
                &["MemoryMax=1024", "MemoryLow=512", "MemorySwapMax=1024"],
            ),
            (r#"{"memory":{"limit":1024,"reservation":512}}"#, false, 257, &["MemoryLimit=1024"]),
            (r#"{"memory":{"limit":-1}}"#, true, 257, &["MemoryMax=infinity", "MemorySwapMax=infinity"]),
            (r#"{"cpu":{"shares":1024}}"#, true, 257, &["CPUWeight=100"]),
            (r#"{"cpu":{"shares":1024,"idle":1}}"#, true, 257, &["CPUWeight=0"]),
            (r#"{"cpu":{"shares":1024,"idle":1}}"#, true, 251, &[]),
            (r#"{"cpu":{"shares":1024,"idle":0}}"#, true, 257, &["CPUWeight=infinity", "CPUWeight=100"]),
            (r#"{"unified":{"cpu.idle":"1","cpu.weight":"8"}}"#, true, 257, &["CPUWeight=0"]),
            (r#"{"cpu":{"idle":1},"unified":{"cpu.weight":"8"}}"#, true, 257, &["CPUWeight=0"]),
            (r#"{"cpu":{"shares":1024}}"#, false, 257, &["CPUShares=1024"]),
            (
                r#"{"cpu":{"quota":12345,"period":50000,"cpus":"0-2,9","mems":"0"}}"#,
                true,
                257,
                &[
                    "CPUQuotaPeriodUSec=50000",
                    "CPUQuotaPerSecUSec=250000",
                    "AllowedCPUs=[7, 2]",
                    "AllowedMemoryNodes=[1]",
                ],
            ),
            (r#"{"cpu":{"quota":-1,"cpus":"0"}}"#, true, 240, &["CPUQuotaPerSecUSec=infinity"]),
            (r#"{"pids":{"limit":0}}"#, true, 257, &["TasksMax=1"]),
            (
                r#"{"unified":{"memory.high":"4096","pids.max":"max","cpu.max":"max 50000","cpuset.cpus":"1","io.weight":"5"}}"#,
                true,
                257,
                &[
                    "CPUQuotaPeriodUSec=50000",
                    "CPUQuotaPerSecUSec=infinity",
                    "AllowedCPUs=[2]",
                    "MemoryHigh=4096",
                    "TasksMax=infinity",
                ],
            ),
            (
                r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
                   {"allow":true,"type":"c","major":136,"access":"rwm"},{"allow":true,"type":"b","access":"m"},
                   {"allow":true,"type":"c","minor":7,"access":"r"}]}"#,
                true,
                257,
                &[
                    "DeviceAllow=[]",
                    "DevicePolicy=\"strict\"",
                    "DeviceAllow=[(\"block-*\", \"m\"), (\"/dev/char/1:3\", \"rw\"), (\"char-136\", \"rwm\")]",
                ],
            ),
        ];
        for (json, v2, version, expected) in table {
            assert_eq!(list(json, v2, version).unwrap(), expected, "{json}");
        }
        assert_eq!(
            list(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#, true, 257).unwrap(),
            ["DeviceAllow=[]", "DevicePolicy=\"auto\""]
        );
    }

    #[test]
    fn values_systemd_could_not_take_are_refused() {
        let table = [
            (
                r#"{"cpu":{"cpus":"2-1"}}"#,
                "check the resources (/cpu/cpus): \"2-1\" is not a list of numbers such as 0-2,7",
            ),
            (
                r#"{"cpu":{"cpus":"99999999"}}"#,
                "check the resources (/cpu/cpus): \"99999999\" is not a list of numbers such as 0-2,7",
            ),
            (
                r#"{"unified":{"memory.max":"lots"}}"#,
                "check the resources (/unified/memory.max): \"lots\" is not a number or \"max\"",
            ),
        ];
        for (json, expected) in table {
            assert_eq!(list(json, true, 257).unwrap_err(), expected);
        }
    }
}
