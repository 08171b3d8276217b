//! The home directory of a container's user, from the container's own /etc/passwd: what HOME is when the config gives none.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};

use crate::base::sys;
use crate::config::Config;
use crate::config::mount_options::MountOptions;

/// RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS of openat2(2).
const IN_ROOT: u64 = 0x10 | 0x02;
/// No more of a file that the image may have made as large as it likes.
const MAX_SIZE: u64 = 1 << 20;

/// The home of `uid` in the passwd file of the root file system `root`; `None` when nothing says.
pub(crate) fn home_in(root: BorrowedFd<'_>, uid: u32) -> Option<String> {
    let file = sys::openat2(root, c"etc/passwd", libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, IN_ROOT).ok()?;
    read_home(File::from(file), uid)
}

/// The home of `uid` as the container of `config` will see it: a mount may stand in the way of the root file system's own file.
pub(crate) fn home_of(config: &Config<'_>, bundle: &std::path::Path, uid: u32) -> Option<String> {
    let mounted = config.mounts.iter().rev().find_map(|mount| {
        let rest = std::path::Path::new("/etc/passwd").strip_prefix(&mount.destination).ok()?;
        let source = mount.source.as_ref().filter(|_| MountOptions::parse(&mount.options).is_bind());
        Some(source.map(|source| bundle.join(source.as_str()).join(rest)))
    });
    match mounted {
        Some(Some(path)) => read_home(File::open(path).ok()?, uid),
        // Covered by a file system that does not exist yet.
        Some(None) if config.mounts.iter().any(|mount| mount.destination.starts_with("/etc")) => None,
        _ => {
            let root = File::open(bundle.join(config.root.path.as_str())).ok()?;
            home_in(root.as_fd(), uid)
        }
    }
}

fn read_home(file: File, uid: u32) -> Option<String> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    find(&String::from_utf8_lossy(&text), uid)
}

/// The sixth field of the first line whose third is `uid` (passwd(5)).
fn find(passwd: &str, uid: u32) -> Option<String> {
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
            assert_eq!(find(passwd, uid).as_deref(), home, "{uid}");
        }
    }
}
