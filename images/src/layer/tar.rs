//! tar archives: a reader of what others write (v7, ustar, pax, GNU), and a writer of pax.
//!
//! The reader makes no file; it knows bytes. Where archivers differ in what an archive means, it refuses.

mod entry;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use entry::{Entry, Kind, Time};
pub use reader::Reader;
pub use writer::Writer;
