//! Mounts with other owners: the options `uidmap` and `gidmap` of containerd's snapshots for containers with user namespaces.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::sys;

/// What was mapped to what, in the form of /proc/PID/uid_map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMaps {
    uids: String,
    gids: String,
}

impl IdMaps {
    /// Reads the values of both options: `CONTAINER:HOST:COUNT`, and more of them after commas.
    ///
    /// # Errors
    /// What is wrong, with the option's name.
    pub(crate) fn parse(uidmap: &str, gidmap: &str) -> Result<Self, String> {
        let read = |name: &str, text: &str| {
            let lines: Option<Vec<String>> = text.split(',').map(line).collect();
            let lines = lines.ok_or_else(|| format!("the mount option {name}={text} is not CONTAINER:HOST:COUNT,…"))?;
            Ok::<String, String>(lines.concat())
        };
        Ok(Self { uids: read("uidmap", uidmap)?, gids: read("gidmap", gidmap)? })
    }

    /// A user namespace with these maps, whose process is gone by then.
    fn namespace(&self) -> Result<OwnedFd, String> {
        let failed = |errno: Errno| format!("make a user namespace for uidmap and gidmap: {errno}");
        let (pid, process) = sys::spawn_in_user_namespace().map_err(failed)?;
        let namespace = self.write(pid.as_raw());
        // It waits for nothing else, and nobody else may reap it.
        let ended = sys::pidfd_send_signal(process.as_fd(), libc::SIGKILL);
        ended.and_then(|()| waitid(Id::Pid(pid), WaitPidFlag::WEXITED)).map_err(failed)?;
        namespace
    }

    fn write(&self, pid: i32) -> Result<OwnedFd, String> {
        for (file, lines) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = format!("/proc/{pid}/{file}");
            // At once: the kernel takes one write.
            std::fs::write(&path, lines).map_err(|error| format!("write {:?} to {path}: {error}", lines.trim()))?;
        }
        let path = format!("/proc/{pid}/ns/user");
        std::fs::File::open(&path).map(OwnedFd::from).map_err(|error| format!("open {path}: {error}"))
    }
}

fn line(range: &str) -> Option<String> {
    let mut numbers = range.split(':').map(|number| number.parse::<u32>().ok());
    match (numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()) {
        (container, host, count @ 1.., None) => Some(format!("{container} {host} {count}\n")),
        _ => None,
    }
}

/// Puts a mount with other owners in the place of the one on `target`.
///
/// # Errors
/// When the file system or the kernel knows no such thing.
pub(crate) fn remap(target: &Path, maps: &IdMaps, recursive: bool) -> Result<(), String> {
    let tree = mapped(target, maps, recursive, false)?;
    let replaced = umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
    replaced
        .and_then(|()| sys::attach_mount(tree.as_fd(), target))
        .map_err(|errno| format!("put the mount with other owners in place: {errno}"))
}

/// A detached copy of the mount at `path`, with other owners.
fn mapped(path: &Path, maps: &IdMaps, recursive: bool, read_only: bool) -> Result<OwnedFd, String> {
    let namespace = maps.namespace()?;
    let tree =
        sys::clone_mount(path, recursive).map_err(|errno| format!("copy the mount {}: {errno}", path.display()))?;
    sys::map_ids(tree.as_fd(), namespace.as_fd(), recursive, read_only).map_err(|errno| {
        let hint = match errno {
            Errno::EINVAL => ": the file system or the kernel does not support idmapped mounts",
            Errno::EPERM => ": it is idmapped already",
            _ => "",
        };
        format!("apply uidmap and gidmap to {}: {errno}{hint}", path.display())
    })?;
    Ok(tree)
}

/// The layers of an overlay as others own them, for as long as it takes to mount it: it keeps copies of its own.
#[derive(Debug)]
pub(crate) struct Layers {
    place: PathBuf,
}

impl Layers {
    /// The directory in the bundle.
    const NAME: &str = "idmapped";

    /// Mounts `common`, which all layers are below, with other owners in the bundle, whose `root` is the root file system.
    /// Not writable: should it be left there, then whoever removes the bundle removes no layer.
    ///
    /// # Errors
    /// As [`remap`].
    pub(crate) fn mount(common: &Path, root: &Path, maps: &IdMaps) -> Result<Self, String> {
        let place = root.with_file_name(Self::NAME);
        let tree = mapped(common, maps, false, true)?;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&place);
        made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(|error| format!("make the directory {}: {error}", place.display()))?;
        let layers = Self { place };
        sys::attach_mount(tree.as_fd(), &layers.place)
            .map_err(|errno| format!("mount the layers on {}: {errno}", layers.place.display()))?;
        Ok(layers)
    }

    /// Where the layer `path` is with other owners.
    ///
    /// # Errors
    /// When it is on a mount of its own, which is not mapped.
    pub(crate) fn layer(&self, path: &str, common: &str) -> Result<String, String> {
        let mapped = self.place.join(path.strip_prefix(common).unwrap_or(path));
        let facts = |path: &Path| {
            let facts = std::fs::metadata(path).map_err(|error| format!("layer {}: {error}", path.display()))?;
            Ok::<(u64, u64), String>((facts.dev(), facts.ino()))
        };
        if facts(&mapped)? != facts(Path::new(path))? {
            return Err(format!(
                "the layer {path} is on another mount than {common}: uidmap and gidmap do not reach it"
            ));
        }
        mapped.into_os_string().into_string().map_err(|_| format!("the layer {path} has no text for its path"))
    }

    /// Unmounts what a shim that was killed has left in a bundle.
    pub(crate) fn clean(root: &Path) {
        drop(Self { place: root.with_file_name(Self::NAME) });
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        // EINVAL and ENOENT: nothing is there. The bundle's owner removes what stays, which is not writable.
        let _nothing_there = umount2(&self.place, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
        let _nothing_there = std::fs::remove_dir(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_options_become_maps() {
        let maps = IdMaps::parse("0:1000:1,1:100000:65535", "0:5:7").unwrap();
        assert_eq!(maps, IdMaps { uids: "0 1000 1\n1 100000 65535\n".to_owned(), gids: "0 5 7\n".to_owned() });
        for (uidmap, gidmap, name) in [
            ("", "0:0:1", "uidmap="),
            ("0:0:1", "0:0", "gidmap=0:0"),
            ("0:0:0", "0:0:1", "uidmap=0:0:0"),
            ("0:-1:1", "0:0:1", "uidmap=0:-1:1"),
            ("0:0:1:1", "0:0:1", "uidmap=0:0:1:1"),
            ("0:0:4294967296", "0:0:1", "uidmap="),
        ] {
            let error = IdMaps::parse(uidmap, gidmap).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
