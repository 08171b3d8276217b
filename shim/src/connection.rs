//! A connection that speaks ttrpc, without ever waiting.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::poller::Interest;
use crate::ttrpc::{Decoder, Incoming};

/// A peer that does not read its answers is not heard until it does.
const MOST_UNSENT: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    unsent: Vec<u8>,
}

impl Connection {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub(crate) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, decoder: Decoder::default(), unsent: Vec::new() })
    }

    /// Reads what has come. `false` when the peer has closed.
    pub(crate) fn fill(&mut self) -> bool {
        let mut bytes = [0; 8192];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.decoder.feed(bytes.get(..count).unwrap_or_default());
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// The next frame that has come as a whole.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        self.decoder.next()
    }

    /// Sends a frame, or keeps what the socket does not take yet. `false` when the connection is broken.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        self.unsent.extend_from_slice(frame);
        self.flush()
    }

    /// Sends what was kept. `false` when the connection is broken.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        self.unsent = Vec::new();
        true
    }

    /// What to wait for.
    pub(crate) fn need(&self) -> Interest {
        match self.unsent.len() {
            0 => Interest::Read,
            length if length < MOST_UNSENT => Interest::Both,
            _ => Interest::Write,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
