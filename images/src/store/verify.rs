//! Checking the store: every blob is hashed again, and every image must have all of its blobs.

use std::io::Read;

use crate::base::{Digest, Error, Event, Hasher, Progress, Result, Step};
use crate::reference::Reference;
use crate::store::Store;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many blobs were hashed.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Blobs whose bytes have another digest; they have been removed.
    pub damaged: Vec<Digest>,
    /// Files that are no blobs.
    pub foreign: Vec<String>,
    /// Images that miss blobs, and which.
    pub incomplete: Vec<(Option<Reference>, Digest, Vec<Digest>)>,
}

impl Verified {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.foreign.is_empty() && self.incomplete.is_empty()
    }
}

impl Store {
    /// Hashes every blob. A damaged one is removed, so that a pull fetches it again.
    pub fn verify(&self, progress: &dyn Progress) -> Result<Verified> {
        let _adding = self.adding()?;
        let mut verified = Verified::default();
        for (name, blobs) in [("sha256", &self.sha256), ("sha512", &self.sha512)] {
            for hex in blobs.names(Step::Verify)? {
                match format!("{name}:{hex}").parse::<Digest>() {
                    Ok(digest) => self.verify_blob(&digest, &mut verified, progress)?,
                    Err(_) => verified.foreign.push(blobs.path().join(&hex).display().to_string()),
                }
            }
        }
        for entry in self.entries()? {
            let mut missing = Vec::new();
            let walked = self.walk(&entry.descriptor, &mut |blob| {
                if !matches!(self.size(&blob.digest), Ok(Some(size)) if size == blob.size) {
                    missing.push(blob.digest);
                }
            });
            if walked.is_err() && missing.is_empty() {
                missing.push(entry.descriptor.digest);
            }
            if !missing.is_empty() {
                verified.incomplete.push((entry.reference.clone(), entry.descriptor.digest, missing));
            }
        }
        Ok(verified)
    }

    fn verify_blob(&self, digest: &Digest, verified: &mut Verified, progress: &dyn Progress) -> Result<()> {
        let failed = |error: &std::io::Error| Error::io(Step::Verify, error).digest_is(digest);
        let mut file = self.blob(digest)?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        progress.event(Event::Begin { what: "verifying", digest, size, done: 0 });
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; 256 << 10];
        loop {
            self.cancel.check(Step::Verify)?;
            let count = file.read(&mut buffer).map_err(|error| failed(&error))?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            progress.event(Event::Advance { digest, done: hasher.length() });
        }
        verified.blobs += 1;
        verified.bytes += hasher.length();
        let sound = hasher.finish() == *digest;
        if !sound {
            self.discard(digest)?;
            verified.damaged.push(*digest);
        }
        progress.event(Event::End { digest, how: if sound { "sound" } else { "damaged, removed" } });
        Ok(())
    }
}
