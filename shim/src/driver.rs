//! A program that takes a container's output (`binary://` and `binary-v2://`): it reads standard output and error from its
//! descriptors 3 and 4, and closes 5 when it is ready.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{pipe2, read};

use crate::stdio::{Owner, Uri};
use crate::sys;
use crate::ttrpc::{Code, Failure};

/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long it may go on when its input is at its end, before it is asked to go, and then before it is made to.
const TO_END: [(Duration, i32); 2] =
    [(Duration::from_secs(10), libc::SIGTERM), (Duration::from_secs(2), libc::SIGKILL)];

/// A program that takes output.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    pidfd: OwnedFd,
    /// How often it has been told to end.
    told: usize,
}

impl Driver {
    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or ends, or is not ready in time.
    pub(crate) fn start(
        uri: &Uri,
        owner: &Owner,
        output: BorrowedFd<'_>,
        errors: BorrowedFd<'_>,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::Unknown, format!("start the logging program {}: {error}", uri.path))
        };
        let (ready, says_ready) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(&errno))?;
        let mut command = Command::new(&uri.path);
        command.args(uri.query.iter().flat_map(|(key, value)| [key, value]));
        command.env_clear().env("CONTAINER_ID", &owner.id).env("CONTAINER_NAMESPACE", &owner.namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let passed = [output, errors, says_ready.as_fd()];
        sys::pass_fds(&mut command, &passed).map_err(|errno| failed(&errno))?;
        sys::limit_open_files(&mut command, owner.open_files);
        let child = command.spawn().map_err(|error| failed(&error))?;
        // The copies in the command would keep the pipes open.
        drop(command);
        drop(says_ready);
        let pidfd = sys::pidfd_open(child.id()).map_err(|errno| failed(&errno))?;
        let mut driver = Self { child, pidfd, told: 0 };
        if let Err(reason) = driver.wait_ready(&ready, uri.scheme == "binary-v2") {
            driver.stop();
            return Err(failed(&reason));
        }
        Ok(driver)
    }

    fn wait_ready(&mut self, ready: &OwnedFd, must_say_so: bool) -> Result<(), String> {
        let end = Instant::now() + READY;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Err(format!("it is not ready after {} s", READY.as_secs())),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.to_string()),
            }
        }
        let count = read(ready, &mut [0]).map_err(|errno| errno.to_string())?;
        if count == 0 && must_say_so {
            return Err("it has closed its descriptor 5 without the byte that says it is ready".to_owned());
        }
        if count == 0 && self.has_ended() { Err("it has ended".to_owned()) } else { Ok(()) }
    }

    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::PIDFd(self.pidfd.as_fd()), flags).is_ok_and(|status| status != WaitStatus::StillAlive)
    }

    /// Ends it now.
    pub(crate) fn stop(&mut self) {
        // It may have ended, and that is what is wanted.
        let _already_gone = self.child.kill();
        let _already_reaped = self.child.wait();
    }

    /// Its input is at its end; how long it may take from now on before [`Self::tell`].
    pub(crate) fn patience(&self) -> Option<Duration> {
        TO_END.get(self.told).map(|(patience, _)| *patience)
    }

    /// Tells it to end, more and more clearly.
    pub(crate) fn tell(&mut self) {
        if let Some((_, signal)) = TO_END.get(self.told) {
            // ESRCH: it has ended.
            let _already_gone = sys::pidfd_send_signal(self.pidfd.as_fd(), *signal);
            self.told += 1;
        }
    }

    /// Reaps it; `false` while it has not ended.
    pub(crate) fn reap(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
