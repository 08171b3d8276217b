//! A port of UDP: for each client a socket of its own, so that answers find their way back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

/// How many clients one port has at once; the one that was silent for longest makes room.
const CLIENTS: usize = 64;
/// How long a client may be silent, as for the kernel's translations.
const SILENCE: Duration = Duration::from_secs(120);

/// A port and its clients.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    target: SocketAddr,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    client: SocketAddr,
    socket: UdpSocket,
    last: Instant,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket, target: SocketAddr) -> Self {
        Self { socket, target, sessions: Vec::new() }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends one datagram that has come to the container. What cannot be sent is lost, as datagrams may be.
    pub(super) fn send(&mut self, epoll: impl AsFd, data: EventData, buffer: &mut [u8]) {
        let Ok((count, client)) = self.socket.recv_from(buffer) else { return };
        self.sessions.retain(|session| session.last.elapsed() < SILENCE);
        let Some(session) = self.session(epoll, data, client) else { return };
        session.last = Instant::now();
        session.socket.send(buffer.get(..count).unwrap_or_default()).ok();
    }

    fn session(&mut self, epoll: impl AsFd, data: EventData, client: SocketAddr) -> Option<&mut Session> {
        if let Some(at) = self.sessions.iter().position(|session| session.client == client) {
            return self.sessions.get_mut(at);
        }
        if self.sessions.len() >= CLIENTS {
            let oldest = self.sessions.iter().enumerate().min_by_key(|(_, session)| session.last)?.0;
            self.sessions.swap_remove(oldest);
        }
        let any =
            if self.target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(self.target).ok()?;
        epoll::add(epoll, &socket, data, EventFlags::IN).ok()?;
        self.sessions.push(Session { client, socket, last: Instant::now() });
        self.sessions.last_mut()
    }

    /// Passes on what containers have answered, one datagram for each client.
    pub(super) fn answer(&mut self, buffer: &mut [u8]) {
        let Self { socket, sessions, .. } = self;
        for session in sessions {
            // An error is that nothing has come for this one; or that nobody listens in the container, which is now cleared.
            if let Ok(count) = session.socket.recv(buffer) {
                session.last = Instant::now();
                socket.send_to(buffer.get(..count).unwrap_or_default(), session.client).ok();
            }
        }
    }
}
