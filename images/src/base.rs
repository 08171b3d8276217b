//! What every other module builds on: errors, digests, directories and locks, progress, cancellation.

mod cancel;
mod digest;
mod dir;
mod error;
mod lock;
mod progress;
pub(crate) mod sys;

pub use cancel::Cancel;
pub use digest::{Algorithm, BadDigest, Digest, Hasher};
pub use dir::Dir;
pub use error::{Error, Kind, Result, Step, errno_text, printable};
pub use lock::Lock;
pub use progress::{Event, Progress, Quiet};
