//! The exec server: a process that is in a container's namespaces, but not seen in its pid namespace, and makes a process of each command
//! that the runtime sends it.

use core::sync::atomic::Ordering;

use crate::abi::{EINTR, EPROTO, PR_SET_PDEATHSIG, SIGURG};
use crate::block::Block;
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{self, Errno, Fd, close};
use crate::wire::{COMMAND, DESCRIPTORS, Made};

impl Executor<'_> {
    /// Serves until the runtime lets go of its end, or the runtime or the container's init ends, and ends then.
    ///
    /// The runtime's end of the socket may be held by a process that it has forked, so that its own end is waited for as well: not by a
    /// pidfd, which what is forked into the pid namespace would hold for a moment, and which leads to the host.
    pub(crate) fn serve(&self, init: Fd, parent: usize, enters: bool) -> Result<(), Failure> {
        let orphaned = sys::signal_fd(SIGURG)?;
        // It comes with the end of each thread of the runtime that is this one's parent by then.
        sys::prctl(PR_SET_PDEATHSIG, SIGURG, 0)?;
        if enters {
            self.block.keep_from_children()?;
        }
        while sys::getppid()? == parent {
            match sys::wait_readable([self.runtime, init, orphaned]) {
                Ok([_, true, _]) => break,
                Ok([_, _, true]) => {
                    sys::read(orphaned, &mut [0; 128], 128)?;
                }
                Ok([true, ..]) => match self.make(enters) {
                    Ok(()) | Err(Errno(EINTR)) => {}
                    Err(errno) => return Err(errno.into()),
                },
                Ok(_) | Err(Errno(EINTR)) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        sys::exit(0)
    }

    /// Makes the process that the next message asks for.
    fn make(&self, enters: bool) -> sys::Result<()> {
        let mut numbers = [0i32; DESCRIPTORS];
        let (count, word) = sys::receive_fds(self.runtime, &mut numbers)?;
        let Some(word) = word else { sys::exit(0) };
        let place = self.block.list(self.block.header().made).get(usize::from(word));
        let (Some(place), Some(received), COMMAND) = (place, numbers.first_chunk::<COMMAND>(), count) else {
            return Err(Errno(EPROTO));
        };
        let received = received.map(Fd);
        // A sibling, so that the runtime is its parent.
        match sys::fork(0, &place.process) {
            // The server's block is not mapped there.
            Ok(0) if enters => become_command(received, None),
            Ok(0) => become_command(received, Some((self.block, place))),
            Ok(_) => {}
            Err(errno) => place.process.store(-errno.0, Ordering::Release),
        }
        // The runtime sees the end of its socket only after the number, or the error, is there.
        for fd in received {
            close(fd)?;
        }
        Ok(())
    }
}

/// Goes on as the command's process, by the operations of its own block; the kernel tells of its fork, where there is to be one, in a place
/// of the server's.
fn become_command([block, runtime, stdin, stdout, stderr]: [Fd; COMMAND], server: Option<(Block<'_>, &Made)>) -> ! {
    sys::block_signals(0);
    // What is forked may be traced by who has the right to: what the runtime believes of it is not in its memory.
    if server.is_some_and(|(server, _)| server.keep_from_children().is_err()) {
        sys::exit(1);
    }
    let streams = [stdin, stdout, stderr].into_iter().zip(0..);
    if streams.map(|(stream, number)| sys::dup3(stream, Fd(number), 0)).any(|done| done.is_err()) {
        sys::exit(1);
    }
    let Ok(block) = Block::map(block) else { sys::exit(1) };
    let executor = Executor { runtime, ..Executor::new(block) };
    match server {
        Some((_, place)) => Executor { forked: &place.forked, ..executor }.carry_out(),
        None => { executor }.carry_out(),
    }
}
