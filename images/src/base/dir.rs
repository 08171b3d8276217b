//! Directories by descriptor: every file of the store is named relative to one, so no path is resolved twice.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use crate::base::{Error, Result, Step};

/// An open directory, and its path for messages.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory `path`, and makes it and those above it where they are missing.
    pub fn make(step: Step, path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io(step, &error).object_is(path.display().to_string());
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(path).map_err(failed)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens an existing directory.
    pub fn open(step: Step, path: &Path) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty());
        let fd = fd.map_err(|errno| Error::os(step, errno as i32).object_is(path.display().to_string()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the directory `name` in this one, and makes it where it is missing. `name` is one component, never a link.
    pub fn sub(&self, step: Step, name: &str) -> Result<Self> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(self.error(step, name, errno)),
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = openat(&self.fd, name, flags, Mode::empty()).map_err(|errno| self.error(step, name, errno))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Its path, for messages and for programs that need one.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of `step` on `name` in this directory.
    #[must_use]
    pub fn error(&self, step: Step, name: &str, errno: Errno) -> Error {
        Error::os(step, errno as i32).object_is(self.path.join(name).display().to_string())
    }

    /// Opens the file `name`; `None` if it is not there. Links are not followed.
    pub fn file(&self, step: Step, name: &str, flags: OFlag) -> Result<Option<File>> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        match openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600)) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error(step, name, errno)),
        }
    }

    /// A new file with a name that nothing else has, beginning with `prefix`.
    pub fn temporary(&self, step: Step, prefix: &str) -> Result<(String, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{prefix}.{}.{count}.tmp", std::process::id());
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
            match openat(&self.fd, name.as_str(), flags, Mode::from_bits_truncate(0o600)) {
                Ok(fd) => return Ok((name, File::from(fd))),
                // Left by a process of the same number that was killed.
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.error(step, &name, errno)),
            }
        }
    }

    /// Puts `bytes` in the place of the file `name`: whoever reads it, also after a crash, sees the old or the new whole.
    pub fn replace(&self, step: Step, name: &str, bytes: &[u8]) -> Result<()> {
        self.place(step, name, bytes, true)
    }

    /// The same for what is of no use once the machine has crashed: it is not waited for until it is on disk, which takes longer
    /// than all else about a container's start. Afterwards the file may be missing or empty.
    pub fn replace_for_now(&self, step: Step, name: &str, bytes: &[u8]) -> Result<()> {
        self.place(step, name, bytes, false)
    }

    fn place(&self, step: Step, name: &str, bytes: &[u8], durable: bool) -> Result<()> {
        let (temporary, mut file) = self.temporary(step, name)?;
        let written = file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        let placed = written
            .map_err(|error| Error::io(step, &error).object_is(self.path.join(name).display().to_string()))
            .and_then(|()| match durable {
                true => self.rename(step, &temporary, self, name),
                false => renameat(&self.fd, temporary.as_str(), &self.fd, name)
                    .map_err(|errno| self.error(step, name, errno)),
            });
        if placed.is_err() {
            // The first failure is the one that is told.
            drop(self.remove(step, &temporary));
        }
        placed
    }

    /// Moves `name` to `to/new`, replacing what is there, and has the move on disk before it returns.
    pub fn rename(&self, step: Step, name: &str, to: &Self, new: &str) -> Result<()> {
        renameat(&self.fd, name, &to.fd, new).map_err(|errno| to.error(step, new, errno))?;
        to.sync(step)
    }

    /// Has the directory itself on disk.
    pub fn sync(&self, step: Step) -> Result<()> {
        fsync(&self.fd).map_err(|errno| self.error(step, "", errno))
    }

    /// Removes the file `name`; tells whether it was there.
    pub fn remove(&self, step: Step, name: &str) -> Result<bool> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error(step, name, errno)),
        }
    }

    /// What `name` is; `None` if it is not there.
    pub fn stat(&self, step: Step, name: &str) -> Result<Option<FileStat>> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error(step, name, errno)),
        }
    }

    /// The whole file `name`, if it is there; an error if it is longer than `limit`.
    pub fn read(&self, step: Step, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(step, name, OFlag::O_RDONLY)? else { return Ok(None) };
        let shown = || self.path.join(name).display().to_string();
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io(step, &error).object_is(shown()))?;
        if bytes.len() as u64 > limit {
            return Err(Error::new(crate::base::Kind::Limit, step)
                .object_is(shown())
                .reason_is(format!("longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The names in it, sorted.
    pub fn names(&self, step: Step) -> Result<Vec<String>> {
        let failed = |errno| self.error(step, "", errno);
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut listing = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
