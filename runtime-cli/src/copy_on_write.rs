//! A copy-on-write view of this machine's root file system, in a mount namespace of this process's own.
//!
//! Nothing is mounted where others could see it and nothing is written to a disk: when the last process of the namespace is gone,
//! however it ends, the kernel takes everything back.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::failure::Failure;

/// The names of the directories below the bundle; the first is the container's root file system.
pub(crate) const ROOTFS: &str = "rootfs";
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Directories that every system has for mounting things on. The bundle covers one of them, for this process alone.
const PLACES: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/tmp"];

/// Moves this process into a new mount namespace (for others than root: in a new user namespace, as its root), and makes there a
/// bundle directory whose `rootfs` shows this machine's root file system. What is written to it stays in memory.
///
/// No path of `needed` is covered.
pub(crate) fn bundle(needed: &[&Path]) -> Result<PathBuf, Failure> {
    if geteuid().is_root() {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Failure::os("make a mount namespace", errno))?;
    } else {
        become_root_of_user_namespace()?;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| Failure::os("make the mounts of the new namespace private", errno))?;
    let bundle = place(needed).ok_or_else(|| Failure::new(format!("none of {} is free", PLACES.join(", "))))?;
    let failed = |what: &str, errno| Failure::os(format_args!("mount {what} on {}", bundle.display()), errno);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), bundle, Some("tmpfs"), flags, Some("mode=700")).map_err(|errno| failed("tmpfs", errno))?;
    for name in [ROOTFS, UPPER, WORK] {
        let path = bundle.join(name);
        fs::create_dir(&path).map_err(|error| Failure::io(format_args!("create {}", path.display()), &error))?;
    }
    overlay(bundle).map_err(|errno| failed("a copy-on-write view of /", errno))?;
    Ok(bundle.to_owned())
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

/// Mounts the view. `userxattr` is what an unprivileged overlay must use (Linux 5.11); root's does not need it.
fn overlay(bundle: &Path) -> nix::Result<()> {
    let path = |name: &str| bundle.join(name).display().to_string();
    let (upper, work) = (path(UPPER), path(WORK));
    let plain = format!("lowerdir=/,upperdir={upper},workdir={work}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let try_with = |options: &str| {
        let source = Some("overlay");
        mount(source, &bundle.join(ROOTFS), source, flags, Some(options))
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
