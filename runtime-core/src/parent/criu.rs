//! CRIU, the program that saves running processes to files and makes them run again from there.
//!
//! It is an external program, found in PATH and started as `criu swrk FD`: it serves requests over that socket and tells at
//! certain points what it has come to, so that its caller can do its part. Everything it says is awaited with a deadline and with
//! a look at its process: it may hang, die, or answer nonsense.

mod client;
mod codec;
mod credentials;
mod external;
mod images;
mod log;
mod message;
mod options;
mod request;
mod targets;

pub(crate) use client::{Conversation, Criu, Notified, Place};
pub(crate) use credentials::Rights;
pub(crate) use external::{Mounts, refuse_confusable, refuse_lost};
pub(crate) use images::{Directory, Images, log_directory};
pub(crate) use log::explain;
pub(crate) use message::{Field, Notify, Options, Request, Value};
pub use options::{CgroupMode, CriuOptions, NetworkLock};
pub(crate) use request::{common, config_file, namespace_key};
pub(crate) use targets::{has_target, make_target, resolve};

/// Reads whatever CRIU, or a directory of its images, might say.
#[cfg(fuzzing)]
pub(crate) fn decode_all(bytes: &[u8]) {
    message::decode(bytes);
    images::decode_descriptors(bytes);
    for error in log::errors(&String::from_utf8_lossy(bytes)) {
        let _ = log::remedy(&error);
    }
}
