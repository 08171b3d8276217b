//! Layers: decompression, tar, and unpacking inside one directory.
//!
//! A layer is unpacked alone, before, after or beside the others of its image, into a directory that overlayfs takes as it
//! is. What cannot be known without the lower layers is told in [`Unpacked`]; `snapshot` sees to it.

mod decompress;
mod ids;
mod limits;
mod name;
mod pipeline;
mod queue;
mod source;
pub mod tar;
mod tree;
mod unpack;
mod xattr;

use std::io::{BufRead, Read};
use std::os::fd::OwnedFd;

pub use ids::{Ids, Squash};
pub use limits::Limits;
pub use name::{Meaning, Name, shown};
pub use pipeline::Blob;
pub use tree::OverlayXattrs;
pub use unpack::{Options, Unpacked};

pub(crate) use tree::{is_whiteout, remove_directory};
pub(crate) use unpack::{by_descriptor, link};
pub(crate) use xattr::belongs_to_the_file;

use crate::base::{Cancel, Result, Step};

/// Unpacks `blob` into the empty directory `root`, and compares its size and the archive's digest with what passed.
///
/// `progress` is told, from another thread, how many bytes of the blob were read. After an error, what `root` holds is of
/// no use.
pub fn unpack<R: Read + Send>(
    blob: Blob<R>,
    root: OwnedFd,
    options: &Options,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Unpacked> {
    let work = |archive: queue::Stream<'_>| unpack::unpack(Until { archive, cancel }, root, options);
    let result = pipeline::run(blob, &options.limits, cancel, progress, work);
    result.or_else(|error| cancel.check(Step::Unpack).and(Err(error)))
}

/// An archive that breaks off when the unpacking is cancelled: a small blob has been read long before all that it holds has been
/// unpacked.
struct Until<'a, R> {
    archive: R,
    cancel: &'a Cancel,
}

impl<R: BufRead> Read for Until<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.archive.read(into)
    }
}

impl<R: BufRead> BufRead for Until<'_, R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("cancelled"));
        }
        self.archive.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.archive.consume(length);
    }
}
