//! What every other module builds on: errors, digests, progress and cancellation.

mod cancel;
mod digest;
mod error;
mod progress;

pub use cancel::Cancel;
pub use digest::{Algorithm, BadDigest, Digest, Hasher};
pub use error::{Error, Kind, Result, Step, errno_text};
pub use progress::{Event, Progress, Quiet};
