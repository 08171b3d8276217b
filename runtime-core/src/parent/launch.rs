//! The launch: carries a plan out, up to the point where the container's command takes over.
//!
//! Every wait watches the child's pidfd and has a deadline.

mod block;
mod delivery;
mod end;
mod entered;
mod fork;
mod idmapped;
mod idmaps;
mod init;
mod namespaces;
mod nodes;
mod report;
mod resources;
mod served;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::base::sys::{self, Spawn};
use crate::base::{Error, HostPid, Result, Step};
use crate::plan::{Host, Plan};

use delivery::Delivery;

pub(crate) use block::{BLOCK_FILE, InitBlock};
pub(crate) use init::{Event, Init, take_listener};
pub(crate) use report::{failure, killed_at_execve, namespace_hint};
pub(crate) use resources::Given;
pub(crate) use served::Places;

/// The init, as the build script made it.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/orlop-init"));
/// How many descriptors it takes to follow a fork: a pidfd, and a look at its pid namespace.
const TO_FOLLOW: usize = 2;

/// What a launch takes besides the plan.
#[derive(Debug)]
pub(crate) struct Launch<'l> {
    pub(crate) plan: &'l Plan,
    pub(crate) host: Host,
    /// The init's program; `None`: it is made for this launch.
    pub(crate) program: Option<&'l Program>,
    /// Where the block is kept for `start` to read; `None`: in memory only.
    pub(crate) block_dir: Option<BorrowedFd<'l>>,
    /// The cgroup to be born into.
    pub(crate) clone_into: Option<BorrowedFd<'l>>,
    /// How many `tasks` files it gets to write at most.
    pub(crate) tasks: usize,
    pub(crate) stdio: Option<&'l [OwnedFd; 3]>,
    /// Polls readable when the caller wants no more of it.
    pub(crate) cancel: Option<BorrowedFd<'l>>,
    /// Whether the init dies with this process until it is ready.
    pub(crate) die_with_parent: bool,
    /// Whether it goes on to its command as soon as it is ready: nobody has anything to do with it before, see [`Plan::may_go_on`].
    pub(crate) goes_on: bool,
    /// Whether a processor is idle on which the init can work beside this thread. On a busy machine whoever waits for the other also waits
    /// for its turn, some milliseconds each time.
    pub(crate) beside: bool,
}

impl<'l> Launch<'l> {
    /// That of a process which enters a container that is there.
    pub(crate) fn entering(plan: &'l Plan, host: Host, stdio: Option<&'l [OwnedFd; 3]>) -> Self {
        Self {
            plan,
            host,
            program: None,
            block_dir: None,
            clone_into: None,
            tasks: 0,
            stdio,
            cancel: None,
            die_with_parent: false,
            goes_on: false,
            beside: true,
        }
    }
}

impl Launch<'_> {
    /// Starts the init, which goes to work and then waits for [`Init::hand_over`].
    ///
    /// # Errors
    /// [`Step::Clone`].
    pub(crate) fn start(self) -> Result<Init> {
        self.start_after(|_| Ok(()))
    }

    /// Starts the init once something is sent to its socket.
    fn start_after(self, send: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<Init> {
        let failed = |errno: Errno| Error::os(Step::Clone, errno as i32);
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        let connection = block::Connection {
            sync: theirs.as_raw_fd(),
            tasks: self.tasks,
            die_with_parent: self.die_with_parent,
            vforks: self.vforks(),
        };
        let (block, block_fd) = InitBlock::write(self.plan, &connection, self.block_dir)?;
        let spare = self.to_follow(&ours)?;
        send(ours.as_fd())?;
        let number = std::ffi::CString::new(block_fd.as_raw_fd().to_string()).map_err(|_| failed(Errno::EINVAL))?;
        let spawn = |program: &Program| {
            sys::spawn(&Spawn {
                namespaces: self.plan.clone_flags,
                cgroup: self.clone_into,
                program: sys::Program::File(program.0.as_fd()),
                argv: &[c"orlop", c"init", &number],
                environment: &[],
                before: &[],
                inherit: &[theirs.as_raw_fd(), block_fd.as_raw_fd()],
                stdio: self.stdio.map(|streams| streams.each_ref().map(AsFd::as_fd)),
            })
        };
        let spawned = match self.program.map(spawn) {
            // A process that may trace an init can keep its program, whose content is sealed, from being executed again.
            None | Some(Err(sys::NotSpawned { errno: Errno::EACCES | Errno::ETXTBSY, .. })) => spawn(&Program::new()?),
            Some(spawned) => spawned,
        };
        let (pid, pidfd) = spawned.map_err(|failed| clone_error(failed.errno, self.plan.clone_flags))?;
        let pid = HostPid::new(pid).ok_or_else(|| failed(Errno::ESRCH))?;
        Ok(Init { spare, ..self.init(pid, pidfd, ours, block) })
    }

    /// Descriptors to keep back until the init has forked, where it does.
    fn to_follow(&self, any: &OwnedFd) -> Result<Vec<OwnedFd>> {
        let count = if self.plan.forks() > 0 { TO_FOLLOW } else { 0 };
        let kept = (0..count).map(|_| any.try_clone()).collect::<std::io::Result<_>>();
        kept.map_err(|error| Error::io(Step::Clone, &error).with_object("the init"))
    }

    /// The init that was just started, whose first process is `pid`.
    fn init(&self, pid: HostPid, pidfd: OwnedFd, sync: OwnedFd, block: InitBlock) -> Init {
        Init {
            pid,
            pidfd,
            sync,
            // Without a descriptor to spare it cannot be cancelled; it still has its deadlines.
            cancel: self.cancel.and_then(|fd| fd.try_clone_to_owned().ok()),
            block: Arc::new(block),
            host: self.host,
            // One that is to wait for `start` lets go long before.
            filter_kills_exec: self.plan.seccomp_kills_execve && self.block_dir.is_none(),
            place: None,
            told_in: None,
            spare: Vec::new(),
            forks: self.plan.forks(),
            enters: None,
            refused: false,
            ready: !self.plan.says_ready(),
            goes_on: self.goes_on,
        }
    }

    /// Whether the first process may wait for its fork to execute the command. Where nobody waits for its end, that would only take a
    /// processor from the fork, and wake the runtime up too early. On a busy machine it would get its turn to end only after the command.
    fn vforks(&self) -> bool {
        self.goes_on && self.beside
    }

    /// Starts the init with all that it needs, for a launch that has nothing else to do meanwhile: on a busy machine it finds that in its
    /// socket and waits for nobody; else what it needs is opened while it starts.
    ///
    /// # Errors
    /// As [`Self::start`] and [`Init::hand_over`]; nothing of the init is left then.
    pub(crate) fn start_with<'t>(
        self,
        given: &Given<'_>,
        tasks: impl FnOnce() -> Result<Vec<BorrowedFd<'t>>>,
    ) -> Result<Init> {
        let plan = self.plan;
        if !self.beside {
            let tasks = tasks()?;
            let delivery = Delivery::open(plan, given, &tasks, self.goes_on)?;
            let enters = delivery.enters(plan, given);
            return Ok(Init { enters, ..self.start_after(|socket| delivery.send(socket))? });
        }
        let mut init = self.start()?;
        match tasks().and_then(|tasks| init.hand_over(plan, given, &tasks)) {
            Ok(()) => Ok(init),
            Err(error) => {
                init.kill();
                Err(error)
            }
        }
    }

    /// Has `server` make the process, which is born in the server's cgroups and namespaces.
    ///
    /// # Errors
    /// [`Step::Clone`]. That it could not be made is told by the first wait for it.
    pub(crate) fn start_by(self, server: &Init, places: &Arc<Places>, given: &Given<'_>) -> Result<Init> {
        let failed = |errno: Errno| Error::os(Step::Clone, errno as i32);
        let place = places.take()?;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).map_err(failed)?;
        // Which number the socket gets there, the server tells the process.
        let connection = block::Connection { sync: -1, tasks: 0, die_with_parent: false, vforks: self.vforks() };
        let (block, block_fd) = InitBlock::write(self.plan, &connection, None)?;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let own = || [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let [stdin, stdout, stderr] = self.stdio.map_or_else(own, |streams| streams.each_ref().map(AsFd::as_fd));
        let pidfd = server.pidfd.try_clone().map_err(|error| Error::io(Step::Clone, &error))?;
        let command = [block_fd.as_fd(), theirs.as_fd(), stdin, stdout, stderr].map(|fd| fd.as_raw_fd());
        let number = place.number();
        let spare = self.to_follow(&ours)?;
        let mut init = Init { place: Some(place), spare, ..self.init(server.pid, pidfd, ours, block) };
        // It finds there what it needs, and does not wait for this thread.
        init.hand_over(self.plan, given, &[])?;
        server.send_descriptors(&command, number)?;
        Ok(init)
    }
}

fn clone_error(errno: Errno, flags: u64) -> Error {
    let error = Error::os(Step::Clone, errno as i32)
        .with_object(format!("with {}", crate::plan::describe::namespaces(flags)))
        .with_field("/linux/namespaces");
    report::namespace_hint(error, errno as i32)
}

/// The init in a sealed memfd: what enters the container can neither be written nor lead to the host's binary (CVE-2019-5736).
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

impl Program {
    /// # Errors
    /// [`Step::Clone`].
    pub(crate) fn new() -> Result<Self> {
        let made = || {
            let fd = sys::memfd(c"orlop-init", true)?;
            let mut rest = INIT;
            while !rest.is_empty() {
                let written = nix::unistd::write(&fd, rest)?;
                rest = rest.get(written..).unwrap_or(&[]);
            }
            sys::seal(fd.as_fd())?;
            Ok(Self(fd))
        };
        made().map_err(|errno: Errno| Error::os(Step::Clone, errno as i32).with_object("the init's memfd"))
    }
}
