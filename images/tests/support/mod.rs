//! What the tests share: archives made entry by entry, a place to unpack them in, a guarded directory beside it.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "a module of test programs")]

pub mod layout;
pub mod tree;
pub mod world;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use orlop_images::layer::tar::{Entry, Kind, Time, Writer};
use orlop_images::layer::{self, Blob, Ids, Limits, Options, OverlayXattrs, Squash, Unpacked};
use orlop_images::{Cancel, Compression, Digest, Result};

/// The time of the entries of an [`Archive`].
pub const MTIME: i64 = 1_600_000_000;

/// Whether the test runs as root; says so where it is skipped.
pub fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIP {test}: it needs root");
    }
    root
}

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Archive(Vec<(Entry, Vec<u8>)>);

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.push(path, Kind::File { size: content.len() as u64, pieces: None }, 0o644, content)
    }

    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.push(path, Kind::Directory, 0o755, b"")
    }

    pub fn link(&mut self, path: &str, kind: Kind) -> &mut Self {
        self.push(path, kind, 0o777, b"")
    }

    /// Changes the last entry.
    pub fn with(&mut self, change: impl FnOnce(&mut Entry)) -> &mut Self {
        change(&mut self.0.last_mut().unwrap().0);
        self
    }

    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn push(&mut self, path: &str, kind: Kind, mode: u32, content: &[u8]) -> &mut Self {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let mtime = Time { seconds: MTIME, nanos: 0 };
        let entry = Entry { path: path.into(), kind, mode, uid, gid, mtime, atime: None, xattrs: Vec::new() };
        self.0.push((entry, content.to_vec()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, content) in &self.0 {
            writer.entry(entry, &mut &content[..]).unwrap();
        }
        writer.finish().unwrap()
    }
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A temporary directory with one for a layer and one that nothing may touch.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("orlop-unpack-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let place = Self(path);
        std::fs::create_dir(place.layer()).unwrap();
        std::fs::create_dir(place.outside()).unwrap();
        std::fs::write(place.outside().join("canary"), b"untouched").unwrap();
        place
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn layer(&self) -> PathBuf {
        self.0.join("layer")
    }

    pub fn outside(&self) -> PathBuf {
        self.0.join("outside")
    }

    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    pub fn empty_layer(&self) {
        std::fs::remove_dir_all(self.layer()).unwrap();
        std::fs::create_dir(self.layer()).unwrap();
    }

    /// Nothing is new, gone or different outside the layer.
    pub fn check_outside(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.outside()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"]);
        let canary = self.outside().join("canary");
        assert_eq!(std::fs::read(&canary).unwrap(), b"untouched");
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&canary.symlink_metadata().unwrap()), 1);
    }

    pub fn unpack(&self, archive: &[u8]) -> Result<Unpacked> {
        self.unpack_with(archive, Limits::default())
    }

    pub fn unpack_with(&self, archive: &[u8], limits: Limits) -> Result<Unpacked> {
        self.unpack_blob(archive, archive, "none", limits)
    }

    pub fn unpack_blob(&self, blob: &[u8], archive: &[u8], compression: &str, limits: Limits) -> Result<Unpacked> {
        self.run(blob, archive, compression, limits, blob.len() as u64)
    }

    /// A gzip blob whose descriptor says another size.
    pub fn unpack_lying(&self, blob: &[u8], archive: &[u8], size: u64) -> Result<Unpacked> {
        self.run(blob, archive, "gzip", Limits::default(), size)
    }

    fn run(&self, blob: &[u8], archive: &[u8], compression: &str, limits: Limits, size: u64) -> Result<Unpacked> {
        let compression = match compression {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        };
        let xattrs = if nix::unistd::geteuid().is_root() { OverlayXattrs::Trusted } else { OverlayXattrs::User };
        let options = Options { limits, ids: Ids::of_this_process(Squash::Refuse)?, xattrs };
        let blob = Blob { bytes: blob, digest: Digest::of(blob), size, compression, diff_id: Digest::of(archive) };
        let root = OwnedFd::from(std::fs::File::open(self.layer()).unwrap());
        layer::unpack(blob, root, &options, &Cancel::new(), &|_| {})
    }

    pub fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(self.layer().join(path), name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    pub fn is_opaque(&self, path: &str) -> bool {
        ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| self.xattr(path, name).is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Numbers that are the same in every run (xorshift64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Makes the checksum right in the block of an archive that the byte `at` lies in.
pub fn fix_checksum(archive: &mut [u8], at: usize) {
    let block = &mut archive[at / 512 * 512..][..512];
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
