//! The connection to systemd over D-Bus: method calls to systemd's manager, and the one signal that tells a job's end.
//!
//! Where it can it talks to the manager directly, over its private socket, and not through the bus daemon: that is one process
//! less to wait for, and the daemon of a busy host is slow. All requests go out in as few writes as possible.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::dbus::message::{self, Message, MethodCall};
use super::dbus::value::Value;
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Wait};

/// How long systemd may take for an answer or a job.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const DESTINATION: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// The largest message the D-Bus specification allows.
const LARGEST: usize = 128 << 20;

/// What systemd is asked, so that tests can answer in its place.
pub(crate) trait Manager {
    /// Calls a method of the manager, or `Get` of its properties for a method with a dot in it.
    fn call(&mut self, method: &str, arguments: &[Value]) -> std::result::Result<Vec<Value>, Failure>;
    /// Waits for the end of a job that a call has started; its result, for example `done`.
    fn job(&mut self, job: &str) -> Result<String>;
}

/// A call that went wrong: systemd said no, or nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The error's name and text.
    Refused(String, String),
    /// No answer.
    Bus(Error),
}

/// Which manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    System,
    User,
}

/// An open connection.
pub(crate) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Messages go through the bus daemon, so they need a destination, and signals must be asked for.
    via_daemon: bool,
    subscribed: bool,
    received: Vec<u8>,
    /// Jobs that ended before anyone asked.
    ended: Vec<(String, String)>,
}

impl Connection {
    pub(crate) fn open(whose: Whose) -> Result<Self> {
        let mut tried = Vec::new();
        for (address, via_daemon) in addresses(whose) {
            let stream = match connect(&address) {
                Ok(stream) => stream,
                Err(error) => {
                    tried.push(format!("{}: {error}", address.escape_default()));
                    continue;
                }
            };
            let mut connection =
                Self { stream, serial: 0, via_daemon, subscribed: false, received: Vec::new(), ended: Vec::new() };
            match connection.begin() {
                Ok(()) => return Ok(connection),
                Err(error) => tried.push(error.to_string()),
            }
        }
        let error = Error::new(Kind::Bus, "connect to systemd");
        if tried.is_empty() {
            return Err(error
                .with_reason("neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set")
                .with_hint(NO_USER_BUS));
        }
        let hint =
            if whose == Whose::User { NO_USER_BUS } else { "is systemd running? the cgroupfs driver does without it" };
        Err(error.with_reason(tried.join("; ")).with_hint(hint))
    }

    /// Authenticates by the socket's own credentials, which hold in a user namespace too, and greets the daemon.
    fn begin(&mut self) -> Result<()> {
        let mut out = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
        let hello = self.via_daemon.then(|| self.encode(BUS, "/org/freedesktop/DBus", BUS, "Hello", &[], &mut out));
        self.send(&out)?;
        let end = Instant::now() + TIMEOUT;
        let mut lines = 0;
        while lines < 2 {
            let line = self.line(end)?;
            if !line.starts_with("OK") && !line.starts_with("DATA") {
                return Err(self.broken(&format!("authentication failed: {line:?}")));
            }
            lines += 1;
        }
        match hello {
            Some(serial) => self.answer(serial, end).map(drop).map_err(Failure::into_error),
            None => Ok(()),
        }
    }

    fn broken(&self, detail: &str) -> Error {
        Error::new(Kind::Bus, "talk to systemd").with_reason(detail)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|error| self.broken(&format!("the request could not be sent: {error}")))
    }

    /// Waits for more bytes until `end`.
    fn fill(&mut self, end: Instant) -> Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(Kind::Timeout, "talk to systemd")
                    .with_reason(format!("no answer within {} s", TIMEOUT.as_secs()))
                    .with_hint("systemd or the bus is overloaded"));
            }
            let wait = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
            let ready = sys::poll(self.stream.as_fd(), Wait::Readable, wait)
                .map_err(|errno| Error::os("talk to systemd", errno).with_kind(Kind::Bus))?;
            if !ready {
                continue;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.broken("the connection was closed")),
                Ok(count) => {
                    self.received.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    fn line(&mut self, end: Instant) -> Result<String> {
        loop {
            if let Some(at) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).take(at).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.received.len() > 16 * 1024 {
                return Err(self.broken("the authentication has no end"));
            }
            self.fill(end)?;
        }
    }

    /// Appends a method call to `out` and gives its serial number.
    fn encode(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        arguments: &[Value],
        out: &mut Vec<u8>,
    ) -> u32 {
        self.serial += 1;
        let destination = Some(destination).filter(|_| self.via_daemon);
        MethodCall { destination, path, interface, member, arguments }.encode(self.serial, out);
        self.serial
    }

    fn receive(&mut self, end: Instant) -> Result<Message> {
        loop {
            match message::size(&self.received) {
                Some(size) if size > LARGEST => return Err(self.broken("a message is too large")),
                Some(size) if self.received.len() >= size => {
                    let bytes: Vec<u8> = self.received.drain(..size).collect();
                    return message::decode(&bytes).ok_or_else(|| self.broken("a message is malformed"));
                }
                _ => self.fill(end)?,
            }
        }
    }

    /// Keeps a job's end for later.
    fn note(&mut self, message: &Message) {
        if message.kind == message::SIGNAL && message.member == "JobRemoved" {
            // JobRemoved(u id, o job, s unit, s result)
            if let [_, job, _, result] = message.body.as_slice()
                && let (Some(job), Some(result)) = (job.as_str(), result.as_str())
            {
                self.ended.push((job.to_owned(), result.to_owned()));
            }
        }
    }

    fn answer(&mut self, serial: u32, end: Instant) -> std::result::Result<Vec<Value>, Failure> {
        loop {
            let message = self.receive(end).map_err(Failure::Bus)?;
            if message.reply_to != serial {
                self.note(&message);
                continue;
            }
            match message.kind {
                message::METHOD_RETURN => return Ok(message.body),
                message::ERROR => {
                    let text = message.body.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Err(Failure::Refused(message.error, text));
                }
                _ => self.note(&message),
            }
        }
    }
}

impl Manager for Connection {
    fn call(&mut self, method: &str, arguments: &[Value]) -> std::result::Result<Vec<Value>, Failure> {
        let mut out = Vec::new();
        // Through the daemon, the signal of a job's end comes only when asked for; the manager's own socket has it always.
        if self.via_daemon && !self.subscribed && matches!(method, "StartTransientUnit" | "StopUnit") {
            let rule = format!("type='signal',path='{MANAGER_PATH}',interface='{MANAGER}',member='JobRemoved'");
            self.encode(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &[Value::string(rule)], &mut out);
            self.encode(DESTINATION, MANAGER_PATH, MANAGER, "Subscribe", &[], &mut out);
            self.subscribed = true;
        }
        let (interface, member) = match method.split_once('.') {
            Some(("Properties", member)) => ("org.freedesktop.DBus.Properties", member),
            _ => (MANAGER, method),
        };
        let serial = self.encode(DESTINATION, MANAGER_PATH, interface, member, arguments, &mut out);
        self.send(&out).map_err(Failure::Bus)?;
        self.answer(serial, Instant::now() + TIMEOUT)
    }

    fn job(&mut self, job: &str) -> Result<String> {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(path, _)| path == job) {
                return Ok(result.clone());
            }
            let message = self.receive(end)?;
            self.note(&message);
        }
    }
}

impl Failure {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Refused(name, text) => Error::new(Kind::Bus, "ask systemd").with_reason(format!("{text} ({name})")),
            Self::Bus(error) => error,
        }
    }

    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused(name, _) if name.rsplit('.').next() == Some(wanted))
    }
}

const NO_USER_BUS: &str = "a rootless container under systemd needs a user session: install dbus-user-session, and log in by \
                           ssh, machinectl or with `loginctl enable-linger`, not by su or sudo";

/// Where to find the manager, best first, and whether that is a bus daemon.
fn addresses(whose: Whose) -> Vec<(String, bool)> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut all = Vec::new();
    match whose {
        Whose::System => {
            all.push(("/run/systemd/private".to_owned(), false));
            let bus = env("DBUS_SYSTEM_BUS_ADDRESS").and_then(|address| unix_path(&address));
            all.push((bus.unwrap_or_else(|| "/run/dbus/system_bus_socket".to_owned()), true));
        }
        Whose::User => {
            let runtime = env("XDG_RUNTIME_DIR");
            if let Some(dir) = &runtime {
                all.push((format!("{dir}/systemd/private"), false));
            }
            if let Some(path) = env("DBUS_SESSION_BUS_ADDRESS").and_then(|address| unix_path(&address)) {
                all.push((path, true));
            }
            if let Some(dir) = &runtime {
                all.push((format!("{dir}/bus"), true));
            }
        }
    }
    all
}

/// The path in an address such as `unix:path=/run/user/1000/bus,guid=…`; abstract ones start with a NUL here.
fn unix_path(address: &str) -> Option<String> {
    address.split(';').find_map(|one| {
        one.strip_prefix("unix:")?.split(',').find_map(|part| match part.split_once('=')? {
            ("path", path) => unescape(path),
            ("abstract", name) => unescape(name).map(|name| format!("\0{name}")),
            _ => None,
        })
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn connect(path: &str) -> std::io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    match path.strip_prefix('\0') {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(path),
    }
}

#[cfg(any(test, fuzzing))]
pub(super) fn decode_all(bytes: &[u8]) {
    message::size(bytes);
    drop(message::decode(bytes));
    drop(unix_path(&String::from_utf8_lossy(bytes)));
}

#[cfg(test)]
mod tests {
    use super::super::dbus::message::{ERROR, METHOD_RETURN, SIGNAL, decode, size};
    use super::super::dbus::value::{pad, write};
    use super::*;

    #[test]
    fn addresses_are_read() {
        let table = [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/a%20b,guid=12", Some("/a b")),
            ("unix:abstract=/tmp/x,guid=1", Some("\0/tmp/x")),
            ("tcp:host=x;unix:path=/b", Some("/b")),
            ("tcp:host=x", None),
            ("unix:path=%zz", None),
        ];
        for (address, expected) in table {
            assert_eq!(unix_path(address).as_deref(), expected, "{address}");
        }
    }

    fn reply(serial: u32, kind: u8, extra: Vec<(u8, Value)>, body: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut signature = String::new();
        for value in body {
            write(&mut bytes, value);
            signature.push_str(&value.signature());
        }
        let mut fields: Vec<(u8, Value)> = vec![(5, Value::Uint32(serial)), (8, Value::Signature(signature))];
        fields.extend(extra);
        let fields =
            fields.into_iter().map(|(code, value)| Value::Struct(vec![Value::Byte(code), Value::variant(value)]));
        let mut message = vec![b'l', kind, 0, 1];
        message.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        message.extend(9_u32.to_le_bytes());
        write(&mut message, &Value::Array("(yv)".to_owned(), fields.collect()));
        pad(&mut message, 8);
        message.extend(bytes);
        message
    }

    #[test]
    fn a_job_that_ends_before_its_call_returns_is_not_missed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection {
            stream: ours,
            serial: 0,
            via_daemon: false,
            subscribed: false,
            received: Vec::new(),
            ended: Vec::new(),
        };
        let job = Value::ObjectPath("/job/1".to_owned());
        let ended = [Value::Uint32(1), job.clone(), Value::string("x.scope"), Value::string("done")];
        let mut answer = reply(0, SIGNAL, vec![(3, Value::string("JobRemoved"))], &ended);
        answer.extend(reply(1, METHOD_RETURN, Vec::new(), &[job]));
        answer.extend(reply(2, ERROR, vec![(4, Value::string("a.b.NoSuchUnit"))], &[Value::string("gone")]));
        theirs.write_all(&answer).unwrap();
        let body = connection.call("StartTransientUnit", &[Value::string("x.scope")]).unwrap();
        assert_eq!(connection.job(body[0].as_str().unwrap()).unwrap(), "done");
        let failure = connection.call("StopUnit", &[]).unwrap_err();
        assert!(failure.is("NoSuchUnit"));
        assert_eq!(failure.into_error().to_string(), "ask systemd: gone (a.b.NoSuchUnit)");
        drop(theirs);
        assert_eq!(connection.call("StopUnit", &[]).unwrap_err().into_error().kind(), Kind::Bus);
    }

    #[test]
    fn malformed_messages_are_refused() {
        let whole = reply(1, METHOD_RETURN, Vec::new(), &[Value::string("x")]);
        assert_eq!(size(&whole), Some(whole.len()));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_none(), "cut at {cut}");
        }
    }
}
