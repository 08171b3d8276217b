//! HTTP/1.1 as registries need it: requests and answers whose bodies stream, connections that are used again.
//!
//! Own, because the point of it is what small clients lack: a limit on silence instead of on the whole transfer,
//! cancellation within a quarter of a second, no redirect that is not decided above, and no copy of a body.

mod answer;
mod body;
mod head;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rustls::StreamOwned;

pub(super) use answer::Answer;
pub(super) use head::Headers;

use crate::base::{Cancel, Error, Kind, Result, Step};
use crate::registry::proxy::{Proxies, Proxy};
use crate::registry::tls;
use crate::registry::url::{Origin, Url};
use crate::registry::wire::{Ended, Stream, Wire};

/// How many idle connections to one origin are kept.
const KEPT: usize = 8;

/// How a host's certificate is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Trust {
    /// The directories of certs.d for the host.
    pub(super) directories: Vec<PathBuf>,
    /// Whether the certificate must be valid.
    pub(super) verify: bool,
}

/// What a connection that is kept can be used for again: a request to the same origin whose certificate would be looked at in the same
/// way. Another prefix of a host may ask for more than the one that the connection was made for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    origin: Origin,
    trust: Trust,
}

/// What goes out with a request.
pub(super) enum Outgoing<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// This many bytes of a reader.
    Stream(&'a mut dyn Read, u64),
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a Url,
    pub(super) trust: &'a Trust,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) outgoing: Outgoing<'a>,
}

/// Connections and how they are made.
#[derive(Debug)]
pub(super) struct Client {
    proxies: Proxies,
    cancel: Cancel,
    /// How long connecting may take, and how long a connection may be silent.
    connect: Duration,
    idle: Duration,
    pool: Mutex<HashMap<Peer, Vec<Stream>>>,
}

/// A failure of the transport, with what retrying needs to know.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: Error,
    /// The peer does not speak TLS.
    pub(super) not_tls: bool,
}

impl Client {
    pub(super) fn new(connect: Duration, idle: Duration, cancel: Cancel) -> Self {
        Self { proxies: Proxies::of_environment(), cancel, connect, idle, pool: Mutex::default() }
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Sends one request and reads the head of the answer.
    ///
    /// A kept connection that the other side closed meanwhile is replaced once; nothing else is tried again here.
    pub(super) fn send(&self, call: &mut Call<'_>) -> std::result::Result<Answer<'_>, Broken> {
        let peer = Peer { origin: call.url.origin.clone(), trust: call.trust.clone() };
        let proxy = self.proxies.of(&peer.origin).map_err(Broken::final_)?;
        let replayable = !matches!(call.outgoing, Outgoing::Stream(..));
        if replayable && let Some(mut stream) = self.kept(&peer) {
            match exchange(&mut stream, call, proxy.as_ref()) {
                Ok(head) => return Ok(Answer::new(self, peer, stream, head, call.method == "HEAD")),
                Err(error) if Ended::of(&error).is_some() => return Err(self.broken(call.url, &error)),
                Err(_) => {}
            }
        }
        let mut stream = self.open(&peer, proxy.as_ref())?;
        match exchange(&mut stream, call, proxy.as_ref()) {
            Ok(head) => Ok(Answer::new(self, peer, stream, head, call.method == "HEAD")),
            Err(error) => Err(self.broken(call.url, &error)),
        }
    }

    /// Whether `origin` speaks TLS; an error if it cannot be reached at all.
    pub(super) fn speaks_tls(&self, origin: &Origin, trust: &Trust) -> Result<bool> {
        let peer = Peer { origin: origin.clone(), trust: trust.clone() };
        let proxy = self.proxies.of(origin)?;
        match self.open(&peer, proxy.as_ref()) {
            Ok(stream) => {
                self.keep(peer, stream);
                Ok(true)
            }
            Err(broken) if broken.not_tls => Ok(false),
            Err(broken) => Err(broken.error),
        }
    }

    fn kept(&self, peer: &Peer) -> Option<Stream> {
        let mut pool = self.pool.lock().ok()?;
        let streams = pool.get_mut(peer)?;
        std::iter::from_fn(|| streams.pop()).find(|stream| !stream.is_stale())
    }

    fn keep(&self, peer: Peer, stream: Stream) {
        if let Ok(mut pool) = self.pool.lock() {
            let streams = pool.entry(peer).or_default();
            if streams.len() < KEPT {
                streams.push(stream);
            }
        }
    }

    fn open(&self, peer: &Peer, proxy: Option<&Proxy>) -> std::result::Result<Stream, Broken> {
        let Peer { origin, trust } = peer;
        let target = proxy.map_or(origin, |proxy| &proxy.origin);
        let wire = Wire::connect(&target.host, target.port, self.connect, self.idle, &self.cancel)
            .map_err(|error| self.broken(&target.url("/"), &error))?;
        let mut stream = Stream::Plain(wire);
        if let Some(proxy) = proxy {
            if proxy.origin.secure {
                stream = self.tls(stream, &proxy.origin, &Trust { directories: Vec::new(), verify: true })?;
            }
            if origin.secure {
                tunnel(&mut stream, origin, proxy).map_err(|error| self.broken(&proxy.origin.url("/"), &error))?;
            }
        }
        if origin.secure { self.tls(stream, origin, trust) } else { Ok(stream) }
    }

    fn tls(&self, stream: Stream, origin: &Origin, trust: &Trust) -> std::result::Result<Stream, Broken> {
        let connection = tls::client(&origin.host, &trust.directories, trust.verify).map_err(Broken::final_)?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            let StreamOwned { conn, sock } = &mut tls;
            if let Err(error) = sock.in_time(|sock| conn.complete_io(sock)) {
                let mut broken = self.broken(&origin.url("/"), &error);
                // A server without TLS answers the greeting with an error, or hangs up.
                broken.not_tls |=
                    [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset].contains(&error.kind());
                return Err(broken);
            }
        }
        Ok(Stream::Tls(Box::new(tls)))
    }

    fn broken(&self, url: &Url, error: &io::Error) -> Broken {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let not_tls = matches!(inner, Some(rustls::Error::InvalidMessage(_)));
        let mut told = transport_error(error).object_is(url.shown());
        if not_tls {
            told = told.reason_is("it does not speak TLS").hint_is("--plain-http HOST allows plain HTTP to this host");
        } else if let Some(rustls::Error::InvalidCertificate(reason)) = inner {
            told = told
                .kind_is(Kind::Denied)
                .reason_is(format!("its certificate is not valid: {reason:?}"))
                .hint_is("put the certificate of its authority into /etc/containers/certs.d/HOST[:PORT]/ca.crt");
        }
        Broken { error: told, not_tls }
    }
}

impl Broken {
    fn final_(error: Error) -> Self {
        Self { error, not_tls: false }
    }
}

/// What a failed read or write of a connection means.
pub(super) fn transport_error(error: &io::Error) -> Error {
    match Ended::of(error) {
        Some(Ended::Cancelled) => Error::new(Kind::Cancelled, Step::Request).reason_is("cancelled"),
        Some(ended) => Error::new(Kind::Timeout, Step::Request).reason_is(ended.to_string()),
        None if error.kind() == io::ErrorKind::TimedOut => {
            Error::new(Kind::Timeout, Step::Request).reason_is("nothing answered in time")
        }
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::new(Kind::Network, Step::Request).reason_is("the connection was closed before the end")
        }
        None => Error::io(Step::Request, error).kind_is(Kind::Network),
    }
}

/// Asks a proxy for a connection to `origin`.
fn tunnel(stream: &mut Stream, origin: &Origin, proxy: &Proxy) -> io::Result<()> {
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let authority = format!("{host}:{}", origin.port);
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let head = head::Head::read(stream)?;
    if head.status != 200 || !head.rest.is_empty() {
        return Err(io::Error::other(format!("the proxy answers {} to CONNECT {authority}", head.status)));
    }
    Ok(())
}

/// Writes the request and reads the head of the answer. An answer that comes while the body is still going out counts: it
/// says why the other side stopped reading.
fn exchange(stream: &mut Stream, call: &mut Call<'_>, proxy: Option<&Proxy>) -> io::Result<head::Head> {
    let written = head::write(stream, call, proxy).and_then(|()| body::write(stream, &mut call.outgoing));
    match written {
        Ok(()) => head::Head::read(stream),
        Err(error) if Ended::of(&error).is_some() => Err(error),
        Err(error) => head::Head::read(stream).map_err(|_| error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The answer to each request that comes over any of its connections, which it counts.
    fn server() -> (Origin, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Origin::new(false, &listener.local_addr().unwrap().to_string()).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let mut connection = connection.unwrap();
                std::thread::spawn(move || {
                    let mut lines = io::BufReader::new(connection.try_clone().unwrap()).lines();
                    while let Some(Ok(line)) = lines.next() {
                        if line.is_empty() {
                            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                        }
                    }
                });
            }
        });
        (origin, connections)
    }

    #[test]
    fn a_connection_made_without_a_look_at_the_certificate_is_not_used_where_it_counts() {
        let (origin, connections) = server();
        let wait = Duration::from_secs(10);
        let client = Client::new(wait, wait, Cancel::new());
        let ask = |verify| {
            let trust = Trust { directories: Vec::new(), verify };
            let url = origin.url("/v2/");
            let mut call =
                Call { method: "GET", url: &url, trust: &trust, headers: Vec::new(), outgoing: Outgoing::Nothing };
            assert_eq!(client.send(&mut call).unwrap().status, 200);
            connections.load(Ordering::SeqCst)
        };
        assert_eq!([ask(false), ask(false), ask(true), ask(true), ask(false)], [1, 1, 2, 2, 2]);
    }
}
