//! Finding the output of a container again whose supervisor was killed.
//!
//! The container's own end of each pipe is one that reads too, so nothing that it writes fails meanwhile: a full pipe makes it wait
//! for the next supervisor.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::base::{Error, Result, Step};
use crate::supervise::{Console, Record, Seen, State};

impl Seen {
    /// Whether it runs in the background and nobody keeps its output.
    #[must_use]
    pub fn is_unsupervised(&self) -> bool {
        self.record.background && !self.watched && self.status.is_some() && self.record.state == State::Running
    }
}

/// Where the output of a running container with the first process `pid` comes from. What that process has closed is not found.
pub fn output_of(pid: i32, record: &Record) -> Result<Console> {
    let [out, err] = record.pipes.unwrap_or_default();
    Ok(Console { out: pipe(pid, out)?, err: Some(pipe(pid, err)?) })
}

/// The reading end of the pipe `inode` that the process has open; a stream that has ended if there is none.
fn pipe(pid: i32, inode: u64) -> Result<File> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let found = descriptors.filter_map(|entry| reading_end(&entry.path(), inode)).next();
    let null = || File::open("/dev/null").map_err(|error| Error::io(Step::Supervise, &error).object_is("/dev/null"));
    found.map_or_else(null, Ok)
}

/// What `path` leads to, if it is that pipe. It is opened only once that is known: opening something else might wait, or do harm.
fn reading_end(path: &Path, inode: u64) -> Option<File> {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let status = rustix::fs::fstat(&place).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Fifo || status.st_ino != inode {
        return None;
    }
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()
}
