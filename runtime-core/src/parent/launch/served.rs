//! A process that an exec server makes.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use orlop_init::wire;

use super::block::{Connection, InitBlock};
use super::resources::Given;
use super::{Init, Launch};
use crate::base::{Error, HostPid, Result, Step};

/// Where a server tells of the processes that it makes: one place for each that it has been asked for and that is not known yet.
#[derive(Debug)]
pub(crate) struct Places {
    server: Arc<InitBlock>,
    free: Mutex<Vec<u8>>,
}

/// One of them; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: Arc<Places>,
    number: u8,
}

impl Places {
    /// Those of `server`, which was launched with [`wire::PLACES`] of them.
    pub(crate) fn of(server: &Init) -> Arc<Self> {
        Arc::new(Self { server: Arc::clone(&server.block), free: Mutex::new((0..=u8::MAX).collect()) })
    }

    fn take(self: &Arc<Self>) -> Result<Place> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or_else(|| {
            Error::os(Step::Clone, Errno::EAGAIN as i32)
                .with_object("a process for the command")
                .with_reason(format!("{} are being made by this server", wire::PLACES))
        })?;
        Ok(Place { all: Arc::clone(self), number })
    }
}

impl Place {
    /// What the server has said, once: the process, or the errno.
    pub(super) fn made(&self) -> Option<std::result::Result<HostPid, i32>> {
        let made = self.all.server.take_made(self.number)?;
        Some(made.and_then(|pid| HostPid::new(pid).ok_or(Errno::ECHILD as i32)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

impl Launch<'_> {
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
        let connection = Connection { sync: -1, tasks: 0, die_with_parent: false };
        let (block, block_fd) = InitBlock::write(self.plan, &connection, None)?;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let own = || [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let [stdin, stdout, stderr] = self.stdio.map_or_else(own, |streams| streams.each_ref().map(AsFd::as_fd));
        let pidfd = server.pidfd.try_clone().map_err(|error| Error::io(Step::Clone, &error))?;
        let command = [block_fd.as_fd(), theirs.as_fd(), stdin, stdout, stderr].map(|fd| fd.as_raw_fd());
        server.send_descriptors(&command, place.number)?;
        drop(theirs);
        let mut init = Init {
            pid: server.pid,
            pidfd,
            sync: ours,
            cancel: self.cancel.and_then(|fd| fd.try_clone_to_owned().ok()),
            block: Arc::new(block),
            host: self.host,
            filter_kills_exec: self.plan.seccomp_kills_execve,
            place: Some(place),
            forks: self.plan.forks(),
            enters: None,
            refused: false,
            ready: !self.plan.says_ready(),
        };
        match init.hand_over(self.plan, given, &[]) {
            Ok(()) => Ok(init),
            Err(error) => {
                init.kill();
                Err(error)
            }
        }
    }
}
