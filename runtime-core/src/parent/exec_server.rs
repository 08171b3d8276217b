//! An exec server: an init that has gone into a container, and makes a process of each command that is sent to it.

use std::time::{Duration, Instant};

use crate::base::sys::pidfd;
use crate::base::{Result, wait_for};
use crate::parent::launch::{Given, Init, Launch};

/// How long a server may take to end when it is told to.
const END: Duration = Duration::from_secs(1);

/// The server, ended with this value.
#[derive(Debug)]
pub(crate) struct ExecServer {
    init: Init,
}

impl ExecServer {
    /// `init` waits for commands from now on.
    pub(crate) fn new(init: Init) -> Self {
        Self { init }
    }

    /// Has it make a process.
    ///
    /// # Errors
    /// As [`Launch::start_by`].
    pub(crate) fn start(&self, launch: Launch<'_>, given: &Given<'_>) -> Result<Init> {
        launch.start_by(&self.init, given)
    }
}

impl Drop for ExecServer {
    fn drop(&mut self) {
        let ends = || pidfd::wait_until(self.init.pidfd(), Instant::now() + END).unwrap_or(false);
        // At the end of its socket it ends by itself, unless it has been stopped or is frozen. A frozen one ends when the container
        // is resumed, or is killed with it.
        self.init.hang_up();
        if ends() || (pidfd::send_signal(self.init.pidfd(), libc::SIGKILL).is_ok() && ends()) {
            // One that was killed with a command that it did not make is reaped already.
            drop(wait_for(self.init.pidfd(), true));
        }
    }
}
