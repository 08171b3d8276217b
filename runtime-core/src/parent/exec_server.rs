//! An exec server: an init that has gone into a container, and makes a process of each command that is sent to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::sys::pidfd;
use crate::base::{Error, Kind, Result, Step, wait_for};
use crate::parent::launch::{Given, Init, Launch, Places};

/// How long a server may take to end when it is told to.
const END: Duration = Duration::from_secs(1);

/// The server, ended with this value.
#[derive(Debug)]
pub(crate) struct ExecServer {
    init: Init,
    places: Arc<Places>,
    /// The process whose children are the server and its commands.
    owner: u32,
}

impl ExecServer {
    /// `init` waits for commands from now on.
    pub(crate) fn new(init: Init) -> Self {
        Self { places: init.places(), init, owner: std::process::id() }
    }

    /// Has it make a process.
    ///
    /// # Errors
    /// As [`Launch::start_by`] and [`Self::check_owner`].
    pub(crate) fn start(&self, launch: Launch<'_>, given: &Given<'_>) -> Result<Init> {
        self.check_owner()?;
        launch.start_by(&self.init, &self.places, given)
    }

    /// # Errors
    /// [`Kind::Unsupported`] in a process that the owner has forked.
    pub(crate) fn check_owner(&self) -> Result<()> {
        if self.is_owned() {
            return Ok(());
        }
        Err(Error::new(Kind::Unsupported, Step::Clone)
            .with_object("an exec server")
            .with_reason("it belongs to the process that has forked this one")
            .with_hint("start another"))
    }

    fn is_owned(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for ExecServer {
    fn drop(&mut self) {
        if !self.is_owned() {
            return;
        }
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
