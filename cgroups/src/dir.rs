//! A cgroup directory held open: reads and writes of its files by name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Kind, Result};
use crate::members::Members;
use crate::sys::{self, At, Errno, OFlags, SysResult};

/// An open cgroup directory and the absolute path it was opened by, which is used in messages only.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: String,
}

impl Dir {
    pub(crate) fn open(path: &str) -> Result<Self> {
        sys::open(At::Absolute, path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map(|fd| Self { fd, path: path.to_owned() })
            .map_err(|errno| Error::os("open the cgroup", errno).with_object(path))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn at(&self) -> At<'_> {
        At::Dir(self.fd.as_fd())
    }

    pub(crate) fn child(&self, name: &str) -> Result<Self> {
        let path = format!("{}/{name}", self.path);
        match sys::open(self.at(), name, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(Error::os("open the cgroup", errno).with_object(path)),
        }
    }

    pub(crate) fn open_file(&self, file: &str, flags: OFlags) -> SysResult<OwnedFd> {
        sys::open(self.at(), file, flags)
    }

    /// The whole text of a file; no such file is an error with that errno.
    pub(crate) fn try_read(&self, file: &str) -> SysResult<String> {
        let fd = self.open_file(file, OFlags::RDONLY)?;
        let bytes = sys::read_to_end(fd.as_fd())?;
        String::from_utf8(bytes).map_err(|_| Errno::ILSEQ)
    }

    pub(crate) fn read(&self, file: &str) -> Result<String> {
        self.try_read(file).map_err(|errno| self.error("read", file, errno))
    }

    /// The text of a file, or none when it, or the whole cgroup, is not there.
    pub(crate) fn read_if_there(&self, file: &str) -> Result<Option<String>> {
        match self.try_read(file) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(self.error("read", file, errno)),
        }
    }

    pub(crate) fn try_write(&self, file: &str, value: &str) -> SysResult<()> {
        let fd = self.open_file(file, OFlags::WRONLY)?;
        sys::write(fd.as_fd(), value.as_bytes())
    }

    pub(crate) fn write(&self, file: &str, value: &str) -> Result<()> {
        self.try_write(file, value).map_err(|errno| self.error("write", file, errno).with_value(value))
    }

    pub(crate) fn error(&self, action: &'static str, file: &str, errno: Errno) -> Error {
        Error::os(action, errno).with_object(format!("{}/{file}", self.path))
    }

    /// The processes in this cgroup itself, as this process sees their ids. In a threaded cgroup, which cannot tell its processes,
    /// its threads.
    pub(crate) fn processes(&self) -> Result<Members> {
        let text = match self.try_read("cgroup.procs") {
            Err(Errno::OPNOTSUPP) => self.try_read("cgroup.threads"),
            other => other,
        };
        let text = text.map_err(|errno| self.error("read", "cgroup.procs", errno))?;
        Members::parse(&text).ok_or_else(|| self.malformed("cgroup.procs", &text))
    }

    pub(crate) fn malformed(&self, file: &str, text: &str) -> Error {
        let line: String = text.chars().take(80).collect();
        Error::new(Kind::System, "read")
            .with_object(format!("{}/{file}", self.path))
            .with_reason(format!("unexpected content {line:?}"))
    }

    /// The names of the cgroups directly below.
    pub(crate) fn children(&self) -> Result<Vec<String>> {
        // The kernel counts a link for each of them, so one look tells the usual case.
        if sys::links(self.fd.as_fd()) == Ok(2) {
            return Ok(Vec::new());
        }
        let entries = sys::entries(self.fd.as_fd())
            .map_err(|errno| Error::os("list the cgroup", errno).with_object(&self.path))?;
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The value of `key` in a file of `key value` lines.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
