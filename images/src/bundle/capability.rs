//! Capabilities: the kernel's, and those that a container has by default.

use crate::base::Result;
use crate::bundle::options::wrong;

/// All that Linux has (capabilities(7)), in the order of their numbers.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The name of a capability, without `CAP_`; `ALL` stands for all.
pub(super) fn named(text: &str) -> Result<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" || ALL.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(wrong(format!("{text:?} is no capability")))
}

/// The capabilities of a container, with `CAP_`, in the kernel's order. `ALL` comes first on either side; then what is
/// added by name is added, and what is dropped by name is dropped, as Docker does it. All that are to be had are those of
/// `within`, a mask.
pub(super) fn of(add: &[String], drop: &[String], within: u64) -> Vec<String> {
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let named = |list: &[String], name: &str| list.iter().any(|each| each == name);
    let kept = |(number, name): &(usize, &&str)| {
        let base = match (all(add), all(drop)) {
            (true, _) => within >> number & 1 == 1,
            (false, true) => false,
            (false, false) => DEFAULT.contains(name),
        };
        (base || named(add, name)) && !named(drop, name)
    };
    ALL.iter().enumerate().filter(kept).map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The mask of those that this process may give: a service or an outer container may have fewer than the kernel knows.
pub(super) fn to_be_had() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let set = |add: &[&str], drop: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| named(name).unwrap()).collect::<Vec<_>>();
            of(&list(add), &list(drop), u64::MAX ^ 1 << 24)
        };
        assert_eq!(set(&[], &[]).len(), 14);
        assert_eq!(set(&[], &["all"]), Vec::<String>::new());
        assert_eq!(set(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        // SYS_RESOURCE is not to be had, unless it is asked for by name.
        assert_eq!(set(&["ALL"], &["CAP_SYS_ADMIN"]).len(), 39);
        assert_eq!(set(&["ALL", "SYS_RESOURCE"], &[]).len(), 41);
        assert_ne!(to_be_had(), 0);
        assert!(!set(&[], &["mknod"]).contains(&"CAP_MKNOD".to_owned()));
        assert!(named("CAP_FLY").is_err());
    }
}
