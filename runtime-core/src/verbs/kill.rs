//! `kill`: sends a signal.

use std::os::fd::AsFd;

use nix::errno::Errno;

use crate::base::sys::pidfd;
use crate::base::{ContainerId, Error, Result, Runtime, Signal, Step, options};
use crate::parent::cgroup;
use crate::parent::liveness::{self, not_running};
use crate::state::{InitProcess, Record, Store};

options! {
    /// What `kill` is told.
    #[derive(Debug, Clone)]
    pub struct KillOptions {
        /// The signal.
        pub signal: Signal,
        /// Send it to all processes of the container, also when its first process has ended; that none is left is then no error.
        pub all: bool,
    }
}

impl Default for KillOptions {
    fn default() -> Self {
        Self { signal: Signal::TERM, all: false }
    }
}

/// Sends a signal to the container's first process, or to all.
///
/// A `created` container, which has nothing that could handle a signal, is ended by SIGTERM, SIGINT, SIGHUP, SIGQUIT and SIGABRT.
/// SIGKILL ends all of them either way: through the pid namespace, or one by one where that is shared with others; and it thaws
/// what is paused.
///
/// # Errors
/// [`Kind::NotFound`](crate::Kind::NotFound) when there is no such container; [`Kind::WrongStatus`](crate::Kind::WrongStatus) ("container not running") when its first process has
/// ended; [`Kind::System`](crate::Kind::System) when the kernel refuses.
pub fn kill(runtime: &Runtime, id: &ContainerId, options: &KillOptions) -> Result<()> {
    let entry = Store::find(runtime, id)?;
    let record = &entry.record;
    if options.all {
        return signal_all(record, options.signal);
    }
    let init = record.init.as_ref().map(InitProcess::open).transpose()?.flatten();
    // Without a pid namespace of its own, the other processes would outlive the first one.
    if options.signal == Signal::KILL && !record.has_own_pid_namespace() && record.cgroup.is_some() {
        let was_running = init.is_some();
        let cgroups = cgroup::all(record)?;
        let occupied = |cgroup: &orlop_cgroups::Cgroup| cgroup.is_empty().map(|empty| !empty);
        let had_processes = was_running
            || cgroups
                .iter()
                .try_fold(false, |had, cgroup| Ok(had || occupied(cgroup)?))
                .map_err(|error: orlop_cgroups::Error| Error::cgroup(&error))?;
        cgroup::each(&cgroups, orlop_cgroups::Cgroup::kill_all)?;
        // The init itself may be where others are.
        if let Some(init) = &init
            && let Err(errno) = pidfd::send_signal(init.as_fd(), libc::SIGKILL)
            && errno != Errno::ESRCH
        {
            return Err(Error::os(Step::Signal, errno as i32).with_object(format!("init of {id}")));
        }
        return if had_processes { Ok(()) } else { Err(not_running(record)) };
    }
    let init = init.ok_or_else(|| not_running(record))?;
    let signal = if ends_a_waiting_init(options.signal) && liveness::waits_for_start(&entry)? {
        Signal::KILL
    } else {
        options.signal
    };
    match pidfd::send_signal(init.as_fd(), signal.number()) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Err(not_running(record)),
        Err(errno) => {
            return Err(Error::os(Step::Signal, errno as i32).with_object(format!("init of {id}")));
        }
    }
    if signal == Signal::KILL { cgroup::thaw_dying(record) } else { Ok(()) }
}

/// Whether the signal asks a process to end. What waits for `start` is the first process of a pid namespace and has no handlers:
/// such a one is deaf to these. runc's has handlers and ends, which engines that stop a created container count on.
fn ends_a_waiting_init(signal: Signal) -> bool {
    matches!(signal.number(), libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGABRT | libc::SIGTERM)
}

fn signal_all(record: &Record, signal: Signal) -> Result<()> {
    let cgroups = cgroup::all(record)?;
    let init = record.init.as_ref().map(InitProcess::open).transpose()?.flatten();
    // The init is signalled with the others, but where it is in nobody's cgroup, or in one with processes of others.
    let with_others = match record.init.filter(|_| init.is_some()) {
        Some(init) => cgroup::hold(&cgroups, init.pid)?,
        None => true,
    };
    if !cgroups.is_empty() {
        cgroup::each(&cgroups, |cgroup| cgroup.kill(signal.as_cgroups()))?;
    }
    match init.filter(|_| !with_others) {
        Some(init) => match pidfd::send_signal(init.as_fd(), signal.number()) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::os(Step::Signal, errno as i32).with_object(format!("init of {}", record.id))),
        },
        None => Ok(()),
    }
}
