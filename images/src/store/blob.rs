//! Writing a blob whose digest is known only at its end.

use std::fs::File;
use std::io::{self, Write};

use crate::base::{Algorithm, Digest, Dir, Error, Hasher, Kind, Result, Step};
use crate::model::Descriptor;
use crate::store::Store;

/// A new blob. What is not committed is removed.
#[derive(Debug)]
pub struct BlobWriter<'s> {
    store: &'s Store,
    file: File,
    name: Option<String>,
    hasher: Hasher,
}

impl Store {
    /// Begins a new blob.
    pub fn writer(&self, algorithm: Algorithm) -> Result<BlobWriter<'_>> {
        let (name, file) = self.ingest.temporary(Step::WriteBlob, "blob")?;
        Ok(BlobWriter { store: self, file, name: Some(name), hasher: Hasher::new(algorithm) })
    }

    /// Writes `bytes` as a blob; nothing is written if it is there.
    pub fn add(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        self.add_as(Descriptor::of(media_type, bytes), bytes)
    }

    /// Writes `bytes` as the blob that `descriptor` names, and refuses them if they are not that blob.
    pub fn add_as(&self, descriptor: Descriptor, bytes: &[u8]) -> Result<Descriptor> {
        if self.has(&descriptor)? {
            return Ok(descriptor);
        }
        let mut writer = self.writer(descriptor.digest.algorithm())?;
        writer.write_all(bytes).map_err(|error| Error::io(Step::WriteBlob, &error).digest_is(&descriptor.digest))?;
        writer.commit(Some(&descriptor.digest))?;
        Ok(descriptor)
    }

    /// Gives a complete file of the ingest directory its name. The blob is on disk before its name is.
    pub(super) fn place(&self, file: &File, name: &str, digest: &Digest) -> Result<()> {
        file.sync_data().map_err(|error| Error::io(Step::WriteBlob, &error).digest_is(digest))?;
        let blobs = self.blobs(digest.algorithm());
        self.ingest.rename(Step::WriteBlob, name, blobs, &digest.hex()).map_err(|error| error.digest_is(digest))
    }

    pub(super) fn ingest(&self) -> &Dir {
        &self.ingest
    }
}

impl BlobWriter<'_> {
    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Ends the blob and gives it its name: the digest, which must be `expected` where that is known.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let length = self.hasher.length();
        let digest = self.hasher.clone().finish();
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(Error::new(Kind::InvalidContent, Step::WriteBlob)
                .digest_is(expected)
                .reason_is(format!("the {length} bytes that came have the digest {digest}")));
        }
        if let Some(name) = &self.name {
            self.store.place(&self.file, name, &digest)?;
            self.name = None;
        }
        Ok((digest, length))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // `prune` takes away what stays here.
            drop(self.store.ingest.remove(Step::WriteBlob, name));
        }
    }
}
