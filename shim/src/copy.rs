//! Copies a stream from one descriptor to another without waiting, and without memory of its own.
//!
//! Between pipes the kernel moves pages (splice(2)). Otherwise at most a page is read, and only when there is room for it on the
//! other side: a reader that is slow makes the pipe full, and so the program that writes to it slow, and costs nobody else anything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};

use crate::stdio::End;

/// A pipe that has room takes this much at once (PIPE_BUF), so what was read can be written.
const PAGE: usize = 4096;
/// How many moves are made before others get their turn.
const TURNS: usize = 16;
const MOST_SPLICED: usize = 64 << 10;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for this end.
    Wait(End),
    /// Go on when others have had their turn.
    Yield,
    /// The stream is at its end, or nobody takes it any more.
    Done,
}

/// How bytes get from one end to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Both ends are pipes.
    Splice,
    /// One is not.
    Bytes,
}

/// A copy.
#[derive(Debug)]
pub(crate) struct Copy {
    source: OwnedFd,
    sink: OwnedFd,
    by: By,
    /// What was read and not taken: at most a page, and seldom anything.
    rest: Vec<u8>,
    /// The end that is waited for, once one is.
    waits_for: Option<End>,
}

impl Copy {
    /// Both descriptors must be non-blocking, unless the sink is a file.
    pub(crate) fn new(source: OwnedFd, sink: OwnedFd, by: By) -> Self {
        Self { source, sink, by, rest: Vec::new(), waits_for: None }
    }

    /// One of its ends.
    pub(crate) fn end(&self, end: End) -> BorrowedFd<'_> {
        match end {
            End::Source => self.source.as_fd(),
            End::Sink => self.sink.as_fd(),
        }
    }

    /// The end that is waited for.
    pub(crate) fn waits_for(&self) -> Option<End> {
        self.waits_for
    }

    /// From now on this end is waited for.
    pub(crate) fn wait_for(&mut self, end: End) {
        self.waits_for = Some(end);
    }

    /// Copies what can be copied now.
    pub(crate) fn step(&mut self) -> Step {
        for _ in 0..TURNS {
            let moved = match self.by {
                By::Splice => self.splice(),
                By::Bytes => self.bytes(),
            };
            match moved {
                Ok(true) => {}
                Ok(false) => return Step::Done,
                Err(Errno::EAGAIN) => return Step::Wait(self.blocked_end()),
                Err(Errno::EINTR) => {}
                // EPIPE: nobody reads. EIO: a terminal whose other end is closed. Others leave nothing to be done either.
                Err(_) => return Step::Done,
            }
        }
        Step::Yield
    }

    /// Which end a copy that cannot go on is waiting for. While the sink has no room the source is not looked at: it may be at
    /// its end, of which the kernel would tell again and again.
    fn blocked_end(&self) -> End {
        if self.rest.is_empty() && self.has_room().unwrap_or(true) { End::Source } else { End::Sink }
    }

    /// `false` at the end of the stream.
    fn splice(&self) -> nix::Result<bool> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        splice(&self.source, None, &self.sink, None, MOST_SPLICED, flags).map(|count| count > 0)
    }

    fn bytes(&mut self) -> nix::Result<bool> {
        if !self.rest.is_empty() {
            let count = write(&self.sink, &self.rest)?;
            self.rest.drain(..count);
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
            return Ok(true);
        }
        if !self.has_room()? {
            return Err(Errno::EAGAIN);
        }
        let mut page = [0; PAGE];
        let count = read(&self.source, &mut page)?;
        let bytes = page.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(false);
        }
        let written = match write(&self.sink, bytes) {
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            written => written?,
        };
        self.rest.extend_from_slice(bytes.get(written..).unwrap_or_default());
        Ok(true)
    }

    fn has_room(&self) -> nix::Result<bool> {
        let mut fds = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
        // A sink in error is written to, which tells what is wrong with it.
        poll(&mut fds, PollTimeout::ZERO).map(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap()
    }

    /// Writes until the pipe is full, and returns how much that was.
    fn fill(sink: &OwnedFd, byte: u8) -> usize {
        let mut all = 0;
        loop {
            match write(sink, &[byte; PAGE]) {
                Ok(count) => all += count,
                Err(Errno::EAGAIN) => return all,
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    fn drain(source: &OwnedFd) -> usize {
        let mut all = 0;
        let mut bytes = [0; PAGE];
        loop {
            match read(source, &mut bytes) {
                Ok(0) | Err(Errno::EAGAIN) => return all,
                Ok(count) => all += count,
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    #[test]
    fn a_slow_reader_loses_nothing_and_the_copy_waits_for_it() {
        for by in [By::Splice, By::Bytes] {
            let (source, writer) = pipe();
            let (reader, sink) = pipe();
            let mut copy = Copy::new(source, sink, by);
            assert_eq!(copy.step(), Step::Wait(End::Source), "{by:?}: nothing is there");
            let mut sent = 0;
            loop {
                sent += fill(&writer, 7);
                match copy.step() {
                    Step::Wait(End::Sink) => break,
                    Step::Wait(End::Source) | Step::Yield => {}
                    Step::Done => panic!("{by:?}: the stream is not at its end"),
                }
            }
            drop(writer);
            let mut received = 0;
            loop {
                received += drain(&reader);
                match copy.step() {
                    Step::Done => break,
                    step => assert_ne!(step, Step::Wait(End::Source), "{by:?}"),
                }
            }
            assert_eq!(received + drain(&reader), sent, "{by:?}");
        }
    }

    #[test]
    fn a_reader_that_goes_ends_the_copy() {
        nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGPIPE).thread_block().unwrap();
        for by in [By::Splice, By::Bytes] {
            let (source, writer) = pipe();
            let (reader, sink) = pipe();
            let mut copy = Copy::new(source, sink, by);
            drop(reader);
            fill(&writer, 1);
            assert_eq!(copy.step(), Step::Done, "{by:?}");
        }
    }
}
