//! runtime-spec 1.3 for Linux as borrowed structs: the shape of config.json, nothing else.
//!
//! Lists and maps that are absent, `null` or empty are all the empty list. Strings that mean "not set" when empty are `None` then.

use orlop_cgroups::Resources;
use orlop_seccomp::Profile;
use serde::Deserialize;

use super::capabilities::CapabilitySet;
use super::names::{
    Clock, DeviceType, IoPriorityClass, MemoryPolicyFlag, MemoryPolicyMode, NamespaceType, PersonalityDomain,
    Propagation, Rlimit, SchedulerFlag, SchedulerPolicy,
};
use super::text::{Pairs, Text, filled, or_empty};

/// The oldest version of runtime-spec whose configs are understood.
pub const OLDEST_SPEC: &str = "1.0.0";
/// The newest version of runtime-spec whose configs are understood.
pub const NEWEST_SPEC: &str = "1.3.0";

/// A container's config (runtime-spec config.md).
#[derive(Debug, Deserialize)]
pub struct Config<'a> {
    /// The version of runtime-spec that the file follows, such as `1.3.0` or `1.0.2-dev`.
    #[serde(borrow, rename = "ociVersion")]
    pub oci_version: Text<'a>,
    /// The root file system.
    #[serde(borrow)]
    pub root: Root<'a>,
    /// Further mounts, in order.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub mounts: Vec<Mount<'a>>,
    /// What is executed; only a container that is never started has none.
    #[serde(borrow)]
    pub process: Option<Process<'a>>,
    /// The host name in the container's UTS namespace.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub hostname: Option<Text<'a>>,
    /// The NIS domain name in the container's UTS namespace.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub domainname: Option<Text<'a>>,
    /// Programs to run at points of the lifecycle.
    #[serde(borrow)]
    pub hooks: Option<Box<Hooks<'a>>>,
    /// Arbitrary metadata.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub annotations: Pairs<Text<'a>, Text<'a>>,
    /// What only Linux has.
    #[serde(borrow)]
    pub linux: Option<Box<Linux<'a>>>,
    /// Whether the file has fields that are not in this model; [`super::unknown_fields`] tells which.
    #[serde(skip)]
    pub has_unknown_fields: bool,
}

/// The root file system (`/root`).
#[derive(Debug, Deserialize)]
pub struct Root<'a> {
    /// Its directory, absolute or relative to the bundle.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Whether the container sees it read-only.
    #[serde(default, deserialize_with = "or_empty")]
    pub readonly: bool,
}

/// A mount (`/mounts/N`).
#[derive(Debug, Deserialize)]
pub struct Mount<'a> {
    /// Where it is mounted in the container.
    #[serde(borrow)]
    pub destination: Text<'a>,
    /// The file system's type; ignored for bind mounts.
    #[serde(borrow, default, deserialize_with = "filled", rename = "type")]
    pub kind: Option<Text<'a>>,
    /// A device, a name, or the path to bind, absolute or relative to the bundle.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub source: Option<Text<'a>>,
    /// Options as in fstab; see [`super::mount_options`].
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub options: Vec<Text<'a>>,
    /// How user ids on the file system appear at the mount.
    #[serde(default, deserialize_with = "or_empty", rename = "uidMappings")]
    pub uid_mappings: Vec<IdMapping>,
    /// How group ids on the file system appear at the mount.
    #[serde(default, deserialize_with = "or_empty", rename = "gidMappings")]
    pub gid_mappings: Vec<IdMapping>,
}

/// A range of ids in the container and the host's ids behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct IdMapping {
    /// The first id in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first id on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many ids.
    pub size: u32,
}

/// The container's process (`/process`), or that of an exec.
#[derive(Debug, Clone, Deserialize)]
pub struct Process<'a> {
    /// Whether it gets a terminal.
    #[serde(default, deserialize_with = "or_empty")]
    pub terminal: bool,
    /// The terminal's size in characters.
    #[serde(rename = "consoleSize")]
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    #[serde(default, deserialize_with = "or_empty")]
    pub user: User,
    /// The command and its arguments.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub args: Vec<Text<'a>>,
    /// Windows' command line; [`super::check()`] refuses it.
    #[serde(borrow, default, deserialize_with = "filled", rename = "commandLine")]
    pub command_line: Option<Text<'a>>,
    /// The environment, `NAME=value`.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub env: Vec<Text<'a>>,
    /// The working directory, absolute in the container.
    #[serde(borrow)]
    pub cwd: Text<'a>,
    /// The five capability sets; `None`: as the runtime has them.
    #[serde(borrow)]
    pub capabilities: Option<Capabilities<'a>>,
    /// Resource limits.
    #[serde(default, deserialize_with = "or_empty")]
    pub rlimits: Vec<ResourceLimit>,
    /// Whether execve(2) can no longer grant rights.
    #[serde(default, deserialize_with = "or_empty", rename = "noNewPrivileges")]
    pub no_new_privileges: bool,
    /// The AppArmor profile it is executed under.
    #[serde(borrow, default, deserialize_with = "filled", rename = "apparmorProfile")]
    pub apparmor_profile: Option<Text<'a>>,
    /// The OOM killer's adjustment, -1000 to 1000.
    #[serde(rename = "oomScoreAdj")]
    pub oom_score_adj: Option<i32>,
    /// The CPU scheduling policy.
    pub scheduler: Option<Box<Scheduler>>,
    /// The SELinux label it is executed under.
    #[serde(borrow, default, deserialize_with = "filled", rename = "selinuxLabel")]
    pub selinux_label: Option<Text<'a>>,
    /// The I/O scheduling class and priority.
    #[serde(rename = "ioPriority")]
    pub io_priority: Option<IoPriority>,
    /// On which CPUs an exec starts and runs.
    #[serde(borrow, rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<CpuAffinity<'a>>,
}

/// A terminal's size (`/process/consoleSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who a process runs as (`/process/user`), as ids in the container. Absent ids are 0, as for every other runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct User {
    /// The user id.
    #[serde(default, deserialize_with = "or_empty")]
    pub uid: u32,
    /// The group id.
    #[serde(default, deserialize_with = "or_empty")]
    pub gid: u32,
    /// The file mode creation mask; `None` leaves the caller's.
    pub umask: Option<u32>,
    /// The supplementary groups, complete.
    #[serde(default, deserialize_with = "or_empty", rename = "additionalGids")]
    pub additional_gids: Vec<u32>,
}

/// The five capability sets (`/process/capabilities`); an absent one is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Capabilities<'a> {
    /// What can be gained at all.
    #[serde(borrow, default)]
    pub bounding: CapabilitySet<'a>,
    /// What the kernel checks.
    #[serde(borrow, default)]
    pub effective: CapabilitySet<'a>,
    /// What is kept over execve(2) for files that allow it.
    #[serde(borrow, default)]
    pub inheritable: CapabilitySet<'a>,
    /// What may be made effective.
    #[serde(borrow, default)]
    pub permitted: CapabilitySet<'a>,
    /// What is kept over execve(2) for all files.
    #[serde(borrow, default)]
    pub ambient: CapabilitySet<'a>,
}

/// A resource limit (`/process/rlimits/N`). `u64::MAX` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ResourceLimit {
    /// Which.
    #[serde(rename = "type")]
    pub kind: Rlimit,
    /// The ceiling for the soft limit.
    pub hard: u64,
    /// The limit the kernel enforces.
    pub soft: u64,
}

/// CPU scheduling (`/process/scheduler`), see sched_setattr(2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Scheduler {
    /// The policy.
    pub policy: SchedulerPolicy,
    /// The nice value, -20 to 19, for SCHED_OTHER and SCHED_BATCH.
    #[serde(default, deserialize_with = "or_empty")]
    pub nice: i32,
    /// The static priority for SCHED_FIFO and SCHED_RR.
    #[serde(default, deserialize_with = "or_empty")]
    pub priority: i32,
    /// Flags.
    #[serde(default, deserialize_with = "or_empty")]
    pub flags: Vec<SchedulerFlag>,
    /// SCHED_DEADLINE's budget per period, in nanoseconds.
    #[serde(default, deserialize_with = "or_empty")]
    pub runtime: u64,
    /// SCHED_DEADLINE's relative deadline, in nanoseconds.
    #[serde(default, deserialize_with = "or_empty")]
    pub deadline: u64,
    /// SCHED_DEADLINE's period, in nanoseconds.
    #[serde(default, deserialize_with = "or_empty")]
    pub period: u64,
}

/// I/O scheduling (`/process/ioPriority`), see ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct IoPriority {
    /// The class.
    pub class: IoPriorityClass,
    /// The priority in the class, 0 (highest) to 7; absent, it is 0, as for every other runtime.
    #[serde(default, deserialize_with = "or_empty")]
    pub priority: i32,
}

/// CPU lists for an exec (`/process/execCPUAffinity`), such as `0-3,7`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct CpuAffinity<'a> {
    /// While the runtime sets the process up in the container's cgroup.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub initial: Option<Text<'a>>,
    /// When the command is executed.
    #[serde(borrow, default, deserialize_with = "filled", rename = "final")]
    pub last: Option<Text<'a>>,
}

/// The hooks by kind (`/hooks`).
#[derive(Debug, Default, Deserialize)]
pub struct Hooks<'a> {
    /// Deprecated: like createRuntime, but before it.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub prestart: Vec<Hook<'a>>,
    /// In the runtime's namespaces, when the container's are made.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "createRuntime")]
    pub create_runtime: Vec<Hook<'a>>,
    /// In the container's namespaces, before the root is changed.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "createContainer")]
    pub create_container: Vec<Hook<'a>>,
    /// In the container, before its command is executed.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "startContainer")]
    pub start_container: Vec<Hook<'a>>,
    /// In the runtime's namespaces, after the command was executed.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub poststart: Vec<Hook<'a>>,
    /// In the runtime's namespaces, after the container was deleted.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub poststop: Vec<Hook<'a>>,
}

impl<'a> Hooks<'a> {
    /// All hooks, by the name of their kind, in the order in which the kinds run.
    #[must_use]
    pub fn by_kind(&self) -> [(&'static str, &[Hook<'a>]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }
}

/// A hook (`/hooks/KIND/N`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hook<'a> {
    /// The program's absolute path.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Its arguments, the first being `argv[0]`.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub args: Vec<Text<'a>>,
    /// Its environment, complete.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub env: Vec<Text<'a>>,
    /// After how many seconds it is killed.
    pub timeout: Option<i64>,
}

/// What only Linux has (`/linux`).
#[derive(Debug, Default, Deserialize)]
pub struct Linux<'a> {
    /// Which namespaces are new or joined; the others are the runtime's own.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub namespaces: Vec<Namespace<'a>>,
    /// The user ids of a new user namespace.
    #[serde(default, deserialize_with = "or_empty", rename = "uidMappings")]
    pub uid_mappings: Vec<IdMapping>,
    /// The group ids of a new user namespace.
    #[serde(default, deserialize_with = "or_empty", rename = "gidMappings")]
    pub gid_mappings: Vec<IdMapping>,
    /// By how much the clocks of a new time namespace differ from the host's.
    #[serde(default, deserialize_with = "or_empty", rename = "timeOffsets")]
    pub time_offsets: Pairs<Clock, TimeOffset>,
    /// Device nodes besides the default ones.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub devices: Vec<Device<'a>>,
    /// Network devices of the host, by name, that move into the container's network namespace.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "netDevices")]
    pub net_devices: Pairs<Text<'a>, NetDevice<'a>>,
    /// The control group.
    #[serde(borrow, default, deserialize_with = "filled", rename = "cgroupsPath")]
    pub cgroups_path: Option<Text<'a>>,
    /// Limits.
    #[serde(borrow)]
    pub resources: Option<Box<Resources<'a>>>,
    /// The propagation of the container's root mount.
    #[serde(default, deserialize_with = "propagation", rename = "rootfsPropagation")]
    pub rootfs_propagation: Option<Propagation>,
    /// Kernel parameters of the container's namespaces.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub sysctl: Pairs<Text<'a>, Text<'a>>,
    /// The system call filter.
    #[serde(borrow)]
    pub seccomp: Option<Box<Profile<'a>>>,
    /// Paths in the container that cannot be read.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "maskedPaths")]
    pub masked_paths: Vec<Text<'a>>,
    /// Paths in the container that cannot be written.
    #[serde(borrow, default, deserialize_with = "or_empty", rename = "readonlyPaths")]
    pub readonly_paths: Vec<Text<'a>>,
    /// The SELinux context of the container's mounts.
    #[serde(borrow, default, deserialize_with = "filled", rename = "mountLabel")]
    pub mount_label: Option<Text<'a>>,
    /// Cache and memory bandwidth allocation.
    #[serde(borrow, rename = "intelRdt")]
    pub intel_rdt: Option<Box<IntelRdt<'a>>>,
    /// The execution domain.
    #[serde(borrow)]
    pub personality: Option<Personality<'a>>,
    /// The NUMA memory policy.
    #[serde(borrow, rename = "memoryPolicy")]
    pub memory_policy: Option<MemoryPolicy<'a>>,
}

/// A namespace (`/linux/namespaces/N`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Namespace<'a> {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: NamespaceType,
    /// The existing namespace to join; `None`: a new one.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub path: Option<Text<'a>>,
}

/// A clock's offset (`/linux/timeOffsets/CLOCK`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct TimeOffset {
    /// Seconds.
    #[serde(default, deserialize_with = "or_empty")]
    pub secs: i64,
    /// Nanoseconds, added to the seconds.
    #[serde(default, deserialize_with = "or_empty")]
    pub nanosecs: u32,
}

/// A device node (`/linux/devices/N`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Device<'a> {
    /// Its path in the container.
    #[serde(borrow)]
    pub path: Text<'a>,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: DeviceType,
    /// The major number; no meaning for a fifo.
    #[serde(default, deserialize_with = "or_empty")]
    pub major: u32,
    /// The minor number; no meaning for a fifo.
    #[serde(default, deserialize_with = "or_empty")]
    pub minor: u32,
    /// Its mode; `None`: 0666, as for every other runtime.
    #[serde(rename = "fileMode")]
    pub file_mode: Option<u32>,
    /// Its owner in the container; `None`: 0.
    pub uid: Option<u32>,
    /// Its group in the container; `None`: 0.
    pub gid: Option<u32>,
}

/// What a network device becomes in the container (`/linux/netDevices/NAME`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NetDevice<'a> {
    /// Its name there; `None`: the same.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub name: Option<Text<'a>>,
}

/// Resource director technology (`/linux/intelRdt`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct IntelRdt<'a> {
    /// The class of service; `None`: one named after the container, and removed with it.
    #[serde(borrow, default, deserialize_with = "filled", rename = "closID")]
    pub clos_id: Option<Text<'a>>,
    /// Lines for the schemata file.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub schemata: Vec<Text<'a>>,
    /// The L3 cache line for the schemata file.
    #[serde(borrow, default, deserialize_with = "filled", rename = "l3CacheSchema")]
    pub l3_cache_schema: Option<Text<'a>>,
    /// The memory bandwidth line for the schemata file.
    #[serde(borrow, default, deserialize_with = "filled", rename = "memBwSchema")]
    pub mem_bw_schema: Option<Text<'a>>,
    /// Whether a monitoring group is made.
    #[serde(default, deserialize_with = "or_empty", rename = "enableMonitoring")]
    pub enable_monitoring: bool,
}

/// The execution domain (`/linux/personality`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Personality<'a> {
    /// The domain.
    pub domain: PersonalityDomain,
    /// Flags; the specification defines none yet.
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub flags: Vec<Text<'a>>,
}

/// The NUMA memory policy (`/linux/memoryPolicy`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MemoryPolicy<'a> {
    /// The mode.
    pub mode: MemoryPolicyMode,
    /// The nodes, such as `0-3,7`.
    #[serde(borrow, default, deserialize_with = "filled")]
    pub nodes: Option<Text<'a>>,
    /// Flags.
    #[serde(default, deserialize_with = "or_empty")]
    pub flags: Vec<MemoryPolicyFlag>,
}

/// Reads a propagation, the empty string being absent.
fn propagation<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Propagation>, D::Error> {
    use super::names::Named;
    use serde::de::Error;
    let Some(name) = filled(deserializer)? else { return Ok(None) };
    let unknown = || D::Error::invalid_value(serde::de::Unexpected::Str(&name), &Propagation::WHAT);
    Propagation::from_name(&name).map(Some).ok_or_else(unknown)
}

/// The fields that serde expects of each struct, by the name that schema.txt has for it.
impl Linux<'_> {
    /// Whether the container has a namespace of this kind, new or joined, rather than the caller's.
    #[must_use]
    pub fn has(&self, kind: NamespaceType) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == kind)
    }

    /// The path of the namespace of this kind that is joined.
    #[must_use]
    pub fn joins(&self, kind: NamespaceType) -> Option<&str> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)?.path.as_deref()
    }

    /// Whether a new namespace of this kind is made.
    #[must_use]
    pub fn makes(&self, kind: NamespaceType) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
    }
}

#[cfg(test)]
pub(super) fn field_names() -> Vec<(&'static str, &'static [&'static str])> {
    use serde::de::{Error, Visitor};

    /// A deserializer that fails at once with the names of the fields it is asked for.
    struct Probe<'p>(&'p std::cell::Cell<Option<(&'static str, &'static [&'static str])>>);

    impl<'de> serde::Deserializer<'de> for Probe<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            name: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.set(Some((name, fields)));
            Err(Self::Error::custom("seen"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    macro_rules! all {
        ($($kind:ty,)+) => { vec![$({
            let seen = std::cell::Cell::new(None);
            assert!(<$kind>::deserialize(Probe(&seen)).is_err());
            seen.get().expect("a struct")
        },)+] };
    }
    all![
        Config<'_>,
        Root<'_>,
        Mount<'_>,
        IdMapping,
        Process<'_>,
        ConsoleSize,
        User,
        Capabilities<'_>,
        ResourceLimit,
        Scheduler,
        IoPriority,
        CpuAffinity<'_>,
        Hooks<'_>,
        Hook<'_>,
        Linux<'_>,
        Namespace<'_>,
        TimeOffset,
        Device<'_>,
        NetDevice<'_>,
        IntelRdt<'_>,
        Personality<'_>,
        MemoryPolicy<'_>,
    ]
}
