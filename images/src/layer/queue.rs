//! The archive on its way from the thread that decompresses to the one that takes it apart, in a bounded number of buffers.
//!
//! Both threads hash it: whoever takes it apart before it does so, since the bytes are in its processor's cache then, and
//! whoever decompresses instead of waiting. So two processors are busy to the end, whichever side has more to do. A third
//! thread would take one of them from the inflater whenever it woke up.
//!
//! Who has to wait waits for several buffers, since a sleeping processor takes as long to wake up as a buffer to be filled.

use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use crate::base::{Digest, Hasher};

/// The size of a buffer.
pub(super) const BUFFER: usize = 256 << 10;
/// How many buffers there are at most: they bound the memory that a layer takes, whatever its size.
const BUFFERS: usize = 16;
/// For how many full buffers, and for how many empty ones, a thread waits.
const FULL: usize = 3;
const EMPTY: usize = 6;

/// Nobody reads on: not an error of the one who notices.
pub(super) struct Closed;

/// The buffers, wherever they are.
pub(super) struct Queue {
    state: Mutex<State>,
    full: Condvar,
    empty: Condvar,
    /// What has seen the archive up to the first buffer of `State::unhashed`. Locked before `state`.
    hasher: Mutex<Hasher>,
}

#[derive(Default)]
struct State {
    /// What is to be taken apart, and what is to be hashed. Most buffers are in both.
    archive: VecDeque<Arc<Vec<u8>>>,
    unhashed: VecDeque<Arc<Vec<u8>>>,
    empty: Vec<Vec<u8>>,
    made: usize,
    /// Nothing is sent any more.
    ended: bool,
    /// Nothing is read any more.
    closed: bool,
    sender_waits: bool,
    receiver_waits: bool,
}

impl State {
    fn may_send(&self) -> bool {
        let free = self.empty.len() + BUFFERS.saturating_sub(self.made);
        self.closed || free >= EMPTY || (free > 0 && self.receiver_waits)
    }

    fn may_receive(&self) -> bool {
        self.ended || self.archive.len() >= FULL || (!self.archive.is_empty() && self.sender_waits)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { state: Mutex::default(), full: Condvar::new(), empty: Condvar::new(), hasher: Mutex::new(hasher) }
    }

    /// The digest of what was sent.
    pub(super) fn finish(self) -> Digest {
        while self.hash() {}
        self.hasher.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }

    /// Hashes the next buffer; `false` if there is none, or another thread is at it.
    fn hash(&self) -> bool {
        let mut hasher = match self.hasher.try_lock() {
            Ok(hasher) => hasher,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(buffer) = locked(&self.state).unhashed.pop_front() else { return false };
        hasher.update(&buffer);
        drop(hasher);
        self.give_back(buffer);
        true
    }

    /// Ends one of the two uses of a buffer; after the other it is empty.
    fn give_back(&self, buffer: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(buffer) {
            let mut state = locked(&self.state);
            state.empty.push(buffer);
            self.wake(&mut state);
        }
    }

    /// Wakes whoever waits for what is there now.
    fn wake(&self, state: &mut State) {
        if state.sender_waits && state.may_send() {
            state.sender_waits = false;
            self.empty.notify_one();
        }
        if state.receiver_waits && state.may_receive() {
            state.receiver_waits = false;
            self.full.notify_one();
        }
    }

    /// A buffer of [`BUFFER`] bytes with any contents, once there is one.
    fn take(&self) -> Result<Vec<u8>, Closed> {
        loop {
            let mut state = locked(&self.state);
            if state.closed {
                return Err(Closed);
            }
            if let Some(mut buffer) = state.empty.pop() {
                drop(state);
                buffer.resize(BUFFER, 0);
                return Ok(buffer);
            }
            if state.made < BUFFERS {
                state.made += 1;
                drop(state);
                return Ok(vec![0; BUFFER]);
            }
            drop(state);
            if self.hash() {
                continue;
            }
            let mut state = locked(&self.state);
            state.sender_waits = !state.may_send();
            self.wake(&mut state);
            while state.sender_waits {
                state = self.empty.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn send(&self, buffer: Vec<u8>) {
        let buffer = Arc::new(buffer);
        let mut state = locked(&self.state);
        state.unhashed.push_back(Arc::clone(&buffer));
        state.archive.push_back(buffer);
        self.wake(&mut state);
    }

    /// The next full buffer, once there is one; none at the end.
    fn receive(&self) -> Option<Arc<Vec<u8>>> {
        loop {
            let mut state = locked(&self.state);
            if let Some(buffer) = state.archive.pop_front() {
                let unhashed = state.unhashed.len() > state.archive.len();
                drop(state);
                // Where the other thread hashes at this moment, this buffer is hashed later.
                if unhashed {
                    self.hash();
                }
                return Some(buffer);
            }
            if state.ended {
                return None;
            }
            drop(state);
            if self.hash() {
                continue;
            }
            let mut state = locked(&self.state);
            state.receiver_waits = !state.may_receive();
            self.wake(&mut state);
            while state.receiver_waits {
                state = self.full.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Where the archive goes.
pub(super) struct Output<'q> {
    queue: &'q Queue,
    bytes: u64,
}

impl<'q> Output<'q> {
    pub(super) fn new(queue: &'q Queue) -> Self {
        Self { queue, bytes: 0 }
    }

    /// A buffer of [`BUFFER`] bytes with any contents, to be filled and sent.
    pub(super) fn buffer(&self) -> Result<Vec<u8>, Closed> {
        self.queue.take()
    }

    pub(super) fn send(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.len() as u64;
        self.queue.send(buffer);
    }

    /// How many bytes were sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.queue.state);
        state.ended = true;
        self.queue.wake(&mut state);
        drop(state);
        // The other thread still has all of its buffers to take apart.
        while self.queue.hash() {}
    }
}

/// The archive as whoever takes it apart reads it.
pub(super) struct Stream<'q> {
    queue: &'q Queue,
    present: Option<Arc<Vec<u8>>>,
    at: usize,
}

impl<'q> Stream<'q> {
    pub(super) fn new(queue: &'q Queue) -> Self {
        Self { queue, present: None, at: 0 }
    }
}

impl BufRead for Stream<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        let length = self.present.as_ref().map_or(0, |buffer| buffer.len());
        if self.at >= length {
            if let Some(buffer) = self.present.take() {
                self.queue.give_back(buffer);
            }
            self.at = 0;
            // The end may be the end of what could be decompressed; who joins that thread knows.
            self.present = self.queue.receive();
        }
        let bytes = self.present.as_ref().map_or(&[][..], |buffer| buffer);
        Ok(bytes.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let length = bytes.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.queue.state);
        state.closed = true;
        self.queue.wake(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::Algorithm;

    /// Buffers that differ, of several lengths.
    fn content(number: usize) -> Vec<u8> {
        let byte = u8::try_from(number % 251).unwrap();
        vec![byte; 1 + number * 37 % 5000]
    }

    /// Sends `count` buffers, with a pause before every `slow_sender`th of them, and every `slow_receiver`th that is read.
    fn pass(count: usize, slow_sender: usize, slow_receiver: usize) {
        let all: Vec<u8> = (0..count).flat_map(content).collect();
        let queue = Queue::new(Hasher::new(Algorithm::Sha256));
        let pause = |number: usize, every: usize| {
            if number.is_multiple_of(every) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut output = Output::new(&queue);
                for number in 0..count {
                    pause(number, slow_sender);
                    let mut buffer = output.buffer().ok().unwrap();
                    buffer.splice(.., content(number));
                    output.send(buffer);
                }
            });
            let (mut stream, mut read) = (Stream::new(&queue), Vec::new());
            for number in 0.. {
                pause(number, slow_receiver);
                let bytes = stream.fill_buf().unwrap();
                if bytes.is_empty() {
                    break;
                }
                let length = bytes.len();
                read.extend_from_slice(bytes);
                stream.consume(length);
            }
            assert!(read == all, "{slow_sender} {slow_receiver}");
        });
        assert!(locked(&queue.state).made <= BUFFERS);
        assert_eq!(queue.finish(), Digest::of(&all), "{slow_sender} {slow_receiver}");
    }

    #[test]
    fn everything_arrives_in_order_and_is_hashed_whoever_is_slower() {
        for (slow_sender, slow_receiver) in [(1, 100), (100, 1), (7, 5), (1, 1), (1000, 1000)] {
            for count in [0, 1, BUFFERS - 1, BUFFERS, 10 * BUFFERS + 1] {
                pass(count, slow_sender, slow_receiver);
            }
        }
    }

    #[test]
    fn a_sender_fills_no_more_buffers_than_there_are() {
        let queue = Queue::new(Hasher::new(Algorithm::Sha256));
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut output = Output::new(&queue);
                while let Ok(buffer) = output.buffer() {
                    output.send(buffer);
                }
                output.bytes()
            });
            let stream = Stream::new(&queue);
            while !locked(&queue.state).sender_waits {
                std::thread::yield_now();
            }
            // It goes no further, and ends once nobody reads on.
            drop(stream);
            assert_eq!(sender.join().unwrap(), (BUFFERS * BUFFER) as u64);
        });
    }
}
