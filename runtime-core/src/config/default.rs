//! The config that `spec` writes and that `try` starts from.

/// What the default config is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DefaultConfig {
    /// For a container that is run by this user and group without root's rights; `None`: by root.
    pub rootless: Option<(u32, u32)>,
    /// Whether the container gets a cgroup namespace.
    pub cgroup_namespace: bool,
}

/// The text of a config.json for runtime-spec 1.3: `sh` on a read-only root file system, three capabilities, no new privileges,
/// new namespaces, no device but the default ones, and everything in /proc and /sys masked that tells of the host or changes it.
///
/// It has the structure of runc's `spec`, so that what edits that edits this. What runc does not mask is `/proc/interrupts` (tells
/// keystrokes and packets apart), `/sys/devices/virtual/powercap` (measures what others compute, CVE-2020-8694), and
/// `/sys/kernel/security`, behind which AppArmor's profiles can be replaced when the host's /sys is bound.
#[must_use]
pub fn default_config(options: DefaultConfig) -> String {
    let (network, gid, sys, resources, mappings) = match options.rootless {
        None => (NETWORK, GID, SYS, RESOURCES, String::new()),
        Some((uid, gid)) => {
            let map = |field, id| {
                let range = format!(
                    "\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}"
                );
                format!("\t\t\"{field}\": [{range}\n\t\t],\n")
            };
            ("", "", SYS_BOUND, "", map("uidMappings", uid) + &map("gidMappings", gid))
        }
    };
    let mut last = String::new();
    if options.cgroup_namespace {
        last.push_str(&NETWORK.replace("network", "cgroup"));
    }
    if options.rootless.is_some() {
        last.push_str(&NETWORK.replace("network", "user"));
    }
    TEMPLATE
        .replace("@NETWORK@", network)
        .replace("@GID@", gid)
        .replace("@SYS@", sys)
        .replace("@RESOURCES@", resources)
        .replace("@MAPPINGS@", &mappings)
        .replace("@LAST@", &last)
}

const NETWORK: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t}";

const GID: &str = ",\n\t\t\t\t\"gid=5\"";

const SYS: &str = "\t\t\t\"type\": \"sysfs\",
\t\t\t\"source\": \"sysfs\",
\t\t\t\"options\": [
";

/// Without a network namespace of its own the container may not mount sysfs.
const SYS_BOUND: &str = "\t\t\t\"type\": \"none\",
\t\t\t\"source\": \"/sys\",
\t\t\t\"options\": [
\t\t\t\t\"rbind\",
";

const RESOURCES: &str = "\t\t\"resources\": {
\t\t\t\"devices\": [
\t\t\t\t{
\t\t\t\t\t\"allow\": false,
\t\t\t\t\t\"access\": \"rwm\"
\t\t\t\t}
\t\t\t]
\t\t},
";

const TEMPLATE: &str = include_str!("default.json.in");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckOptions, NamespaceType, check, load, unknown_fields};

    #[test]
    fn the_default_is_right_in_all_its_forms() {
        for rootless in [None, Some((1000, 100))] {
            for cgroup_namespace in [false, true] {
                let text = default_config(DefaultConfig { rootless, cgroup_namespace });
                assert!(!text.contains('@'), "{text}");
                let config = load(text.as_bytes()).unwrap();
                assert_eq!(unknown_fields(text.as_bytes()), []);
                let options = CheckOptions { rootless: rootless.is_some(), no_pivot: false };
                assert_eq!(check(&config, options).unwrap(), []);
                let linux = config.linux.unwrap();
                assert_eq!(linux.has(NamespaceType::Cgroup), cgroup_namespace);
                assert_eq!(linux.has(NamespaceType::User), rootless.is_some());
                assert_eq!(linux.has(NamespaceType::Network), rootless.is_none());
                assert_eq!(linux.resources.is_some(), rootless.is_none());
                assert_eq!(linux.uid_mappings.first().map(|map| map.host_id), rootless.map(|(uid, _)| uid));
                assert_eq!(text.contains("gid=5"), rootless.is_none());
            }
        }
    }
}
