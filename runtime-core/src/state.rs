//! What is kept on disk about each container: `<root>/<id>/state.json`, locked by its directory and replaced atomically.
//!
//! The directory of a container is also where its `config.json` (a verbatim copy, since an engine may change or remove the
//! bundle), its [`EXEC_FIFO`] and other files of its life are. A directory exists before any other resource of the container
//! does and goes after all of them, so whatever a killed runtime leaves can be found from here.
//!
//! The lock is a `flock` on the directory itself: it needs no file, it ends with its holder, and while `create` holds it nobody
//! takes the half-made container for a dead one.

mod brief;
mod files;
mod locked;
mod record;
mod store;
mod timestamp;
mod wire;

pub(crate) use brief::Brief;
pub(crate) use files::EXEC_FIFO;
pub(crate) use locked::{CLAIM_GRACE, Claim, Locked};
pub(crate) use record::{InitProcess, IntelRdtRecord, NamespaceRecord, Phase, Record};
pub(crate) use store::{Entry, Store, not_found};
pub use timestamp::rfc3339;

#[cfg(test)]
mod tests;
