//! Making a cgroup: directories, controllers, the checks that a process could live in it.

use std::os::fd::{AsFd, OwnedFd};

use crate::cgroup::Cgroup;
use crate::dir::{Dir, keyed};
use crate::error::{Error, Kind, Result};
use crate::members::Members;
use crate::part::Part;
use crate::stats::parse::list;
use crate::sys::{self, At, Errno, OFlags, SysResult};

/// The controllers that the kernels of distributions have. When a new cgroup has them all, nobody looks further: the first
/// container saw to it, and a controller beyond these is handed down when a limit needs it.
const EXPECTED: [&str; 8] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"];

/// Controllers that work on whole processes, so that no threaded cgroup has them.
const DOMAIN: [&str; 5] = ["io", "memory", "hugetlb", "rdma", "misc"];

/// Makes the directories of those parts of `cgroup` that are `wanted`. What was made is noted in its record, and removed again on
/// failure.
pub(crate) fn make(cgroup: &mut Cgroup, wanted: fn(&Part) -> bool) -> Result<()> {
    let mut made = Vec::new();
    let mount = cgroup.record.unified_mount.clone();
    let (rootless, explicit) = (cgroup.record.rootless, cgroup.record.explicit);
    let mut missing = Vec::new();
    let mut outcome = Ok(());
    for (index, part) in cgroup.parts.iter_mut().enumerate().filter(|(_, part)| wanted(part)) {
        let result = if part.is_unified() {
            make_unified(part, mount.as_deref().unwrap_or(crate::layout::DEFAULT_ROOT), &mut made)
        } else {
            let before = made.len();
            make_v1(part, &mut made).map(|new| {
                if part.has("cpuset") {
                    let first = made.get(before).cloned().unwrap_or_else(|| part.path.clone());
                    cgroup.unfilled = Some((first, new));
                }
            })
        };
        match result {
            Ok(()) => {}
            Err(error) if rootless && !explicit && is_denied(&error) => missing.push(index),
            Err(error) => {
                outcome = Err(if is_denied(&error) { denied(error, rootless) } else { error });
                break;
            }
        }
    }
    let outcome = outcome.and_then(|()| delegate(cgroup));
    if let Err(error) = outcome {
        undo(&made);
        return Err(error);
    }
    for index in missing.into_iter().rev() {
        let part = cgroup.parts.remove(index);
        cgroup.record.paths.remove(&part.path);
    }
    cgroup.record.made.append(&mut made);
    Ok(())
}

/// Completes a v2 cgroup that systemd has made.
#[cfg(feature = "systemd")]
pub(crate) fn adopt(cgroup: &Cgroup) -> Result<()> {
    if let (Some(part), Some(mount)) = (cgroup.unified(), &cgroup.record.unified_mount) {
        let dir = part.dir()?;
        hand_down(mount, dir, &dir.read("cgroup.controllers")?, &mut Vec::new())?;
    }
    delegate(cgroup)
}

/// Makes the v1 directories beside those that systemd has made.
#[cfg(feature = "systemd")]
pub(crate) fn make_beside(cgroup: &mut Cgroup) -> Result<()> {
    let mut made = Vec::new();
    for part in cgroup.parts.iter().filter(|part| !part.is_unified() && !part.has("name=systemd")) {
        let outcome = make_path(&part.path, &mut made).and_then(|new| {
            let first = made.iter().find(|path| part.path.starts_with(path.as_str())).unwrap_or(&part.path);
            if part.has("cpuset") { fill_cpuset(first, &part.path, new, &mut Vec::new()) } else { Ok(()) }
        });
        if let Err(error) = outcome {
            undo(&made);
            return Err(error);
        }
    }
    cgroup.record.made = made;
    Ok(())
}

fn is_denied(error: &Error) -> bool {
    error.has_errno(Errno::ACCESS) || error.has_errno(Errno::PERM) || error.has_errno(Errno::ROFS)
}

fn denied(error: Error, rootless: bool) -> Error {
    let hint = if rootless {
        "nothing is delegated to this user there; use the systemd driver with a user session, or have an administrator delegate a cgroup"
    } else {
        "the cgroup file system is not writable for this process"
    };
    error.with_kind(Kind::NotDelegated).with_reason("unable to apply cgroup configuration").with_hint(hint)
}

pub(crate) fn undo(made: &[String]) {
    for path in made.iter().rev() {
        // The first failure is what the caller gets to see; a directory that cannot be removed has become someone else's.
        sys::rmdir(At::Absolute, path).ok();
    }
}

/// Makes a directory and whatever is missing above it. True when the directory itself is new.
pub(crate) fn make_path(path: &str, made: &mut Vec<String>) -> Result<bool> {
    let fail = |errno| Error::os("create the cgroup", errno).with_object(path);
    // A parent may be removed by another runtime between our two steps, so it is tried more than once.
    for _ in 0..4 {
        match sys::mkdir(At::Absolute, path) {
            Ok(()) => {
                made.push(path.to_owned());
                return Ok(true);
            }
            Err(Errno::EXIST) => return Ok(false),
            Err(Errno::NOENT) => {
                let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) else {
                    return Err(fail(Errno::NOENT));
                };
                make_path(parent, made)?;
            }
            Err(errno @ Errno::OPNOTSUPP) => return Err(threaded(fail(errno))),
            Err(errno @ Errno::AGAIN) => {
                return Err(
                    fail(errno).with_hint("cgroup.max.descendants or cgroup.max.depth of an ancestor is reached")
                );
            }
            Err(errno) => return Err(fail(errno)),
        }
    }
    Err(fail(Errno::NOENT))
}

fn threaded(error: Error) -> Error {
    error
        .with_kind(Kind::Threaded)
        .with_hint("an ancestor is threaded, so only threads can live below it; choose another cgroupsPath")
}

pub(crate) fn frozen(path: &str) -> Error {
    Error::new(Kind::Frozen, "create the cgroup")
        .with_object(path)
        .with_reason("container's cgroup unexpectedly frozen, or one above it: a process put into it would never run")
        .with_hint("thaw it, or choose another cgroupsPath")
}

pub(crate) fn occupied(path: &str, count: usize) -> Error {
    Error::new(Kind::Busy, "create the cgroup")
        .with_object(path)
        .with_reason(format!("container's cgroup is not empty: {count} process(es) found"))
        .with_hint("choose another cgroupsPath, or remove the container it belongs to")
}

fn make_unified(part: &mut Part, mount: &str, made: &mut Vec<String>) -> Result<()> {
    let new = make_path(&part.path, made)?;
    let path = part.path.clone();
    let dir = part.dir()?;
    let mut opened = Vec::with_capacity(2);
    let mut text = |file: &str| read_kept(dir.at(), file, &mut opened).map_err(|errno| dir.error("read", file, errno));
    let events = text("cgroup.events")?;
    let controllers = text("cgroup.controllers")?;
    if !new && keyed(&events, "populated") == Some(1) {
        let mut all = Members::default();
        crate::part::collect(dir, &mut all)?;
        return Err(occupied(&path, all.len()));
    }
    if keyed(&events, "frozen") == Some(1) {
        return Err(frozen(&path));
    }
    hand_down(mount, dir, &controllers, &mut opened)?;
    part.opened = opened;
    Ok(())
}

/// The text of a short file. It is not closed yet but kept in `opened`: the clone, or the init, should not wait for that.
fn read_kept(at: At<'_>, file: &str, opened: &mut Vec<OwnedFd>) -> SysResult<String> {
    let fd = sys::open(at, file, OFlags::RDONLY)?;
    let bytes = sys::read_to_end(fd.as_fd())?;
    opened.push(fd);
    String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)
}

/// Sees to it that a new cgroup, which has the controllers `have`, gets all that the host has.
fn hand_down(mount: &str, dir: &Dir, have: &str, opened: &mut Vec<OwnedFd>) -> Result<()> {
    let has = |name: &str| have.split_whitespace().any(|one| one == name);
    if EXPECTED.iter().all(|name| has(name)) {
        return Ok(());
    }
    let file = [mount, "/cgroup.controllers"].concat();
    let all = read_kept(At::Absolute, &file, opened).map_err(|errno| Error::os("read", errno).with_object(&file))?;
    if !all.split_whitespace().all(has) {
        enable(mount, dir.path(), |_| true)?;
    }
    // With a domain controller it cannot be threaded.
    if DOMAIN.iter().any(|name| has(name)) { Ok(()) } else { check_type(dir) }
}

fn check_type(dir: &Dir) -> Result<()> {
    let kind = dir.read_if_there("cgroup.type")?.unwrap_or_default();
    match kind.trim() {
        "" | "domain" | "domain threaded" => Ok(()),
        kind => Err(threaded(
            Error::new(Kind::Threaded, "create the cgroup")
                .with_object(dir.path())
                .with_reason(format!("its type is {kind:?}")),
        )),
    }
}

/// Hands on, from the mount down to the parent of `leaf`, every wanted controller that the cgroup has and its children have not.
/// Only what is missing is written. An ancestor that refuses is no error here: when a limit needs the controller, that is one.
pub(crate) fn enable(mount: &str, leaf: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let Some(inside) = leaf.strip_prefix(mount).map(|inside| inside.trim_matches('/')) else {
        return Ok(());
    };
    let mut dir = Dir::open(mount)?;
    let mut names = inside.split('/').peekable();
    while let Some(name) = names.next() {
        let (Some(have), Some(given)) =
            (dir.read_if_there("cgroup.controllers")?, dir.read_if_there("cgroup.subtree_control")?)
        else {
            return Ok(());
        };
        let missing: Vec<String> = have
            .split_whitespace()
            .filter(|name| wanted(name) && !given.split_whitespace().any(|one| one == *name))
            .map(|name| format!("+{name}"))
            .collect();
        if have.trim().is_empty() {
            return Ok(());
        }
        // All in one write first; one by one when some cannot (cpu with realtime processes about, domain controllers in a
        // threaded tree, a cgroup with processes of its own).
        if !missing.is_empty()
            && dir.try_write("cgroup.subtree_control", &missing.join(" ")).is_err()
            && missing.len() > 1
        {
            for one in &missing {
                dir.try_write("cgroup.subtree_control", one).ok();
            }
        }
        // The last one is the cgroup itself: it gets, and does not hand on.
        if names.peek().is_none() {
            return Ok(());
        }
        dir = match dir.child(name) {
            Ok(child) => child,
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// True when the directory itself is new.
fn make_v1(part: &mut Part, made: &mut Vec<String>) -> Result<bool> {
    let new = make_path(&part.path, made)?;
    if let Err(error) = part.tasks() {
        if error.kind() == Kind::NotFound {
            return Err(error.with_kind(Kind::Unsupported).with_reason("no cgroup hierarchy is mounted there"));
        }
        return Err(error);
    }
    if !new {
        let mut all = Members::default();
        crate::part::collect(part.dir()?, &mut all)?;
        if !all.is_empty() {
            return Err(occupied(&part.path, all.len()));
        }
    }
    if part.has("freezer") && is_frozen_v1(part)? {
        return Err(frozen(&part.path));
    }
    Ok(new)
}

/// Whether a process that enters the part of the freezer would be frozen.
fn is_frozen_v1(part: &mut Part) -> Result<bool> {
    let file = [&part.path, "/freezer.state"].concat();
    match read_kept(At::Absolute, &file, &mut part.opened) {
        Ok(state) => Ok(state.trim() != "THAWED"),
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::os("read", errno).with_object(file)),
    }
}

/// A v1 cpuset starts without CPUs and memory nodes, and no process can join it then. Gives every cgroup from `first`, the topmost
/// new one, down to `leaf` what its parent has, unless it has some already.
pub(crate) fn fill_cpuset(first: &str, leaf: &str, new: bool, opened: &mut Vec<OwnedFd>) -> Result<()> {
    let Some((top, _)) = first.rsplit_once('/') else { return Ok(()) };
    let read = |path: &str, opened: &mut _| {
        read_kept(At::Absolute, path, opened).map_err(|errno| Error::os("read", errno).with_object(path))
    };
    let path = |dir: &str, file: &str| [dir, "/", file].concat();
    // Hosts that mount the hierarchy with `noprefix` (Android) leave the prefix out.
    let (files, cpus) = match read_kept(At::Absolute, &path(top, "cpuset.cpus"), opened) {
        Ok(cpus) => (["cpuset.cpus", "cpuset.mems"], cpus),
        Err(_) => (["cpus", "mems"], read(&path(top, "cpus"), opened)?),
    };
    let mut values = [cpus, read(&path(top, files[1]), opened)?];
    if values.iter().any(|value| value.trim().is_empty()) {
        // An ancestor that somebody made and left empty, as an engine does for a pod: runc fills it too. The hierarchy's root, which
        // is never empty, ends this.
        fill_cpuset(top, top, false, opened)?;
        values = [read(&path(top, files[0]), opened)?, read(&path(top, files[1]), opened)?];
    }
    let mut dir = top.to_owned();
    for name in leaf.strip_prefix(top).unwrap_or_default().split('/').filter(|name| !name.is_empty()) {
        let above = dir;
        dir = path(&above, name);
        for (file, value) in files.iter().zip(&mut values) {
            let file = path(&dir, file);
            // In a cgroup that was there before, what it has stays.
            if !new && !read(&file, opened)?.trim().is_empty() {
                continue;
            }
            let fail = |errno, value: &str| Error::os("write", errno).with_object(&file).with_value(value);
            match write_kept(&file, value.trim(), opened) {
                Ok(()) => {}
                Err(errno @ Errno::INVAL) => {
                    let error = fail(errno, value.trim());
                    *value = free_of_others(&above, name, &file, value.trim()).ok_or(error)?;
                    write_kept(&file, value, opened).map_err(|errno| fail(errno, value))?;
                }
                Err(errno) => return Err(fail(errno, value.trim())),
            }
        }
    }
    Ok(())
}

/// What is left of the CPUs or memory nodes `all` of the cpuset `above` once those are taken off that cpusets beside `name` have for
/// themselves alone: the kernel refuses what overlaps with them. None where there are no such cpusets, or nothing is left.
fn free_of_others(above: &str, name: &str, file: &str, all: &str) -> Option<String> {
    let file = file.rsplit('/').next()?;
    let exclusive = if file.ends_with("cpus") { "cpu_exclusive" } else { "mem_exclusive" };
    let exclusive = [file.strip_suffix(if file.ends_with("cpus") { "cpus" } else { "mems" })?, exclusive].concat();
    let dir = Dir::open(above).ok()?;
    let mut free = list(all)?;
    let before = free.len();
    for beside in dir.children().ok()?.iter().filter(|beside| *beside != name) {
        let Ok(beside) = dir.child(beside) else { continue };
        if beside.read(&exclusive).is_ok_and(|text| text.trim() == "1") {
            let taken = list(&beside.read(file).ok()?)?;
            free.retain(|number| !taken.contains(number));
        }
    }
    let words = || free.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    (!free.is_empty() && free.len() < before).then(words)
}

/// Writes a file, and keeps it open as [`read_kept`] does.
fn write_kept(file: &str, value: &str, opened: &mut Vec<OwnedFd>) -> SysResult<()> {
    let fd = sys::open(At::Absolute, file, OFlags::WRONLY)?;
    let written = sys::write(fd.as_fd(), value.as_bytes());
    opened.push(fd);
    written
}

/// Gives the cgroup to the owner of the container's user namespace: the directory and the files the kernel lists for that.
pub(crate) fn delegate(cgroup: &Cgroup) -> Result<()> {
    let (Some(owner), Some(part)) = (cgroup.owner, cgroup.unified().filter(|_| cgroup.record.is_v2())) else {
        return Ok(());
    };
    let dir = part.dir()?;
    let gid = owner.gid.unwrap_or(u32::MAX);
    let chown = |file: &str| sys::chown(dir.at(), file, owner.uid, gid);
    chown("").map_err(|errno| Error::os("give the cgroup to its owner", errno).with_object(dir.path()))?;
    for file in delegated_files().lines() {
        match chown(file) {
            // The list is of all files any kernel configuration could have.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(dir.error("give to the cgroup's owner", file, errno)),
        }
    }
    Ok(())
}

/// The files a delegate may write, as the kernel names them; for kernels before 4.15 the list of cgroups(7).
fn delegated_files() -> String {
    let read = || {
        let fd = sys::open(At::Absolute, "/sys/kernel/cgroup/delegate", OFlags::RDONLY)?;
        sys::read_to_end(fd.as_fd())
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_alone_is_left_to_them() {
        let top = std::env::temp_dir().join(format!("orlop-cpuset-{}", std::process::id()));
        let make = |name: &str, cpus: &str, alone: &str| {
            std::fs::create_dir_all(top.join(name)).unwrap();
            std::fs::write(top.join(name).join("cpuset.cpus"), cpus).unwrap();
            std::fs::write(top.join(name).join("cpuset.cpu_exclusive"), alone).unwrap();
        };
        let above = top.to_str().unwrap().to_owned();
        let free = |all: &str| free_of_others(&above, "new", "/x/cpuset.cpus", all);
        make("new", "", "0");
        make("shared", "0-7\n", "0\n");
        assert_eq!(free("0-7\n"), None);
        make("alone", "1,4-5\n", "1\n");
        assert_eq!(free("0-7\n").as_deref(), Some("0,2,3,6,7"));
        assert_eq!(free("1,4\n"), None, "nothing is left");
        make("further", "0,2-3\n", "1\n");
        assert_eq!(free("0-7\n").as_deref(), Some("6,7"));
        // Memory nodes have a file of their own.
        assert_eq!(free_of_others(&above, "new", "/x/cpuset.mems", "0-1"), None);
        std::fs::remove_dir_all(&top).unwrap();
    }
}
