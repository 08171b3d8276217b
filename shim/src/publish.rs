//! Tells containerd what has happened: one event after the other, in order, kept until it has been taken.

use std::collections::VecDeque;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::connection::Connection;
use crate::log::Log;
use crate::poller::{Interest, Poller, Token};
use crate::proto::event::{Envelope, Event, ForwardRequest};
use crate::proto::{Any, encode};
use crate::sys::{self, OpenFiles};
use crate::ttrpc::{self, Incoming, Request};

/// How many events are kept for a containerd that is away.
const MOST_KEPT: usize = 4096;
/// How long containerd may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an event is offered that containerd refuses.
const MOST_TRIES: u32 = 5;
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// How events get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// By ttrpc to this socket.
    Socket(PathBuf),
    /// By a program, which finds containerd at this address.
    Program { path: PathBuf, address: String },
    /// Not at all: nobody has said how.
    Nowhere,
}

impl Way {
    /// What containerd has told of itself.
    pub(crate) fn choose(ttrpc_address: &str, program: &str, grpc_address: &str) -> Self {
        if !ttrpc_address.is_empty() {
            return Self::Socket(ttrpc_address.strip_prefix("unix://").unwrap_or(ttrpc_address).into());
        }
        if program.is_empty() {
            return Self::Nowhere;
        }
        Self::Program { path: program.into(), address: grpc_address.to_owned() }
    }
}

#[derive(Debug)]
struct Item {
    topic: &'static str,
    event: Any,
    at: SystemTime,
    tries: u32,
}

/// The publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    way: Way,
    namespace: String,
    /// What the program begins with.
    open_files: OpenFiles,
    queue: VecDeque<Item>,
    connection: Option<Connection>,
    /// The program that is publishing the first event, with its pidfd.
    program: Option<(Child, OwnedFd)>,
    stream: u32,
    /// Until when the first event, which is on its way, is waited for.
    patience: Option<Instant>,
    retry: Option<Instant>,
    failures: u32,
}

impl Publisher {
    pub(crate) fn new(way: Way, namespace: &str, open_files: OpenFiles) -> Self {
        Self {
            way,
            namespace: namespace.to_owned(),
            open_files,
            queue: VecDeque::new(),
            connection: None,
            program: None,
            stream: 1,
            patience: None,
            retry: None,
            failures: 0,
        }
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: &Event, poller: &Poller, log: &Log) {
        if self.way == Way::Nowhere {
            return;
        }
        let (topic, event) = event.named();
        if self.queue.len() >= MOST_KEPT {
            // The first may be on its way; the second is the oldest that nobody has seen.
            if let Some(lost) = self.queue.remove(1) {
                log.error(format_args!("containerd takes no events: {} of {:?} is lost", lost.topic, lost.at));
            }
        }
        self.queue.push_back(Item { topic, event, at: SystemTime::now(), tries: 0 });
        self.advance(poller, log);
    }

    /// Whether all events have been taken.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.patience.or(self.retry.filter(|_| !self.queue.is_empty()))
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self, now: Instant, poller: &Poller, log: &Log) {
        if self.patience.is_some_and(|patience| now >= patience) {
            if let Some((program, _)) = &mut self.program {
                let _it_may_have_ended = program.kill();
            } else {
                self.fail("containerd takes too long for an event", poller, log);
            }
        }
        self.advance(poller, log);
    }

    /// Something has come from containerd, or the program has ended.
    pub(crate) fn ready(&mut self, poller: &Poller, log: &Log) {
        if self.program.is_some() {
            self.program_ended(poller, log);
        } else if let Some(connection) = &mut self.connection {
            let alive = connection.fill() && connection.flush();
            while let Some(incoming) = self.connection.as_mut().and_then(Connection::next) {
                self.answered(incoming, poller, log);
            }
            if !alive {
                self.fail("containerd has closed the connection for events", poller, log);
            }
            self.watch(poller);
        }
        self.advance(poller, log);
    }

    fn answered(&mut self, incoming: Incoming, poller: &Poller, log: &Log) {
        let Incoming::Response { stream, response } = incoming else { return };
        if stream != self.stream || self.patience.is_none() {
            return;
        }
        match response.status.filter(|status| status.code != 0) {
            None => self.taken(),
            Some(status) => self.refused(&status.message, poller, log),
        }
    }

    fn taken(&mut self) {
        self.queue.pop_front();
        self.patience = None;
        self.retry = None;
        self.failures = 0;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// The first event was not taken; one that never will be must not hold up the others.
    fn refused(&mut self, reason: &str, poller: &Poller, log: &Log) {
        if let Some(first) = self.queue.front_mut() {
            first.tries += 1;
            if first.tries >= MOST_TRIES {
                log.error(format_args!("containerd refuses the event {}: {reason}", first.topic));
                self.queue.pop_front();
            }
        }
        self.fail(reason, poller, log);
    }

    /// Something went wrong: it is tried again later, on a new connection.
    fn fail(&mut self, reason: &str, poller: &Poller, log: &Log) {
        if let Some(connection) = self.connection.take() {
            poller.remove(&connection);
        }
        self.patience = None;
        if self.queue.is_empty() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = (Duration::from_millis(50) * 2u32.saturating_pow(self.failures.min(8))).min(SLOWEST_RETRY);
        self.retry = Some(Instant::now() + pause);
        if self.failures == 1 {
            log.warn(format_args!("{reason}; events are kept until it takes them"));
        }
    }

    /// Sends the first event, when none is on its way.
    fn advance(&mut self, poller: &Poller, log: &Log) {
        let is_early = self.retry.is_some_and(|retry| Instant::now() < retry);
        if self.patience.is_some() || is_early || self.queue.is_empty() {
            return;
        }
        self.retry = None;
        let sent = match self.way.clone() {
            Way::Socket(path) => self.send(&path, poller),
            Way::Program { path, address } => self.start(&path, &address, poller),
            Way::Nowhere => return,
        };
        match sent {
            Ok(()) => self.patience = Some(Instant::now() + PATIENCE),
            Err(error) => self.fail(&format!("publish an event: {error}"), poller, log),
        }
    }

    fn send(&mut self, path: &std::path::Path, poller: &Poller) -> std::io::Result<()> {
        let Some(first) = self.queue.front() else { return Ok(()) };
        let envelope = Envelope {
            timestamp: Some(first.at.into()),
            namespace: self.namespace.clone(),
            topic: first.topic.to_owned(),
            event: Some(first.event.clone()),
        };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload: encode(&ForwardRequest { envelope: Some(envelope) }),
            timeout_nano: i64::try_from(PATIENCE.as_nanos()).unwrap_or(i64::MAX),
        };
        if self.connection.is_none() {
            let connection = Connection::new(connect_at_once(path)?)?;
            poller.add(&connection, Token::Publisher, Interest::Read)?;
            self.connection = Some(connection);
        }
        self.stream = self.stream.wrapping_add(2);
        let frame = ttrpc::request(self.stream, &request);
        if !self.connection.as_mut().is_some_and(|connection| connection.send(&frame)) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.watch(poller);
        Ok(())
    }

    fn watch(&self, poller: &Poller) {
        if let Some(connection) = &self.connection {
            // A descriptor that is in the set can always be changed.
            let _it_is_there = poller.change(connection, Token::Publisher, connection.need());
        }
    }

    fn start(&mut self, path: &std::path::Path, address: &str, poller: &Poller) -> std::io::Result<()> {
        let Some(first) = self.queue.front() else { return Ok(()) };
        let mut command = Command::new(path);
        command
            .args(["--address", address, "publish", "--topic", first.topic, "--namespace", &self.namespace])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        sys::limit_open_files(&mut command, self.open_files);
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A few hundred bytes, which an empty pipe always takes.
            input.write_all(&encode(&first.event))?;
        }
        let pidfd = sys::pidfd_open(child.id())?;
        poller.add(&pidfd, Token::Publisher, Interest::Read)?;
        self.program = Some((child, pidfd));
        Ok(())
    }

    fn program_ended(&mut self, poller: &Poller, log: &Log) {
        let Some((mut program, pidfd)) = self.program.take() else { return };
        let has_ended =
            waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT)
                .is_ok_and(|status| status != nix::sys::wait::WaitStatus::StillAlive);
        if !has_ended {
            self.program = Some((program, pidfd));
            return;
        }
        poller.remove(&pidfd);
        match program.wait() {
            Ok(status) if status.success() => self.taken(),
            Ok(status) => self.refused(&format!("the publishing program ended with {status}"), poller, log),
            Err(error) => self.refused(&format!("wait for the publishing program: {error}"), poller, log),
        }
    }

    /// The pid of the program that is publishing.
    pub(crate) fn program_pid(&self) -> Option<u32> {
        self.program.as_ref().map(|(child, _)| child.id())
    }
}

/// Connects, or fails at once when the other side has no room for one more.
fn connect_at_once(path: &std::path::Path) -> std::io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path)?)?;
    Ok(fd.into())
}
