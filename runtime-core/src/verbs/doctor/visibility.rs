//! What may be mounted. The kernel refuses a new procfs and sysfs to a user namespace whose own are covered in part
//! (`mount_too_revealing` in fs/namespace.c), and the mounts of a mount namespace to who has no rights over it.

use nix::errno::Errno;

use super::finding::{HostFinding, Level, words};
use crate::base::{Rights, sys};

/// What a container of this caller could mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible {
    /// Whether the caller's mounts can be copied, for one who has the capability. `None`: they need not be, or the call is not there.
    copies: Option<Result<(), Errno>>,
    /// `None`: nothing could be tried, since there are no user namespaces to be had, or no calls that mount.
    procfs: Option<Result<(), Errno>>,
    sysfs: Option<Result<(), Errno>>,
}

impl Visible {
    pub(super) fn probe(rights: Rights) -> Self {
        // Whether the calls are there is another question.
        let tried = |namespace, kind| {
            sys::try_mount(namespace, rights.mounts(), kind).filter(|tried| *tried != Err(Errno::ENOSYS))
        };
        // That the root itself is unbindable, or has locked mounts below it, says nothing of the right.
        let copy = || match sys::clone_tree(c"/", false, false) {
            Ok(_) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno),
        };
        let copies = rights.mounts().then(copy).filter(|tried| *tried != Err(Errno::ENOSYS));
        Self { copies, procfs: tried(libc::CLONE_NEWPID, c"proc"), sysfs: tried(libc::CLONE_NEWNET, c"sysfs") }
    }

    pub(super) fn judge(self) -> Vec<HostFinding> {
        let one = |name, tried: Option<Result<(), Errno>>, below: &str, level, lacks: &str, remedy: &str| match tried {
            None => HostFinding::note(name, "could not be tried"),
            Some(Ok(())) => HostFinding::ok(name, "can be mounted"),
            Some(Err(errno)) => {
                let found = format!("cannot be mounted: {} (something covers a part of {below})", words(errno));
                HostFinding::new(level, name, found, lacks, remedy)
            }
        };
        let mut found = Vec::new();
        if let Some(copies) = self.copies {
            const NAME: &str = "mount namespace";
            found.push(match copies {
                Ok(()) => HostFinding::ok(NAME, "its mounts can be copied"),
                Err(errno) => HostFinding::new(
                    Level::Broken,
                    NAME,
                    format!("its mounts cannot be copied: {}", words(errno)),
                    "the root file system and bind mounts cannot be taken from it",
                    "a mount namespace of this user namespace's own: unshare --map-root-user --mount",
                ),
            });
        }
        found.extend([
            one(
                "new procfs",
                self.procfs,
                "/proc",
                Level::Broken,
                "a container with a pid namespace and a mount of type proc fails",
                "an outer container whose /proc is not masked (docker: --security-opt systempaths=unconfined; podman: --security-opt \
                 unmask=ALL), or bind /proc",
            ),
            one(
                "new sysfs",
                self.sysfs,
                "/sys",
                Level::Limit,
                "a mount of type sysfs fails",
                "bind /sys, as orlop spec --rootless does",
            ),
        ]);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_procfs_is_worse_than_a_covered_sysfs() {
        let of = |procfs, sysfs| {
            Visible { copies: None, procfs, sysfs }.judge().iter().map(|one| one.level).collect::<Vec<_>>()
        };
        assert_eq!(of(Some(Ok(())), Some(Ok(()))), [Level::Ok, Level::Ok]);
        assert_eq!(of(Some(Err(Errno::EPERM)), Some(Err(Errno::EPERM))), [Level::Broken, Level::Limit]);
        assert_eq!(of(None, None), [Level::Note, Level::Note]);
    }

    #[test]
    fn mounts_of_others_cannot_be_copied() {
        let of = |copies| Visible { copies: Some(copies), procfs: Some(Ok(())), sysfs: Some(Ok(())) }.judge().remove(0);
        assert_eq!(of(Ok(())).level, Level::Ok);
        let refused = of(Err(Errno::EPERM));
        assert_eq!((refused.name, refused.level), ("mount namespace", Level::Broken));
        assert!(refused.remedy.contains("--mount"), "{refused:?}");
    }
}
