//! The home directory of a container's user, from the container's own /etc/passwd: what HOME is when the config gives none.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::base::procfs::Procfs;
use crate::base::sys::{self, ResolveFlags};
use crate::config::Config;
use crate::config::mount_options::MountOptions;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// No more of a file that the image may have made as large as it likes.
const MAX_SIZE: u64 = 1 << 20;

/// The home of `uid` in the passwd file of the root file system `root`; `None` when nothing says.
pub(crate) fn home_in(procfs: &Procfs, root: BorrowedFd<'_>, uid: u32) -> Option<String> {
    read_home(Some(procfs), find_below(root, c"etc/passwd")?, uid)
}

/// The home of `uid` as the container of `config` will see it: a mount may stand in the way of the root file system's own file.
pub(crate) fn home_of(config: &Config<'_>, bundle: &Path, rootfs: &Path, uid: u32) -> Option<String> {
    let mounted = config.mounts.iter().rev().find_map(|mount| {
        let rest = Path::new("/etc/passwd").strip_prefix(&mount.destination).ok()?;
        let source = mount.source.as_ref().filter(|_| MountOptions::parse(&mount.options).is_bind());
        Some(source.map(|source| (bundle.join(source.as_str()), rest)))
    });
    match mounted {
        Some(Some((source, rest))) => {
            let source = find(&source)?;
            if rest.as_os_str().is_empty() {
                return read_home(None, source, uid);
            }
            let rest = std::ffi::CString::new(rest.as_os_str().as_bytes()).ok()?;
            read_home(None, find_below(source.as_fd(), &rest)?, uid)
        }
        // Covered by a file system that does not exist yet.
        Some(None) => None,
        None => read_home(None, find_below(find(rootfs)?.as_fd(), c"etc/passwd")?, uid),
    }
}

/// A root file system, or the source of a mount: the config's own word, followed as mount(2) would. Nothing is opened but the way to it.
fn find(path: &Path) -> Option<OwnedFd> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// A path that the image or a volume decides where it leads: never out of `directory`.
fn find_below(directory: BorrowedFd<'_>, path: &CStr) -> Option<OwnedFd> {
    sys::openat2(directory, path, OFlag::O_PATH, IN_ROOT).ok()
}

/// Opens what was found only if it is a regular file: a FIFO would hold this process, and a device may act on being opened.
fn open_regular(procfs: Option<&Procfs>, found: OwnedFd) -> Option<File> {
    let found = File::from(found);
    if !found.metadata().ok()?.is_file() {
        return None;
    }
    let reopen = |procfs: &Procfs| procfs.reopen(found.as_fd(), OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok();
    procfs.map_or_else(|| reopen(&Procfs::open().ok()?), reopen).map(File::from)
}

fn read_home(procfs: Option<&Procfs>, found: OwnedFd, uid: u32) -> Option<String> {
    let mut text = Vec::with_capacity(4096);
    open_regular(procfs, found)?.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    home_field(&String::from_utf8_lossy(&text), uid)
}

/// The sixth field of the first line whose third is `uid` (passwd(5)).
pub(crate) fn home_field(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let matches = fields.next()?.parse::<u32>().ok()? == uid;
        let home = fields.nth(2)?;
        (matches && !home.is_empty()).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_found_by_number_only() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n1000:x:7:7::/seven:\nbad\n:x:-1:0::/minus:\nweb:x:1000:1000:w:/srv/web:/bin/sh\nnone:x:9:9:::\n";
        for (uid, home) in [(0, Some("/root")), (7, Some("/seven")), (1000, Some("/srv/web")), (9, None), (5, None)] {
            assert_eq!(home_field(passwd, uid).as_deref(), home, "{uid}");
        }
    }
}
