//! The content of a state file.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::timestamp::now_rfc3339;
use crate::base::{ContainerId, Error, HostPid, Kind, Result, Step};

/// The version of the state file's format: raised when an older runtime would misread it.
pub(super) const FORMAT: u32 = 1;

/// How far the making of a container has come. All later statuses follow from facts, not from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// An intent: `create` is at work, or died. The cgroup named here may exist.
    Creating,
    /// `restore` is at work, or died. The cgroup named here was made for the container, so all in it belongs to the container.
    Restoring,
    /// `create` has come to its end.
    Created,
}

/// What identifies the container's init for ever, however often its pid is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitProcess {
    /// Its pid in the pid namespace of the runtime.
    pub(crate) pid: HostPid,
    /// The inode of its pidfd, unique since boot; `None` before Linux 6.9, whose pidfds share one inode.
    pub(crate) pidfd_inode: Option<u64>,
    /// Its start time in clock ticks since boot (field 22 of /proc/PID/stat), needed and recorded where the inode is not.
    pub(crate) start_time: Option<u64>,
}

impl InitProcess {
    /// From the numbers of a state file, where 0 says that there is none.
    pub(super) fn recorded(pid: HostPid, pidfd_inode: u64, start_time: u64) -> Self {
        let some = |number: u64| (number != 0).then_some(number);
        Self { pid, pidfd_inode: some(pidfd_inode), start_time: some(start_time) }
    }
}

/// A namespace of the container that is not the runtime's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamespaceRecord {
    /// Its type in the words of runtime-spec: `pid`, `network`, `mount` and so on.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The path it was joined by; `None` when it was made for this container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
}

/// The container's place in the resctrl file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntelRdtRecord {
    /// The directory of its class of service.
    pub(crate) path: String,
    /// The directory of its monitoring group, when it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) monitoring_path: Option<String>,
    /// Whether the class of service was made for this container and goes with it.
    pub(crate) owned: bool,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The id.
    pub(crate) id: String,
    /// How far `create` came.
    pub(crate) phase: Phase,
    /// The `ociVersion` of the config.
    pub(crate) oci_version: String,
    /// The absolute path of the bundle.
    pub(crate) bundle: String,
    /// The absolute path of the root file system.
    pub(crate) rootfs: String,
    /// When it was created, in RFC 3339.
    pub(crate) created: String,
    /// The config's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The container's first process; `None` in an intent.
    pub(crate) init: Option<InitProcess>,
    /// The namespaces that are not the runtime's.
    pub(crate) namespaces: Vec<NamespaceRecord>,
    /// Its control groups; `None` when it has none of its own.
    pub(crate) cgroup: Option<orlop_cgroups::Record>,
    /// Its place in resctrl, when the config asks for one.
    pub(crate) intel_rdt: Option<IntelRdtRecord>,
    /// Whether it was made without root's rights.
    pub(crate) rootless: bool,
    /// Whether its processes stay in the session keyring they were started with.
    pub(crate) no_new_keyring: bool,
    /// Whether its command is executed without waiting for `start`, so that there never is a FIFO.
    pub(crate) at_once: bool,
    /// Whether the config has poststop hooks, so that `delete` need not read it to know.
    pub(crate) poststop_hooks: bool,
    /// The pipes that its standard streams were when it was made, which a restored container gets others for (see
    /// `parent/criu.rs`).
    pub(crate) stdio: Vec<String>,
    /// The resources as `update` left them; `None` while those of the config hold.
    pub(crate) resources: Option<Box<orlop_cgroups::Resources<'static>>>,
}

impl Record {
    /// The intent of a new container, to be completed by the caller.
    pub(crate) fn intent(id: &ContainerId) -> Self {
        Self {
            id: id.as_str().to_owned(),
            phase: Phase::Creating,
            oci_version: String::new(),
            bundle: String::new(),
            rootfs: String::new(),
            created: now_rfc3339(),
            annotations: BTreeMap::new(),
            init: None,
            namespaces: Vec::new(),
            cgroup: None,
            intel_rdt: None,
            rootless: false,
            no_new_keyring: false,
            at_once: false,
            poststop_hooks: false,
            stdio: Vec::new(),
            resources: None,
        }
    }

    /// Whether its pid namespace was made for it, so that all its processes die with its init.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_none())
    }

    /// The bytes of the state file.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(Kind::State, Step::WriteState).with_object(self.id.as_str()).with_reason(error.to_string())
        })
    }

    /// Reads the bytes of the state file of `id`.
    pub(crate) fn from_json(bytes: &[u8], id: &ContainerId) -> Result<Self> {
        let damaged = |detail: String| {
            Error::new(Kind::State, Step::ReadState)
                .with_object(format!("state.json of {id}"))
                .with_reason(detail)
                .with_hint("`delete --force` removes what is left of the container")
        };
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| damaged(format!("is damaged: {error}")))?;
        if wire.orlop_state != FORMAT {
            return Err(damaged(format!("has format {}, this build reads {FORMAT}", wire.orlop_state)));
        }
        if wire.id != id.as_str() {
            return Err(damaged(format!("belongs to container {:?}", wire.id)));
        }
        Ok(wire.into())
    }
}

/// The state file as it is read. The names that runc's state.json has too mean the same there.
#[derive(Deserialize)]
struct Wire {
    orlop_state: u32,
    id: String,
    phase: Phase,
    #[serde(default)]
    init_process_pid: i32,
    #[serde(default)]
    init_process_start: u64,
    #[serde(default)]
    init_process_pidfd_inode: u64,
    created: String,
    oci_version: String,
    bundle: String,
    rootfs: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    namespaces: Vec<NamespaceRecord>,
    #[serde(default)]
    cgroup: Option<orlop_cgroups::Record>,
    #[serde(default)]
    intel_rdt: Option<IntelRdtRecord>,
    #[serde(default)]
    rootless: bool,
    #[serde(default)]
    no_new_keyring: bool,
    #[serde(default)]
    at_once: bool,
    #[serde(default)]
    poststop_hooks: bool,
    #[serde(default)]
    external_descriptors: Vec<String>,
    #[serde(default, deserialize_with = "owned_resources")]
    resources: Option<Box<orlop_cgroups::Resources<'static>>>,
}

/// Resources that borrow nothing from the file they are read from.
fn owned_resources<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Box<orlop_cgroups::Resources<'static>>>, D::Error> {
    let resources = Option::<orlop_cgroups::Resources<'de>>::deserialize(deserializer)?;
    Ok(resources.map(|resources| Box::new(resources.into_owned())))
}

impl From<Wire> for Record {
    fn from(wire: Wire) -> Self {
        let init = HostPid::new(wire.init_process_pid)
            .map(|pid| InitProcess::recorded(pid, wire.init_process_pidfd_inode, wire.init_process_start));
        Self {
            id: wire.id,
            phase: wire.phase,
            oci_version: wire.oci_version,
            bundle: wire.bundle,
            rootfs: wire.rootfs,
            created: wire.created,
            annotations: wire.annotations,
            init,
            namespaces: wire.namespaces,
            cgroup: wire.cgroup,
            intel_rdt: wire.intel_rdt,
            rootless: wire.rootless,
            no_new_keyring: wire.no_new_keyring,
            at_once: wire.at_once,
            poststop_hooks: wire.poststop_hooks,
            stdio: wire.external_descriptors,
            resources: wire.resources,
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("orlop_state", &FORMAT)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("phase", &self.phase)?;
        if let Some(init) = &self.init {
            map.serialize_entry("init_process_pid", &init.pid.get())?;
            map.serialize_entry("init_process_start", &init.start_time.unwrap_or(0))?;
            map.serialize_entry("init_process_pidfd_inode", &init.pidfd_inode.unwrap_or(0))?;
        }
        map.serialize_entry("created", &self.created)?;
        map.serialize_entry("oci_version", &self.oci_version)?;
        map.serialize_entry("bundle", &self.bundle)?;
        map.serialize_entry("rootfs", &self.rootfs)?;
        if !self.annotations.is_empty() {
            map.serialize_entry("annotations", &self.annotations)?;
        }
        map.serialize_entry("namespaces", &self.namespaces)?;
        if let Some(cgroup) = &self.cgroup {
            map.serialize_entry("cgroup", cgroup)?;
        }
        if let Some(intel_rdt) = &self.intel_rdt {
            map.serialize_entry("intel_rdt", intel_rdt)?;
        }
        map.serialize_entry("rootless", &self.rootless)?;
        map.serialize_entry("no_new_keyring", &self.no_new_keyring)?;
        if self.at_once {
            map.serialize_entry("at_once", &true)?;
        }
        map.serialize_entry("poststop_hooks", &self.poststop_hooks)?;
        if !self.stdio.is_empty() {
            map.serialize_entry("external_descriptors", &self.stdio)?;
        }
        if let Some(resources) = &self.resources {
            map.serialize_entry("resources", resources)?;
        }
        if let Some(init) = &self.init {
            // For tools that look into runc's state files; never read back.
            map.serialize_entry("namespace_paths", &NamespacePaths(init.pid))?;
        }
        map.end()
    }
}

/// Where the namespaces of a process are, under the names of runc's state.json.
struct NamespacePaths(HostPid);

impl Serialize for NamespacePaths {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, file) in [
            ("NEWCGROUP", "cgroup"),
            ("NEWIPC", "ipc"),
            ("NEWNET", "net"),
            ("NEWNS", "mnt"),
            ("NEWPID", "pid"),
            ("NEWTIME", "time"),
            ("NEWUSER", "user"),
            ("NEWUTS", "uts"),
        ] {
            map.serialize_entry(name, &format_args!("/proc/{}/ns/{file}", self.0))?;
        }
        map.end()
    }
}
