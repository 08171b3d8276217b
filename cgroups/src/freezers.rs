//! Whether containers are paused, asked of many.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Result};
use crate::record::Record;
use crate::sys::{self, At, Errno, OFlags, SysResult};

/// Looks whether containers are paused, one after the other.
///
/// The containers of an engine lie side by side, so the directory above two of them in a row is kept open: each step of a path
/// through a cgroup file system costs the kernel more than elsewhere.
#[derive(Debug, Default)]
pub struct Freezers {
    /// The directory that the last container was in.
    above: String,
    /// The same, open, once it was asked for twice in a row.
    dir: Option<OwnedFd>,
}

impl Freezers {
    /// Whether the container itself has been frozen (a frozen cgroup above does not count, as with runc). One file is read, now;
    /// a cgroup or freezer that is not there is not frozen.
    ///
    /// # Errors
    /// [`crate::Kind::System`] when the file cannot be read.
    pub fn is_paused(&mut self, record: &Record) -> Result<bool> {
        self.look(record).map(|paused| paused.unwrap_or(false))
    }

    /// As [`is_paused`](Self::is_paused); none when there is no such cgroup, or no freezer. The container may be elsewhere then.
    ///
    /// # Errors
    /// As for [`is_paused`](Self::is_paused).
    pub fn look(&mut self, record: &Record) -> Result<Option<bool>> {
        let (path, file) = match (record.paths.v1.get("freezer"), &record.paths.unified) {
            (Some(path), _) => (path, "freezer.self_freezing"),
            (None, Some(path)) => (path, "cgroup.freeze"),
            (None, None) => return Ok(None),
        };
        let path = format!("{path}/{file}");
        let mut buffer = [0_u8; 16];
        match self.open(&path, file).and_then(|fd| sys::read(fd.as_fd(), &mut buffer)) {
            Ok(_) => Ok(Some(buffer.first() == Some(&b'1'))),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(errno) => Err(Error::os("read", errno).with_object(path)),
        }
    }

    fn open(&mut self, path: &str, file: &str) -> SysResult<OwnedFd> {
        if let Some(below) = self.below(path, file)
            && let Some(dir) = &self.dir
        {
            match sys::open(At::Dir(dir.as_fd()), below, OFlags::RDONLY) {
                // The directory may have been made anew since it was opened, with the container in it.
                Err(Errno::NOENT | Errno::NODEV) => {}
                other => return other,
            }
        }
        sys::open(At::Absolute, path, OFlags::RDONLY)
    }

    /// The part of `path` below the directory that is kept, which from the second time on is the one that the container is in.
    fn below<'p>(&mut self, path: &'p str, file: &str) -> Option<&'p str> {
        let cgroup = path.get(..path.len() - file.len() - 1)?;
        let (above, _) = cgroup.rsplit_once('/').filter(|(above, _)| !above.is_empty())?;
        if self.above != above {
            self.dir = None;
            above.clone_into(&mut self.above);
            return None;
        }
        if self.dir.is_none() {
            // Nothing of it is used but its place. When it cannot be opened, the file itself says why.
            self.dir = sys::open(At::Absolute, above, OFlags::PATH | OFlags::DIRECTORY).ok();
        }
        path.get(above.len() + 1..)
    }
}

impl Record {
    /// As [`Freezers::is_paused`], of one container.
    ///
    /// # Errors
    /// As there.
    pub fn is_paused(&self) -> Result<bool> {
        Freezers::default().is_paused(self)
    }
}
