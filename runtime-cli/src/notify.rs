//! sd_notify(3) between a container and the service manager that started this program.
//!
//! The container gets a socket of its own; what it says there is passed on if it concerns the service's state alone. It must not
//! name a main pid (its numbers are those of another pid namespace) nor store file descriptors.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use orlop::{ContainerId, Runtime};

use crate::failure::Failure;
use crate::session::Session;

/// How long the service manager may take to confirm that it has read everything, as runc has it.
const BARRIER_MS: u16 = 30_000;
/// The same once the container has ended.
const BARRIER_ENDED_MS: u16 = 1000;

/// Both sockets.
#[derive(Debug)]
pub(crate) struct Proxy {
    container: UnixDatagram,
    manager: UnixDatagram,
    ready: bool,
    /// The pid that the manager shall watch.
    main_pid: i32,
}

impl Proxy {
    /// Makes the container's socket in its state directory, where `create` has bind-mounted it from, and connects to the
    /// manager's at `host`.
    pub(crate) fn bind(runtime: &Runtime, id: &ContainerId, host: &OsStr) -> Result<Self, Failure> {
        let dir = runtime.container_dir(id).join("notify");
        let failed =
            |error: &std::io::Error| Failure::io(format_args!("make the socket {}/notify.sock", dir.display()), error);
        let opened = std::fs::File::open(&dir).map_err(|error| failed(&error))?;
        // Through the descriptor: a socket's path may have 107 bytes only.
        let path = format!("/proc/self/fd/{}/notify.sock", opened.as_raw_fd());
        let container = UnixDatagram::bind(&path).map_err(|error| failed(&error))?;
        // Any user of the container may notify.
        let open_to_all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&path, open_to_all).map_err(|error| failed(&error))?;
        container.set_nonblocking(true).map_err(|error| failed(&error))?;
        let manager = connect(host)
            .map_err(|error| Failure::io(format_args!("connect to NOTIFY_SOCKET {}", host.display()), &error))?;
        Ok(Self { container, manager, ready: false, main_pid: std::process::id().cast_signed() })
    }

    /// Passes on what the container has said so far.
    pub(crate) fn forward(&mut self, session: &Session<'_>) {
        let mut message = [0_u8; 4096];
        while let Ok(count) = self.container.recv(&mut message) {
            let Some(text) = message.get(..count) else { return };
            let mut passed: Vec<u8> = Vec::new();
            for line in text.split(|&byte| byte == b'\n').filter(|line| allowed(line)) {
                passed.extend_from_slice(line);
                passed.push(b'\n');
                if line == b"READY=1" && !self.ready {
                    self.ready = true;
                    passed.extend_from_slice(format!("MAINPID={}\n", self.main_pid).as_bytes());
                }
            }
            if !passed.is_empty() {
                self.tell(session, &passed);
            }
        }
    }

    fn tell(&self, session: &Session<'_>, text: &[u8]) {
        if let Err(error) = self.manager.send(text) {
            session.warn(&format!("cannot notify the service manager: {error}"));
        }
    }

    /// Waits until the container is ready or its process, behind `pidfd` with the number `pid`, has ended; then the manager
    /// has read everything and this program may end.
    pub(crate) fn until_ready(mut self, session: &Session<'_>, pidfd: BorrowedFd<'_>, pid: i32) -> Result<(), Failure> {
        self.main_pid = pid;
        while !self.ready {
            let mut fds =
                [PollFd::new(self.container.as_fd(), PollFlags::POLLIN), PollFd::new(pidfd, PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Failure::os("poll", errno)),
            }
            let ended = fds.get(1).is_some_and(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            self.forward(session);
            if ended {
                break;
            }
        }
        self.barrier(session, pidfd)
    }

    /// sd_notify_barrier(3): the manager closes the descriptor it is sent once it has handled all earlier messages.
    fn barrier(&self, session: &Session<'_>, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        let failed = |errno| Failure::os("wait for the service manager", errno);
        let (watched, sent): (OwnedFd, OwnedFd) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed)?;
        let text = [std::io::IoSlice::new(b"BARRIER=1")];
        let rights = [sent.as_raw_fd()];
        sendmsg::<()>(
            self.manager.as_raw_fd(),
            &text,
            &[ControlMessage::ScmRights(&rights)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(failed)?;
        drop(sent);
        let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN), PollFd::new(pidfd, PollFlags::POLLIN)];
        let mut answered = poll(&mut fds, PollTimeout::from(BARRIER_MS)) != Ok(0);
        if answered && fds.first().and_then(PollFd::any) != Some(true) {
            // The container has ended, so little depends on the answer any more.
            let mut fds = [PollFd::new(watched.as_fd(), PollFlags::POLLIN)];
            answered = poll(&mut fds, PollTimeout::from(BARRIER_ENDED_MS)) != Ok(0);
        }
        if !answered {
            session.warn("the service manager did not confirm that it has read the notification");
        }
        Ok(())
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }
}

/// What a container may say about itself.
fn allowed(line: &[u8]) -> bool {
    let names: [&[u8]; 7] =
        [b"READY=", b"RELOADING=", b"STOPPING=", b"STATUS=", b"ERRNO=", b"EXTEND_TIMEOUT_USEC=", b"WATCHDOG=1"];
    names.iter().any(|name| line.starts_with(name))
}

fn connect(host: &OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match host.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(host)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_may_speak_of_its_state_and_nothing_else() {
        for good in ["READY=1", "STATUS=half way", "STOPPING=1", "WATCHDOG=1"] {
            assert!(allowed(good.as_bytes()), "{good}");
        }
        for bad in ["MAINPID=1", "FDSTORE=1", "BARRIER=1", "NOTIFYACCESS=all", "WATCHDOG_USEC=1", "", "xREADY=1"] {
            assert!(!allowed(bad.as_bytes()), "{bad}");
        }
    }
}
