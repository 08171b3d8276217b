//! What the caller may do with control groups on this host: found out without a change to any.

use std::fmt;

use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::part::Part;
use crate::path;
use crate::present::ProcessCgroups;
use crate::record::{Driver, Record};
use crate::sys::{self, Errno, OFlags};

/// What the caller may do in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HierarchyRights {
    /// The v1 controllers of the hierarchy; none for the v2 tree.
    pub controllers: Vec<String>,
    /// The directory that the answer is about: the container's cgroup, or what there is of the path to it.
    pub path: String,
    /// What stands in the way of making the container's cgroup there, if anything does.
    pub create: Option<Obstacle>,
    /// What stands in the way of bringing a process of the caller into it, if anything does.
    pub enter: Option<Obstacle>,
}

/// What stands in the way, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obstacle {
    /// The file or directory that the caller may not write.
    pub path: String,
    /// The kernel's errno number.
    pub errno: i32,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, crate::error::errno_text(Errno::from_raw_os_error(self.errno)))
    }
}

/// What the caller may do in all hierarchies that a container would be in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// One for each hierarchy, in the order in which they are set up.
    pub hierarchies: Vec<HierarchyRights>,
}

impl HierarchyRights {
    /// Whether a container's cgroup can be made here, with a process in it.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.obstacle().is_none()
    }

    /// The first thing that stands in the way.
    #[must_use]
    pub fn obstacle(&self) -> Option<&Obstacle> {
        self.create.as_ref().or(self.enter.as_ref())
    }
}

impl Rights {
    /// Whether a cgroup can be made in every hierarchy.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.hierarchies.iter().all(HierarchyRights::is_granted)
    }

    /// Whether no cgroup can be made in any hierarchy: a container is then in those of its caller.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        !self.hierarchies.iter().any(HierarchyRights::is_granted)
    }

    /// What is known of the hierarchy of `controller`: its v1 hierarchy, else the v2 tree.
    #[must_use]
    pub fn of(&self, controller: &str) -> Option<&HierarchyRights> {
        let v1 = self.hierarchies.iter().find(|one| one.controllers.iter().any(|name| name == controller));
        v1.or_else(|| self.hierarchies.iter().find(|one| one.controllers.is_empty()))
    }

    /// Why the caller cannot have its way, as an error that names the first file in the way.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let obstacle = self.hierarchies.iter().find_map(HierarchyRights::obstacle)?;
        Some(
            Error::os("create the cgroup", Errno::from_raw_os_error(obstacle.errno))
                .with_kind(Kind::NotDelegated)
                .with_object(obstacle.path.as_str())
                .with_hint("nothing is delegated to this user there; use the systemd driver with a user session, or have an administrator delegate a cgroup"),
        )
    }
}

impl Cgroup {
    /// Finds out whether the cgroups of a planned record can be made, and entered by processes of the caller. Nothing is changed: the
    /// kernel is asked, with the caller's effective rights in its user namespace, and with read-only mounts in mind.
    ///
    /// It says nothing of device rules, which need CAP_SYS_ADMIN (v1) or CAP_BPF (v2) in the initial user namespace, nor of
    /// controllers that are not handed down to the cgroup; and under systemd it is systemd that makes the cgroup, so the answer is
    /// about what it has made already.
    ///
    /// # Errors
    /// [`Kind::System`] when the caller's own cgroup cannot be read, or a directory cannot be looked at.
    pub fn rights(record: &Record) -> Result<Rights> {
        let own = ProcessCgroups::parse(path::read_own_cgroups()?);
        let parts = Self::open(record.clone()).parts;
        let hierarchies = parts.iter().map(|part| rights_in(part, record, &own)).collect::<Result<_>>()?;
        Ok(Rights { hierarchies })
    }
}

fn rights_in(part: &Part, record: &Record, own: &ProcessCgroups) -> Result<HierarchyRights> {
    let there = nearest(&part.path)?;
    let is_whole = there == part.path;
    let create = match record.driver {
        Driver::Systemd => None,
        // What is there already has to let the caller in, what is missing has to be made.
        Driver::Cgroupfs if is_whole => None,
        Driver::Cgroupfs => obstacle(&there)?,
    };
    let enter = if part.is_unified() {
        enter_v2(part, record, own, is_whole)?
    } else if is_whole {
        obstacle(&[&there, "/tasks"].concat())?
    } else {
        None
    };
    Ok(HierarchyRights { controllers: part.controllers.clone(), path: there, create, enter })
}

/// A process gets from one cgroup of v2 to another where the caller may write `cgroup.procs` of the target and of the nearest cgroup
/// that is above both (cgroups(7), "Delegation containment").
fn enter_v2(part: &Part, record: &Record, own: &ProcessCgroups, is_whole: bool) -> Result<Option<Obstacle>> {
    if is_whole && let Some(found) = obstacle(&[&part.path, "/cgroup.procs"].concat())? {
        return Ok(Some(found));
    }
    let (Some(mount), Some(own)) = (&record.unified_mount, own.unified()) else { return Ok(None) };
    let Some(inside) = part.path.strip_prefix(mount.as_str()) else { return Ok(None) };
    let above = [mount, common(inside, own), "/cgroup.procs"].concat();
    match obstacle(&above) {
        // The mount shows another part of the tree than the one the caller is in.
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        outcome => outcome,
    }
}

/// The path of the nearest cgroup above two, without a slash at its end.
fn common<'p>(one: &'p str, other: &str) -> &'p str {
    let mut length = 0;
    let mut names = other.split('/').skip(1);
    for name in one.split('/').skip(1) {
        if name.is_empty() || names.next() != Some(name) {
            break;
        }
        length += 1 + name.len();
    }
    one.get(..length).unwrap_or_default()
}

/// The nearest directory to `path` that there is.
fn nearest(path: &str) -> Result<String> {
    let mut path = path;
    loop {
        match sys::open(sys::At::Absolute, path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => return Ok(path.to_owned()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::os("look for the cgroup", errno).with_object(path)),
        }
        path = path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty()).unwrap_or("/");
    }
}

fn obstacle(path: &str) -> Result<Option<Obstacle>> {
    match sys::may_write(path) {
        Ok(()) => Ok(None),
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            Ok(Some(Obstacle { path: path.to_owned(), errno: errno.raw_os_error() }))
        }
        Err(errno) => Err(Error::os("look at the rights on", errno).with_object(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cgroup_above_two() {
        let table = [
            ("/a/b/c", "/a/b/d", "/a/b"),
            ("/a/b", "/a/b", "/a/b"),
            ("/a/b/c", "/a/b", "/a/b"),
            ("/ab", "/a", ""),
            ("/a", "/", ""),
            ("", "/x", ""),
            ("/user.slice/u/app", "/../x", ""),
        ];
        for (one, other, expected) in table {
            assert_eq!(common(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn answers_are_about_all_hierarchies_or_one() {
        let one = |controllers: &[&str], errno: Option<i32>| HierarchyRights {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            path: "/cg/x".to_owned(),
            create: errno.map(|errno| Obstacle { path: "/cg".to_owned(), errno }),
            enter: None,
        };
        let mixed = Rights { hierarchies: vec![one(&["memory"], Some(libc::EACCES)), one(&[], None)] };
        assert!(!mixed.is_granted() && !mixed.is_denied());
        assert!(!mixed.of("memory").unwrap().is_granted() && mixed.of("hugetlb").unwrap().is_granted());
        let error = mixed.error().unwrap();
        assert_eq!((error.kind(), error.errno()), (Kind::NotDelegated, Some(libc::EACCES)));
        assert!(error.to_string().starts_with("create the cgroup /cg: permission denied; "), "{error}");
        let all = Rights { hierarchies: vec![one(&[], None)] };
        assert!(all.is_granted() && !all.is_denied() && all.error().is_none());
        let none = Rights { hierarchies: vec![one(&[], Some(libc::EROFS))] };
        assert!(none.is_denied() && none.error().is_some());
        // Where there are no control groups there is nothing to be had.
        assert!(Rights::default().is_denied());
    }
}
