//! Paths inside a root file system that nobody may lead out of: where mounts are, and the directories and files they go on.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::base::Result;
use crate::base::procfs::Procfs;
use crate::base::sys::{self, ResolveFlags};
use crate::config::paths::clean;

const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// How often a lookup is repeated that a rename elsewhere got in the way of (openat2(2), EAGAIN).
const ATTEMPTS: u32 = 128;

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    open_resolved(root, path, flags | OFlag::O_PATH)
}

/// Opens a directory inside `root` for reading.
pub(super) fn open_directory(root: BorrowedFd<'_>, path: &str) -> nix::Result<OwnedFd> {
    open_resolved(root, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

fn open_resolved(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    for _ in 0..ATTEMPTS {
        match sys::openat2(root, &path, flags, IN_ROOT) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// The path, below `root`, of what `path` leads to there when links are followed. What is missing at its end stays as it is.
pub(crate) fn resolve(procfs: &Procfs, root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let path = clean(path);
    let mut there = path.as_str();
    loop {
        match open(root, there, OFlag::empty()) {
            Ok(found) => {
                let top = procfs.path_of(root)?;
                let found = procfs.path_of(found.as_fd())?;
                let inside = if top == "/" { &found } else { found.strip_prefix(&top).unwrap_or(&found) };
                let rest = path.strip_prefix(there).unwrap_or("");
                return Ok(clean(&format!("{inside}/{rest}")));
            }
            Err(_) => match there.rsplit_once('/') {
                Some((parent, _)) if !parent.is_empty() => there = parent,
                _ => return Ok(path),
            },
        }
    }
}

/// Whether what a mount goes on is there.
pub(crate) fn has_target(root: BorrowedFd<'_>, path: &str) -> nix::Result<bool> {
    match open(root, &clean(path), OFlag::empty()) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes what a mount goes on, with the directories above it, where it is missing.
pub(crate) fn make_target(root: BorrowedFd<'_>, path: &str, directory: bool) -> nix::Result<()> {
    let path = clean(path);
    match open(root, &path, OFlag::empty()) {
        Ok(_) => return Ok(()),
        Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let mut parent = open(root, "/", OFlag::O_DIRECTORY)?;
    let mut done = String::new();
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        done.push('/');
        done.push_str(name);
        if names.peek().is_none() && !directory {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
            return openat(&parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop);
        }
        match open(root, &done, OFlag::O_DIRECTORY) {
            Ok(next) => parent = next,
            Err(Errno::ENOENT) => {
                // A link that leads nowhere is in the way: nothing is made behind it.
                mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
                parent = open(root, &done, OFlag::O_DIRECTORY)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("orlop-targets-{}-{name}", std::process::id()));
            std::fs::create_dir_all(dir.join("root/run")).unwrap();
            symlink("/run", dir.join("root/var")).unwrap();
            symlink("../../../..", dir.join("root/up")).unwrap();
            symlink("nowhere", dir.join("root/dangling")).unwrap();
            Self(dir)
        }

        fn root(&self) -> OwnedFd {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            nix::fcntl::open(&self.0.join("root"), flags, Mode::empty()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn paths_are_resolved_inside_the_root() {
        let scratch = Scratch::new("resolve");
        let (procfs, root) = (Procfs::open().unwrap(), scratch.root());
        for (path, expected) in [
            ("/run", "/run"),
            ("/var", "/run"),
            ("/var/x/y", "/run/x/y"),
            ("/up/run", "/run"),
            ("/up/missing", "/missing"),
            ("/none/at/all", "/none/at/all"),
            ("/", "/"),
        ] {
            assert_eq!(resolve(&procfs, root.as_fd(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn targets_are_made_inside_the_root_and_nowhere_else() {
        let scratch = Scratch::new("make");
        let root = scratch.root();
        make_target(root.as_fd(), "/var/a/b", true).unwrap();
        make_target(root.as_fd(), "/up/c/file", false).unwrap();
        make_target(root.as_fd(), "/run/a/b", false).unwrap();
        assert!(scratch.0.join("root/run/a/b").is_dir());
        assert!(scratch.0.join("root/c/file").is_file());
        assert_eq!(make_target(root.as_fd(), "/dangling/x", true), Err(Errno::EEXIST));
        assert!(!scratch.0.join("root/nowhere").exists());
        assert_eq!(make_target(root.as_fd(), "/c/file/x", true), Err(Errno::ENOTDIR));
    }
}
