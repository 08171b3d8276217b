//! From a blob to an archive: one thread reads and decompresses, another takes the archive apart, and both hash it.

use std::io::Read;
use std::thread;

use crate::base::{Cancel, Digest, Error, Hasher, Kind, Result, Step};
use crate::layer::decompress;
use crate::layer::limits::Limits;
use crate::layer::queue::{Output, Queue, Stream};
use crate::layer::source::Source;
use crate::model::Compression;

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

/// Sends `blob` through the threads and gives the archive to `work`. Returns what that returned, once the archive's
/// digest is right. `progress` is told how much of the blob was read.
pub(super) fn run<R: Read + Send, T>(
    blob: Blob<R>,
    limits: &Limits,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
    work: impl FnOnce(Stream<'_>) -> Result<T>,
) -> Result<T> {
    let Blob { bytes, digest, size, compression, diff_id } = blob;
    let queue = Queue::new(Hasher::new(diff_id.algorithm()));
    let result = thread::scope(|scope| {
        let decoder = scope.spawn(|| {
            let source = Source::new(bytes, size, cancel, progress);
            decompress::run(source, compression, limits, Output::new(&queue))
        });
        let result = work(Stream::new(&queue));
        // Who reads first comes first: of a stream that broke off, the one behind knows only that it ended.
        let panicked = || Error::new(Kind::System, Step::Unpack).reason_is("a thread of the unpacker panicked");
        decoder.join().map_err(|_| panicked())??;
        result
    });
    let checked = result.and_then(|result| {
        let found = queue.finish();
        if found == diff_id {
            return Ok(result);
        }
        let reason = format!("the archive in it has the digest {found}, where the image's config says {diff_id}");
        Err(Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason))
    });
    checked.map_err(|error| error.digest_is(&digest))
}
