//! Layers: decompression, tar, and unpacking inside one directory.
//!
//! A layer is unpacked alone, before, after or beside the others of its image, into a directory that overlayfs takes as it
//! is. What cannot be known without the lower layers is told in [`Unpacked`]; `snapshot` sees to it.

mod decompress;
mod ids;
mod limits;
mod name;
mod pipeline;
pub mod tar;
mod tree;
mod unpack;
mod xattr;

use std::io::Read;
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

use crate::base::{Cancel, Result};

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
    pipeline::run(blob, &options.limits, cancel, progress, |archive| unpack::unpack(archive, root, options))
}
