//! The loop: one thread that waits for calls, processes, streams and want of memory, and never for anything else.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::connection::Connection;
use crate::driver::Driver;
use crate::jobs::{Finish, Jobs};
use crate::log::Log;
use crate::poller::{Interest, Poller, Token};
use crate::proto::event::Event;
use crate::proto::{Message, encode};
use crate::publish::Publisher;
use crate::socket::{Socket, is_same_user};
use crate::sys::{self, OpenFiles};
use crate::task::{Caller, Phase, Process, Task};
use crate::ttrpc::{self, Answer, Code, Failure, Incoming};

/// containerd has one connection for each container of a pod.
const MOST_CONNECTIONS: usize = 1024;
/// How long a shim stays that has no container and that nobody is connected to: its containerd is gone.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
/// How long nothing must have happened until the program's pages are given back: most pods do nothing most of the time.
const REST: Duration = Duration::from_secs(2);
/// How long no connections are taken when there is no descriptor for one.
const DEAF: Duration = Duration::from_millis(200);
/// How long the last events may take to be told, and the programs that take output to end.
const FAREWELL: Duration = Duration::from_secs(14);

/// What is done at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A deleted process's output has had time enough to be taken.
    Drain(u64),
    /// A program that takes output has had time enough to end.
    Driver(u64),
    /// A call has waited long enough.
    Wait(Caller),
    /// Connections, which could not be taken, are taken again.
    Listen,
}

/// The shim.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) namespace: String,
    /// The limit of open files that it was started with, which is for the containers.
    pub(crate) open_files: OpenFiles,
    pub(crate) log: Log,
    pub(crate) poller: Poller,
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) processes: BTreeMap<u64, Process>,
    pub(crate) drivers: BTreeMap<u64, Driver>,
    publisher: Publisher,
    pub(crate) jobs: Jobs,
    socket: Socket,
    listener: Option<UnixListener>,
    signals: SignalFd,
    connections: BTreeMap<u64, Connection>,
    deadlines: Vec<(Instant, Due)>,
    next_key: u64,
    /// Until when the end is put off for what is still to be told.
    stopping: Option<Instant>,
    idle_since: Option<Instant>,
    /// When it has had nothing to do for long enough.
    rest: Option<Instant>,
}

impl Shim {
    /// A shim that serves a listening socket.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub(crate) fn new(
        namespace: &str,
        log: Log,
        publisher: Publisher,
        socket: Socket,
        listener: OwnedFd,
        open_files: OpenFiles,
    ) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let (poller, jobs) = (Poller::new()?, Jobs::new()?);
        poller.add(&listener, Token::Listener, Interest::Read)?;
        poller.add(&signals, Token::Signals, Interest::Read)?;
        poller.add(&jobs, Token::Jobs, Interest::Read)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            open_files,
            log,
            poller,
            tasks: BTreeMap::new(),
            processes: BTreeMap::new(),
            drivers: BTreeMap::new(),
            publisher,
            jobs,
            socket,
            listener: Some(listener),
            signals,
            connections: BTreeMap::new(),
            deadlines: Vec::new(),
            next_key: 1,
            stopping: None,
            // The containerd that had it started may be gone before it connects.
            idle_since: Some(Instant::now()),
            rest: None,
        })
    }

    /// Serves until it is told to stop, and all has been told.
    ///
    /// # Errors
    /// When waiting fails, which it cannot for any reason that is known.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            let tokens = self.poller.wait(self.patience())?;
            if !tokens.is_empty() {
                self.rest = Some(Instant::now() + REST);
            }
            for token in tokens {
                self.ready(token);
            }
            let now = Instant::now();
            self.tick(now);
            self.take_rest(now);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopping.is_some_and(|end| {
            let all_told = self.publisher.is_idle() && self.drivers.is_empty() && self.jobs.is_idle();
            all_told || Instant::now() >= end
        })
    }

    fn ready(&mut self, token: Token) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.signalled(),
            Token::Publisher => self.publisher.ready(&self.poller, &self.log),
            Token::Jobs => self.jobs_done(),
            Token::Connection(key) => self.hear(key),
            Token::Process(key) => self.process_ended(key),
            Token::Driver(key) => self.driver_ended(key),
            Token::Oom(key) => self.out_of_memory(key),
            Token::Copy(key, channel, _) => self.copy(key, channel),
        }
    }

    /// How long nothing has to be done, in milliseconds.
    fn patience(&self) -> Option<u16> {
        let idle = self.idle_since.map(|since| since + LONGEST_IDLE);
        let dues = self.deadlines.iter().map(|(at, _)| *at);
        let first = dues.chain(self.publisher.due()).chain(self.stopping).chain(idle).chain(self.rest).min()?;
        let left = first.saturating_duration_since(Instant::now());
        Some(u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX))
    }

    fn tick(&mut self, now: Instant) {
        self.publisher.tick(now, &self.poller, &self.log);
        if self.deadlines.iter().any(|(at, _)| *at <= now) {
            let (due, later) = std::mem::take(&mut self.deadlines).into_iter().partition(|(at, _)| *at <= now);
            self.deadlines = later;
            let due: Vec<(Instant, Due)> = due;
            for (_, due) in due {
                self.due(due);
            }
        }
        let is_idle = self.tasks.is_empty() && self.connections.is_empty() && self.stopping.is_none();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
        if self.idle_since.is_some_and(|since| now >= since + LONGEST_IDLE) {
            self.log.info("no container and no connection: the shim ends");
            self.stop();
        }
    }

    /// Gives back what it does not need while it has nothing to do.
    fn take_rest(&mut self, now: Instant) {
        if self.rest.is_some_and(|at| at <= now) {
            self.rest = None;
            sys::release_program();
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Drain(key) => self.give_up_drain(key),
            Due::Driver(key) => self.hurry_driver(key),
            Due::Wait(caller) => self.give_up_wait(caller),
            Due::Listen => self.listen(),
        }
    }

    /// Has something done after a while.
    pub(crate) fn later(&mut self, after: Duration, due: Due) {
        // A duration that no clock can tell is for ever.
        if let Some(at) = Instant::now().checked_add(after) {
            self.deadlines.push((at, due));
        }
    }

    /// A key for something that is waited for.
    pub(crate) fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Ends the shim once all is told: nobody finds it from now on.
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now() + FAREWELL);
        if let Err(error) = self.socket.withdraw() {
            self.log.warn(error);
        }
        if let Some(listener) = self.listener.take() {
            self.poller.remove(&listener);
        }
    }

    /// Whether the end is near: nothing new is begun.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    pub(crate) fn publish(&mut self, event: &Event) {
        self.publisher.push(event, &self.poller, &self.log);
    }

    // Calls and answers.

    fn accept(&mut self) {
        loop {
            let Some(listener) = &self.listener else { return };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.log.warn(format_args!("accept a connection: {error}"));
                    // It stays ready: without a pause there would be nothing else but this.
                    self.poller.remove(listener);
                    return self.later(DEAF, Due::Listen);
                }
            };
            if !is_same_user(&stream) {
                self.log.warn("a connection of another user is refused");
                continue;
            }
            if self.connections.len() >= MOST_CONNECTIONS {
                self.log.warn(format_args!("more than {MOST_CONNECTIONS} connections: one is refused"));
                continue;
            }
            let key = self.key();
            let made = Connection::new(stream).and_then(|connection| {
                self.poller.add(&connection, Token::Connection(key), Interest::Read)?;
                Ok(connection)
            });
            match made {
                Ok(connection) => drop(self.connections.insert(key, connection)),
                Err(error) => self.log.warn(format_args!("take a connection: {error}")),
            }
        }
    }

    fn listen(&mut self) {
        let Some(listener) = &self.listener else { return };
        if let Err(errno) = self.poller.add(listener, Token::Listener, Interest::Read) {
            self.log.warn(format_args!("wait for connections: {errno}"));
            self.later(DEAF, Due::Listen);
        }
    }

    /// Reads a connection and does what is asked on it.
    fn hear(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let is_read = connection.need() != Interest::Write;
        let alive = connection.flush() && (!is_read || connection.fill());
        while let Some(incoming) = self.connections.get_mut(&key).and_then(Connection::next) {
            match incoming {
                Incoming::Request { stream, request } => {
                    self.call(Caller { connection: key, stream }, request);
                }
                Incoming::Refused { stream, failure } => {
                    self.answer(Caller { connection: key, stream }, Err(failure));
                }
                // A client that answers has nothing to say here.
                Incoming::Response { .. } => {}
            }
        }
        if alive { self.watch_connection(key) } else { self.hang_up(key) }
    }

    fn watch_connection(&mut self, key: u64) {
        let Some(connection) = self.connections.get(&key) else { return };
        if let Err(errno) = self.poller.change(connection, Token::Connection(key), connection.need()) {
            self.log.warn(format_args!("wait for a connection: {errno}"));
        }
    }

    fn hang_up(&mut self, key: u64) {
        if let Some(connection) = self.connections.remove(&key) {
            self.poller.remove(&connection);
        }
        for process in self.processes.values_mut() {
            process.waiters.retain(|waiter| waiter.connection != key);
        }
        self.deadlines.retain(|(_, due)| !matches!(due, Due::Wait(caller) if caller.connection == key));
    }

    /// Sends an answer, unless who asked has gone.
    pub(crate) fn answer(&mut self, caller: Caller, answer: Answer) {
        if let Err(failure) = &answer {
            self.log.debug(format_args!("call fails: {}", failure.message));
        }
        let Some(connection) = self.connections.get_mut(&caller.connection) else { return };
        if connection.send(&ttrpc::response(caller.stream, answer)) {
            self.watch_connection(caller.connection);
        } else {
            self.hang_up(caller.connection);
        }
    }

    /// Sends a message as the answer, or why there is none.
    pub(crate) fn reply<M: Message>(&mut self, caller: Caller, reply: Result<M, Failure>) {
        self.answer(caller, reply.map(|message| encode(&message)));
    }

    fn give_up_wait(&mut self, caller: Caller) {
        let mut waited = false;
        for process in self.processes.values_mut() {
            let before = process.waiters.len();
            process.waiters.retain(|waiter| *waiter != caller);
            waited |= process.waiters.len() != before;
        }
        if waited {
            self.answer(caller, Err(Failure::new(Code::DeadlineExceeded, "the process has not ended in time")));
        }
    }

    // Work.

    /// Does work on a container and then finishes it here: at once, or, where the work may take long, when a thread has done it.
    pub(crate) fn work(&mut self, task: &str, may_take_long: bool, work: impl FnOnce() -> Finish + Send + 'static) {
        if !may_take_long {
            work()(self);
            return self.serve_queue(task);
        }
        match self.jobs.start(task.to_owned(), work) {
            Ok(()) => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.is_busy = true;
                }
            }
            // Better slow than not at all.
            Err(work) => {
                self.log.warn("no thread to be had: others wait for this work");
                work()(self);
                self.serve_queue(task);
            }
        }
    }

    fn jobs_done(&mut self) {
        self.jobs.clear();
        self.finish_jobs();
        self.reap();
    }

    /// Does what is left of the work that threads have done; whether there was any.
    fn finish_jobs(&mut self) -> bool {
        let mut any = false;
        while let Some((task, finish)) = self.jobs.next() {
            any = true;
            if let Some(task) = self.tasks.get_mut(&task) {
                task.is_busy = false;
            }
            finish(self);
            self.serve_queue(&task);
        }
        any
    }

    /// Serves the calls that came while the container was worked on.
    fn serve_queue(&mut self, task: &str) {
        loop {
            let Some(entry) = self.tasks.get_mut(task).filter(|entry| !entry.is_busy) else { return };
            let Some((caller, request)) = entry.queue.pop_front() else { return };
            self.call(caller, request);
        }
    }

    fn signalled(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number == Signal::SIGCHLD as i32 {
                continue;
            }
            self.log.info(format_args!("ends on signal {number}"));
            self.stop();
        }
        self.reap();
    }

    /// Reaps the orphans that have come here, and whoever else has ended.
    fn reap(&mut self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        loop {
            // The children of a thread that is at work are its own to wait for. Orphans come to this one.
            let whose = if self.jobs.is_idle() { WaitPidFlag::empty() } else { WaitPidFlag::__WNOTHREAD };
            let look = whose | WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
            // Looked at first: the exit code of one that is known is for its owner.
            let Ok(status) = waitid(Id::All, look | WaitPidFlag::WNOWAIT) else { return };
            let Some(pid) = status.pid() else { return };
            let number = pid.as_raw().cast_unsigned();
            let process = self.processes.iter().find(|(_, process)| process.running.is_some() && process.pid == number);
            let driver = self.drivers.iter().find(|(_, driver)| driver.pid() == number);
            match (process.map(|(key, _)| *key), driver.map(|(key, _)| *key)) {
                // Its start is told before its end, which is looked at when that is done. Those behind it have to wait as well.
                (Some(key), _) if self.is_starting(key) => return,
                (Some(key), _) => self.process_ended(key),
                (_, Some(key)) => self.driver_ended(key),
                _ if self.publisher.program_pid() == Some(number) => self.publisher.ready(&self.poller, &self.log),
                // What a thread has made comes here with the thread's end, and then it has said before what it is.
                _ if self.finish_jobs() => {}
                _ => {
                    // Only a child can be looked at, so it is still there.
                    let _reaped = waitid(Id::Pid(pid), look);
                }
            }
        }
    }

    /// Whether a thread is about to start the first process of a container.
    fn is_starting(&self, key: u64) -> bool {
        let process = self.processes.get(&key).filter(|process| process.phase == Phase::Created);
        process.and_then(|process| self.tasks.get(&process.task)).is_some_and(|task| task.is_busy)
    }

    // Programs that take output.

    /// Keeps a program from now on, which takes the output of the process `key`.
    pub(crate) fn keep_driver(&mut self, key: u64, driver: Driver) {
        if let Err(errno) = self.poller.add(driver.as_fd(), Token::Driver(key), Interest::Read) {
            self.log.warn(format_args!("wait for a logging program: {errno}"));
        }
        self.drivers.insert(key, driver);
    }

    fn driver_ended(&mut self, key: u64) {
        let Some(driver) = self.drivers.get_mut(&key) else { return };
        if driver.reap() {
            self.poller.remove(driver.as_fd());
            self.drivers.remove(&key);
        }
    }

    /// The process whose output the program takes is deleted: it gets time to write the last of it.
    pub(crate) fn dismiss_driver(&mut self, key: u64) {
        if let Some(patience) = self.drivers.get(&key).and_then(Driver::patience) {
            self.later(patience, Due::Driver(key));
        }
    }

    fn hurry_driver(&mut self, key: u64) {
        if let Some(driver) = self.drivers.get_mut(&key) {
            driver.tell();
        }
        self.dismiss_driver(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Way;

    #[test]
    fn a_shim_that_nobody_connects_to_does_not_stay() {
        let dir = std::env::temp_dir().join(format!("orlop-shim-idle-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("listener")).unwrap();
        let socket = Socket::at(&format!("unix://{}", dir.join("socket").display())).unwrap();
        let limit = OpenFiles { soft: 1024, hard: 1024 };
        let (log, publisher) = (Log::open(&dir, "n", false), Publisher::new(Way::Nowhere, "n", limit));
        let mut shim = Shim::new("n", log, publisher, socket, listener.into(), limit).unwrap();
        let longest = u16::try_from(LONGEST_IDLE.as_millis()).unwrap();
        assert!(shim.patience().is_some_and(|patience| patience <= longest), "{:?}", shim.patience());
        shim.tick(Instant::now());
        assert!(!shim.stopping());
        shim.tick(Instant::now() + LONGEST_IDLE);
        assert!(shim.stopping() && shim.is_over());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
