//! The loop of a supervisor: output into the log, and the end of the container.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::base::{Error, Result, Step};
use crate::network::Forwarder;
use crate::supervise::log::{LogWriter, Stream};

/// Where the output of a container comes from.
#[derive(Debug)]
pub struct Console {
    /// Standard output, or the master of its terminal.
    pub out: File,
    /// Standard error; none with a terminal.
    pub err: Option<File>,
}

/// Has no descriptor of the caller but the standard streams go on into what is executed later: a pipe that a supervisor kept
/// open would never end for its reader.
pub fn keep_standard_streams_only() {
    crate::base::sys::close_others_on_exec();
}

/// Writes what the container says into the log in `dir`, until its first process `pid` with the descriptor `pidfd` has ended.
/// Returns its exit status, as a shell shows it; none if it is another's child, who alone learns of it.
/// Meanwhile `forwarder` carries what comes to the container's published ports on `::1`.
pub fn watch(
    dir: &Path,
    pid: i32,
    pidfd: &OwnedFd,
    console: Console,
    mut forwarder: Option<Forwarder>,
) -> Result<Option<u8>> {
    let failed = |errno: Errno| Error::os(Step::Supervise, errno as i32).object_is(format!("pid {pid}"));
    let log = LogWriter::open(dir)
        .map_err(|error| Error::io(Step::Supervise, &error).object_is(dir.display().to_string()))?;
    let mut sources = vec![(Stream::Out, console.out)];
    sources.extend(console.err.map(|err| (Stream::Err, err)));
    for (_, source) in &sources {
        nonblocking(source.as_fd()).map_err(failed)?;
    }
    let mut pump = Pump { log: Some(log), buffer: vec![0; 8 << 10] };
    while !wait(pidfd, &sources, forwarder.as_ref()).map_err(failed)? {
        sources.retain_mut(|(stream, source)| pump.carry(*stream, source));
        if forwarder.as_mut().is_some_and(|forwarder| forwarder.turn().is_err()) {
            // It would fail again at once; the container and its log go on.
            forwarder = None;
        }
    }
    drop(forwarder);
    // What was written before the end is there to be read.
    sources.retain_mut(|(stream, source)| pump.carry(*stream, source));
    if let Some(log) = &mut pump.log {
        log.finish().ok();
    }
    reap(pid).map_err(failed)
}

/// A descriptor of the process `pid`.
pub fn process(pid: i32) -> Result<OwnedFd> {
    let failed = |errno| Error::os(Step::Supervise, errno).object_is(format!("pid {pid}"));
    let raw = rustix::process::Pid::from_raw(pid).ok_or_else(|| failed(libc::ESRCH))?;
    pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| failed(errno.raw_os_error()))
}

fn nonblocking(fd: BorrowedFd<'_>) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Waits until something has come; whether the process has ended.
fn wait(pidfd: &OwnedFd, sources: &[(Stream, File)], forwarder: Option<&Forwarder>) -> nix::Result<bool> {
    let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    fds.extend(sources.iter().map(|(_, source)| PollFd::new(source.as_fd(), PollFlags::POLLIN)));
    fds.extend(forwarder.map(|forwarder| PollFd::new(forwarder.fd(), PollFlags::POLLIN)));
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) => Ok(fds.first().and_then(PollFd::any).unwrap_or(false)),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What carries output into the log.
struct Pump {
    /// None once it could not be written: the container must not wait for a disk that is full.
    log: Option<LogWriter>,
    buffer: Vec<u8>,
}

impl Pump {
    /// Carries all that is there; whether more can come.
    fn carry(&mut self, stream: Stream, source: &mut File) -> bool {
        loop {
            match source.read(&mut self.buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    let written = self.log.as_mut().map_or(Ok(()), |log| log.take(stream, bytes));
                    if written.is_err() {
                        self.log = None;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // EIO: nobody has the terminal open, and nobody will without the process.
                Err(_) => return false,
            }
        }
    }
}

fn reap(pid: i32) -> nix::Result<Option<u8>> {
    let status = |code: i32| Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)));
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => return status(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return status(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}
