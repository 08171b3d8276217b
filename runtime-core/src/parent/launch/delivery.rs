//! What an init is handed through its socket before its first step.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use orlop_init::wire;

use super::entered::{Namespace, entered};
use super::resources::{self, Given, Opened};
use crate::base::{Error, Result, Step};
use crate::plan::Plan;

/// The runtime's answer.
pub(super) const GO: u8 = 1;

/// Descriptors that are open and to be sent.
#[derive(Debug)]
pub(super) struct Delivery<'d> {
    opened: Vec<Opened<'d>>,
    /// The `tasks` files that the init writes.
    tasks: &'d [BorrowedFd<'d>],
    /// Whether the init waits for them.
    receives: bool,
    /// Whether the answer to its word that all is set up goes with it.
    goes_on: bool,
}

impl<'d> Delivery<'d> {
    /// Opens what the plan names.
    ///
    /// # Errors
    /// What cannot be opened, with its config field.
    pub(super) fn open(plan: &Plan, given: &Given<'d>, tasks: &'d [BorrowedFd<'d>], goes_on: bool) -> Result<Self> {
        Ok(Self { opened: resources::open_all(plan, given)?, tasks, receives: plan.receives(), goes_on })
    }

    /// The pid namespace that the plan's process enters, see [`entered`].
    pub(super) fn enters(&self, plan: &Plan, given: &Given<'_>) -> Option<Namespace> {
        entered(plan, &self.opened, given)
    }

    /// Sends it; where the init has died meanwhile, the next wait for it tells why.
    ///
    /// # Errors
    /// [`Step::Clone`].
    pub(super) fn send(&self, socket: BorrowedFd<'_>) -> Result<()> {
        let all = self.opened.iter().map(AsFd::as_fd).chain(self.tasks.iter().copied());
        let numbers: Vec<RawFd> = all.map(|fd| fd.as_raw_fd()).collect();
        let last: &[u8] = match (self.receives, self.goes_on) {
            (true, true) => &[wire::LAST, GO],
            (true, false) => &[wire::LAST],
            (false, true) => &[GO],
            (false, false) => return Ok(()),
        };
        let mut chunks = numbers.chunks(wire::DESCRIPTORS).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let more = chunks.peek().is_some();
            let taken = send(socket, chunk, if more { &[wire::MORE] } else { last })?;
            if !taken || !more {
                return Ok(());
            }
        }
    }
}

/// Sends descriptors and a word about them; whether anybody takes them.
pub(super) fn send(socket: BorrowedFd<'_>, numbers: &[RawFd], words: &[u8]) -> Result<bool> {
    let content = [IoSlice::new(words)];
    let rights = [ControlMessage::ScmRights(numbers)];
    let control = if numbers.is_empty() { rights.get(1..) } else { rights.get(..) }.unwrap_or_default();
    loop {
        return match sendmsg::<()>(socket.as_raw_fd(), &content, control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(Error::os(Step::Clone, errno as i32).with_object("send descriptors to the init")),
        };
    }
}
