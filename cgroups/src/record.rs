//! Where a container's cgroup is, for the state file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who makes the cgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// This crate, by mkdir.
    #[default]
    Cgroupfs,
    /// systemd, as a scope (or slice) asked for over the bus.
    Systemd,
}

/// Who owns a delegated cgroup: host ids of the container's root user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Host user id.
    pub uid: u32,
    /// Host group id; none leaves the group as it is, which is what runc does.
    pub gid: Option<u32>,
}

/// The systemd unit of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name, a scope or a slice.
    pub name: String,
    /// The slice it is in; empty for the manager's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub slice: String,
    /// It belongs to the user's manager, not to the system's.
    #[serde(default)]
    pub user: bool,
}

/// Where a container's cgroup is, for the state file: enough to find it, work on it and remove it.
///
/// A record may be written before the cgroup is made (from [`Cgroup::plan`](crate::Cgroup::plan)), so that a crash in between
/// leaves something to clean up by; [`made`](Self::made) then is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who made it.
    #[serde(default)]
    pub driver: Driver,
    /// Absolute paths by controller, and under the empty name the path in the v2 tree: what runc calls `cgroup_paths`.
    #[serde(default)]
    pub paths: BTreeMap<String, String>,
    /// Where the v2 tree is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unified_mount: Option<String>,
    /// The unit, under systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// The directories that were made for it, parents first: these and no others are removed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// See [`Spec::rootless`](crate::Spec::rootless).
    #[serde(default)]
    pub rootless: bool,
    /// A path was asked for, so a cgroup that cannot be made is an error even without limits.
    #[serde(default)]
    pub explicit: bool,
    /// See [`Spec::payload`](crate::Spec::payload): a path relative to the container's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

impl Record {
    /// Whether the container has a cgroup of its own in the v2 tree, and in nothing else.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.paths.len() == 1 && self.paths.contains_key("")
    }

    /// Where the container's cgroup in the v2 tree lies below its unit: `/` for the unit's own.
    #[cfg(feature = "systemd")]
    pub(crate) fn below_unit(&self) -> &str {
        let path = self.paths.get("").map_or("", String::as_str);
        let unit = self.unit.as_ref().map_or("", |unit| unit.name.as_str());
        let after = |at: usize| path.get(at + unit.len()..).filter(|rest| rest.starts_with('/'));
        path.match_indices(unit).find_map(|(at, _)| after(at)).unwrap_or("/")
    }

    /// The path under which `controller` is found: its v1 hierarchy, else the v2 tree.
    #[must_use]
    pub fn path(&self, controller: &str) -> Option<&str> {
        self.paths.get(controller).or_else(|| self.paths.get("")).map(String::as_str)
    }
}
