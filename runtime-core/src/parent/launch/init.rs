//! The init at work: what it is told, and what it says.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use orlop_init::wire::{self, Phase};

use super::block::InitBlock;
use super::delivery::{self, Delivery, GO};
use super::entered::Namespace;
use super::resources::Given;
use super::served::{Place, Places};
use super::{idmapped, idmaps, report};
use crate::base::procfs::Procfs;
use crate::base::sys::{self, pidfd};
use crate::base::{Error, Exit, HostPid, Kind, Result, Step, wait_for};
use crate::parent::network::Network;
use crate::plan::{Host, Plan};

/// How long the init may take between two signs of life. Far beyond what a loaded machine needs: it ends hangs, not work.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long one that goes on to its command is waited for before it is asked which process it is by now, which is then watched, too.
const LOOK: Duration = Duration::from_millis(20);
/// How often the listener's word is looked at: the filter may forbid the init to say anything.
const LISTENER_POLL: Duration = Duration::from_micros(200);

/// The init at work.
#[derive(Debug)]
pub(crate) struct Init {
    pub(super) pid: HostPid,
    pub(super) pidfd: OwnedFd,
    pub(super) sync: OwnedFd,
    pub(super) cancel: Option<OwnedFd>,
    pub(super) block: Arc<InitBlock>,
    pub(super) host: Host,
    /// Whether its own seccomp filter kills it where it executes the command.
    pub(super) filter_kills_exec: bool,
    /// Where the exec server that is to make it tells its number, until that is known: its pid and pidfd are the server's so long.
    pub(super) place: Option<Place>,
    /// The same place afterwards: there the fork of a process that the server has made is told of.
    pub(super) told_in: Option<Place>,
    /// Descriptors kept back for following a fork: when it is there, it may have executed the command already, and cannot be refused.
    pub(super) spare: Vec<OwnedFd>,
    /// The forks that its plan has it go on by and that have not been seen.
    pub(super) forks: usize,
    /// The pid namespace that the last of them enters.
    pub(super) enters: Option<Namespace>,
    /// Whether the exec server could not make it: there is nothing to end.
    pub(super) refused: bool,
    /// Whether it has said that all is set up: from then on the socket's end can mean that the command has taken over.
    pub(super) ready: bool,
    /// Whether it has its answer from the start, and goes on to its command: then nothing but the end of the socket is waited for.
    pub(super) goes_on: bool,
}

/// How long a killed init may take to be gone once its files are closed.
const DEATH: Duration = Duration::from_secs(1);

/// What an init's silence or word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It waits for an answer.
    Waits(Phase),
    /// It let go of its end of the socket: it executed the command, or went on to wait for `start`.
    Disconnected,
}

impl Init {
    /// Whether it goes on to its command without [`Self::answer`], see [`super::Launch::goes_on`].
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    pub(crate) fn pid(&self) -> HostPid {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Where the init, as an exec server, tells of the processes that it makes.
    pub(crate) fn places(&self) -> Arc<Places> {
        Places::of(Arc::clone(&self.block))
    }

    /// Lets go of the socket, whoever else has it.
    pub(crate) fn hang_up(&self) {
        // It cannot fail on a socket that is open and was connected from the start.
        let closed = shutdown(self.sync.as_raw_fd(), Shutdown::Both);
        debug_assert!(matches!(closed, Ok(())));
    }

    /// The pid and the pidfd, for the handle that the caller gets.
    pub(crate) fn into_parts(self) -> (HostPid, OwnedFd) {
        (self.pid, self.pidfd)
    }

    /// Opens what the plan names, and sends it to the init, with the `tasks` files that it is to write.
    ///
    /// # Errors
    /// What cannot be opened, with its config field. The init is left waiting.
    pub(crate) fn hand_over(&mut self, plan: &Plan, given: &Given<'_>, tasks: &[BorrowedFd<'_>]) -> Result<()> {
        let delivery = Delivery::open(plan, given, tasks, self.goes_on)?;
        // What an exec server makes has its fork told of where nobody else can write.
        if self.place.is_none() {
            self.enters = delivery.enters(plan, given);
        }
        self.set_oom_score_adj(plan)?;
        let network = given.network.and_then(Network::take);
        if given.beside {
            self.use_another_processor(plan);
        }
        if let Some(network) = network
            && !self.send_descriptors(&[network.as_raw_fd()], wire::NETWORK)?
        {
            return Ok(());
        }
        delivery.send(self.sync.as_fd())
    }

    /// Of the process that is to execute the command.
    fn set_scheduler(&self, plan: &Plan) -> Result<()> {
        let Some((attr, field)) = &plan.scheduler else { return Ok(()) };
        self.by_number(|pid| {
            sys::set_scheduler(pid, attr).map_err(|errno| {
                let error = Error::os(Step::SetScheduler, errno as i32).with_field(field);
                report::scheduler_hint(error, attr, errno as i32)
            })
        })
    }

    /// While the init's files below /proc are still the caller's own: they no longer are once it cannot be traced.
    fn set_oom_score_adj(&self, plan: &Plan) -> Result<()> {
        let Some((score, field)) = &plan.oom_score_adj else { return Ok(()) };
        let procfs = Procfs::open()?;
        let written = procfs
            .of_process(self.pid, self.pidfd())
            .and_then(|own| own.write("oom_score_adj", score.to_string().as_bytes()));
        match written {
            // It has died meanwhile; the next wait tells why.
            Ok(()) | Err(Errno::ENOENT | Errno::ESRCH) => Ok(()),
            Err(errno) => {
                let error = Error::os(Step::SetOomScoreAdj, errno as i32);
                Err(report::oom_score_hint(error.with_object(score.to_string()).with_field(field), errno as i32))
            }
        }
    }

    /// See [`crate::base::by_number`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn by_number<T>(&self, act: impl FnOnce(HostPid) -> Result<T>) -> Result<T> {
        crate::base::by_number(self.pid, self.pidfd(), act)
    }

    /// Sends descriptors to the init, where it waits for them.
    ///
    /// # Errors
    /// [`Step::Clone`].
    pub(crate) fn send(&self, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        self.send_descriptors(&numbers, wire::LAST).map(drop)
    }

    /// Whether the init takes them; where it has died meanwhile, the next wait tells why.
    pub(super) fn send_descriptors(&self, numbers: &[RawFd], word: u8) -> Result<bool> {
        delivery::send(self.sync.as_fd(), numbers, &[word])
    }

    /// Waits for the init's next word, answering those that need no one else.
    ///
    /// # Errors
    /// The init's own failure, its death, or [`Kind::Timeout`].
    pub(crate) fn next(&mut self, plan: &Plan) -> Result<Event> {
        loop {
            match self.receive()? {
                Event::Waits(Phase::MapIds) => {
                    let maps = plan.id_maps.clone().unwrap_or_default();
                    idmaps::write(self.pid, self.pidfd(), &maps, self.host.maps_ids)?;
                    self.answer()?;
                }
                Event::Waits(Phase::MapMount) => {
                    self.map_mount(plan)?;
                    self.answer()?;
                }
                // It does not wait.
                Event::Waits(Phase::Ready) if self.goes_on => {}
                event @ Event::Waits(Phase::Ready) => {
                    self.set_scheduler(plan)?;
                    return Ok(event);
                }
                event => return Ok(event),
            }
        }
    }

    /// Maps the ids of the mount that the init has made. Which map it gets is the plan's word, not the init's.
    fn map_mount(&self, plan: &Plan) -> Result<()> {
        let waiting = self.block.waiting_mount();
        let planned =
            waiting.and_then(|(op, number)| Some((plan.mapped_mounts.iter().find(|one| one.op == op)?, number)));
        let Some((mount, number)) = planned else {
            return Err(Error::new(Kind::System, Step::Wait)
                .with_object("the init")
                .with_reason("it names no mount to map"));
        };
        let tree = sys::pidfd_getfd(self.pidfd.as_fd(), number).map_err(|errno| {
            Error::os(Step::BindMount, errno as i32)
                .with_object(&mount.path)
                .with_field(&mount.field)
                .with_reason("taking it from the init")
        })?;
        idmapped::apply(tree.as_fd(), &mount.idmap, &mount.path, &mount.field)
    }

    /// As [`Self::next`] for a process that is frozen until somebody resumes its container: without a deadline.
    ///
    /// # Errors
    /// The process's own failure, or its death.
    pub(crate) fn wait_resumed(&mut self, plan: &Plan) -> Result<()> {
        loop {
            match self.next(plan) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == Kind::Timeout => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers ahead: the init goes on to its command as soon as it is ready.
    ///
    /// # Errors
    /// [`Step::Wait`].
    pub(crate) fn go_on(&mut self) -> Result<()> {
        self.goes_on = true;
        self.answer()
    }

    /// Has it run on another processor than this thread's, so that both work at once. Its first step is to allow itself all processors
    /// again.
    fn use_another_processor(&self, plan: &Plan) {
        if !plan.frees_affinity() {
            return;
        }
        if let Some(others) = sys::Processors::others() {
            // Without it the scheduler decides alone.
            let placed = self.by_number(|pid| Ok(others.confine(pid.get())));
            debug_assert!(matches!(placed, Ok(_) | Err(_)));
        }
    }

    /// Lets the init go on.
    pub(crate) fn answer(&self) -> Result<()> {
        match send(self.sync.as_raw_fd(), &[GO], MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(()),
            // It died while we worked; the next wait tells why.
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Error::os(Step::Wait, errno as i32).with_object("the init")),
        }
    }

    fn receive(&mut self) -> Result<Event> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let seen = self.poll_until(if self.looks() { deadline.min(Instant::now() + LOOK) } else { deadline })?;
            // Whatever was seen is the new process's: the first one ends without a word.
            if self.follow_fork(deadline)? {
                continue;
            }
            let Some((word, dead)) = seen else {
                if Instant::now() >= deadline {
                    return Err(self.timed_out());
                }
                continue;
            };
            if word {
                let mut byte = [0u8; 1];
                match recv(self.sync.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                    Ok(0) | Err(Errno::ECONNRESET) => return self.disconnected(dead),
                    Ok(_) => return self.phase(byte[0]),
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(errno) => return Err(Error::os(Step::Wait, errno as i32).with_object("the init")),
                }
            }
            if dead {
                return self.disconnected(true);
            }
        }
    }

    /// Whether it may have become another process meanwhile without this one being woken.
    fn looks(&self) -> bool {
        self.goes_on && (self.place.is_some() || self.forks > 0)
    }

    /// Whether there is a word or the end of the socket, and whether the process has ended; `None` once `deadline` passes.
    pub(super) fn poll_until(&self, deadline: Instant) -> Result<Option<(bool, bool)>> {
        // Without a third one it is the pidfd once more, and passed over.
        let cancel = self.cancel.as_ref().unwrap_or(&self.pidfd);
        let [sync, pidfd, cancel] = [&self.sync, &self.pidfd, cancel].map(AsFd::as_fd);
        // The end of a socket is always told of. A word of one that does not wait for its answer is not worth waking up for.
        let words = if self.goes_on { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds = [(sync, words), (pidfd, PollFlags::POLLIN), (cancel, PollFlags::POLLIN)]
            .map(|(fd, events)| PollFd::new(fd, events));
        match poll(&mut fds, pidfd::timeout_until(deadline)) {
            Ok(0) => Ok(None),
            Ok(_) => {
                let ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
                let (word, dead) = (ready(fds.first()), ready(fds.get(1)));
                // What has happened already comes first: once the command runs, there is nothing left to cancel.
                if self.cancel.is_some() && !word && !dead && ready(fds.get(2)) {
                    return Err(self.cancelled());
                }
                Ok(Some((word, dead)))
            }
            Err(Errno::EINTR) => Ok(Some((false, false))),
            Err(errno) => Err(Error::os(Step::Wait, errno as i32).with_object("the init")),
        }
    }

    pub(super) fn timed_out(&self) -> Error {
        let (step, object) = report::progress(&self.block);
        Error::new(Kind::Timeout, step)
            .with_object(object)
            .with_reason(format!("no sign of life from the container's init for {} s", DEADLINE.as_secs()))
    }

    fn phase(&mut self, byte: u8) -> Result<Event> {
        for phase in [Phase::MapIds, Phase::Attach, Phase::Namespaces, Phase::Ready, Phase::MapMount] {
            if phase as u8 == byte {
                self.ready |= phase == Phase::Ready;
                return Ok(Event::Waits(phase));
            }
        }
        Err(Error::new(Kind::System, Step::Wait).with_object("the init").with_reason(format!("unknown word {byte}")))
    }

    /// The socket is closed: by an execve that succeeded, by the hand-over to `start`, or by death.
    fn disconnected(&mut self, dead: bool) -> Result<Event> {
        if self.place.take().is_some() {
            self.refused = true;
            return Err(report::server_has_ended());
        }
        // Files are closed before a death can be seen. Before all was set up, a death is what it must be.
        if !dead && self.ready && !self.block.failed() && !self.is_killed_by_its_filter()? {
            return Ok(Event::Disconnected);
        }
        // A failed init is about to be dead: a few microseconds at most, and the deadline in any case.
        self.wait_dead()?;
        let exit = self.reap()?;
        if matches!(exit, Exit::Signal(_)) && !self.block.failed() && self.has_executed() {
            return Ok(Event::Disconnected);
        }
        report::death(&self.block, exit).map_or(Ok(Event::Disconnected), Err)
    }

    /// Files are closed before a death can be seen: where one is certain, it is waited for.
    fn is_killed_by_its_filter(&self) -> Result<bool> {
        let waited = self.filter_kills_exec.then(|| pidfd::wait_until(self.pidfd.as_fd(), Instant::now() + DEATH));
        waited.unwrap_or(Ok(false)).map_err(|errno| Error::os(Step::Wait, errno as i32).with_object("the init"))
    }

    /// Whether what ended was the command already: a process keeps its name until it is reaped, and `execve` gives it a new one.
    fn has_executed(&self) -> bool {
        let Ok(path) = std::ffi::CString::new(format!("{}/comm", self.pid)) else { return false };
        let name = Procfs::open().ok().and_then(|procfs| procfs.read(&path).ok());
        name.is_some_and(|name| name.trim_ascii_end() != wire::INIT_NAME.to_bytes())
    }

    fn wait_dead(&self) -> Result<()> {
        match pidfd::wait_until(self.pidfd.as_fd(), Instant::now() + DEADLINE) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.timed_out()),
            Err(errno) => Err(Error::os(Step::Wait, errno as i32).with_object("the init")),
        }
    }

    /// How the init ended, without reaping it: a command that ended at once is its caller's to wait for.
    fn reap(&self) -> Result<Exit> {
        wait_for(self.pidfd.as_fd(), false)
    }

    /// Takes the seccomp listener out of the init.
    ///
    /// # Errors
    /// The init's death or failure, [`Kind::Timeout`], or [`Kind::Cancelled`].
    pub(crate) fn take_listener(&self) -> Result<OwnedFd> {
        take_listener(&self.block, self.pidfd.as_fd(), self.cancel.as_ref().map(AsFd::as_fd))
    }
}

/// Takes the seccomp listener out of an init, which waits for that without a system call: its own filter could forbid any. Once
/// `cancel` is readable, it waits no more.
///
/// # Errors
/// The init's death or failure, [`Kind::Timeout`], or [`Kind::Cancelled`].
pub(crate) fn take_listener(
    block: &InitBlock,
    pidfd: BorrowedFd<'_>,
    cancel: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::os(Step::SendSeccompListener, errno as i32).with_field("/linux/seccomp");
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(number) = block.listener() {
            let listener = sys::pidfd_getfd(pidfd, number).map_err(failed)?;
            block.listener_taken();
            return Ok(listener);
        }
        let is_readable = |fd| poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap_or(0) > 0;
        if is_readable(pidfd) {
            return Err(if block.failed() { report::failure(block) } else { failed(Errno::ESRCH) });
        }
        if cancel.is_some_and(is_readable) {
            return Err(Error::new(Kind::Cancelled, Step::SendSeccompListener).with_reason("cancelled by the caller"));
        }
        if Instant::now() > deadline {
            return Err(
                Error::new(Kind::Timeout, Step::SendSeccompListener).with_reason("the init does not load its filter")
            );
        }
        std::thread::sleep(LISTENER_POLL);
    }
}
