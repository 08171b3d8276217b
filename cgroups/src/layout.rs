//! What this host has: which kind of control groups, mounted where.

use std::os::fd::AsFd;

use crate::error::{Error, Kind, Result};
use crate::mountinfo;
use crate::sys::{self, At, OFlags};

/// Where control groups are mounted unless told otherwise.
pub const DEFAULT_ROOT: &str = "/sys/fs/cgroup";

const CGROUP1_MAGIC: i64 = 0x0027_e0eb;
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The controllers of cgroup v1 that a container joins, in the order in which they are set up. `cpuset` is first because a process
/// cannot join it before its CPUs are set, `freezer` late so that nothing freezes half way.
pub(crate) const V1_CONTROLLERS: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

/// The kind of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Controllers in hierarchies of their own.
    V1,
    /// Controllers in v1 hierarchies, and a v2 tree beside them for tracking and freezing.
    Hybrid,
    /// One v2 tree with all controllers.
    V2,
}

/// One mounted v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers, for example `cpu` and `cpuacct`, or `name=systemd`.
    pub controllers: Vec<String>,
    /// The absolute path of its mount point.
    pub mount: String,
}

/// What the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    version: Version,
    hierarchies: Vec<Hierarchy>,
    unified: Option<String>,
    /// `/proc/self/cgroup`, where that was read on the way.
    own: Option<String>,
}

impl Layout {
    /// Looks at `/sys/fs/cgroup`: one system call on a v2 host, five and one for each hierarchy on others.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when no control groups are mounted, [`Kind::System`] when they cannot be looked at.
    pub fn detect() -> Result<Self> {
        Self::detect_anywhere(false)
    }

    /// As [`detect`](Self::detect), for who is about to plan a path relative to the caller's own cgroup: what the kernel says of that
    /// names the hierarchies, too, so that no directory need be listed for them.
    ///
    /// # Errors
    /// As for [`detect`](Self::detect).
    pub fn detect_around_self() -> Result<Self> {
        Self::detect_anywhere(true)
    }

    /// What is mounted on a host without v2 at `root`; none where a hierarchy is not mounted where custom has it.
    fn around_self(root: &str) -> Option<Self> {
        let own = crate::path::read_own_cgroups().ok()?;
        let mut hierarchies = expected(root, &own);
        let mounted = |path: &str, magic| sys::filesystem(path) == Ok(magic);
        if hierarchies.is_empty() || !hierarchies.iter().all(|hierarchy| mounted(&hierarchy.mount, CGROUP1_MAGIC)) {
            return None;
        }
        sort(&mut hierarchies);
        let unified = [root, "/unified"].concat();
        let unified = mounted(&unified, CGROUP2_MAGIC).then_some(unified);
        Some(Self { own: Some(own), ..Self::v1(hierarchies, unified) })
    }

    fn detect_anywhere(around_self: bool) -> Result<Self> {
        let first = match Self::detect_in(DEFAULT_ROOT, around_self) {
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::NotFound) => error,
            other => return other,
        };
        // Not at the usual place: the list of all mounts tells, but reading it is slow on a host with many.
        let text = mountinfo::of_self().ok();
        // Another mount may cover one that is listed.
        let shows = |point: &str, magic| sys::filesystem(point) == Ok(magic);
        text.and_then(|text| Self::from_mountinfo(&text, shows)).ok_or(first)
    }

    /// What `/proc/self/mountinfo` says; the first mount of each hierarchy counts whose point `shows` a file system of its kind.
    pub(crate) fn from_mountinfo(text: &str, shows: impl Fn(&str, i64) -> bool) -> Option<Self> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for mount in mountinfo::mounts(text) {
            match mount.filesystem {
                "cgroup2" if unified.is_none() && shows(&mount.point, CGROUP2_MAGIC) => {
                    unified = Some(mount.point.into_owned());
                }
                "cgroup" if shows(&mount.point, CGROUP1_MAGIC) => {
                    let options = mount.options.split(',');
                    let controllers: Vec<String> =
                        options.filter(|option| rank(option).is_some()).map(str::to_owned).collect();
                    if !controllers.is_empty() && !hierarchies.iter().any(|known| known.controllers == controllers) {
                        hierarchies.push(Hierarchy { controllers, mount: mount.point.into_owned() });
                    }
                }
                _ => {}
            }
        }
        sort(&mut hierarchies);
        match (hierarchies.is_empty(), unified) {
            (true, None) => None,
            (true, Some(mount)) => Some(Self::v2(&mount)),
            (false, unified) => Some(Self::v1(hierarchies, unified)),
        }
    }

    /// Like [`detect`](Self::detect), for control groups mounted below another directory.
    ///
    /// # Errors
    /// As for [`detect`](Self::detect).
    pub fn detect_at(root: &str) -> Result<Self> {
        Self::detect_in(root, false)
    }

    fn detect_in(root: &str, around_self: bool) -> Result<Self> {
        const ACTION: &str = "look for control groups at";
        let magic = sys::filesystem(root).map_err(|errno| {
            Error::os(ACTION, errno)
                .with_object(root)
                .with_hint("mount cgroup2 there, or run where control groups are mounted")
        })?;
        if magic == CGROUP2_MAGIC {
            return Ok(Self::v2(root));
        }
        if let Some(found) = around_self.then(|| Self::around_self(root)).flatten() {
            return Ok(found);
        }
        let dir = sys::open(At::Absolute, root, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| Error::os(ACTION, errno).with_object(root))?;
        let names = sys::entries(dir.as_fd()).map_err(|errno| Error::os(ACTION, errno).with_object(root))?;
        // Directories without a mount are left behind there by programs that expected one.
        let mut hierarchies: Vec<Hierarchy> = names
            .iter()
            .filter(|entry| entry.is_dir)
            .filter_map(|entry| hierarchy(root, &entry.name))
            .filter(|hierarchy| sys::filesystem(&hierarchy.mount) == Ok(CGROUP1_MAGIC))
            .collect();
        sort(&mut hierarchies);
        let unified = names
            .iter()
            .find(|entry| entry.is_dir && entry.name == "unified")
            .map(|_| format!("{root}/unified"))
            .filter(|path| sys::filesystem(path) == Ok(CGROUP2_MAGIC));
        if hierarchies.is_empty() && unified.is_none() {
            return Err(Error::new(Kind::Unsupported, ACTION)
                .with_object(root)
                .with_reason("no cgroup hierarchy is mounted there")
                .with_hint("mount cgroup2 there, or run where control groups are mounted"));
        }
        Ok(Self::v1(hierarchies, unified))
    }

    /// A v2 host whose tree is mounted at `root`.
    #[must_use]
    pub fn v2(root: &str) -> Self {
        Self { version: Version::V2, hierarchies: Vec::new(), unified: Some(root.to_owned()), own: None }
    }

    /// A host with v1 hierarchies, and possibly a v2 tree beside them.
    #[must_use]
    pub fn v1(hierarchies: Vec<Hierarchy>, unified: Option<String>) -> Self {
        let version = if unified.is_some() { Version::Hybrid } else { Version::V1 };
        Self { version, hierarchies, unified, own: None }
    }

    /// The kind of control groups.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The v1 hierarchies in the order in which they are set up; none on a v2 host.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Where the v2 tree is mounted, if it is.
    #[must_use]
    pub fn unified(&self) -> Option<&str> {
        self.unified.as_deref()
    }

    /// `/proc/self/cgroup`, where that was read on the way.
    pub(crate) fn own(&self) -> Option<&str> {
        self.own.as_deref()
    }

    /// The v1 hierarchy that has `controller`.
    #[must_use]
    pub fn hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }
}

/// Puts hierarchies in the order in which they are set up.
fn sort(hierarchies: &mut [Hierarchy]) {
    hierarchies.sort_by_cached_key(|hierarchy| hierarchy.controllers.iter().filter_map(|name| rank(name)).min());
}

/// The hierarchies that a container joins by the text of `/proc/PID/cgroup`, mounted where they are by custom.
fn expected(root: &str, own: &str) -> Vec<Hierarchy> {
    crate::path::own_lines(own)
        .filter(|(controllers, _)| !controllers.is_empty())
        .filter_map(|(controllers, _)| {
            hierarchy(root, if controllers == "name=systemd" { "systemd" } else { controllers })
        })
        .collect()
}

fn rank(controller: &str) -> Option<usize> {
    V1_CONTROLLERS.iter().position(|known| *known == controller)
}

/// The hierarchy mounted at a directory of this name, if it is one a container joins.
fn hierarchy(root: &str, name: &str) -> Option<Hierarchy> {
    let controllers: Vec<String> = match name {
        "systemd" => vec!["name=systemd".to_owned()],
        _ => name.split(',').map(str::to_owned).collect(),
    };
    controllers
        .iter()
        .all(|controller| rank(controller).is_some())
        .then(|| Hierarchy { controllers, mount: [root, "/", name].concat() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_the_last_resort() {
        let v2 = "25 1 0:22 / /cg\\0402 rw - cgroup2 cgroup rw\n26 1 0:23 / /tmp rw - tmpfs tmpfs rw\n";
        let all = |_: &str, _| true;
        assert_eq!(Layout::from_mountinfo(v2, all), Some(Layout::v2("/cg 2")));
        assert_eq!(Layout::from_mountinfo(v2, |_, magic| magic != CGROUP2_MAGIC), None);
        let hybrid = "25 1 0:22 / /c/u rw - cgroup2 cgroup rw\n\
            30 1 0:30 / /c/mem rw,nosuid - cgroup cgroup rw,memory\n\
            31 1 0:31 / /c/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            32 1 0:31 / /other rw - cgroup cgroup rw,cpu,cpuacct\n\
            33 1 0:33 / /c/sd rw - cgroup systemd rw,xattr,name=systemd\n";
        let layout = Layout::from_mountinfo(hybrid, all).unwrap();
        assert_eq!((layout.version(), layout.unified()), (Version::Hybrid, Some("/c/u")));
        let mounts: Vec<&str> = layout.hierarchies().iter().map(|one| one.mount.as_str()).collect();
        assert_eq!(mounts, ["/c/mem", "/c/cpu", "/c/sd"]);
        // One that is covered by another mount is passed over.
        let layout = Layout::from_mountinfo(hybrid, |point, _| !["/c/cpu", "/c/u"].contains(&point)).unwrap();
        let mounts: Vec<&str> = layout.hierarchies().iter().map(|one| one.mount.as_str()).collect();
        assert_eq!((layout.version(), mounts), (Version::V1, vec!["/c/mem", "/other", "/c/sd"]));
        assert_eq!(Layout::from_mountinfo("26 1 0:23 / /tmp rw - tmpfs tmpfs rw\n", all), None);
    }

    #[test]
    fn the_own_cgroups_name_the_hierarchies() {
        let own = "12:name=systemd:/\n11:name=memory:/\n4:cpu,cpuacct:/a:b\n2:debug:/\n1:memory:/x\n0::/y\n";
        let found: Vec<_> = expected("/r", own).into_iter().map(|one| (one.controllers.join("+"), one.mount)).collect();
        let one = |controllers: &str, mount: &str| (controllers.to_owned(), mount.to_owned());
        assert_eq!(
            found,
            [one("name=systemd", "/r/systemd"), one("cpu+cpuacct", "/r/cpu,cpuacct"), one("memory", "/r/memory"),]
        );
    }

    #[test]
    fn both_ways_of_looking_find_the_same() {
        let found = Layout::detect().map(|layout| Layout { own: None, ..layout });
        let around = Layout::detect_around_self().map(|layout| Layout { own: None, ..layout });
        assert_eq!(around.map_err(|error| error.to_string()), found.map_err(|error| error.to_string()));
    }

    #[test]
    fn directory_names_give_controllers() {
        let table: [(&str, Option<Vec<&str>>); 5] = [
            ("cpu,cpuacct", Some(vec!["cpu", "cpuacct"])),
            ("systemd", Some(vec!["name=systemd"])),
            ("unified", None),
            ("memory", Some(vec!["memory"])),
            ("lost+found", None),
        ];
        for (name, expected) in table {
            let found = hierarchy("/r", name).map(|one| one.controllers);
            assert_eq!(found, expected.map(|names| names.into_iter().map(str::to_owned).collect()), "{name}");
        }
    }
}
