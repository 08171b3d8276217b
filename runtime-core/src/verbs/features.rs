//! `features`: what this runtime supports, made from the tables it works with.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::mount_options::MOUNT_OPTIONS;
use crate::config::{
    ANNOTATIONS, AnnotationSupport, CAPABILITIES, Hooks, MemoryPolicyFlag, MemoryPolicyMode, NEWEST_SPEC, Named,
    NamespaceType, OLDEST_SPEC,
};

/// The Features structure of runtime-spec (features.md and features-linux.md). It tells what the runtime knows, whatever the host
/// can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// The oldest version of runtime-spec whose configs are understood.
    pub oci_version_min: &'static str,
    /// The newest.
    pub oci_version_max: &'static str,
    /// The kinds of hooks.
    pub hooks: Vec<&'static str>,
    /// The options of mounts that are not a file system's data.
    pub mount_options: Vec<&'static str>,
    /// What only Linux has.
    pub linux: LinuxFeatures,
    /// Facts about this runtime.
    pub annotations: BTreeMap<&'static str, &'static str>,
    /// The annotations of a config that change what the runtime does; those with a dot at the end are prefixes.
    pub potentially_unsafe_config_annotations: Vec<&'static str>,
}

/// `linux` of [`Features`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxFeatures {
    /// The kinds of namespaces.
    pub namespaces: Vec<&'static str>,
    /// The capabilities, by number.
    pub capabilities: Vec<String>,
    /// Control groups.
    pub cgroup: CgroupFeatures,
    /// System call filters.
    pub seccomp: SeccompFeatures,
    /// AppArmor.
    pub apparmor: Enabled,
    /// SELinux.
    pub selinux: Enabled,
    /// Resource director technology.
    pub intel_rdt: IntelRdtFeatures,
    /// NUMA memory policies.
    pub memory_policy: MemoryPolicyFeatures,
    /// Mounts.
    pub mount_extensions: MountExtensions,
    /// Moving network devices.
    pub net_devices: Enabled,
}

/// Whether there is support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Enabled {
    /// There is.
    pub enabled: bool,
}

/// `linux.cgroup` of [`Features`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupFeatures {
    /// cgroup v1.
    pub v1: bool,
    /// cgroup v2.
    pub v2: bool,
    /// Scopes made by systemd.
    pub systemd: bool,
    /// Scopes made by a user's systemd.
    pub systemd_user: bool,
    /// The rdma controller.
    pub rdma: bool,
}

/// `linux.seccomp` of [`Features`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompFeatures {
    /// There is support.
    pub enabled: bool,
    /// The actions.
    pub actions: Vec<&'static str>,
    /// The comparisons of arguments.
    pub operators: Vec<&'static str>,
    /// The architectures.
    pub archs: Vec<&'static str>,
    /// The flags that are understood.
    pub known_flags: Vec<&'static str>,
    /// Those of them that the running kernel knows.
    pub supported_flags: Vec<&'static str>,
}

/// `linux.intelRdt` of [`Features`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IntelRdtFeatures {
    /// There is support.
    pub enabled: bool,
    /// The `schemata` field is understood.
    pub schemata: bool,
    /// The `enableMonitoring` field is understood.
    pub monitoring: bool,
}

/// `linux.memoryPolicy` of [`Features`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPolicyFeatures {
    /// The modes.
    pub modes: Vec<&'static str>,
    /// The flags.
    pub flags: Vec<&'static str>,
}

/// `linux.mountExtensions` of [`Features`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MountExtensions {
    /// Mappings of ids on mounts.
    pub idmap: Enabled,
}

/// What this runtime supports.
#[must_use]
pub fn features() -> Features {
    const YES: Enabled = Enabled { enabled: true };
    let honoured = ANNOTATIONS.iter().filter(|(_, support)| *support == AnnotationSupport::Honoured);
    Features {
        oci_version_min: OLDEST_SPEC,
        oci_version_max: NEWEST_SPEC,
        hooks: Hooks::default().by_kind().iter().map(|(kind, _)| *kind).collect(),
        mount_options: MOUNT_OPTIONS.iter().map(|(name, _)| *name).collect(),
        linux: LinuxFeatures {
            namespaces: names::<NamespaceType>(),
            capabilities: CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect(),
            cgroup: CgroupFeatures {
                v1: true,
                v2: true,
                systemd: cfg!(feature = "systemd"),
                systemd_user: cfg!(feature = "systemd"),
                rdma: true,
            },
            seccomp: SeccompFeatures {
                enabled: true,
                actions: sorted(&orlop_seccomp::ACTIONS),
                operators: sorted(&orlop_seccomp::OPERATORS),
                archs: sorted(&orlop_seccomp::ARCHITECTURES.map(|arch| arch.name())),
                known_flags: sorted(&orlop_seccomp::FLAGS),
                supported_flags: supported_flags(),
            },
            apparmor: YES,
            selinux: YES,
            intel_rdt: IntelRdtFeatures { enabled: true, schemata: true, monitoring: true },
            memory_policy: MemoryPolicyFeatures {
                modes: names::<MemoryPolicyMode>(),
                flags: names::<MemoryPolicyFlag>(),
            },
            mount_extensions: MountExtensions { idmap: YES },
            net_devices: YES,
        },
        annotations: BTreeMap::from([
            ("io.github.orlop.version", env!("CARGO_PKG_VERSION")),
            // containerd and CRI-O know checkpoint support by this name.
            ("org.opencontainers.runc.checkpoint.enabled", if cfg!(feature = "criu") { "true" } else { "false" }),
        ]),
        potentially_unsafe_config_annotations: honoured.map(|(name, _)| *name).collect(),
    }
}

impl Features {
    /// The structure as JSON text, indented like runc's.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        // Writing strings and booleans to memory cannot fail.
        match self.serialize(&mut serde_json::Serializer::with_formatter(&mut text, format)) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// Those of the flags that the running kernel knows: the one thing that `features` asks the host, as runc does.
fn supported_flags() -> Vec<&'static str> {
    let kernel = orlop_seccomp::load::supported_flags();
    let known = orlop_seccomp::FLAGS.into_iter();
    let supported =
        known.filter(|name| orlop_seccomp::Flags::from_name(name).is_some_and(|flag| kernel.contains(flag)));
    sorted(&supported.collect::<Vec<_>>())
}

fn names<T: Named>() -> Vec<&'static str> {
    sorted(&T::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>())
}

fn sorted(names: &[&'static str]) -> Vec<&'static str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that `features` prints is one that a config may hold, and every name of the tables is printed.
    #[test]
    fn features_and_tables_are_equal() {
        let json: serde_json::Value = serde_json::from_str(&features().to_json()).unwrap();
        let list =
            |pointer: &str| -> Vec<String> { serde_json::from_value(json.pointer(pointer).unwrap().clone()).unwrap() };
        let options = list("/mountOptions");
        assert_eq!(options.len(), MOUNT_OPTIONS.len());
        assert!(options.iter().all(|name| crate::config::mount_options::mount_option(name).is_some()));
        let capabilities = list("/linux/capabilities");
        assert_eq!(capabilities.len(), 41);
        for (number, name) in capabilities.iter().enumerate() {
            assert_eq!(crate::config::capability_number(name).map(usize::from), Some(number), "{name}");
        }
        assert_eq!(list("/linux/namespaces").len(), NamespaceType::ALL.len());
        assert!(list("/linux/namespaces").iter().all(|name| NamespaceType::from_name(name).is_some()));
        assert_eq!(list("/linux/memoryPolicy/modes").len(), MemoryPolicyMode::ALL.len());
        assert!(list("/linux/memoryPolicy/modes").iter().all(|name| MemoryPolicyMode::from_name(name).is_some()));
        assert_eq!(list("/linux/memoryPolicy/flags").len(), MemoryPolicyFlag::ALL.len());
        assert!(list("/linux/memoryPolicy/flags").iter().all(|name| MemoryPolicyFlag::from_name(name).is_some()));
        for (pointer, table) in [
            ("/linux/seccomp/actions", &orlop_seccomp::ACTIONS[..]),
            ("/linux/seccomp/operators", &orlop_seccomp::OPERATORS[..]),
            ("/linux/seccomp/knownFlags", &orlop_seccomp::FLAGS[..]),
        ] {
            assert_eq!(list(pointer), sorted(table), "{pointer}");
        }
        assert_eq!(list("/linux/seccomp/archs").len(), orlop_seccomp::ARCHITECTURES.len());
        let supported = list("/linux/seccomp/supportedFlags");
        assert!(supported.iter().all(|flag| orlop_seccomp::FLAGS.contains(&flag.as_str())), "{supported:?}");
        assert!(supported.contains(&"SECCOMP_FILTER_FLAG_TSYNC".to_owned()), "{supported:?}");
    }

    /// The hooks that are printed are fields of the model's `hooks`.
    #[test]
    fn every_hook_that_is_printed_is_read() {
        for kind in features().hooks {
            let text =
                format!(r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"hooks":{{"{kind}":[{{"path":"/x"}}]}}}}"#);
            let config = crate::config::load(text.as_bytes()).unwrap();
            assert!(!config.has_unknown_fields, "{kind}");
        }
    }

    /// runtime-spec's list of mount options (config.md, table of Linux mount options), all of which must be known.
    #[test]
    fn all_options_of_the_specification_are_known() {
        let specified = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime \
            noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
            relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate \
            rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid \
            symfollow sync tmpcopyup unbindable idmap ridmap";
        let features = features();
        for option in specified.split_whitespace() {
            assert!(features.mount_options.contains(&option), "{option}");
        }
    }
}
