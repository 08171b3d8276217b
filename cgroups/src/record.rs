//! Where a container's cgroup is, for the state file.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of the v2 tree's directory in JSON.
const UNIFIED: &str = "";

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

/// The directories of a cgroup, by absolute paths.
///
/// In JSON they are one object, which has the directory in the v2 tree under the empty name: runc's `cgroup_paths`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// In the v1 hierarchies, by controller; those that are mounted together share one.
    pub v1: BTreeMap<String, String>,
    /// In the v2 tree.
    pub unified: Option<String>,
}

impl Paths {
    /// All of them: the v2 tree's first, then by controller.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.unified.iter().chain(self.v1.values())
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.unified.iter_mut().chain(self.v1.values_mut())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.unified.is_none()
    }

    /// Those of them that are at `from`, at `to`.
    pub(crate) fn moved(&self, from: &str, to: &str) -> Self {
        let there = self.v1.iter().filter(|(_, path)| *path == from);
        Self {
            v1: there.map(|(name, _)| (name.clone(), to.to_owned())).collect(),
            unified: self.unified.as_ref().filter(|path| *path == from).map(|_| to.to_owned()),
        }
    }

    /// Takes the others instead of its own, where there are others.
    pub(crate) fn extend(&mut self, others: Self) {
        self.v1.extend(others.v1);
        self.unified = others.unified.or(self.unified.take());
    }

    /// Forgets the directory at `path`.
    pub(crate) fn remove(&mut self, path: &str) {
        self.v1.retain(|_, known| known != path);
        self.unified.take_if(|known| known == path);
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unified = self.unified.iter().map(|path| (UNIFIED, path));
        serializer.collect_map(unified.chain(self.v1.iter().map(|(name, path)| (name.as_str(), path))))
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut v1 = BTreeMap::<String, String>::deserialize(deserializer)?;
        let unified = v1.remove(UNIFIED);
        Ok(Self { v1, unified })
    }
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
    /// Its directories.
    #[serde(default)]
    pub paths: Paths,
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
        self.paths.v1.is_empty() && self.paths.unified.is_some()
    }

    /// Where the container's cgroup in the v2 tree lies below its unit: `/` for the unit's own.
    #[cfg(feature = "systemd")]
    pub(crate) fn below_unit(&self) -> &str {
        let path = self.paths.unified.as_deref().unwrap_or_default();
        let unit = self.unit.as_ref().map_or("", |unit| unit.name.as_str());
        let after = |at: usize| path.get(at + unit.len()..).filter(|rest| rest.starts_with('/'));
        path.match_indices(unit).find_map(|(at, _)| after(at)).unwrap_or("/")
    }

    /// The path under which `controller` is found: its v1 hierarchy, else the v2 tree.
    #[must_use]
    pub fn path(&self, controller: &str) -> Option<&str> {
        self.paths.v1.get(controller).or(self.paths.unified.as_ref()).map(String::as_str)
    }
}
