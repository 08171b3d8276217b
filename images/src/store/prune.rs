//! Removing blobs that no image needs.

use std::collections::BTreeSet;

use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::base::{Digest, Dir, Result, Step};
use crate::store::{PATIENCE, Store};

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The blobs.
    pub blobs: Vec<Digest>,
    /// How many unfinished downloads and temporary files.
    pub unfinished: usize,
    /// The bytes that this freed.
    pub bytes: u64,
}

impl Store {
    /// Removes blobs that neither an entry of the index nor one of `kept` leads to; `kept` are manifests that others, such as
    /// containers, still use. With `unfinished`, downloads that nobody is at go too. Waits until nobody adds blobs.
    ///
    /// An image that cannot be read keeps everything: what it needs is not known.
    pub fn prune(&self, kept: &[Digest], unfinished: bool) -> Result<Pruned> {
        let _lock = self.lock("lock", true, PATIENCE)?;
        let mut reached = BTreeSet::new();
        for entry in self.entries()? {
            self.walk(&entry.descriptor, &mut |blob| {
                reached.insert(blob.digest);
            })?;
        }
        for digest in kept {
            let Some(size) = self.size(digest)? else { continue };
            let manifest = crate::model::Descriptor::new(crate::model::MediaType::OCI_MANIFEST, *digest, size);
            // A manifest says itself whether it is Docker's or OCI's, so nothing is declared of it.
            let bytes = self.small_blob(&manifest, self.limits.manifest)?;
            let parsed = crate::model::Parsed::read(&bytes, None, &self.limits)?;
            reached.insert(*digest);
            if let crate::model::Parsed::Manifest(manifest) = parsed {
                reached.insert(manifest.config.digest);
                reached.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
        }
        let mut pruned = Pruned::default();
        for (name, blobs) in [("sha256", &self.sha256), ("sha512", &self.sha512)] {
            for hex in blobs.names(Step::Prune)? {
                self.cancel.check(Step::Prune)?;
                let digest: Option<Digest> = format!("{name}:{hex}").parse().ok();
                if digest.is_some_and(|digest| reached.contains(&digest)) {
                    continue;
                }
                pruned.bytes += length(blobs, &hex)?;
                blobs.remove(Step::Prune, &hex)?;
                pruned.blobs.extend(digest);
            }
        }
        self.prune_ingest(unfinished, &mut pruned)?;
        Ok(pruned)
    }

    /// Temporary files belong to processes that are gone, since nobody adds blobs now. A download may be taken up again.
    fn prune_ingest(&self, unfinished: bool, pruned: &mut Pruned) -> Result<()> {
        for name in self.ingest.names(Step::Prune)? {
            let temporary = name.ends_with(".tmp");
            if !temporary && !unfinished {
                continue;
            }
            let Some(file) = self.ingest.file(Step::Prune, &name, OFlag::O_RDWR)? else { continue };
            if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err() {
                continue;
            }
            pruned.bytes += length(&self.ingest, &name)?;
            if self.ingest.remove(Step::Prune, &name)? {
                pruned.unfinished += 1;
            }
        }
        Ok(())
    }
}

fn length(dir: &Dir, name: &str) -> Result<u64> {
    Ok(dir.stat(Step::Prune, name)?.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or_default()))
}
