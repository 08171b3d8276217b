//! An answer: status, headers, and a body that is read while it comes.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::registry::http::body::{self, Framing};
use crate::registry::http::head::Head;
use crate::registry::http::{Client, Headers, Peer};
use crate::registry::wire::{Ended, Stream};

/// A body must bring at least this much …
const LEAST: u64 = 16 << 10;
/// … in this time, or it counts as stalled although now and then a byte comes.
const WINDOW: Duration = Duration::from_secs(60);

/// The answer to a request. Its connection goes back to the pool when the body has been read to its end.
#[derive(Debug)]
pub(in crate::registry) struct Answer<'c> {
    pub(in crate::registry) status: u16,
    pub(in crate::registry) headers: Headers,
    client: &'c Client,
    peer: Peer,
    stream: Option<Stream>,
    rest: Vec<u8>,
    framing: io::Result<Framing>,
    keep: bool,
    window: (Instant, u64),
}

impl<'c> Answer<'c> {
    pub(super) fn new(client: &'c Client, peer: Peer, stream: Stream, head: Head, head_only: bool) -> Self {
        let framing = Framing::of(head.status, &head.headers, head_only);
        let keep = head.keep && !matches!(framing, Ok(Framing::Close) | Err(_));
        let mut answer = Self {
            status: head.status,
            headers: head.headers,
            client,
            peer,
            stream: Some(stream),
            rest: head.rest,
            framing,
            keep,
            window: (Instant::now(), 0),
        };
        answer.settle();
        answer
    }

    /// How long the body is, where the head says it.
    pub(in crate::registry) fn length(&self) -> Option<u64> {
        self.headers.get("content-length").and_then(|text| text.parse().ok())
    }

    /// Reads the whole body, which may be `limit` bytes long.
    pub(in crate::registry) fn whole(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("the answer is longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads and drops what is left, if that is little, so that the connection can be used again.
    pub(in crate::registry) fn drain(&mut self) {
        // What fails here costs a connection and nothing else.
        if self.whole(64 << 10).is_err() {
            self.stream = None;
        }
    }

    /// Takes note of the end of a chunked body whose bytes have all been read, so that the connection can be used again.
    pub(in crate::registry) fn drain_if_ended(&mut self) {
        if matches!(self.framing, Ok(Framing::Between(true))) && !matches!(self.step(&mut [0]), Ok(0)) {
            self.stream = None;
        }
        self.settle();
    }

    /// Gives the connection back once the body is at its end.
    fn settle(&mut self) {
        if matches!(self.framing, Ok(Framing::Done))
            && let Some(stream) = self.stream.take()
            && self.keep
            && self.rest.is_empty()
        {
            self.client.keep(self.peer.clone(), stream);
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let framing = match &self.framing {
                Ok(framing) => *framing,
                Err(error) => return Err(io::Error::other(error.to_string())),
            };
            let Some(stream) = &mut self.stream else { return Ok(0) };
            match framing {
                Framing::Done => return Ok(0),
                Framing::Close => return body::raw(stream, &mut self.rest, buffer),
                Framing::Length(left) | Framing::Chunk(left) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let count = body::raw(stream, &mut self.rest, buffer.get_mut(..most).unwrap_or_default())?;
                    if count == 0 && most > 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let left = left - count as u64;
                    self.framing = Ok(match framing {
                        Framing::Length(_) if left == 0 => Framing::Done,
                        Framing::Length(_) => Framing::Length(left),
                        _ if left == 0 => Framing::Between(true),
                        _ => Framing::Chunk(left),
                    });
                    return Ok(count);
                }
                Framing::Between(ends) => {
                    let rest = &mut self.rest;
                    let size = stream.in_time(|stream| body::between(stream, rest, ends))?;
                    self.framing = Ok(if size == 0 { Framing::Done } else { Framing::Chunk(size) });
                }
            }
        }
    }

    /// Sees to it that a trickle counts as a stall.
    fn watch(&mut self, count: usize) -> io::Result<()> {
        let (begin, sum) = &mut self.window;
        *sum += count as u64;
        if begin.elapsed() >= WINDOW {
            if *sum < LEAST {
                return Err(io::Error::other(Ended::Stalled));
            }
            self.window = (Instant::now(), 0);
        }
        Ok(())
    }
}

impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.step(buffer)?;
        self.settle();
        self.watch(count)?;
        Ok(count)
    }
}
