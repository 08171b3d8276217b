//! The system calls this crate makes, in the shapes that it wants them. Every descriptor is close-on-exec from birth.

pub(crate) mod bpf;
mod kill;

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::fs::{Access, AtFlags, FileType, Gid, Mode, RawDir, Uid};
use rustix::io::retry_on_intr;

pub(crate) use kill::kill;
pub(crate) use rustix::fs::OFlags;
/// A kernel error number.
pub(crate) use rustix::io::Errno;

pub(crate) type SysResult<T> = Result<T, Errno>;

/// What the last call through the C library has failed with.
fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Where a path starts: at a directory, or (for absolute paths) nowhere in particular.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Dir(BorrowedFd<'a>),
    Absolute,
}

impl AsFd for At<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Dir(fd) => *fd,
            Self::Absolute => rustix::fs::CWD,
        }
    }
}

/// openat(2) with `O_CLOEXEC | O_NOFOLLOW`.
pub(crate) fn open(at: At<'_>, path: &str, flags: OFlags) -> SysResult<OwnedFd> {
    rustix::fs::openat(at, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// mkdirat(2) with mode 0755.
pub(crate) fn mkdir(at: At<'_>, path: &str) -> SysResult<()> {
    rustix::fs::mkdirat(at, path, Mode::from_raw_mode(0o755))
}

/// faccessat2(2) with the effective rights (kernel 5.8): whether the caller may write the file, or make something in the directory.
pub(crate) fn may_write(path: &str) -> SysResult<()> {
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::accessat(rustix::fs::CWD, path, Access::WRITE_OK, flags)
}

/// unlinkat(2) with `AT_REMOVEDIR`.
pub(crate) fn rmdir(at: At<'_>, path: &str) -> SysResult<()> {
    rustix::fs::unlinkat(at, path, AtFlags::REMOVEDIR)
}

/// fchownat(2) without following a link; an empty path means the descriptor itself.
pub(crate) fn chown(at: At<'_>, path: &str, uid: u32, gid: u32) -> SysResult<()> {
    let flags = if path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    // The greatest number would mean that nothing is changed.
    let (uid, gid) = (Some(uid).filter(|uid| *uid != u32::MAX), Some(gid).filter(|gid| *gid != u32::MAX));
    rustix::fs::chownat(at, path, uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags | AtFlags::SYMLINK_NOFOLLOW)
}

/// The file system's magic number at an absolute path, by statfs(2).
pub(crate) fn filesystem(path: &str) -> SysResult<i64> {
    let statfs = rustix::fs::statfs(path)?;
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    Ok(statfs.f_type as i64)
}

/// The number of links to an open file, by fstat(2).
pub(crate) fn links(fd: BorrowedFd<'_>) -> SysResult<u64> {
    let stat = rustix::fs::fstat(fd)?;
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the field's type differs between architectures"
    )]
    Ok(u64::from(stat.st_nlink))
}

/// read(2), again after a signal.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<usize> {
    retry_on_intr(|| rustix::io::read(fd, &mut *buffer))
}

/// pread(2), again after a signal.
pub(crate) fn pread(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> SysResult<usize> {
    retry_on_intr(|| rustix::io::pread(fd, &mut *buffer, offset))
}

/// write(2) of all bytes in one call, as cgroup files want it.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> SysResult<()> {
    let count = retry_on_intr(|| rustix::io::write(fd, bytes))?;
    if count == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Everything in an open kernel file, from its current position.
///
/// A read that leaves room for another record is the last one: the kernel fills a page as long as records fit, and no record of the
/// files read here that spans several reads (`cgroup.procs`, `devices.list`) is longer than `RECORD`.
pub(crate) fn read_to_end(fd: BorrowedFd<'_>) -> SysResult<Vec<u8>> {
    const RECORD: usize = 128;
    let mut all = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let count = read(fd, &mut buffer)?;
        all.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count + RECORD < buffer.len() {
            return Ok(all);
        }
    }
}

/// Everything in a file of any kind, to its very end.
pub(crate) fn read_all(fd: BorrowedFd<'_>) -> SysResult<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        let count = read(fd, &mut buffer)?;
        if count == 0 {
            return Ok(all);
        }
        all.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// A directory entry: its name, and whether it is a directory itself.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}

/// The entries of an open directory by getdents64(2), without `.` and `..`. Names that are not UTF-8 are left out: no cgroup that
/// this crate makes or a controller is named like that.
pub(crate) fn entries(dir: BorrowedFd<'_>) -> SysResult<Vec<Entry>> {
    // The descriptor may have been listed before.
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut listing = RawDir::new(dir, &mut buffer);
    let mut all = Vec::new();
    while let Some(entry) = listing.next() {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | "..")) {
            all.push(Entry { name: name.to_owned(), is_dir: entry.file_type() == FileType::Directory });
        }
    }
    Ok(all)
}

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Readable,
    /// A change of a kernel file such as `cgroup.events`.
    Changed,
}

impl Wait {
    fn of<'f>(self, fd: BorrowedFd<'f>) -> PollFd<'f> {
        let events = match self {
            Self::Readable => PollFlags::IN,
            Self::Changed => PollFlags::PRI,
        };
        PollFd::from_borrowed_fd(fd, events)
    }
}

/// A time to wait; what is negative never ends.
fn timeout(milliseconds: i32) -> Option<Timespec> {
    let milliseconds = u64::try_from(milliseconds).ok()?;
    Timespec::try_from(std::time::Duration::from_millis(milliseconds)).ok()
}

/// poll(2) of one descriptor for at most `timeout_ms`; false when nothing happened in that time.
pub(crate) fn poll(fd: BorrowedFd<'_>, wait: Wait, timeout_ms: i32) -> SysResult<bool> {
    poll_both((fd, wait), None, timeout_ms).map(|(ready, _)| ready)
}

/// poll(2) of one or two descriptors for at most `timeout_ms`: what happened on which in that time, nothing after a signal.
pub(crate) fn poll_both(
    one: (BorrowedFd<'_>, Wait),
    other: Option<(BorrowedFd<'_>, Wait)>,
    timeout_ms: i32,
) -> SysResult<(bool, bool)> {
    let mut fds = vec![one.1.of(one.0)];
    fds.extend(other.map(|(fd, wait)| wait.of(fd)));
    match rustix::event::poll(&mut fds, timeout(timeout_ms).as_ref()) {
        Ok(_) => {
            let happened = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            Ok((happened(0), happened(1)))
        }
        Err(Errno::INTR) => Ok((false, false)),
        Err(errno) => Err(errno),
    }
}

/// eventfd(2), non-blocking.
pub(crate) fn eventfd() -> SysResult<OwnedFd> {
    use rustix::event::EventfdFlags;
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// epoll_create1(2).
pub(crate) fn epoll() -> SysResult<OwnedFd> {
    epoll::create(epoll::CreateFlags::CLOEXEC)
}

/// epoll_ctl(2) with `EPOLL_CTL_ADD`; `key` comes back from [`epoll_wait`].
pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, wait: Wait, key: u64) -> SysResult<()> {
    let events = match wait {
        Wait::Readable => epoll::EventFlags::IN,
        Wait::Changed => epoll::EventFlags::PRI,
    };
    epoll::add(epoll, fd, epoll::EventData::new_u64(key), events)
}

/// epoll_wait(2): the keys of what happened within `timeout_ms`, none after a timeout or a signal.
pub(crate) fn epoll_wait(epoll: BorrowedFd<'_>, timeout_ms: i32) -> SysResult<Vec<u64>> {
    let mut events = [MaybeUninit::uninit(); 16];
    match epoll::wait(epoll, &mut events, timeout(timeout_ms).as_ref()) {
        Ok((events, _)) => Ok(events.iter().map(|event| event.data.u64()).collect()),
        Err(Errno::INTR) => Ok(Vec::new()),
        Err(errno) => Err(errno),
    }
}
