//! What is known of a container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::timestamp::now_rfc3339;
use crate::base::{ContainerId, HostPid};

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
    pub(crate) id: ContainerId,
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
    /// How many seccomp filters its init had before its own, where the one of its command is to be verified.
    pub(crate) inherited_filters: Option<u64>,
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
            id: id.clone(),
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
            inherited_filters: None,
            poststop_hooks: false,
            stdio: Vec::new(),
            resources: None,
        }
    }

    /// Whether its pid namespace was made for it, so that all its processes die with its init.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        self.namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_none())
    }
}
