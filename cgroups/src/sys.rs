//! The system calls this crate makes, as safe functions. Every descriptor is close-on-exec from birth.
#![allow(unsafe_code, reason = "system calls without a safe wrapper in the standard library")]

pub(crate) mod bpf;

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A kernel error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type SysResult<T> = Result<T, Errno>;

/// Where a path starts: at a directory, or (for absolute paths) nowhere in particular.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    Dir(BorrowedFd<'a>),
    Absolute,
}

impl At<'_> {
    fn raw(self) -> RawFd {
        match self {
            Self::Dir(fd) => fd.as_raw_fd(),
            Self::Absolute => libc::AT_FDCWD,
        }
    }
}

pub(crate) fn errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

pub(crate) fn c_string(text: &str) -> SysResult<CString> {
    CString::new(text).map_err(|_| Errno(libc::EINVAL))
}

/// Takes ownership of a descriptor the kernel has just made.
fn owned(fd: libc::c_long) -> SysResult<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: the kernel returned this number from a call that makes a new descriptor, and nothing else has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: libc::c_int) -> SysResult<()> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// openat(2) with `O_CLOEXEC | O_NOFOLLOW`.
pub(crate) fn open(at: At<'_>, path: &str, flags: libc::c_int) -> SysResult<OwnedFd> {
    let path = c_string(path)?;
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: `path` is a NUL-terminated string that outlives the call; without O_CREAT no mode is read.
    owned(libc::c_long::from(unsafe { libc::openat(at.raw(), path.as_ptr(), flags) }))
}

/// mkdirat(2) with mode 0755.
pub(crate) fn mkdir(at: At<'_>, path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::mkdirat(at.raw(), path.as_ptr(), 0o755) })
}

/// faccessat2(2) with the effective rights (kernel 5.8): whether the caller may write the file, or make something in the directory.
pub(crate) fn may_write(path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    let flags = libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::W_OK, flags) };
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// unlinkat(2) with `AT_REMOVEDIR`.
pub(crate) fn rmdir(at: At<'_>, path: &str) -> SysResult<()> {
    let path = c_string(path)?;
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::unlinkat(at.raw(), path.as_ptr(), libc::AT_REMOVEDIR) })
}

/// fchownat(2) without following a link; an empty path means the descriptor itself.
pub(crate) fn chown(at: At<'_>, path: &str, uid: u32, gid: u32) -> SysResult<()> {
    let path = c_string(path)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    check(unsafe { libc::fchownat(at.raw(), path.as_ptr(), uid, gid, flags) })
}

/// The file system's magic number at an absolute path, by statfs(2).
pub(crate) fn filesystem(path: &str) -> SysResult<i64> {
    let path = c_string(path)?;
    let mut buffer = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is NUL-terminated and `buffer` is a whole struct statfs to write to; both outlive the call.
    check(unsafe { libc::statfs(path.as_ptr(), buffer.as_mut_ptr()) })?;
    // SAFETY: all-zero is a valid struct statfs, and the kernel has filled it in.
    let buffer = unsafe { buffer.assume_init() };
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between C libraries and architectures")]
    Ok(buffer.f_type as i64)
}

/// The number of links to an open file, by fstat(2).
pub(crate) fn links(fd: BorrowedFd<'_>) -> SysResult<u64> {
    let mut buffer = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `buffer` is a whole struct stat to write to, and outlives the call.
    check(unsafe { libc::fstat(fd.as_raw_fd(), buffer.as_mut_ptr()) })?;
    // SAFETY: all-zero is a valid struct stat, and the kernel has filled it in.
    let buffer = unsafe { buffer.assume_init() };
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the field's type differs between architectures"
    )]
    Ok(u64::from(buffer.st_nlink))
}

/// read(2), again after a signal.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<usize> {
    loop {
        // SAFETY: `buffer` is writable for exactly the length given and outlives the call.
        let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(count) {
            Ok(count) => return Ok(count),
            Err(_) if errno().0 == libc::EINTR => {}
            Err(_) => return Err(errno()),
        }
    }
}

/// pread(2), again after a signal.
pub(crate) fn pread(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> SysResult<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno(libc::EINVAL))?;
    loop {
        // SAFETY: `buffer` is writable for exactly the length given and outlives the call.
        let count = unsafe { libc::pread(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), offset) };
        match usize::try_from(count) {
            Ok(count) => return Ok(count),
            Err(_) if errno().0 == libc::EINTR => {}
            Err(_) => return Err(errno()),
        }
    }
}

/// write(2) of all bytes in one call, as cgroup files want it.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> SysResult<()> {
    loop {
        // SAFETY: `bytes` is readable for exactly the length given and outlives the call.
        let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(count) {
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(_) => return Err(Errno(libc::EIO)),
            Err(_) if errno().0 == libc::EINTR => {}
            Err(_) => return Err(errno()),
        }
    }
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
    // SAFETY: lseek takes no pointers.
    if unsafe { libc::lseek(dir.as_raw_fd(), 0, libc::SEEK_SET) } < 0 {
        return Err(errno());
    }
    let mut all = Vec::new();
    let mut buffer = vec![0_u8; 8192];
    loop {
        // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`, which outlives the call.
        let count = unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        let count = usize::try_from(count).map_err(|_| errno())?;
        if count == 0 {
            return Ok(all);
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        while let Some((entry, next)) = split_dirent(rest) {
            if let Some(entry) = entry {
                all.push(entry);
            }
            rest = next;
        }
    }
}

/// Takes one `struct linux_dirent64` off: d_ino 8 bytes, d_off 8, d_reclen 2, d_type 1, then the name and a NUL.
fn split_dirent(bytes: &[u8]) -> Option<(Option<Entry>, &[u8])> {
    let length = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
    let kind = *bytes.get(18)?;
    let name = CStr::from_bytes_until_nul(bytes.get(19..length)?).ok()?;
    let entry = name
        .to_str()
        .ok()
        .filter(|name| !matches!(*name, "." | ".."))
        .map(|name| Entry { name: name.to_owned(), is_dir: kind == libc::DT_DIR });
    Some((entry, bytes.get(length..)?))
}

/// kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> SysResult<()> {
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::kill(pid, signal) })
}

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wait {
    Readable,
    /// A change of a kernel file such as `cgroup.events`.
    Changed,
}

impl Wait {
    fn of(self, fd: BorrowedFd<'_>) -> libc::pollfd {
        let events = match self {
            Self::Readable => libc::POLLIN,
            Self::Changed => libc::POLLPRI,
        };
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
    }
}

/// poll(2) of one descriptor for at most `timeout_ms`; false when nothing happened in that time.
pub(crate) fn poll(fd: BorrowedFd<'_>, wait: Wait, timeout_ms: i32) -> SysResult<bool> {
    poll_both((fd, wait), None, timeout_ms).map(|(ready, _)| ready)
}

/// poll(2) of one or two descriptors for at most `timeout_ms`: what happened on which in that time.
pub(crate) fn poll_both(
    one: (BorrowedFd<'_>, Wait),
    other: Option<(BorrowedFd<'_>, Wait)>,
    timeout_ms: i32,
) -> SysResult<(bool, bool)> {
    // poll passes over negative descriptors.
    let nothing = libc::pollfd { fd: -1, events: 0, revents: 0 };
    let mut both = [one.1.of(one.0), other.map_or(nothing, |(fd, wait)| wait.of(fd))];
    // SAFETY: `both` holds two struct pollfd, as the count says, and outlives the call.
    let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, timeout_ms) };
    match ready {
        0.. => Ok((both[0].revents != 0, both[1].revents != 0)),
        _ if errno().0 == libc::EINTR => Ok((false, false)),
        _ => Err(errno()),
    }
}

/// eventfd(2), non-blocking.
pub(crate) fn eventfd() -> SysResult<OwnedFd> {
    // SAFETY: eventfd takes no pointers.
    owned(libc::c_long::from(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }))
}

/// epoll_create1(2).
pub(crate) fn epoll() -> SysResult<OwnedFd> {
    // SAFETY: epoll_create1 takes no pointers.
    owned(libc::c_long::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))
}

/// epoll_ctl(2) with `EPOLL_CTL_ADD`; `key` comes back from [`epoll_wait`].
pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, wait: Wait, key: u64) -> SysResult<()> {
    let flags = match wait {
        Wait::Readable => libc::EPOLLIN,
        Wait::Changed => libc::EPOLLPRI,
    };
    let mut event = libc::epoll_event { events: flags.cast_unsigned(), u64: key };
    // SAFETY: `event` is one struct epoll_event that outlives the call; the kernel copies it.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })
}

/// epoll_wait(2): the keys of what happened within `timeout_ms`, none after a timeout or a signal.
pub(crate) fn epoll_wait(epoll: BorrowedFd<'_>, timeout_ms: i32) -> SysResult<Vec<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
    // SAFETY: `events` has room for 16 entries, as the count says, and outlives the call.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 16, timeout_ms) };
    match usize::try_from(count) {
        Ok(count) => Ok(events.iter().take(count).map(|event| event.u64).collect()),
        Err(_) if errno().0 == libc::EINTR => Ok(Vec::new()),
        Err(_) => Err(errno()),
    }
}

/// `sysconf(_SC_CLK_TCK)`: the ticks per second of times in /proc and `cpuacct.stat`.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: sysconf takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| (1..=1_000_000_000).contains(ticks)).unwrap_or(100)
}
