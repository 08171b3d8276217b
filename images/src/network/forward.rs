//! Published ports on `[::1]`: the kernel routes nothing from there to another device, so a socket takes what comes and carries it
//! to the container. One thread, no call that blocks, and a bound on everything: whoever watches the container waits for
//! [`Forwarder::fd`] beside what else it waits for, and calls [`Forwarder::turn`].

mod datagrams;
mod stream;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use rustix::io::FdFlags;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::base::{Error, Result, Step, sys};
use crate::network::{Lease, Port, Protocol};
use datagrams::Datagrams;
use stream::Connection;

/// How many connections are carried at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// How much is read at once: the largest datagram fits.
const BUFFER: usize = 64 << 10;
/// What a descriptor belongs to, in the two lowest bits of its event's number; the rest is an index.
const LISTENER: u64 = 0;
const CLIENT: u64 = 1;
const SERVER: u64 = 2;
const SESSION: u64 = 3;

/// Carries what comes to `[::1]` to a container.
#[derive(Debug)]
pub struct Forwarder {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    connections: Vec<Option<Connection>>,
    /// Whether connections are refused for a moment, because there are enough.
    full: bool,
    buffer: Vec<u8>,
}

/// A published port.
#[derive(Debug)]
enum Listener {
    Stream(TcpListener, SocketAddr),
    Datagrams(Datagrams),
}

/// Where one port of the host leads.
#[derive(Debug, Clone, Copy)]
struct Way {
    protocol: Protocol,
    host: u16,
    target: SocketAddr,
}

/// All ports of `lease` that are published on `::1`.
fn ways(lease: &Lease) -> Vec<Way> {
    let target = lease.ipv6.map_or(IpAddr::V4(lease.ipv4), IpAddr::V6);
    let of = |port: &Port| {
        let (protocol, host, container) = (port.protocol, port.host, port.container);
        (0..port.count).map(move |offset| Way {
            protocol,
            host: host + offset,
            target: SocketAddr::new(target, container + offset),
        })
    };
    lease.ports.iter().filter(|port| port.is_on_loopback6()).flat_map(of).collect()
}

impl Forwarder {
    /// Listens on the ports of `lease` that are published on `::1`; none if there are none, or the host has no such address.
    pub fn bind(lease: &Lease) -> Result<Option<Self>> {
        let ways = ways(lease);
        if ways.is_empty() || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return Ok(None);
        }
        make_room(ways.len());
        let listener = |way: &Way| {
            let address = (Ipv6Addr::LOCALHOST, way.host);
            let named = |error: std::io::Error| {
                let port = format!("port [::1]:{}/{}", way.host, way.protocol.name());
                Error::io(Step::Network, &error).object_is(port).hint_is("publish it under another number of the host")
            };
            match way.protocol {
                Protocol::Tcp => TcpListener::bind(address).map(OwnedFd::from).map(Some).map_err(named),
                Protocol::Udp => UdpSocket::bind(address).map(OwnedFd::from).map(Some).map_err(named),
                // The network's description says so.
                Protocol::Sctp => Ok(None),
            }
        };
        let sockets = ways.iter().map(|way| Ok(listener(way)?.map(|socket| (socket, *way))));
        let sockets = sockets.filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        if sockets.is_empty() { Ok(None) } else { Self::of(sockets).map(Some) }
    }

    /// Goes on with sockets that this process has inherited through an execution; `numbers` are those of
    /// [`Forwarder::keep_through_execution`].
    pub fn inherited(lease: &Lease, numbers: &[i32]) -> Result<Option<Self>> {
        let failed = |error: std::io::Error| Error::io(Step::Network, &error).object_is(&lease.name);
        let ways: Vec<Way> = ways(lease).into_iter().filter(|way| way.protocol != Protocol::Sctp).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        make_room(numbers.len());
        let sockets = numbers.iter().zip(ways).map(|(number, way)| Ok((sys::inherited(*number).map_err(failed)?, way)));
        Self::of(sockets.collect::<Result<Vec<_>>>()?).map(Some)
    }

    /// Leaves the listening sockets open when this process executes another program, and tells their numbers.
    pub fn keep_through_execution(&self) -> Result<Vec<i32>> {
        let keep = |listener: &Listener| {
            rustix::io::fcntl_setfd(listener.fd(), FdFlags::empty()).map_err(failed)?;
            Ok(listener.fd().as_raw_fd())
        };
        self.listeners.iter().map(keep).collect()
    }

    fn of(sockets: Vec<(OwnedFd, Way)>) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let mut listeners = Vec::with_capacity(sockets.len());
        for (index, (socket, way)) in sockets.into_iter().enumerate() {
            rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
            epoll::add(&epoll, &socket, data(LISTENER, index), EventFlags::IN).map_err(failed)?;
            listeners.push(match way.protocol {
                Protocol::Udp => Listener::Datagrams(Datagrams::new(socket.into(), way.target)),
                _ => Listener::Stream(socket.into(), way.target),
            });
        }
        Ok(Self { epoll, listeners, connections: Vec::new(), full: false, buffer: vec![0; BUFFER] })
    }

    /// What to wait for: it can be read from when there is something to do.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Carries what has come.
    pub fn turn(&mut self) -> Result<()> {
        self.carry(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    /// Carries for as long as the process lives, or until the kernel refuses to tell what has come.
    pub fn run(mut self) -> Result<()> {
        loop {
            self.carry(None)?;
        }
    }

    fn carry(&mut self, patience: Option<&Timespec>) -> Result<()> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 64];
        let count = match epoll::wait(&self.epoll, &mut events[..], patience) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(errno) => return Err(failed(errno)),
        };
        for event in events.iter().take(count) {
            let number = event.data.u64();
            let index = usize::try_from(number >> 2).unwrap_or(usize::MAX);
            match number & 3 {
                LISTENER => self.accept(index),
                SESSION => self.answer(index),
                _ => self.pump(index),
            }
        }
        Ok(())
    }

    /// A connection or a datagram has come.
    fn accept(&mut self, index: usize) {
        match self.listeners.get_mut(index) {
            Some(Listener::Datagrams(datagrams)) => {
                datagrams.send(&self.epoll, data(SESSION, index), &mut self.buffer);
            }
            Some(Listener::Stream(listener, target)) => {
                let free = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
                if free >= CONNECTIONS {
                    return self.listen(false);
                }
                let accepted = match listener.accept() {
                    Ok((client, _)) => Connection::open(client, *target),
                    // It has gone again; or there are no descriptors left, and it must wait for one.
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                        return self.listen(false);
                    }
                    Err(_) => return,
                };
                // What cannot be carried is closed, which tells the client.
                let Ok(mut connection) = accepted else { return };
                if connection.watch(&self.epoll, data(CLIENT, free), data(SERVER, free)).is_ok() {
                    match self.connections.get_mut(free) {
                        Some(place) => *place = Some(connection),
                        None => self.connections.push(Some(connection)),
                    }
                }
            }
            None => {}
        }
    }

    /// A container has answered by a datagram.
    fn answer(&mut self, index: usize) {
        if let Some(Listener::Datagrams(datagrams)) = self.listeners.get_mut(index) {
            datagrams.answer(&mut self.buffer);
        }
    }

    fn pump(&mut self, index: usize) {
        let Some(place) = self.connections.get_mut(index) else { return };
        let Some(connection) = place else { return };
        let goes_on = connection.carry(&mut self.buffer)
            && connection.watch(&self.epoll, data(CLIENT, index), data(SERVER, index)).is_ok();
        if !goes_on {
            // Closed, both of its ends are no longer waited for.
            *place = None;
            self.listen(true);
        }
    }

    /// Whether new connections are taken.
    fn listen(&mut self, on: bool) {
        if self.full != on {
            return;
        }
        let flags = if on { EventFlags::IN } else { EventFlags::empty() };
        for (index, listener) in self.listeners.iter().enumerate() {
            if matches!(listener, Listener::Stream(..)) {
                // It was added before, so it can be changed.
                epoll::modify(&self.epoll, listener.fd(), data(LISTENER, index), flags).ok();
            }
        }
        self.full = !on;
    }
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(listener, _) => listener.as_fd(),
            Self::Datagrams(datagrams) => datagrams.fd(),
        }
    }
}

fn data(kind: u64, index: usize) -> EventData {
    EventData::new_u64((index as u64) << 2 | kind)
}

/// Has the process be allowed descriptors for all that may be open at once, as far as its hard limit goes.
fn make_room(listeners: usize) {
    let wanted = (listeners + 2 * CONNECTIONS + 64) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        // With fewer, fewer connections are carried at once.
        setrlimit(Resource::Nofile, limit).ok();
    }
}

fn failed(errno: rustix::io::Errno) -> Error {
    Error::os(Step::Network, errno.raw_os_error()).object_is("ports of [::1]")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn lease(ports: &[Port]) -> Lease {
        Lease {
            name: "web".to_owned(),
            aliases: Vec::new(),
            number: 2,
            ipv4: "127.0.0.1".parse().unwrap(),
            ipv6: None,
            ports: ports.to_vec(),
            hosts_file: std::path::PathBuf::new(),
            ready: true,
        }
    }

    fn port(host: u16, container: u16, protocol: Protocol) -> Port {
        Port { address: None, host, container, count: 1, protocol }
    }

    /// A number that nobody has on `::1` just now.
    fn free(protocol: Protocol) -> u16 {
        let address = (Ipv6Addr::LOCALHOST, 0);
        match protocol {
            Protocol::Udp => UdpSocket::bind(address).unwrap().local_addr().unwrap().port(),
            _ => TcpListener::bind(address).unwrap().local_addr().unwrap().port(),
        }
    }

    /// Carries in a thread that ends with the test program.
    fn start(container: u16, protocol: Protocol) -> u16 {
        let host = free(protocol);
        let forwarder = Forwarder::bind(&lease(&[port(host, container, protocol)])).unwrap().unwrap();
        std::thread::spawn(move || forwarder.run());
        host
    }

    fn connect(port: u16) -> TcpStream {
        let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    #[test]
    fn bytes_arrive_whole_in_both_directions_and_so_does_their_end() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = start(server.local_addr().unwrap().port(), Protocol::Tcp);
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = Vec::new();
            // The end of the client's half comes before anything is answered.
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut client = connect(host);
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        echo.join().unwrap();
        assert!(back == expected, "{} of {} bytes came back", back.len(), expected.len());
    }

    #[test]
    fn a_slow_reader_stops_its_sender_and_nobody_else() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = start(server.local_addr().unwrap().port(), Protocol::Tcp);
        let slow = connect(host);
        let (mut flood, _) = server.accept().unwrap();
        flood.set_nonblocking(true).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let (mut sent, mut quiet) = (0, 0);
        // Until nothing has been taken for a while: the sockets and one buffer are full.
        while quiet < 20 {
            assert!(Instant::now() < end && sent < 64 << 20, "{sent} bytes were taken for a reader that reads nothing");
            match flood.write(&[0; 65536]) {
                Ok(count) => (sent, quiet) = (sent + count, 0),
                Err(_) => {
                    quiet += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        let mut other = connect(host);
        let (mut peer, _) = server.accept().unwrap();
        peer.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
        drop(slow);
    }

    #[test]
    fn more_connections_than_are_carried_at_once_wait_for_their_turn() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = start(server.local_addr().unwrap().port(), Protocol::Tcp);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = server.accept() {
                stream.write_all(b"x").ok();
                kept.push(stream);
            }
        });
        let mut carried: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(host)).collect();
        carried.iter_mut().for_each(|stream| stream.read_exact(&mut [0]).unwrap());
        let mut waiting = connect(host);
        waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(waiting.read_exact(&mut [0]).is_err(), "one too many is carried");
        // The server keeps its ends open, so a client must be seen to be gone: this one says so at once.
        let ended = carried.pop().unwrap();
        rustix::net::sockopt::set_socket_linger(&ended, Some(Duration::ZERO)).unwrap();
        drop(ended);
        waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        waiting.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn nobody_listens_in_the_container() {
        let host = start(free(Protocol::Tcp), Protocol::Tcp);
        let read = connect(host).read(&mut [0]);
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[test]
    fn datagrams_are_answered_to_whom_they_came_from() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let host = start(server.local_addr().unwrap().port(), Protocol::Udp);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((count, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..count], from).unwrap();
            }
        });
        let clients: Vec<UdpSocket> = (0..300).map(|_| UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.send_to(number.to_string().as_bytes(), (Ipv6Addr::LOCALHOST, host)).unwrap();
            let mut buffer = [0; 16];
            let count = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], number.to_string().as_bytes());
        }
    }

    #[test]
    fn only_ports_that_are_published_on_it_are_served() {
        let mut elsewhere = port(free(Protocol::Tcp), 80, Protocol::Tcp);
        elsewhere.address = Some("127.0.0.1".parse().unwrap());
        assert!(Forwarder::bind(&lease(&[elsewhere])).unwrap().is_none());
        let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let number = taken.local_addr().unwrap().port();
        let error = Forwarder::bind(&lease(&[port(number, 80, Protocol::Tcp)])).unwrap_err().to_string();
        assert!(error.contains(&format!("port [::1]:{number}/tcp")), "{error}");
    }
}
