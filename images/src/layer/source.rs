//! Reading a blob: its size is compared with what comes, and the end may be asked for.

use std::io::{BufRead, Read};

use crate::base::{Cancel, Error, Kind, Result, Step};

/// How much is read at once.
const BUFFER: usize = 256 << 10;

/// The bytes of a blob.
pub(super) struct Source<'a, R> {
    bytes: R,
    size: u64,
    read: u64,
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    cancel: &'a Cancel,
    progress: &'a (dyn Fn(u64) + Sync),
    failure: Option<Error>,
}

impl<'a, R: Read> Source<'a, R> {
    /// Reads `bytes`, which are to be `size` many, and tells `progress` how many were read.
    pub(super) fn new(bytes: R, size: u64, cancel: &'a Cancel, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { bytes, size, read: 0, buffer, at: 0, filled: 0, cancel, progress, failure: None }
    }

    /// How many bytes were consumed.
    pub(super) fn passed(&self) -> u64 {
        self.read - (self.filled - self.at) as u64
    }

    /// Why reading failed. What the decompressor says then follows from it.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Reads until the end, which the decompressor may not have asked for.
    pub(super) fn finish(&mut self) -> Result<()> {
        loop {
            match self.fill_buf().map(<[u8]>::len) {
                Ok(0) => return Ok(()),
                Ok(length) => self.consume(length),
                Err(error) => return Err(self.failure().unwrap_or_else(|| Error::io(Step::ReadBlob, &error))),
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.cancel.check(Step::Unpack)?;
        self.at = 0;
        self.filled = self.bytes.read(&mut self.buffer).map_err(|error| Error::io(Step::ReadBlob, &error))?;
        if self.filled == 0 && self.read != self.size {
            return Err(wrong(format!("{} bytes, where its descriptor says {}", self.read, self.size)));
        }
        self.read += self.filled as u64;
        (self.progress)(self.read);
        if self.read > self.size {
            return Err(wrong(format!("longer than the {} bytes that its descriptor says", self.size)));
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Source<'_, R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at >= self.filled
            && let Err(error) = self.fill()
        {
            self.failure = Some(error);
            (self.at, self.filled) = (0, 0);
            return Err(std::io::Error::other("the blob cannot be read"));
        }
        Ok(self.buffer.get(self.at..self.filled).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let length = bytes.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

fn wrong(reason: String) -> Error {
    Error::new(Kind::Damaged, Step::ReadBlob).reason_is(reason)
}
