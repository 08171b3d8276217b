//! Stays with a container's process until it ends: forwards signals, carries the terminal's bytes, reaps, and returns the
//! exit status. One poll(2) loop; nothing here waits for anything else.

use std::io::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, read, write};
use orlop::{Exit, Process};

use crate::failure::Failure;
use crate::notify::Proxy;
use crate::session::Session;
use crate::signals::{Request, Signals};
use crate::sys;
use crate::terminal::{self, RawMode};

/// How much is carried at once. A pipe that polls writable takes 4096 bytes (PIPE_BUF) without blocking.
const CHUNK: usize = 4096;

/// One direction of the terminal's traffic.
#[derive(Debug)]
struct Stream {
    bytes: [u8; CHUNK],
    start: usize,
    end: usize,
    /// No more will be read.
    ended: bool,
    /// The reader is gone: what comes is thrown away, so that the writer does not block for ever.
    discard: bool,
    /// The last byte carried was not a line break.
    mid_line: bool,
}

impl Stream {
    fn new() -> Self {
        Self { bytes: [0; CHUNK], start: 0, end: 0, ended: false, discard: false, mid_line: false }
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.pending().is_empty()
    }

    fn wants_output(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Reads once; returns whether something came.
    fn fill(&mut self, from: BorrowedFd<'_>) -> bool {
        match read(from, &mut self.bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                (self.start, self.end) = (0, count);
                return true;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: the other side of a terminal is gone, or this process may not read from it in the background.
            Err(_) => self.ended = true,
        }
        false
    }

    /// Writes once what is pending.
    fn flush(&mut self, to: BorrowedFd<'_>) {
        self.mid_line = self.pending().last().map_or(self.mid_line, |&byte| byte != b'\n');
        if self.discard {
            self.start = self.end;
            return;
        }
        match write(to, self.pending()) {
            Ok(count) => self.start += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.discard = true,
        }
    }

    /// Puts `keys` where input is expected; only when nothing is pending.
    fn type_in(&mut self, keys: &[u8]) {
        if let Some(room) = self.bytes.get_mut(..keys.len()) {
            room.copy_from_slice(keys);
            (self.start, self.end) = (0, keys.len());
        }
    }
}

/// The container's terminal.
#[derive(Debug)]
pub(crate) struct Console {
    master: OwnedFd,
    /// Kept open so that the master never reports a hang-up while the process lives: one that closes its terminal and opens it
    /// again (getty does) stays connected, and poll does not spin. `None` on kernels that cannot (below 4.13).
    _peer: Option<OwnedFd>,
    typed: Stream,
    shown: Stream,
    end_typed: bool,
}

impl Console {
    /// Takes over the terminal's master side.
    pub(crate) fn new(master: OwnedFd) -> Result<Self, Failure> {
        sys::set_nonblocking(&master).map_err(|errno| Failure::os("make the terminal non-blocking", errno))?;
        // The user's window may have changed since the size was given to the library.
        terminal::copy_size(master.as_fd());
        let peer = sys::open_peer(master.as_fd()).ok();
        Ok(Self { master, _peer: peer, typed: Stream::new(), shown: Stream::new(), end_typed: false })
    }

    /// Which events of the master, standard input and standard output matter now.
    fn interests(&self) -> [PollFlags; 3] {
        let when = |wanted, flag| if wanted { flag } else { PollFlags::empty() };
        [
            when(self.shown.wants_input(), PollFlags::POLLIN) | when(self.typed.wants_output(), PollFlags::POLLOUT),
            when(self.typed.wants_input(), PollFlags::POLLIN),
            when(self.shown.wants_output(), PollFlags::POLLOUT),
        ]
    }

    /// Moves bytes wherever the last poll saw that some can be moved.
    fn carry(&mut self, [master, input, output]: [PollFlags; 3]) {
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let writable = PollFlags::POLLOUT | PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        if self.typed.wants_input() && input.intersects(readable) {
            self.typed.fill(stdin().as_fd());
        }
        if self.typed.wants_output() && master.intersects(writable) {
            self.typed.flush(self.master.as_fd());
        }
        if self.shown.wants_output() && output.intersects(writable) {
            self.shown.flush(stdout().as_fd());
        }
        if self.shown.wants_input() && master.intersects(readable) {
            self.shown.fill(self.master.as_fd());
        }
        if self.typed.ended && !self.typed.wants_output() && !self.end_typed {
            self.end_typed = true;
            if let Some(keys) = terminal::end_of_input(self.master.as_fd(), self.typed.mid_line) {
                self.typed.type_in(&keys);
            }
        }
    }

    /// Shows all that the process wrote before it ended. (A read flushes what the kernel still holds back.)
    fn drain(&mut self) {
        loop {
            while self.shown.wants_output() {
                let out = stdout();
                let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => self.shown.flush(out.as_fd()),
                    Err(_) => self.shown.discard = true,
                }
            }
            if self.shown.ended || !self.shown.fill(self.master.as_fd()) {
                return;
            }
        }
    }
}

/// What a foreground command watches over.
#[derive(Debug)]
pub(crate) struct Foreground<'a> {
    /// The process.
    pub(crate) process: &'a Process,
    /// Its terminal, if it has one.
    pub(crate) console: Option<Console>,
    /// The service manager's messages, if there is one.
    pub(crate) notify: Option<Proxy>,
    /// This program's signals.
    pub(crate) signals: &'a Signals,
}

impl Foreground<'_> {
    /// Returns when the process has ended and its last byte is shown.
    pub(crate) fn stay(mut self, session: &Session<'_>) -> Result<Exit, Failure> {
        loop {
            self.poll()?;
            while let Some(request) = self.signals.next()? {
                match request {
                    Request::Forward(signal) => forward(session, self.process, signal),
                    Request::Resize => self.resize(),
                    Request::Reap => {}
                }
            }
            if let Some(proxy) = &mut self.notify {
                proxy.forward(session);
            }
            if let Some(exit) = self.reap(session)? {
                if let Some(console) = &mut self.console {
                    console.drain();
                }
                if let Some(proxy) = &mut self.notify {
                    proxy.forward(session);
                }
                return Ok(exit);
            }
        }
    }

    fn poll(&mut self) -> Result<(), Failure> {
        let (input, output) = (stdin(), stdout());
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.process.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(proxy) = &self.notify {
            fds.push(PollFd::new(proxy.as_fd(), PollFlags::POLLIN));
        }
        let before = fds.len();
        if let Some(console) = &self.console {
            let sides = [console.master.as_fd(), input.as_fd(), output.as_fd()];
            // A descriptor of which nothing is wanted is left out: poll reports hang-ups unasked, and would spin.
            let wanted = sides.into_iter().zip(console.interests()).filter(|(_, flags)| !flags.is_empty());
            fds.extend(wanted.map(|(fd, flags)| PollFd::new(fd, flags)));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(Failure::os("poll", errno)),
        }
        let mut seen = fds.iter().skip(before).map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if let Some(interests) = self.console.as_ref().map(Console::interests) {
            let events =
                interests.map(|flags| if flags.is_empty() { flags } else { seen.next().unwrap_or(PollFlags::empty()) });
            drop(seen);
            drop(fds);
            if let Some(console) = &mut self.console {
                console.carry(events);
            }
        }
        Ok(())
    }

    fn resize(&self) {
        if let Some(console) = &self.console {
            terminal::copy_size(console.master.as_fd());
        }
    }

    /// Takes in all children that have ended; those that are not the process itself are orphans of the container which this
    /// program adopted as a subreaper.
    fn reap(&self, session: &Session<'_>) -> Result<Option<Exit>, Failure> {
        let looking = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            let ended = match waitid(Id::All, looking) {
                Ok(WaitStatus::StillAlive) => return Ok(None),
                Err(Errno::ECHILD) => return self.check_it_lives(),
                Ok(status) => status.pid(),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Failure::os("wait for children", errno)),
            };
            let Some(pid) = ended else { return Ok(None) };
            if pid.as_raw() == self.process.id().get() {
                return Ok(Some(self.process.wait()?));
            }
            session.debug(|| format!("reap orphan {pid}"));
            self::take(pid);
        }
    }

    /// There is no child at all. While the process lives, it is one that was handed over, and its end still comes.
    fn check_it_lives(&self) -> Result<Option<Exit>, Failure> {
        let mut fds = [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) | Err(Errno::EINTR) => Ok(None),
            Ok(_) => Err(Failure::os("the process has ended, and how cannot be told: wait for it", Errno::ECHILD)),
            Err(errno) => Err(Failure::os("poll", errno)),
        }
    }
}

fn forward(session: &Session<'_>, process: &Process, signal: i32) {
    session.debug(|| format!("forward signal {signal} to pid {}", process.id()));
    // ESRCH: it has just ended, which the next turn finds out.
    if let Err(errno) = sys::send_signal(process.as_fd(), signal) {
        session.debug(|| format!("signal {signal} not forwarded: {}", errno.desc()));
    }
}

fn take(pid: Pid) {
    // It has been seen as ended and nobody else in this program waits: this cannot fail or block.
    waitpid(pid, Some(WaitPidFlag::WNOHANG)).ok();
}

/// Takes over the terminal of `process`, if it was sent one through `console`, and stays until the process ends.
pub(crate) fn attend(
    session: &Session<'_>,
    signals: &Signals,
    process: &Process,
    console: &UnixStream,
    notify: Option<Proxy>,
) -> Result<Exit, Failure> {
    if let Some(signal) = signals.hand_over()? {
        forward(session, process, signal);
    }
    // End of file: the library closed its end without sending anything, so the process has no terminal.
    let master = sys::receive_fd(console.as_fd()).map_err(|errno| Failure::os("receive the terminal", errno))?;
    let console = master.map(Console::new).transpose()?;
    // Dropped last, after the final bytes have been shown: only then does the terminal get its old settings back.
    let _raw = console.as_ref().map(|_| RawMode::enter()).transpose()?;
    Foreground { process, console, notify, signals }.stay(session)
}
