//! What the caller gets besides the container: its pid in a file, its pidfd and its terminal over a socket.

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::statfs::fstatfs;
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::base::sys;
use crate::base::{Error, HostPid, Result, Step};
use crate::config::Config;
use crate::parent::options::{CreateOptions, Terminal};
use crate::state::EXEC_FIFO;

/// How long a receiver may take to accept a connection whose queue is full, or to read.
const PATIENCE: i64 = 10;

/// Connects to a Unix socket; a path longer than an address holds is reached through its directory.
fn connect(path: &Path, step: Step) -> Result<OwnedFd> {
    /// `sun_path` of unix(7), with its NUL.
    const MAX_PATH: usize = 108;
    let failed = |error: std::io::Error| Error::io(step, &error).with_object(path.display().to_string());
    if path.as_os_str().len() < MAX_PATH {
        return connect_within(path).map_err(failed);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::os(step, libc::ENAMETOOLONG).with_object(path.display().to_string()));
    };
    let directory = std::fs::File::open(parent).map_err(failed)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    connect_within(&short).map_err(failed)
}

/// connect(2) with a bound: on a Unix socket it is the one for sending that counts (socket(7)).
fn connect_within(path: &Path) -> std::io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// The socket that takes the terminal's master.
pub(crate) fn console(config: &Config<'_>, options: &CreateOptions) -> Result<Option<OwnedFd>> {
    if !config.process.as_ref().is_some_and(|process| process.terminal) {
        return Ok(None);
    }
    terminal_socket(&options.terminal)
}

/// The socket that takes a terminal's master, connected.
pub(crate) fn terminal_socket(terminal: &Terminal) -> Result<Option<OwnedFd>> {
    match terminal {
        Terminal::None => Ok(None),
        Terminal::Socket(path) => connect(path, Step::SetUpTerminal).map(Some),
        Terminal::Connected { socket, .. } => {
            socket.try_clone().map(Some).map_err(|error| Error::io(Step::SetUpTerminal, &error))
        }
    }
}

/// The FIFO on which the init waits for `start`, opened for both sides: it must neither wait for a writer nor see an end.
pub(crate) fn make_start_fifo(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).with_object(EXEC_FIFO);
    nix::unistd::mkfifoat(dir, EXEC_FIFO, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed)?;
    openat(dir, EXEC_FIFO, OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)
}

/// The directory that is mounted on /run/notify: any user of the container may reach the socket in it.
pub(crate) fn make_notify_directory(dir: BorrowedFd<'_>) -> Result<()> {
    let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).with_object("notify");
    mkdirat(dir, "notify", Mode::from_bits_truncate(0o755)).map_err(failed)
}

/// The pipes that a checkpoint has to know of. A terminal of the container's own is none.
pub(crate) fn stdio(config: &Config<'_>, options: &CreateOptions) -> Vec<String> {
    if config.process.as_ref().is_some_and(|process| process.terminal) {
        return Vec::new();
    }
    match &options.stdio {
        Some(streams) => piped_stdio(streams.each_ref().map(AsFd::as_fd)),
        None => piped_stdio(sys::standard_streams()),
    }
}

/// The pipes among the standard streams, as a checkpoint names them; other streams are empty strings, and without a pipe the
/// list is empty.
fn piped_stdio(streams: [BorrowedFd<'_>; 3]) -> Vec<String> {
    /// `PIPEFS_MAGIC` of linux/magic.h: a named pipe is a file of another file system.
    const PIPEFS: i64 = 0x5049_5045;
    let pipe = |stream: &BorrowedFd<'_>| {
        // The type of the field differs between C libraries.
        #[allow(clippy::unnecessary_cast, reason = "it is i64 with one C library and u64 with another")]
        let kind = fstatfs(stream).map(|found| found.filesystem_type().0 as i64);
        match (kind, fstat(stream)) {
            (Ok(PIPEFS), Ok(status)) => format!("pipe:[{}]", status.st_ino),
            // A stream that is closed is none.
            _ => String::new(),
        }
    };
    let streams: Vec<String> = streams.iter().map(pipe).collect();
    if streams.iter().all(String::is_empty) { Vec::new() } else { streams }
}

/// Sends a pidfd over the Unix socket at `path`.
pub(crate) fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    let socket = connect(path, Step::SendPidfd)?;
    let fds = [pidfd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    let iov = [std::io::IoSlice::new(b"pidfd")];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &iov, &control, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .map_err(|errno| Error::os(Step::SendPidfd, errno as i32).with_object(path.display().to_string()))
}

/// Writes the pid file: whole or not at all, since whoever waits for it reads it at once.
pub(crate) fn write_pid_file(path: &Path, pid: HostPid) -> Result<()> {
    let failed = |errno: Errno| Error::os(Step::WritePidFile, errno as i32).with_object(path.display().to_string());
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR))?;
    let directory = nix::fcntl::open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let mut hidden = Vec::with_capacity(name.len() + 1);
    hidden.push(b'.');
    hidden.extend_from_slice(name.as_bytes());
    let hidden = std::ffi::OsStr::from_bytes(&hidden);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o644);
    let file = match openat(&directory, hidden, flags, mode) {
        // Left by a runtime that was killed between the two steps.
        Err(Errno::EEXIST) => {
            unlinkat(&directory, hidden, UnlinkatFlags::NoRemoveDir).map_err(failed)?;
            openat(&directory, hidden, flags, mode)
        }
        other => other,
    }
    .map_err(failed)?;
    std::fs::File::from(file)
        .write_all(pid.to_string().as_bytes())
        .map_err(|error| Error::io(Step::WritePidFile, &error).with_object(path.display().to_string()))?;
    nix::fcntl::renameat(&directory, hidden, &directory, name).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_told_from_other_streams() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let inode = fstat(&read).unwrap().st_ino;
        let found = piped_stdio([null.as_fd(), write.as_fd(), null.as_fd()]);
        assert_eq!(found, ["".to_owned(), format!("pipe:[{inode}]"), String::new()]);
        assert!(piped_stdio([null.as_fd(), null.as_fd(), null.as_fd()]).is_empty());
    }
}
