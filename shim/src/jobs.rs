//! Work that may take long, on a thread of its own, so that the loop goes on: mounts, hooks, CRIU, and whatever executes a command.
//! There is none otherwise.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::shim::Shim;

/// What is done in the loop with the outcome of some work.
pub(crate) type Finish = Box<dyn FnOnce(&mut Shim) + Send>;

/// The work that is being done.
#[derive(Debug)]
pub(crate) struct Jobs {
    sender: Sender<(String, Finish)>,
    receiver: Receiver<(String, Finish)>,
    wake: Arc<EventFd>,
    active: usize,
}

impl Jobs {
    pub(crate) fn new() -> nix::Result<Self> {
        let (sender, receiver) = channel();
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { sender, receiver, wake: Arc::new(wake), active: 0 })
    }

    /// Starts work on the container `task`; gives it back when there is no thread to be had.
    ///
    /// # Errors
    /// The work.
    pub(crate) fn start<W: FnOnce() -> Finish + Send + 'static>(&mut self, task: String, work: W) -> Result<(), W> {
        let slot = Arc::new(Mutex::new(Some(work)));
        let (theirs, sender, wake) = (Arc::clone(&slot), self.sender.clone(), Arc::clone(&self.wake));
        let thread = std::thread::Builder::new().name("job".to_owned());
        let started = thread.spawn(move || {
            let Some(work) = taken(&theirs) else { return };
            let finish = work();
            // Neither fails while the loop is there, which outlives every job.
            let _loop_is_gone = sender.send((task, finish));
            let _loop_is_gone = wake.write(1);
        });
        if started.is_err()
            && let Some(work) = taken(&slot)
        {
            return Err(work);
        }
        self.active += 1;
        Ok(())
    }

    /// The next outcome, with the container that it is about.
    pub(crate) fn next(&mut self) -> Option<(String, Finish)> {
        let outcome = self.receiver.try_recv().ok()?;
        self.active -= 1;
        Some(outcome)
    }

    /// Takes the news that there are outcomes.
    pub(crate) fn clear(&self) {
        // EAGAIN: there were none.
        let _nothing_new = self.wake.read();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.active == 0
    }
}

impl AsFd for Jobs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

fn taken<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    // Nobody panics while holding it, and a panic would end the program.
    slot.lock().ok().and_then(|mut slot| slot.take())
}
