//! The state file: how a record is written, and read again.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::{InitProcess, IntelRdtRecord, NamespaceRecord, Phase, Record};
use crate::base::{ContainerId, Error, HostPid, Kind, Result, Step};

/// The version of the state file's format: raised when an older runtime would misread it.
const FORMAT: u32 = 1;

/// The state file as it is read, with as much of the control groups (`C`) and namespaces (`N`) as the reader wants. The names that
/// runc's state.json has too mean the same there.
#[derive(Deserialize)]
pub(super) struct Wire<C, N> {
    orlop_state: u32,
    id: String,
    pub(super) phase: Phase,
    #[serde(default)]
    init_process_pid: i32,
    #[serde(default)]
    init_process_start: u64,
    #[serde(default)]
    init_process_pidfd_inode: u64,
    pub(super) created: String,
    pub(super) oci_version: String,
    pub(super) bundle: String,
    pub(super) rootfs: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    namespaces: N,
    #[serde(default)]
    pub(super) cgroup: Option<C>,
    #[serde(default)]
    intel_rdt: Option<IntelRdtRecord>,
    #[serde(default)]
    rootless: bool,
    #[serde(default)]
    no_new_keyring: bool,
    #[serde(default)]
    pub(super) at_once: bool,
    #[serde(default)]
    inherited_filters: Option<u64>,
    #[serde(default)]
    poststop_hooks: bool,
    #[serde(default)]
    external_descriptors: Vec<String>,
    #[serde(default, deserialize_with = "owned_resources")]
    resources: Option<Box<orlop_cgroups::Resources<'static>>>,
}

impl<C: DeserializeOwned + Default, N: DeserializeOwned + Default> Wire<C, N> {
    /// Reads the bytes of the state file of `id`.
    pub(super) fn read(bytes: &[u8], id: &ContainerId) -> Result<Self> {
        let damaged = |detail: String| {
            Error::new(Kind::State, Step::ReadState)
                .with_object(format!("state.json of {id}"))
                .with_reason(detail)
                .with_hint("`delete --force` removes what is left of the container")
        };
        let wire: Self = serde_json::from_slice(bytes).map_err(|error| damaged(format!("is damaged: {error}")))?;
        if wire.orlop_state != FORMAT {
            return Err(damaged(format!("has format {}, this build reads {FORMAT}", wire.orlop_state)));
        }
        if wire.id != id.as_str() {
            return Err(damaged(format!("belongs to container {:?}", wire.id)));
        }
        Ok(wire)
    }
}

impl<C, N> Wire<C, N> {
    /// The container's first process; `None` in an intent.
    pub(super) fn init(&self) -> Option<InitProcess> {
        HostPid::new(self.init_process_pid)
            .map(|pid| InitProcess::recorded(pid, self.init_process_pidfd_inode, self.init_process_start))
    }
}

/// Resources that borrow nothing from the file they are read from.
fn owned_resources<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Box<orlop_cgroups::Resources<'static>>>, D::Error> {
    let resources = Option::<orlop_cgroups::Resources<'de>>::deserialize(deserializer)?;
    Ok(resources.map(|resources| Box::new(resources.into_owned())))
}

impl Record {
    /// The bytes of the state file.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(Kind::State, Step::WriteState).with_object(self.id.as_str()).with_reason(error.to_string())
        })
    }

    /// Reads the bytes of the state file of `id`.
    pub(crate) fn from_json(bytes: &[u8], id: &ContainerId) -> Result<Self> {
        Wire::read(bytes, id).map(|wire| Self::of_wire(wire, id))
    }
}

impl Record {
    fn of_wire(wire: Wire<orlop_cgroups::Record, Vec<NamespaceRecord>>, id: &ContainerId) -> Self {
        let init = wire.init();
        Self {
            id: id.clone(),
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
            inherited_filters: wire.inherited_filters,
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
        if let Some(inherited) = self.inherited_filters {
            map.serialize_entry("inherited_filters", &inherited)?;
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
