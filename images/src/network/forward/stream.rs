//! One connection and its other half.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// After how much silence the kernel asks whether the other side is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// A client's connection and the one to the container.
#[derive(Debug)]
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    up: Half,
    down: Half,
    /// What is waited for at each beside its failure; none once nothing more can happen to it.
    waits: [Option<EventFlags>; 2],
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// What was read and is not yet taken; nothing more is read before it is.
    pending: Vec<u8>,
    /// Nothing more will come.
    over: bool,
    /// The receiver was told so.
    told: bool,
}

impl Connection {
    /// Begins to connect the other half.
    pub(super) fn open(client: TcpStream, target: SocketAddr) -> Result<Self> {
        client.set_nonblocking(true)?;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let server = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
        match connect(&server, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        for stream in [&client, &server] {
            // What comes is passed on as it came.
            stream.set_nodelay(true)?;
            // One that has closed both directions is told from one that still reads.
            sockopt::set_socket_keepalive(stream, true)?;
            sockopt::set_tcp_keepidle(stream, SILENCE)?;
        }
        Ok(Self { client, server, up: Half::default(), down: Half::default(), waits: [None; 2] })
    }

    /// Carries what there is in both directions, one buffer at most; whether the connection goes on.
    pub(super) fn carry(&mut self, buffer: &mut [u8]) -> bool {
        if [&self.client, &self.server].into_iter().any(|stream| !matches!(stream.take_error(), Ok(None))) {
            return false;
        }
        let carried = self.up.carry(&self.client, &self.server, buffer);
        let carried = carried.and_then(|()| self.down.carry(&self.server, &self.client, buffer));
        carried.is_ok() && !(self.up.told && self.down.told)
    }

    /// Waits for what can be done next.
    pub(super) fn watch(&mut self, epoll: impl AsFd, client: EventData, server: EventData) -> Result<()> {
        let flags = |from: &Half, to: &Half| (!(from.over && to.told)).then(|| from.wanted() | to.wants_room());
        let wanted = [flags(&self.up, &self.down), flags(&self.down, &self.up)];
        let ends = [(self.client.as_fd(), client), (self.server.as_fd(), server)];
        for ((wait, wanted), (fd, data)) in self.waits.iter_mut().zip(wanted).zip(ends) {
            change(epoll.as_fd(), fd, data, *wait, wanted)?;
            *wait = wanted;
        }
        Ok(())
    }
}

/// One that is through is taken out: the kernel would report its end again and again.
fn change(
    epoll: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    data: EventData,
    now: Option<EventFlags>,
    then: Option<EventFlags>,
) -> Result<()> {
    let done = match (now, then) {
        (None, None) => Ok(()),
        (None, Some(flags)) => epoll::add(epoll, fd, data, flags),
        (Some(_), None) => epoll::delete(epoll, fd),
        (Some(now), Some(then)) if now == then => Ok(()),
        (Some(_), Some(flags)) => epoll::modify(epoll, fd, data, flags),
    };
    done.map_err(Error::from)
}

impl Half {
    fn wanted(&self) -> EventFlags {
        if self.over || !self.pending.is_empty() { EventFlags::empty() } else { EventFlags::IN }
    }

    fn wants_room(&self) -> EventFlags {
        if self.pending.is_empty() { EventFlags::empty() } else { EventFlags::OUT }
    }

    fn carry(&mut self, mut from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> Result<()> {
        if !self.pending.is_empty() {
            let count = write(to, &self.pending)?;
            self.pending.drain(..count);
        }
        if self.pending.is_empty() && !self.over {
            match from.read(buffer) {
                Ok(0) => self.over = true,
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let taken = write(to, bytes)?;
                    self.pending.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                }
                Err(error) if later(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if self.pending.is_empty() {
            // The memory of a slow reader is given back when it has caught up.
            self.pending = Vec::new();
            if self.over && !self.told {
                // One that has gone meanwhile needs not be told.
                to.shutdown(Shutdown::Write).ok();
                self.told = true;
            }
        }
        Ok(())
    }
}

fn write(mut to: &TcpStream, bytes: &[u8]) -> Result<usize> {
    match to.write(bytes) {
        Err(error) if later(&error) => Ok(0),
        written => written,
    }
}

fn later(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
