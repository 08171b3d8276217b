//! The notify path: handing a listener to an agent, and being one.
//!
//! A filter with `SCMP_ACT_NOTIFY` comes with a [`Listener`]. The runtime [sends](send) it, with the state of the
//! container, to the agent's Unix socket; the agent [receives](receive) both, and answers the calls that stop there.
//!
//! ```no_run
//! use orlop_seccomp::notify::{self, Event, Listener, Response};
//! let (stream, _) = std::os::unix::net::UnixListener::bind("/run/agent.sock")?.accept()?;
//! let (state, fds) = notify::receive(&stream)?;
//! for fd in fds {
//!     let listener = Listener::from(fd);
//!     while let Event::Call(call) = listener.next(None)? {
//!         println!("call {} of process {} in {}", call.call.number, call.pid, String::from_utf8_lossy(&state));
//!         listener.respond(call.id, Response::Continue)?;
//!     }
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! What an agent must know: memory behind a pointer argument can be changed by the process at any time, so a decision
//! to [`Response::Continue`] that rests on it protects nothing; and a process may end while its call is handled, so
//! everything read about it by its pid counts only if [`Listener::is_valid`] says so afterwards.
use crate::{Arch, Call, sys};
use rustix::event::PollFlags;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What the OCI runtime specification has the runtime send along with the listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<S> {
    /// The version of the specification.
    pub oci_version: String,
    /// What each descriptor sent along is; `["seccompFd"]`.
    pub fds: Vec<String>,
    /// The process the filter was loaded in, as the runtime sees it.
    pub pid: i32,
    /// The profile's `listenerMetadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// The container's state, as hooks get it.
    pub state: S,
}

impl<S> ContainerProcessState<S> {
    /// The state for one listener.
    pub fn new(oci_version: impl Into<String>, pid: i32, metadata: Option<String>, state: S) -> Self {
        Self { oci_version: oci_version.into(), fds: vec!["seccompFd".to_owned()], pid, metadata, state }
    }
}

/// Sends a listener and a state, as JSON, to the agent at `path`, and closes the connection.
///
/// Neither an agent that does not accept nor one that does not read can hold the caller longer than about twice
/// `timeout`.
///
/// # Errors
/// Those of connect(2) and sendmsg(2); EAGAIN when the time is over, ENAMETOOLONG for a path above 107 bytes.
pub fn send(path: &str, state: &[u8], listener: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let stream = sys::connect(path, timeout)?;
    let mut sent = retry(|| sys::send_with(&stream, state, &[listener]))?;
    while let Some(rest) = state.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += retry(|| sys::send_with(&stream, rest, &[]))?;
    }
    Ok(())
}

/// Receives what [`send`] sends: the whole state as JSON, and the descriptors. Reads until the sender closes.
///
/// # Errors
/// Those of recvmsg(2); EMSGSIZE for a state above 1 MiB or more than eight descriptors.
pub fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    const MOST: usize = 1 << 20;
    let (mut state, mut fds) = (Vec::new(), Vec::new());
    let mut buffer = [0; 8192];
    loop {
        let (length, new) = retry(|| sys::receive_with(stream, &mut buffer))?;
        fds.extend(new);
        state.extend_from_slice(buffer.get(..length).unwrap_or(&[]));
        if length == 0 {
            return Ok((state, fds));
        }
        if state.len() > MOST || fds.len() > sys::MOST_FDS {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// What names it in the answer.
    pub id: u64,
    /// The thread that makes it, in the receiver's pid namespace; 0 if it is not visible there.
    pub pid: u32,
    /// The `AUDIT_ARCH_…` token it is made by.
    pub audit_arch: u32,
    /// The call. For a token no architecture here has, [`Call::arch`] is the native one.
    pub call: Call,
}

/// What came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A call waits.
    Call(Notification),
    /// No process has the filter any more.
    Ended,
    /// The time is over.
    TimedOut,
}

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    /// The call is not made and returns this.
    Return(i64),
    /// The call is not made and fails with this errno.
    Errno(u16),
    /// The call is made. Linux 5.5.
    Continue,
}

/// Where a descriptor is put in the process that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddFd {
    /// At this number, in place of what is there; at the lowest free one if `None`.
    pub at: Option<u32>,
    /// Whether it is closed at execve(2).
    pub close_on_exec: bool,
    /// Whether the call then returns its number at once, without a further answer. Linux 5.14.
    pub answer: bool,
}

/// The descriptor calls are received from.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Waits for the next call, at most for `timeout` (for ever if `None`).
    ///
    /// # Errors
    /// Those of poll(2) and the ioctl; a process that ends meanwhile is none.
    pub fn next(&self, timeout: Option<Duration>) -> io::Result<Event> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let events = retry(|| sys::poll(self.as_fd(), left))?;
            if events.contains(PollFlags::IN) {
                match sys::receive(self.as_fd()) {
                    Ok(raw) => return Ok(Event::Call(notification(&raw))),
                    // Interrupted, or the process ended between poll and this.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ENOENT)) => {}
                    Err(error) => return Err(error),
                }
            } else if events.intersects(PollFlags::HUP | PollFlags::ERR) {
                return Ok(Event::Ended);
            } else if left.is_some_and(|left| left.is_zero()) {
                return Ok(Event::TimedOut);
            }
        }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// ENOENT if the process has ended or its call was interrupted.
    pub fn respond(&self, id: u64, response: Response) -> io::Result<()> {
        #[expect(clippy::cast_possible_truncation, reason = "the flag is 1")]
        const CONTINUE: u32 = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let (val, error, flags) = match response {
            Response::Return(value) => (value, 0, 0),
            Response::Errno(errno) => (0, -i32::from(errno), 0),
            Response::Continue => (0, 0, CONTINUE),
        };
        sys::respond(self.as_fd(), libc::seccomp_notif_resp { id, val, error, flags })
    }

    /// Whether the call still waits: what was read about its process before this was read of that process.
    pub fn is_valid(&self, id: u64) -> bool {
        sys::is_valid(self.as_fd(), id).is_ok()
    }

    /// Puts a copy of `fd` into the process whose call waits; its number there. Linux 5.9.
    ///
    /// # Errors
    /// ENOENT as for [`Self::respond`]; EINVAL on kernels before [`AddFd::answer`].
    pub fn add_fd(&self, id: u64, fd: BorrowedFd<'_>, how: AddFd) -> io::Result<u32> {
        use std::os::fd::AsRawFd;
        #[expect(clippy::cast_possible_truncation, reason = "the flags are 1 and 2")]
        const FLAGS: (u32, u32) = (libc::SECCOMP_ADDFD_FLAG_SETFD as u32, libc::SECCOMP_ADDFD_FLAG_SEND as u32);
        let flags = if how.at.is_some() { FLAGS.0 } else { 0 } | if how.answer { FLAGS.1 } else { 0 };
        let request = libc::seccomp_notif_addfd {
            id,
            flags,
            srcfd: fd.as_raw_fd().cast_unsigned(),
            newfd: how.at.unwrap_or(0),
            newfd_flags: if how.close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        sys::add_fd(self.as_fd(), request).map(i32::cast_unsigned)
    }
}

fn notification(raw: &libc::seccomp_notif) -> Notification {
    let number = raw.data.nr.cast_unsigned();
    let native = const { Arch::native() }.unwrap_or(Arch::X86_64);
    let x32 = native == Arch::X86_64 && number & crate::arch::X32_BIT != 0 && raw.data.arch == native.audit();
    let known = crate::ARCHITECTURES.into_iter().find(|arch| arch.audit() == raw.data.arch);
    let arch = if x32 { Arch::X32 } else { known.unwrap_or(native) };
    let call = Call { arch, number, instruction_pointer: raw.data.instruction_pointer, arguments: raw.data.args };
    Notification { id: raw.id, pid: raw.pid, audit_arch: raw.data.arch, call }
}
