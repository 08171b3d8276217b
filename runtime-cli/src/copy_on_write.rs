//! A copy-on-write view of this machine's root file system, in a mount namespace of this process's own.
//!
//! Nothing is mounted where others could see it and nothing is written to a disk: when the last process of the namespace is gone,
//! however it ends, the kernel takes everything back.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::failure::Failure;
use crate::sys;

/// The names of the directories below the bundle; the first is the container's root file system.
pub(crate) const ROOTFS: &str = "rootfs";
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Directories that every system has for mounting things on. The bundle covers one of them, for this process alone.
const PLACES: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/tmp"];

/// Moves this process into a new mount namespace (for others than root: in a new user namespace, as its root), and makes there a
/// bundle directory whose `rootfs` shows this machine's root file system. What is written to it stays in memory.
///
/// No path of `needed` is covered. Also returns what of the file system is not quite as it should be, one line each.
pub(crate) fn bundle(needed: &[&Path]) -> Result<(PathBuf, Vec<String>), Failure> {
    if orlop::Rights::of_this_process().rules_the_host() {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Failure::os("make a mount namespace", errno))?;
    } else {
        become_root_of_user_namespace()?;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| Failure::os("make the mounts of the new namespace private", errno))?;
    let bundle = place(needed).ok_or_else(|| Failure::new(format!("none of {} is free", PLACES.join(", "))))?;
    let failed = |errno| Failure::os(format_args!("mount tmpfs on {}", bundle.display()), errno);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), bundle, Some("tmpfs"), flags, Some("mode=700")).map_err(failed)?;
    for name in [ROOTFS, UPPER, WORK] {
        let path = bundle.join(name);
        fs::create_dir(&path).map_err(|error| Failure::io(format_args!("create {}", path.display()), &error))?;
    }
    Ok((bundle.to_owned(), view(bundle)?))
}

fn become_root_of_user_namespace() -> Result<(), Failure> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Failure::os("make a user namespace (is it allowed to users on this machine?)", errno))?;
    // Without setgroups denied, the kernel lets nobody but root map a group (CVE-2014-8989).
    for (path, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(path, text).map_err(|error| Failure::io(format_args!("write {path}"), &error))?;
    }
    Ok(())
}

/// The first usual mount point that is there and holds nothing that is needed.
fn place(needed: &[&Path]) -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|place| {
        let real = fs::symlink_metadata(place).is_ok_and(|data| data.is_dir());
        real && !needed.iter().any(|path| path.starts_with(place))
    })
}

/// Directories of the root that a container gets anew.
const OWN: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "lost+found"];

/// Builds the view of `/` from overlays; returns which directories could not be made writable, and why.
fn view(bundle: &Path) -> Result<Vec<String>, Failure> {
    let whole = overlay(bundle, "");
    let root = bundle.join(ROOTFS);
    let io = |error: std::io::Error| Failure::io("look at /", &error);
    let device = fs::metadata("/").map_err(io)?.dev();
    let mut notes = Vec::new();
    for entry in fs::read_dir("/").map_err(io)? {
        let entry = entry.map_err(io)?;
        let (name, data) = (entry.file_name(), entry.metadata().map_err(io)?);
        let Some(name) = name.to_str() else { continue };
        // The bundle itself covers one directory, which is shown empty.
        let anew = OWN.contains(&name) || entry.path() == bundle;
        let target = root.join(name);
        if data.is_symlink() && whole.is_err() {
            let link = fs::read_link(entry.path()).map_err(io)?;
            symlink(link, &target).map_err(io)?;
        }
        if !data.is_dir() || (whole.is_ok() && (anew || data.dev() == device)) {
            continue;
        }
        if whole.is_err() {
            fs::create_dir(&target).map_err(io)?;
        }
        if !anew {
            notes.extend(directory(bundle, name, &target));
        }
    }
    Ok(notes)
}

/// Shows the directory `name` of the root: copy-on-write if the kernel allows, else read-only with all that is mounted below it
/// (a user namespace cannot see below the mounts it inherited, so it must take them along).
fn directory(bundle: &Path, name: &str, target: &Path) -> Option<String> {
    let Err(errno) = overlay(bundle, name) else { return None };
    let none = None::<&str>;
    let bound = mount(Some(&Path::new("/").join(name)), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
    match bound.and_then(|()| sys::set_read_only(target)) {
        Ok(()) => Some(format!("/{name} is read-only here: {}", errno.desc())),
        Err(errno) => {
            // Not shown at all rather than writable.
            umount2(target, MntFlags::MNT_DETACH).ok();
            Some(format!("/{name} is empty here: {}", errno.desc()))
        }
    }
}

/// Mounts a copy-on-write view of the directory `name` of the root, or of the root itself for the empty name, without what is
/// mounted below it. `userxattr` is what an unprivileged overlay must use (Linux 5.11); root's does not need it.
fn overlay(bundle: &Path, name: &str) -> nix::Result<()> {
    let layer = |kind: &str| bundle.join(kind).join(if name.is_empty() { "all" } else { name });
    let (upper, work) = (layer(UPPER), layer(WORK));
    for path in [&upper, &work] {
        fs::create_dir(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    }
    let plain = format!("lowerdir=/{name},upperdir={},workdir={}", upper.display(), work.display());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let try_with = |options: &str| {
        let source = Some("overlay");
        mount(source, &bundle.join(ROOTFS).join(name), source, flags, Some(options))
    };
    try_with(&format!("{plain},userxattr")).or_else(|_| try_with(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_holds_something_needed_is_not_covered() {
        let first = place(&[]).unwrap();
        let below = first.join("x");
        let second = place(&[&below]);
        assert_ne!(second, Some(first));
        assert_eq!(place(&[Path::new("/run/orlop")]), Some(first));
    }
}
