//! Version, root, annotations and hooks; and the smaller sections of `/linux`.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;

use super::findings::{CheckOptions, Findings, below, check_no_nul};
use super::ids::check_id;
use super::process::check_variable;
use crate::config::annotations::{AnnotationSupport, annotation, value_fault};
use crate::config::lists::{count, parse_list};
use crate::config::model::{Config, Hook, Linux};
use crate::config::model::{NEWEST_SPEC, OLDEST_SPEC};
use crate::config::names::{DeviceType, MemoryPolicyFlag, MemoryPolicyMode, NamespaceType};
use crate::config::text::Text;

/// The highest NUMA node that set_mempolicy(2) takes on any architecture.
const LAST_NODE: u32 = 1023;

pub(super) fn check_top(config: &Config<'_>, findings: &mut Findings) {
    check_version(&config.oci_version, findings);
    if config.root.path.is_empty() {
        findings.error("/root/path", "must not be empty");
    }
    check_no_nul(&config.root.path, findings, || "/root/path".into());
    check_annotations(config, findings);
}

fn check_annotations(config: &Config<'_>, findings: &mut Findings) {
    for (key, value) in &config.annotations {
        if key.is_empty() {
            findings.error("/annotations/", "an annotation's name must not be empty");
        }
        match annotation(key) {
            Some(AnnotationSupport::Refused(reason)) => {
                findings.error(below("/annotations", key), format!("this annotation would have no effect: {reason}"));
            }
            Some(AnnotationSupport::Honoured) => {
                if let Some(wrong) = value_fault(key, value) {
                    findings.error(below("/annotations", key), wrong);
                }
            }
            None => {}
        }
    }
}

fn check_version(version: &str, findings: &mut Findings) {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(|part| {
        let plain = part == "0" || !part.starts_with('0');
        crate::config::mount_options::strict_u32(part).filter(|_| plain)
    });
    let (Some(Some(major)), Some(Some(minor)), Some(Some(_)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        findings.error("/ociVersion", format!("{version:?} is not a semantic version such as {NEWEST_SPEC}"));
        return;
    };
    if major != 1 {
        findings
            .error("/ociVersion", format!("version {version} is not supported, {OLDEST_SPEC} to {NEWEST_SPEC} are"));
    } else if minor > 3 {
        findings.warn(
            "/ociVersion",
            format!("version {version} is newer than {NEWEST_SPEC}, what it adds is not known here"),
        );
    }
}

pub(super) fn check_hooks(config: &Config<'_>, findings: &mut Findings) {
    let Some(hooks) = &config.hooks else { return };
    for (kind, hooks) in hooks.by_kind() {
        for (index, hook) in hooks.iter().enumerate() {
            check_hook(hook, &format!("/hooks/{kind}/{index}"), findings);
        }
    }
}

fn check_hook(hook: &Hook<'_>, at: &str, findings: &mut Findings) {
    if !hook.path.starts_with('/') {
        findings.error(format!("{at}/path"), format!("must be an absolute path, not {:?}", hook.path));
    }
    check_no_nul(&hook.path, findings, || format!("{at}/path"));
    for (index, argument) in hook.args.iter().enumerate() {
        check_no_nul(argument, findings, || format!("{at}/args/{index}"));
    }
    for (index, variable) in hook.env.iter().enumerate() {
        check_variable(variable, findings, || format!("{at}/env/{index}"));
    }
    if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
        findings.error(format!("{at}/timeout"), format!("must be greater than 0 seconds, not {timeout}"));
    }
}

/// The sysctl's name with dots between its parts. Written with slashes, the dots of a part stand for themselves:
/// `net/ipv4/conf/eno2.100/rp_filter` is `net.ipv4.conf.eno2/100.rp_filter`.
fn dotted(key: &str) -> Cow<'_, str> {
    match key.find(['.', '/']) {
        Some(index) if key.as_bytes().get(index) == Some(&b'/') => Cow::Owned(swap(key)),
        _ => Cow::Borrowed(key),
    }
}

fn swap(key: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(other).collect()
}

/// The sysctl's file below /proc/sys: `net.ipv4.ip_forward` is `net/ipv4/ip_forward`.
///
/// # Errors
/// `None` when a part is empty, `.` or `..`, so that the file could be another than the name says.
#[must_use]
pub fn sysctl_file(key: &str) -> Option<String> {
    let file = swap(&dotted(key));
    let plain = file.split('/').all(|part| !matches!(part, "" | "." | "..")) && !file.contains('\0');
    plain.then_some(file)
}

/// /proc/sys is only partly divided by namespaces: what would change the host is refused.
pub(super) fn check_sysctl(config: &Config<'_>, linux: &Linux<'_>, findings: &mut Findings) {
    for (key, value) in &linux.sysctl {
        // The same name said twice is no conflict, as for runc and crun; of two different ones, the container could get only one.
        let same = |name: &Option<Text<'_>>| name.as_ref().is_some_and(|name| name == value);
        let is_hostname = dotted(key) == "kernel.hostname" && linux.has(NamespaceType::Uts);
        if let Some(wrong) = sysctl_fault(linux, key).filter(|_| !(is_hostname && same(&config.hostname))) {
            findings.error(below("/linux/sysctl", key), wrong);
        } else if config.domainname.is_some() && dotted(key) == "kernel.domainname" && !same(&config.domainname) {
            findings.error(below("/linux/sysctl", key), format!("sysctl {key:?} conflicts with /domainname"));
        }
        check_no_nul(value, findings, || below("/linux/sysctl", key));
    }
}

fn sysctl_fault(linux: &Linux<'_>, key: &str) -> Option<String> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if sysctl_file(key).is_none() {
        return Some(format!("{key:?} is not the name of a sysctl"));
    }
    let name = dotted(key);
    let name = &*name;
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        let own = linux.has(NamespaceType::Ipc);
        return (!own).then(|| format!("sysctl {key:?} is not allowed in the host's ipc namespace"));
    }
    if name.starts_with("net.") {
        return net_sysctl_fault(linux, key);
    }
    if linux.has(NamespaceType::Uts) && name == "kernel.domainname" {
        return None;
    }
    if linux.has(NamespaceType::Uts) && name == "kernel.hostname" {
        return Some(format!("sysctl {key:?} is not allowed, it conflicts with /hostname"));
    }
    if name.starts_with("user.") {
        let own = linux.has(NamespaceType::User);
        return (!own).then(|| format!("sysctl {key:?} is not allowed without a user namespace"));
    }
    Some(format!("sysctl {key:?} is not in a separate kernel namespace"))
}

fn net_sysctl_fault(linux: &Linux<'_>, key: &str) -> Option<String> {
    let hosts = || Some(format!("sysctl {key:?} is not allowed in the host's network namespace"));
    if !linux.has(NamespaceType::Network) {
        return hosts();
    }
    let path = linux.joins(NamespaceType::Network)?;
    // Joining one's own namespace by path would otherwise be a way around the rule. A path that cannot be read is reported by
    // the step that joins it.
    let own = std::fs::metadata("/proc/self/ns/net").ok()?;
    let joined = std::fs::metadata(path).ok()?;
    if own.dev() == joined.dev() && own.ino() == joined.ino() { hosts() } else { None }
}

/// What engines still send although no kernel has it any more.
pub(super) fn check_deprecated(linux: &Linux<'_>, findings: &mut Findings) {
    let Some(memory) = linux.resources.as_ref().and_then(|resources| resources.memory) else { return };
    for (limit, field) in [(memory.kernel, "kernel"), (memory.kernel_tcp, "kernelTCP")] {
        if limit.is_some() {
            findings.warn(
                format!("/linux/resources/memory/{field}"),
                "kernel memory limits are ignored, Linux has none any more",
            );
        }
    }
}

/// Limits that others leave without effect.
pub(super) fn check_resources(linux: &Linux<'_>, findings: &mut Findings) {
    for (pointer, why) in linux.resources.iter().flat_map(|resources| resources.without_effect()) {
        findings.warn(format!("/linux/resources{pointer}"), why);
    }
}

pub(super) fn check_devices(linux: &Linux<'_>, findings: &mut Findings) {
    for (index, device) in linux.devices.iter().enumerate() {
        let at = |field: &str| format!("/linux/devices/{index}/{field}");
        if !device.path.starts_with('/') {
            findings.error(at("path"), format!("must be an absolute path, not {:?}", device.path));
        }
        check_no_nul(&device.path, findings, || at("path"));
        if device.kind != DeviceType::Fifo {
            // The kernel's dev_t holds 12 and 20 bits.
            for (number, most, field) in [(device.major, 0xfff, "major"), (device.minor, 0xf_ffff, "minor")] {
                if number > most {
                    findings.error(at(field), format!("{number} is above {most}"));
                }
            }
        }
        // Some writers put the file type's bits into the mode as well; only what is beyond them is wrong.
        if let Some(mode) = device.file_mode.filter(|mode| *mode > 0o177_777) {
            findings.error(at("fileMode"), format!("{mode} ({mode:#o}) is not a file mode"));
        }
        for (id, field) in [(device.uid, "uid"), (device.gid, "gid")] {
            if let Some(id) = id {
                check_id(id, findings, || at(field));
            }
        }
    }
}

pub(super) fn check_net_devices(linux: &Linux<'_>, options: CheckOptions, findings: &mut Findings) {
    if linux.net_devices.is_empty() {
        return;
    }
    if !linux.has(NamespaceType::Network) {
        findings.error("/linux/netDevices", "needs a network namespace in /linux/namespaces");
    }
    if options.rootless {
        findings.error("/linux/netDevices", "a rootless container cannot take network devices from the host");
    }
    let mut names = Vec::with_capacity(linux.net_devices.len());
    for (name, device) in &linux.net_devices {
        let at = below("/linux/netDevices", name);
        if let Some(wrong) = interface_fault(name) {
            findings.error(at.clone(), format!("invalid network device name {name:?}: {wrong}"));
        }
        let inside = device.name.as_ref().unwrap_or(name);
        // The kernel fills in a number for %d, and so each gets a name of its own.
        let template = inside.ends_with("%d");
        if let Some(wrong) = device.name.as_deref().and_then(interface_fault) {
            findings.error(format!("{at}/name"), format!("invalid network device name {inside:?}: {wrong}"));
        } else if !template && names.contains(&inside.as_str()) {
            findings.error(format!("{at}/name"), format!("two network devices are to be called {inside:?}"));
        }
        names.push(inside.as_str());
    }
}

/// The kernel's rule for names of network devices (dev_valid_name).
fn interface_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > 15 {
        Some("it has more than 15 bytes")
    } else if matches!(name, "." | "..")
        || name.bytes().any(|byte| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace())
    {
        Some("it is . or .., or contains /, : or a blank")
    } else {
        None
    }
}

pub(super) fn check_paths(linux: &Linux<'_>, findings: &mut Findings) {
    for (paths, field) in [(&linux.masked_paths, "maskedPaths"), (&linux.readonly_paths, "readonlyPaths")] {
        for (index, path) in paths.iter().enumerate() {
            let at = || format!("/linux/{field}/{index}");
            if path.is_empty() {
                findings.error(at(), "must be an absolute path, not \"\"");
            } else if !path.starts_with('/') {
                // As other runtimes take it.
                findings
                    .warn(at(), format!("{path:?} is taken from the root of the container, as if it were absolute"));
            }
            check_no_nul(path, findings, at);
        }
    }
    if let Some(path) = &linux.cgroups_path {
        check_no_nul(path, findings, || "/linux/cgroupsPath".into());
    }
    if let Some(label) = &linux.mount_label {
        check_no_nul(label, findings, || "/linux/mountLabel".into());
    }
}

pub(super) fn check_rdt(linux: &Linux<'_>, findings: &mut Findings) {
    let Some(rdt) = &linux.intel_rdt else { return };
    if let Some(id) = &rdt.clos_id
        && (matches!(id.as_str(), "." | "..") || (id.len() > 1 && id.contains('/')) || id.contains(['\n', '\0']))
    {
        findings.error(
            "/linux/intelRdt/closID",
            format!("invalid class of service {id:?}: it names one directory, or / the root"),
        );
    }
    for (line, field, prefix) in
        [(&rdt.l3_cache_schema, "l3CacheSchema", "L3"), (&rdt.mem_bw_schema, "memBwSchema", "MB:")]
    {
        let Some(line) = line else { continue };
        if !line.starts_with(prefix) {
            findings.error(format!("/linux/intelRdt/{field}"), format!("must start with {prefix}, not {line:?}"));
        }
        check_line(line, findings, || format!("/linux/intelRdt/{field}"));
    }
    for (index, line) in rdt.schemata.iter().enumerate() {
        check_line(line, findings, || format!("/linux/intelRdt/schemata/{index}"));
    }
}

fn check_line(line: &str, findings: &mut Findings, pointer: impl Fn() -> String) {
    if line.contains('\n') {
        findings.error(pointer(), "must be one line");
    }
    check_no_nul(line, findings, pointer);
}

pub(super) fn check_memory_policy(linux: &Linux<'_>, findings: &mut Findings) {
    use MemoryPolicyFlag::{NumaBalancing, RelativeNodes, StaticNodes};
    use MemoryPolicyMode::{Bind, Default, Interleave, Local, Preferred, PreferredMany, WeightedInterleave};
    let Some(policy) = &linux.memory_policy else { return };
    let nodes = match policy.nodes.as_ref().map(|nodes| parse_list(nodes, LAST_NODE)) {
        None => 0,
        Some(Ok(ranges)) => count(&ranges),
        Some(Err(wrong)) => {
            findings.error("/linux/memoryPolicy/nodes", format!("invalid memory policy nodes: {wrong}"));
            return;
        }
    };
    match policy.mode {
        Default | Local if nodes != 0 => {
            findings
                .error("/linux/memoryPolicy/nodes", format!("{} mode requires 0 nodes but got {nodes}", policy.mode));
        }
        Bind | Interleave | PreferredMany | WeightedInterleave if nodes == 0 => {
            findings.error(
                "/linux/memoryPolicy/nodes",
                format!("{} mode requires at least one node but got 0", policy.mode),
            );
        }
        _ => {}
    }
    for (index, flag) in policy.flags.iter().enumerate() {
        let fault = match flag {
            NumaBalancing if !matches!(policy.mode, Bind | PreferredMany) => {
                Some("needs MPOL_BIND or MPOL_PREFERRED_MANY")
            }
            StaticNodes | RelativeNodes if nodes == 0 && matches!(policy.mode, Default | Local | Preferred) => {
                Some("needs nodes")
            }
            StaticNodes if policy.flags.contains(&RelativeNodes) => Some("excludes MPOL_F_RELATIVE_NODES"),
            _ => None,
        };
        if let Some(fault) = fault {
            findings.error(format!("/linux/memoryPolicy/flags/{index}"), format!("{flag} {fault}"));
        }
    }
}
