//! Bytes to and from a host: sockets and TLS whose every wait has a deadline and can be cancelled.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use crate::base::Cancel;

/// How long a blocked system call waits before cancellation and deadline are looked at.
const SLICE: Duration = Duration::from_millis(250);

/// Why a wait ended, inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The caller cancelled.
    Cancelled,
    /// Nothing came or went for as long as is allowed.
    Stalled,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::Stalled => "it stalled: nothing was received or taken for too long",
        })
    }
}

impl std::error::Error for Ended {}

impl Ended {
    /// Whether `error` is one of these.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    cancel: Cancel,
    idle: Duration,
    /// When what is waited for must be there as a whole, in however small pieces it comes.
    end: Cell<Option<Instant>>,
}

impl Wire {
    /// Connects to the first address of `host` that answers within `patience`, which all of them share.
    pub(super) fn connect(
        host: &str,
        port: u16,
        patience: Duration,
        idle: Duration,
        cancel: &Cancel,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            if cancel.is_cancelled() {
                return Err(io::Error::other(Ended::Cancelled));
            }
            let rest = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match TcpStream::connect_timeout(&address, rest.max(Duration::from_millis(100))) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_read_timeout(Some(SLICE))?;
                    socket.set_write_timeout(Some(SLICE))?;
                    return Ok(Self { socket, cancel: cancel.clone(), idle, end: Cell::new(None) });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether the other side has said anything, its end included, while nothing was expected.
    fn is_stale(&self) -> bool {
        let mut byte = [0];
        if self.socket.set_nonblocking(true).is_err() {
            return true;
        }
        let quiet = matches!(self.socket.peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).is_err() || !quiet
    }

    /// An error once it was cancelled, or the time for the whole is over.
    fn check(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(Ended::Cancelled));
        }
        match self.end.get() {
            Some(end) if Instant::now() >= end => Err(io::Error::other(Ended::Stalled)),
            _ => Ok(()),
        }
    }

    fn patiently<T>(&self, mut call: impl FnMut(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        let begin = Instant::now();
        loop {
            match call(&self.socket) {
                Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
            self.check()?;
            if begin.elapsed() >= self.idle {
                return Err(io::Error::other(Ended::Stalled));
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.patiently(|mut socket| socket.read(buffer))
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.patiently(|mut socket| socket.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection as HTTP sees it. TLS may run inside TLS, to a host behind a proxy that is itself reached by TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Stream>>),
}

impl Stream {
    fn wire(&self) -> &Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(stream) => stream.sock.wire(),
        }
    }

    /// Does what is over in a moment where nobody means ill: `work` has twice the time that silence may last, whatever comes in
    /// between.
    pub(super) fn in_time<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        let wire = self.wire();
        wire.end.set(Some(Instant::now() + wire.idle * 2));
        let done = work(self);
        self.wire().end.set(None);
        done
    }

    /// Whether it cannot be used for another request.
    pub(super) fn is_stale(&self) -> bool {
        self.wire().is_stale()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
