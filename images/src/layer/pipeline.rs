//! From a blob to an archive: reading, decompressing, hashing the archive and taking it apart, all at the same time, each in a
//! thread of its own, with a few buffers between them.
//!
//! The buffers are what bounds the memory: 12 of 256 KiB per layer, whatever its size.

use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::base::{Cancel, Digest, Error, Hasher, Kind, Result, Step};
use crate::layer::decompress;
use crate::layer::limits::Limits;
use crate::model::Compression;

/// The size of a buffer.
pub(super) const BUFFER: usize = 256 << 10;
/// How many buffers of the blob, and of the archive, may lie between two threads.
const OF_BLOB: usize = 3;
const OF_ARCHIVE: usize = 7;

/// What is to become an archive.
#[derive(Debug)]
pub struct Blob<R> {
    /// Its bytes.
    pub bytes: R,
    /// Its digest, which names it in errors. The bytes are not compared with it: who stored them has done that, and what comes out of
    /// them is compared with [`Blob::diff_id`].
    pub digest: Digest,
    /// Its size, which is compared with what was read.
    pub size: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// The digest of the archive, which is compared with what came out.
    pub diff_id: Digest,
}

/// A full buffer. Its memory goes back to where it came from when the last holder drops it.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: SyncSender<Vec<u8>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A pool that is full or gone has no use for it.
        drop(self.home.try_send(std::mem::take(&mut self.bytes)));
    }
}

/// Empty buffers, as many as there are between two threads.
pub(super) struct Pool {
    home: SyncSender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
}

impl Pool {
    pub(super) fn new(buffers: usize) -> Self {
        let (home, free) = sync_channel(buffers);
        Self { home, free }
    }

    /// A buffer of [`BUFFER`] bytes with any contents.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut bytes = self.free.try_recv().unwrap_or_default();
        bytes.resize(BUFFER, 0);
        bytes
    }

    pub(super) fn fill(&self, bytes: Vec<u8>) -> Arc<Buffer> {
        Arc::new(Buffer { bytes, home: self.home.clone() })
    }
}

/// The receiving end of a stream of buffers.
pub(super) struct Stream {
    buffers: Receiver<Arc<Buffer>>,
    present: Option<Arc<Buffer>>,
    at: usize,
    passed: u64,
}

impl Stream {
    fn new(buffers: Receiver<Arc<Buffer>>) -> Self {
        Self { buffers, present: None, at: 0, passed: 0 }
    }

    /// How many bytes were consumed.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// The next buffer as a whole, for those who only hand it on.
    pub(super) fn buffer(&mut self) -> Option<Arc<Buffer>> {
        if let Some(present) = self.present.take().filter(|_| self.at == 0) {
            return Some(present);
        }
        self.buffers.recv().ok()
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        let length = self.present.as_ref().map_or(0, |buffer| buffer.bytes.len());
        if self.at >= length {
            self.present = None;
            self.at = 0;
            // No sender is left at the end of the stream, or when its producer failed; who joins the producer knows which.
            self.present = self.buffers.recv().ok();
        }
        let bytes = self.present.as_ref().map_or(&[][..], |buffer| &buffer.bytes);
        Ok(bytes.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
        self.passed += length as u64;
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let length = bytes.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

/// Where the archive goes: to whoever hashes it and to whoever takes it apart.
pub(super) struct Output {
    hash: SyncSender<Arc<Buffer>>,
    archive: SyncSender<Arc<Buffer>>,
    bytes: u64,
}

/// Nobody reads on: not an error of the one who notices.
pub(super) struct Closed;

impl Output {
    pub(super) fn send(&mut self, buffer: Arc<Buffer>) -> std::result::Result<(), Closed> {
        self.bytes += buffer.bytes.len() as u64;
        self.hash.send(Arc::clone(&buffer)).map_err(|_| Closed)?;
        self.archive.send(buffer).map_err(|_| Closed)
    }

    /// How many bytes were sent.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Sends `blob` through the threads and gives the archive to `work`. Returns what that returned, once the archive's
/// digest is right. `progress` is told how much of the blob was read.
pub(super) fn run<R: Read + Send, T>(
    blob: Blob<R>,
    limits: &Limits,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
    work: impl FnOnce(Stream) -> Result<T>,
) -> Result<T> {
    let Blob { bytes, digest, size, compression, diff_id } = blob;
    let (blob_out, blob_in) = sync_channel(OF_BLOB);
    let (hash_out, hash_in) = sync_channel::<Arc<Buffer>>(OF_ARCHIVE);
    let (archive_out, archive_in) = sync_channel(OF_ARCHIVE);
    thread::scope(|scope| {
        let source = scope.spawn(move || read(bytes, size, &blob_out, cancel, progress));
        let output = Output { hash: hash_out, archive: archive_out, bytes: 0 };
        let decoder = scope.spawn(move || decompress::run(Stream::new(blob_in), compression, limits, output));
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::new(diff_id.algorithm());
            hash_in.iter().for_each(|buffer| hasher.update(&buffer.bytes));
            hasher.finish()
        });
        let result = work(Stream::new(archive_in));
        // Who reads first comes first: of a stream that broke off, those behind know only that it ended.
        let decoded = joined(decoder.join())?;
        joined(source.join())??;
        decoded?;
        let result = result?;
        let found = joined(hasher.join())?;
        if found != diff_id {
            let reason = format!("the archive in it has the digest {found}, where the image's config says {diff_id}");
            return Err(Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason));
        }
        Ok(result)
    })
    .map_err(|error| error.digest_is(&digest))
}

fn joined<T>(result: thread::Result<T>) -> Result<T> {
    result.map_err(|_| Error::new(Kind::System, Step::Unpack).reason_is("a thread of the unpacker panicked"))
}

/// Reads the blob.
fn read(
    mut bytes: impl Read,
    size: u64,
    output: &SyncSender<Arc<Buffer>>,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let pool = Pool::new(OF_BLOB + 2);
    let mut read = 0;
    loop {
        cancel.check(Step::Unpack)?;
        let mut buffer = pool.take();
        let length = bytes.read(&mut buffer).map_err(|error| Error::io(Step::ReadBlob, &error))?;
        buffer.truncate(length);
        if length == 0 {
            break;
        }
        read += length as u64;
        progress(read);
        if read > size {
            return Err(wrong(format!("longer than the {size} bytes that its descriptor says")));
        }
        if output.send(pool.fill(buffer)).is_err() {
            // Whoever stopped reading says why.
            return Ok(());
        }
    }
    if read == size { Ok(()) } else { Err(wrong(format!("{read} bytes, where its descriptor says {size}"))) }
}

fn wrong(reason: String) -> Error {
    Error::new(Kind::Damaged, Step::ReadBlob).reason_is(reason)
}
