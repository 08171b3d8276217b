//! Receiving a descriptor over a Unix socket: the console socket and the pidfd socket.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::os::fd::AsFd;

/// A listening socket on which a runtime is to send one descriptor.
#[derive(Debug)]
pub struct Receiver {
    listener: UnixListener,
    /// The socket's path, to be given to the runtime.
    pub path: PathBuf,
}

impl Receiver {
    /// Listens at `path`.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { listener, path: path.to_owned() }
    }

    /// The descriptor that was sent, and the bytes beside it.
    ///
    /// # Panics
    /// When none comes within ten seconds.
    #[must_use]
    pub fn receive(&self) -> (OwnedFd, Vec<u8>) {
        wait_readable(self.listener.as_fd());
        let (stream, _) = self.listener.accept().expect("accept");
        wait_readable(stream.as_fd());
        let mut bytes = [0_u8; 4096];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            .expect("recvmsg");
        let mut fds = Vec::new();
        for control in message.cmsgs().expect("control messages") {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received);
            }
        }
        let length = message.bytes;
        assert_eq!(fds.len(), 1, "one descriptor is sent");
        (own(fds[0]), bytes[..length].to_vec())
    }

    /// The terminal whose master was sent.
    #[must_use]
    pub fn terminal(&self) -> Terminal {
        Terminal { file: File::from(self.receive().0) }
    }
}

#[allow(unsafe_code, reason = "a received descriptor is a bare number")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>) {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).expect("poll");
    assert!(ready > 0, "nothing came on the socket within 10 s");
}

/// The master side of a terminal.
#[derive(Debug)]
pub struct Terminal {
    file: File,
}

impl Terminal {
    /// A new terminal of this size; the second value is its other side, to be given to a program.
    ///
    /// # Panics
    /// When there are no more terminals.
    #[must_use]
    pub fn open(rows: u16, columns: u16) -> (Self, OwnedFd) {
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = nix::pty::openpty(Some(&size), None).expect("openpty");
        (Self { file: File::from(pair.master) }, pair.slave)
    }

    /// Changes its size.
    #[allow(unsafe_code, reason = "TIOCSWINSZ has no safe form")]
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize, which lives across the call.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(result, 0, "TIOCSWINSZ");
    }

    /// Types `text`.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_in(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Reads until `text` has been seen, and gives all that was read.
    ///
    /// # Panics
    /// When it is not seen within ten seconds.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(10);
        let mut seen = String::new();
        while !seen.contains(text) {
            assert!(Instant::now() < until, "{text:?} does not come; terminal shows {seen:?}");
            assert!(self.read_some(&mut seen), "terminal closed before {text:?} came; it showed {seen:?}");
        }
        seen
    }

    /// Reads until the other side is closed.
    #[must_use]
    pub fn rest(&mut self) -> String {
        let mut seen = String::new();
        while self.read_some(&mut seen) {}
        seen
    }

    /// Reads once, for at most half a second; false at the end.
    fn read_some(&mut self, seen: &mut String) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(500_u16)).expect("poll") == 0 {
            return true;
        }
        let mut bytes = [0_u8; 4096];
        match self.file.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
                true
            }
        }
    }
}
