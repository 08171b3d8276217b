//! `start`: lets a created container execute its command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat, write};
use orlop_seccomp::Filter;

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{ContainerId, Error, Kind, Result, Runtime, Status, Step, options};
use crate::config::{self, Config};
use crate::parent::agent::send_listener;
use crate::parent::facts::{host, host_within};
use crate::parent::hooks::{self, HookKind, HookState, InRuntime};
use crate::parent::launch::{self, BLOCK_FILE, InitBlock};
use crate::parent::liveness::{Facts, facts_locked};
use crate::parent::prepare::compile_seccomp;
use crate::parent::start_hooks::AsCommand;
use crate::parent::verify::{self, Execution};
use crate::state::{EXEC_FIFO, Locked, Record, Store, not_found};

options! {
    /// What `start` is told.
    #[derive(Debug, Clone)]
    pub struct StartOptions {
        /// How long the command may take to be executed (hooks have their own timeouts).
        pub deadline: Duration,
    }
}

impl Default for StartOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60) }
    }
}

/// Runs the startContainer hooks, lets the container's init execute its command, and runs the poststart hooks. When one of those
/// fails, the container is deleted.
///
/// # Errors
/// [`crate::Kind::WrongStatus`] unless the container is `created`; [`crate::Kind::Command`] when the command cannot be executed.
pub fn start(runtime: &Runtime, id: &ContainerId, options: &StartOptions) -> Result<()> {
    let store = Store::open(runtime)?.ok_or_else(|| not_found(id))?;
    let locked = store.lock(id)?;
    let record = locked.record()?.ok_or_else(|| not_found(id))?;
    let facts = facts_locked(&locked, &record)?;
    let init = created(&record, facts)?;
    let bytes = locked.config()?;
    let config = config::load(&bytes)?;
    let start = Start { locked: &locked, record: &record, config: &config, init: init.as_fd() };
    start.run_start_hooks(runtime)?;
    start.release(options.deadline)?;
    let Err(error) = start.run_poststart_hooks(runtime) else { return Ok(()) };
    drop(locked);
    Err(destroy(runtime, id, error))
}

/// After a failed poststart hook the container is not only stopped: its life goes on with its destruction and the poststop hooks,
/// without a `delete` (runtime-spec, "Lifecycle", step 9).
fn destroy(runtime: &Runtime, id: &ContainerId, error: Error) -> Error {
    match crate::verbs::delete::delete(runtime, id, &crate::verbs::delete::DeleteOptions::default().force(true)) {
        Ok(unfinished) => unfinished.into_errors().fold(error, Error::and),
        Err(further) => error.and(further),
    }
}

/// The init of a container that waits to be started.
fn created(record: &Record, facts: Facts) -> Result<OwnedFd> {
    let wrong = |detail: &str| {
        Error::new(Kind::WrongStatus, Step::FindContainer).with_object(record.id.as_str()).with_reason(detail)
    };
    match facts.status {
        Status::Created => facts.init.ok_or_else(|| wrong("its init is gone")),
        Status::Stopped => Err(wrong("cannot start a container that has stopped")),
        Status::Running => Err(wrong("cannot start an already running container")),
        other => Err(wrong(&format!("cannot start a container in the {other} state"))),
    }
}

/// How long a killed init may take to be gone once its files are closed.
const DEATH: Duration = Duration::from_secs(1);

struct Start<'s> {
    locked: &'s Locked,
    record: &'s Record,
    config: &'s Config<'s>,
    init: BorrowedFd<'s>,
}

impl Start<'_> {
    fn run_start_hooks(&self, runtime: &Runtime) -> Result<()> {
        let Some(all) = self.config.hooks.as_ref().filter(|all| !all.start_container.is_empty()) else { return Ok(()) };
        let state = HookState::of(self.record, Status::Created, self.record.init.map(|init| init.pid));
        let process = self.config.process.as_ref();
        let init = self.record.init.map(|init| init.pid);
        let host = match init {
            Some(init) => host_within(runtime, self.config, process, &Procfs::open()?, init),
            None => host(runtime, self.config),
        };
        let inside = AsCommand { init: self.init, record: self.record, config: self.config, host };
        hooks::run(HookKind::StartContainer, &all.start_container, &state, &inside, None)
            .map_err(|error| self.stop(error))
    }

    fn run_poststart_hooks(&self, runtime: &Runtime) -> Result<()> {
        let Some(all) = self.config.hooks.as_ref().filter(|all| !all.poststart.is_empty()) else { return Ok(()) };
        let state = HookState::of(self.record, Status::Running, self.record.init.map(|init| init.pid));
        let place = InRuntime { cwd: Path::new(&self.record.bundle), open_files: runtime.open_files };
        hooks::run(HookKind::Poststart, &all.poststart, &state, &place, None).map_err(|error| self.stop(error))
    }

    /// A container whose hook failed does not run (runtime-spec, "Lifecycle").
    fn stop(&self, error: Error) -> Error {
        match pidfd::send_signal(self.init, libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => error,
            Err(errno) => error.and(Error::os(Step::Signal, errno as i32).with_object(self.record.id.as_str())),
        }
    }

    /// Lets the init go on, and waits until it has executed the command or failed to.
    fn release(&self, patience: Duration) -> Result<()> {
        let failed = |errno: Errno| Error::os(Step::Execute, errno as i32).with_object(EXEC_FIFO);
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let block = InitBlock::open(self.locked.dir())?;
        // Ours is the reading side: when the last writer's side closes, which is the init's, the command has taken over.
        let reader = openat(self.locked.dir(), EXEC_FIFO, OFlag::O_RDONLY | flags, Mode::empty()).map_err(failed)?;
        let writer = openat(self.locked.dir(), EXEC_FIFO, OFlag::O_WRONLY | flags, Mode::empty()).map_err(failed)?;
        let filter = if self.record.inherited_filters.is_some() { compile_seccomp(self.config)? } else { None };
        let execution = self.watch(filter.as_ref())?;
        write(&writer, &[0]).map_err(failed)?;
        drop(writer);
        self.hand_over_listener(&block)?;
        self.wait(reader.as_fd(), execution.as_ref(), patience)?;
        if block.failed() {
            return Err(launch::failure(&block));
        }
        if self.profile_kills_execve()? && pidfd::wait_until(self.init, Instant::now() + DEATH).map_err(failed)? {
            return Err(launch::killed_at_execve(&block));
        }
        execution.map_or(Ok(()), |execution| execution.check(Instant::now() + patience))?;
        self.locked.remove_exec_fifo()?;
        match unlinkat(self.locked.dir(), BLOCK_FILE, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::os(Step::WriteState, errno as i32).with_object(BLOCK_FILE)),
        }
    }

    /// Has the execution watched, where the filter that it comes under is to be verified.
    fn watch<'f>(&self, filter: Option<&'f Filter>) -> Result<Option<Execution<'f>>>
    where
        Self: 'f,
    {
        match (self.record.inherited_filters, filter, self.record.init) {
            (Some(inherited), Some(filter), Some(init)) => {
                Execution::watch(init.pid, self.init, inherited, filter).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether the seccomp profile kills whoever executes a command: the init cannot say so itself, and its end looks
    /// like that of a command that was executed.
    fn profile_kills_execve(&self) -> Result<bool> {
        let kills = |action: &str| action.starts_with("SCMP_ACT_KILL") || action == "SCMP_ACT_TRAP";
        let Some(profile) = self.config.linux.as_ref().and_then(|linux| linux.seccomp.as_deref()) else {
            return Ok(false);
        };
        // Nearly every profile is told from such a one by its actions alone.
        let suspect = self.config.annotations.get(config::SECCOMP_BPF_DATA).is_some()
            || kills(&profile.default_action)
            || profile
                .syscalls
                .iter()
                .any(|rule| kills(&rule.action) && rule.names.iter().any(|name| name == "execve"));
        if !suspect {
            return Ok(false);
        }
        let filter = compile_seccomp(self.config)?;
        Ok(filter.is_some_and(|filter| crate::plan::kills_execve(&filter)))
    }

    fn hand_over_listener(&self, block: &InitBlock) -> Result<()> {
        if !block.awaits_listener() {
            return Ok(());
        }
        let listener = launch::take_listener(block, self.init, None)?;
        let profile = self.config.linux.as_ref().and_then(|linux| linux.seccomp.as_deref());
        let pid = self.record.init.map(|init| init.pid).ok_or_else(|| Error::os(Step::Execute, libc::ESRCH))?;
        send_listener(&listener, profile, self.record, Status::Created, pid).map_err(|error| self.stop(error))
    }

    fn wait(&self, reader: BorrowedFd<'_>, execution: Option<&Execution<'_>>, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let mut fds = [PollFd::new(reader, PollFlags::empty()), PollFd::new(self.init, PollFlags::POLLIN)];
            let mut until = deadline;
            if let Some(execution) = execution {
                let _ = execution.has_come()?;
                until = deadline.min(Instant::now() + verify::PAUSE);
            }
            match poll(&mut fds, pidfd::timeout_until(until)) {
                Ok(0) if Instant::now() >= deadline => {
                    return Err(Error::new(Kind::Timeout, Step::Execute)
                        .with_object(self.record.id.as_str())
                        .with_reason("the container's init does not execute the command"));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Error::os(Step::Wait, errno as i32).with_object(self.record.id.as_str())),
            }
        }
    }
}
