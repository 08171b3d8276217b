//! Progress: what an operation tells while it works.

use crate::base::Digest;

/// Something that happened to one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on the blob begins; `done` bytes are there from an earlier attempt.
    Begin {
        /// What is done, in a word or two: `pulling`, `pushing`, `unpacking`.
        what: &'a str,
        /// The blob.
        digest: &'a Digest,
        /// Its size in bytes.
        size: u64,
        /// How much is done already.
        done: u64,
    },
    /// The blob has been carried up to `done` bytes.
    Advance {
        /// The blob.
        digest: &'a Digest,
        /// How much is done.
        done: u64,
    },
    /// The blob is complete.
    End {
        /// The blob.
        digest: &'a Digest,
        /// What became of it: `pulled`, `already there`, `mounted from another repository`.
        how: &'a str,
    },
    /// A sentence that fits no blob: a retry and its reason, a mirror that was passed over.
    Note(&'a str),
}

/// Takes events. Called from several threads, often; an implementation that draws limits its own rate.
pub trait Progress: Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Takes events and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn event(&self, _: Event<'_>) {}
}
