//! Where a process is now. A record says where a container's processes were put; since then the container may have moved itself (one
//! that sees the cgroup file systems may), and somebody may have removed what was left empty.

use std::borrow::Cow;

use crate::cgroup::Cgroup;
use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::layout::{DEFAULT_ROOT, Layout};
use crate::members::{Members, Pid};
use crate::mountinfo;
use crate::part::Part;
use crate::path;
use crate::record::{Driver, Record};
use crate::sys::Errno;

/// The cgroups of a process, as `/proc/PID/cgroup` tells them to the one who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessCgroups {
    text: String,
}

impl ProcessCgroups {
    /// From the text of `/proc/PID/cgroup`.
    #[must_use]
    pub fn parse(text: String) -> Self {
        Self { text }
    }

    /// The path in the v1 hierarchy of `controller`.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&str> {
        path::own_cgroup(&self.text, controller).filter(|_| !controller.is_empty())
    }

    /// The path in the v2 tree.
    #[must_use]
    pub fn unified(&self) -> Option<&str> {
        path::own_cgroup(&self.text, "")
    }

    /// The directory of the cgroup in the v2 tree mounted at `mount` that the process `pid`, whose cgroups these are, is in; none where
    /// that mount does not show it.
    ///
    /// # Errors
    /// [`Kind::System`] when the cgroup cannot be read.
    pub fn unified_dir(&self, mount: &str, pid: Pid) -> Result<Option<String>> {
        self.unified().map_or(Ok(None), |inside| path_with(mount, inside, pid, &mut None))
    }

    fn of(&self, part: &Part) -> Option<&str> {
        match part.controllers.first() {
            Some(controller) => self.v1(controller),
            None => self.unified(),
        }
    }
}

/// A container's cgroups where its process is now.
#[derive(Debug)]
pub struct Present {
    /// What the record says, with the process's present cgroup in each hierarchy that it has left its recorded one in.
    pub cgroup: Cgroup,
    /// Those of its cgroups that differ from the recorded ones; none where the process is in its recorded cgroups, or below them.
    pub moved: Option<Cgroup>,
}

impl Cgroup {
    /// The cgroup of a record where its process `pid`, which is in the cgroups `now`, is at present.
    ///
    /// Where the process is in its recorded cgroup, or below that, nothing is looked up. Elsewhere its present one takes the place of
    /// the recorded one, after a look that the process really is in it. It may hold other processes too, up to all of the host where
    /// it is the root of a hierarchy: a process may enter it, but to act on all in it one has to know whose they are. So `accept` is
    /// given all processes in such a cgroup and below it, and where it says no, the recorded cgroup stays.
    ///
    /// # Errors
    /// [`Kind::System`] when a cgroup cannot be read.
    pub fn present(
        record: &Record,
        pid: Pid,
        now: &ProcessCgroups,
        mut accept: impl FnMut(&Members) -> bool,
    ) -> Result<Present> {
        let mut found = record.clone();
        let mut moved = Record { unified_mount: record.unified_mount.clone(), ..Record::default() };
        let (mut layout, mut mountinfo) = (None, None);
        for part in &Self::open(record.clone()).parts {
            let Some(inside) = now.of(part) else { continue };
            if mount_by_custom(record, part).is_some_and(|mount| is_within(&part.path, mount, inside)) {
                continue;
            }
            let layout = match &mut layout {
                Some(layout) => layout,
                none => none.insert(Layout::detect()?),
            };
            let Some(mount) = mount_of(layout, record, part) else { continue };
            if is_within(&part.path, &mount, inside) {
                continue;
            }
            let Some(path) = path_with(&mount, inside, pid, &mut mountinfo)? else { continue };
            if is_or_is_below(&part.path, &path) {
                continue;
            }
            let paths = record.paths.moved(&part.path, &path);
            let here = Self::open(Record { paths: paths.clone(), ..Record::default() });
            if accept(&here.processes()?) {
                moved.paths.extend(paths);
            }
        }
        if moved.paths.is_empty() {
            return Ok(Present { cgroup: Self::open(found), moved: None });
        }
        found.paths.extend(moved.paths.clone());
        found.made.clear();
        found.payload = None;
        found.driver = Driver::Cgroupfs;
        found.unit = None;
        let moved = Some(Self::open(moved));
        Ok(Present { cgroup: Self::open(found), moved })
    }
}

/// Where the hierarchy of a part is mounted if it is where nearly all hosts have it; that costs no look.
fn mount_by_custom<'r>(record: &'r Record, part: &'r Part) -> Option<&'r str> {
    if part.is_unified() {
        return record.unified_mount.as_deref();
    }
    let name = part.path.strip_prefix(DEFAULT_ROOT)?.strip_prefix('/')?.split('/').next()?;
    part.path.get(..DEFAULT_ROOT.len() + 1 + name.len())
}

fn mount_of(layout: &Layout, record: &Record, part: &Part) -> Option<String> {
    match part.controllers.first() {
        Some(controller) => layout.hierarchy(controller).map(|hierarchy| hierarchy.mount.clone()),
        None => record.unified_mount.clone().or_else(|| layout.unified().map(str::to_owned)),
    }
}

/// Whether the path `inside` a hierarchy mounted at `mount` is the cgroup at `path` or one below it.
fn is_within(path: &str, mount: &str, inside: &str) -> bool {
    path.strip_prefix(mount).is_some_and(|recorded| is_or_is_below(recorded, inside))
}

fn is_or_is_below(above: &str, path: &str) -> bool {
    path.strip_prefix(above).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Where the mount at `mount` shows the cgroup that the kernel calls `inside`, if the process `pid` is in the one found there.
///
/// A container that starts containers may have a part of the tree as its whole, and no cgroup namespace: then the kernel tells of
/// paths from the top of the tree, and the mount shows what is below its own root.
fn path_with(mount: &str, inside: &str, pid: Pid, mountinfo: &mut Option<String>) -> Result<Option<String>> {
    let whole = [mount, inside.trim_end_matches('/')].concat();
    if has_process(&whole, pid)? {
        return Ok(Some(whole));
    }
    let text = match mountinfo {
        Some(text) => text,
        none => none.insert(mountinfo::of_self()?),
    };
    for root in roots_at(text, mount) {
        if !is_or_is_below(&root, inside) {
            continue;
        }
        let path = [mount, &inside[root.len()..]].concat();
        if has_process(&path, pid)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The parts of a tree, not all of it, that are mounted at `point`; one may cover another.
fn roots_at<'m>(text: &'m str, point: &str) -> impl Iterator<Item = Cow<'m, str>> {
    mountinfo::mounts(text)
        .filter(move |mount| mount.point == point && mount.root != "/" && mount.filesystem.starts_with("cgroup"))
        .map(|mount| mount.root)
}

/// Whether the process is in the cgroup at `path` itself, and not in another one, or none, that this path means in the view of the
/// mount.
fn has_process(path: &str, pid: Pid) -> Result<bool> {
    match Dir::open(path).and_then(|dir| dir.processes()) {
        Ok(processes) => Ok(processes.contains(pid)),
        Err(error) if error.kind() == Kind::NotFound || error.has_errno(Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Record {
    /// Whether the cgroup that stands for the container, its freezer's where there is one, is still there.
    ///
    /// # Errors
    /// [`Kind::System`] when that cannot be told.
    pub fn is_there(&self) -> Result<bool> {
        let cgroup = Cgroup::open(self.clone());
        match cgroup.main() {
            Some(part) => part.dir_if_there().map(|dir| dir.is_some()),
            None => Err(Error::new(Kind::NotFound, "find the cgroup").with_reason("the container has none of its own")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_its_recorded_cgroup_or_elsewhere() {
        let table = [
            ("/cg/docker/a", "/cg", "/docker/a", true),
            ("/cg/docker/a", "/cg", "/docker/a/payload", true),
            ("/cg/docker/a", "/cg", "/docker/ab", false),
            ("/cg/docker/a", "/cg", "/a", false),
            ("/cg/docker/a", "/cg", "/", false),
            ("/cg/docker/a", "/cg", "/../x", false),
            ("/other/docker/a", "/cg", "/docker/a", false),
            // The container is at the root of the hierarchy: all is below it.
            ("/cg", "/cg", "/", true),
            ("/cg", "/cg", "/x", true),
        ];
        for (path, mount, inside, expected) in table {
            assert_eq!(is_within(path, mount, inside), expected, "{path} {mount} {inside}");
        }
    }

    #[test]
    fn a_mount_may_show_a_part_of_the_tree() {
        let text = "1 0 0:9 / /cg/a rw - cgroup cgroup rw,memory\n2 0 0:9 /docker/x /cg/a rw - cgroup cgroup rw,memory\n\
            3 0 0:9 /docker/y /cg/b rw - cgroup2 cgroup rw\n4 0 0:8 /docker/z /cg/b rw - tmpfs tmpfs rw\n";
        for (point, expected) in [("/cg/a", &["/docker/x"][..]), ("/cg/b", &["/docker/y"]), ("/cg", &[])] {
            assert_eq!(roots_at(text, point).collect::<Vec<_>>(), expected, "{point}");
        }
        // This process is in no cgroup that such a mount would show.
        let mut text = Some("3 0 0:9 /proc /proc/self rw - cgroup cgroup rw\n".to_owned());
        assert!(path_with("/proc/self", "/proc/x", Pid::INIT, &mut text).unwrap().is_none());
    }

    #[test]
    fn mounts_at_the_usual_place_are_known_without_a_look() {
        let part = |controllers: &[&str], path: &str| {
            Part::new(controllers.iter().map(|name| (*name).to_owned()).collect(), path.to_owned())
        };
        let record = Record { unified_mount: Some("/cg2".to_owned()), ..Record::default() };
        for (part, expected) in [
            (part(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct/a/b"), Some("/sys/fs/cgroup/cpu,cpuacct")),
            (part(&["memory"], "/sys/fs/cgroup/memory"), Some("/sys/fs/cgroup/memory")),
            (part(&["memory"], "/elsewhere/memory/a"), None),
            (part(&[], "/cg2/a"), Some("/cg2")),
        ] {
            assert_eq!(mount_by_custom(&record, &part), expected, "{}", part.path);
        }
    }

    #[test]
    fn the_kernels_lines_are_read_by_controller() {
        let now = ProcessCgroups::parse("5:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/u/v\n".to_owned());
        assert_eq!((now.v1("cpuacct"), now.v1("memory"), now.v1("")), (Some("/a"), None, None));
        assert_eq!(now.unified(), Some("/u/v"));
    }
}
