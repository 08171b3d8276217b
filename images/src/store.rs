//! The store: images and blobs on disk.
//!
//! ```text
//! STATE/                       $XDG_DATA_HOME/orlop, or /var/lib/orlop for root
//!   images/                    an OCI image layout, which skopeo and others read as oci:STATE/images
//!     oci-layout
//!     index.json               one entry for each name; org.opencontainers.image.ref.name is the reference in full
//!     blobs/sha256/HEX         each blob once, whole and checked: it gets its name last
//!     ingest/                  what is on its way: HEX.part goes on after a kill, *.tmp does not
//!     lock, index.lock         taken with flock(2)
//! ```
//! Several processes may work on one store. `index.lock` is held while index.json is replaced. `lock` is held shared by
//! whoever adds blobs until its entry is in the index, and alone by whoever removes blobs that no entry needs.

mod blob;
mod index;
mod partial;
mod prune;
mod upload;
mod verify;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;

pub use blob::BlobWriter;
pub use index::{Entry, REF_NAME};
pub use partial::{Begun, Partial};
pub use prune::Pruned;
pub use verify::Verified;

use crate::base::{Algorithm, Cancel, Digest, Dir, Error, Hasher, Kind, Lock, Result, Step};
use crate::model::{Descriptor, Image, Index, Limits, Manifest, Parsed};

/// How long the index may be locked by others: they only replace a file.
const INDEX_PATIENCE: Duration = Duration::from_secs(30);
/// How long others may be adding or removing blobs.
const PATIENCE: Duration = Duration::from_secs(600);

/// Images and blobs on disk.
#[derive(Debug)]
pub struct Store {
    state: Dir,
    images: Dir,
    sha256: Dir,
    sha512: Dir,
    ingest: Dir,
    limits: Limits,
    cancel: Cancel,
}

/// Keeps blobs from being removed while it lives; see [`Store::adding`].
#[derive(Debug)]
pub struct Adding(#[allow(dead_code, reason = "held for its drop")] Lock);

impl Store {
    /// The directory of this user: `$XDG_DATA_HOME/orlop`, `~/.local/share/orlop`, or `/var/lib/orlop` for root.
    #[must_use]
    pub fn usual_place() -> PathBuf {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
        match data {
            Some(data) => data.join("orlop"),
            None if nix::unistd::geteuid().is_root() => PathBuf::from("/var/lib/orlop"),
            None => set("HOME").unwrap_or_else(|| PathBuf::from("/nonexistent")).join(".local/share/orlop"),
        }
    }

    /// Opens the store in the state directory `state`, and makes it where it is missing.
    pub fn open(state: &Path, cancel: &Cancel) -> Result<Self> {
        let state = Dir::make(Step::OpenStore, state)?;
        let images = state.sub(Step::OpenStore, "images")?;
        let blobs = images.sub(Step::OpenStore, "blobs")?;
        let store = Self {
            sha256: blobs.sub(Step::OpenStore, "sha256")?,
            sha512: blobs.sub(Step::OpenStore, "sha512")?,
            ingest: images.sub(Step::OpenStore, "ingest")?,
            state,
            images,
            limits: Limits::default(),
            cancel: cancel.clone(),
        };
        match store.images.read(Step::OpenStore, "oci-layout", 4096)? {
            None => store.images.replace(Step::OpenStore, "oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?,
            Some(text) => check_version(&text).map_err(|reason| {
                let path = store.images.path().join("oci-layout");
                Error::new(Kind::Unsupported, Step::OpenStore).object_is(path.display().to_string()).reason_is(reason)
            })?,
        }
        Ok(store)
    }

    /// The state directory, for what belongs to images but is not kept in the layout: snapshots, containers.
    #[must_use]
    pub fn state(&self) -> &Dir {
        &self.state
    }

    /// The directory that is an OCI image layout.
    #[must_use]
    pub fn layout(&self) -> &Dir {
        &self.images
    }

    /// Whoever adds blobs holds this until an entry of the index needs them.
    pub fn adding(&self) -> Result<Adding> {
        self.lock("lock", false, PATIENCE).map(Adding)
    }

    fn lock(&self, name: &str, exclusive: bool, patience: Duration) -> Result<Lock> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT;
        let what = self.images.path().join(name).display().to_string();
        match self.images.file(Step::LockStore, name, flags)? {
            Some(file) => Lock::take(file, exclusive, &what, patience, &self.cancel),
            None => Err(Error::os(Step::LockStore, libc::ENOENT).object_is(what)),
        }
    }

    fn blobs(&self, algorithm: Algorithm) -> &Dir {
        match algorithm {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
        }
    }

    /// The size of a blob, if it is there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let stat = self.blobs(digest.algorithm()).stat(Step::ReadBlob, &digest.hex())?;
        Ok(stat.map(|stat| u64::try_from(stat.st_size).unwrap_or_default()))
    }

    /// Whether a blob is there with the size that it must have. If it has another size, either the blob is damaged, and
    /// then it is removed, or the descriptor lies, which must not cost us the blob.
    pub fn has(&self, blob: &Descriptor) -> Result<bool> {
        let size = match self.size(&blob.digest)? {
            None => return Ok(false),
            Some(size) if size == blob.size => return Ok(true),
            Some(size) => size,
        };
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut file = self.blob(&blob.digest)?;
        std::io::copy(&mut file, &mut hasher)
            .map_err(|error| Error::io(Step::ReadBlob, &error).digest_is(&blob.digest))?;
        if hasher.finish() != blob.digest {
            return self.discard(&blob.digest).map(|()| false);
        }
        Err(Error::new(Kind::InvalidContent, Step::ReadManifest)
            .digest_is(&blob.digest)
            .reason_is(format!("its size is said to be {} bytes, but it has {size}", blob.size)))
    }

    /// Opens a blob. Its bytes are not checked; whoever reads them compares the digest.
    pub fn blob(&self, digest: &Digest) -> Result<File> {
        let file = self.blobs(digest.algorithm()).file(Step::ReadBlob, &digest.hex(), OFlag::O_RDONLY)?;
        file.ok_or_else(|| {
            Error::new(Kind::NotFound, Step::ReadBlob)
                .digest_is(digest)
                .reason_is("it is not in the store")
                .hint_is("pull the image again")
        })
    }

    /// Reads a small blob whole and checks it.
    pub fn small_blob(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.blob(&blob.digest)?;
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(Step::ReadBlob, &error).digest_is(&blob.digest))?;
        if bytes.len() as u64 > limit {
            return Err(Error::new(Kind::Limit, Step::ReadBlob)
                .digest_is(&blob.digest)
                .reason_is(format!("longer than {limit} bytes")));
        }
        let mut hasher = Hasher::new(blob.digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() != blob.digest {
            return Err(damaged(&blob.digest));
        }
        Ok(bytes)
    }

    /// Removes a blob that is damaged, so that the next pull fetches it again.
    pub fn discard(&self, digest: &Digest) -> Result<()> {
        self.blobs(digest.algorithm()).remove(Step::Remove, &digest.hex()).map(|_| ())
    }

    /// Reads the document that `descriptor` names.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Parsed> {
        let bytes = self.small_blob(descriptor, self.limits.manifest)?;
        Parsed::read(&bytes, Some(&descriptor.media_type), &self.limits)
            .map_err(|error| error.digest_is(&descriptor.digest))
    }

    /// Reads the manifest that `descriptor` names.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        match self.document(descriptor)? {
            Parsed::Manifest(manifest) => Ok(manifest),
            Parsed::Index(_) => Err(Error::new(Kind::InvalidContent, Step::ReadManifest)
                .digest_is(&descriptor.digest)
                .reason_is("it is an index of images, not one image")),
        }
    }

    /// Reads the image that an entry of the index names.
    pub fn image(&self, entry: &Entry) -> Result<Image> {
        let manifest = self.manifest(&entry.descriptor)?;
        let config = self.small_blob(&manifest.config, self.limits.config)?;
        let image = Image::new(entry.reference.clone(), entry.descriptor.clone(), &manifest, &config);
        image.map_err(|error| match &entry.reference {
            Some(reference) => error.reference_is(reference),
            None => error,
        })
    }

    /// Every document that is reached from `root`, itself first; a blob that is missing ends its branch.
    fn walk(&self, root: &Descriptor, visit: &mut dyn FnMut(&Descriptor)) -> Result<()> {
        let mut open = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = open.pop() {
            visit(&descriptor);
            let document = match self.document(&descriptor) {
                Ok(document) => document,
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match document {
                Parsed::Manifest(Manifest { config, layers, .. }) => {
                    visit(&config);
                    layers.iter().for_each(&mut *visit);
                }
                Parsed::Index(Index { manifests, .. }) if depth < self.limits.depth => {
                    open.extend(manifests.into_iter().map(|each| (each, depth + 1)));
                }
                Parsed::Index(_) => {
                    return Err(Error::new(Kind::Limit, Step::ReadManifest)
                        .digest_is(&descriptor.digest)
                        .reason_is(format!("indexes nested deeper than {}", self.limits.depth)));
                }
            }
        }
        Ok(())
    }
}

/// The error of a blob whose bytes are not what its name says.
#[must_use]
pub fn damaged(digest: &Digest) -> Error {
    Error::new(Kind::Damaged, Step::ReadBlob)
        .digest_is(digest)
        .reason_is("its bytes have another digest: the store is damaged there")
        .hint_is("orlop image verify removes it, and the next pull fetches it again")
}

fn check_version(text: &[u8]) -> std::result::Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match value.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => Ok(()),
        Some(other) => Err(format!("an image layout of version {other}, not 1.0.0")),
        None => Err("not an image layout".to_owned()),
    }
}
