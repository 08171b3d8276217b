//! The copying of streams in the loop: which end is waited for, and what follows when a stream is at its end.

use crate::copy::Step;
use crate::poller::{Interest, Token};
use crate::shim::Shim;
use crate::stdio::{Channel, End};

impl Shim {
    /// Copies what one of a process's streams has.
    pub(crate) fn copy(&mut self, key: u64, channel: Channel) {
        let Some(copy) = self.processes.get_mut(&key).and_then(|process| process.stdio.copy(channel)) else { return };
        let end = match copy.step() {
            Step::Done => return self.end_copy(key, channel),
            // What it waited for is still so.
            Step::Yield => copy.waits_for().unwrap_or(End::Source),
            Step::Wait(end) => end,
        };
        if copy.waits_for() == Some(end) {
            return;
        }
        if let Some(before) = copy.waits_for() {
            self.poller.remove(copy.end(before));
        }
        let interest = if end == End::Source { Interest::Read } else { Interest::Write };
        if let Err(errno) = self.poller.add(copy.end(end), Token::Copy(key, channel, end), interest) {
            self.log.error(format_args!("wait for a stream: {errno}"));
            return self.end_copy(key, channel);
        }
        copy.wait_for(end);
    }

    pub(crate) fn end_copy(&mut self, key: u64, channel: Channel) {
        let Some(process) = self.processes.get_mut(&key) else { return };
        let Some(copy) = process.stdio.finish(channel) else { return };
        if let Some(end) = copy.waits_for() {
            self.poller.remove(copy.end(end));
        }
        drop(copy);
        let is_awaited = process.deleter.is_some() && process.exit().is_some();
        if is_awaited && channel != Channel::Input && process.stdio.is_drained() {
            self.delete_now(key);
        }
    }
}
