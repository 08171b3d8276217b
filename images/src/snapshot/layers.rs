//! Unpacked layers on disk, and unpacking those of an image that are missing, several at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::{Algorithm, Cancel, Digest, Dir, Error, Event, Hasher, Kind, Lock, Progress, Result, Step};
use crate::layer::{self, Blob, Ids, Limits, OverlayXattrs, Squash, Unpacked, remove_directory};
use crate::model::{Image, Layer};
use crate::snapshot::known::Known;
use crate::snapshot::merged::{Directory, failed};
use crate::snapshot::settle;

/// How long another process may take to unpack one layer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Unpacked layers.
#[derive(Debug)]
pub struct Layers {
    dir: Dir,
    layers: Dir,
    short: Dir,
    locks: Dir,
    unpacking: Dir,
    xattrs: OverlayXattrs,
}

/// How the layers of an image are unpacked.
#[derive(Debug, Clone, Default)]
pub struct LayersOptions {
    /// What a layer may hold.
    pub limits: Limits,
    /// What becomes of owners and devices that this process may not make.
    pub squash: Squash,
    /// How many layers at once; by default as many as there are processors, four at most.
    pub at_once: Option<usize>,
}

/// The layers of one image by the names of their directories, the uppermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    pub(crate) names: Vec<String>,
    /// The uppermost of them that describes the root directory.
    root: Option<String>,
    /// The manifest of the image.
    pub(crate) image: Digest,
}

/// What [`crate::snapshot::Snapshots::prune`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many layers.
    pub layers: u64,
    /// The sizes of their files together.
    pub bytes: u64,
}

/// What is on disk about a layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// The digest of its archive.
    diff_id: Digest,
    /// The sizes of its files together.
    size: u64,
    describes_root: bool,
    opaque_root: bool,
    xattrs: String,
    /// The boot in which it was unpacked, until it is known to be on disk: after another boot, files may be missing.
    boot: Option<String>,
}

/// A layer that was unpacked and has no name yet.
struct Fresh {
    temporary: Temporary,
    unpacked: Unpacked,
}

impl Layers {
    /// Opens those below the state directory `state`.
    pub fn open(state: &Dir) -> Result<Self> {
        let dir = state.sub(Step::Snapshot, "layers")?;
        let sub = |name| dir.sub(Step::Snapshot, name);
        let (layers, short, locks, unpacking) = (sub("sha256")?, sub("l")?, sub("locks")?, sub("unpacking")?);
        Ok(Self { layers, short, locks, unpacking, xattrs: xattrs_of_this_process()?, dir })
    }

    pub(crate) fn xattrs(&self) -> OverlayXattrs {
        self.xattrs
    }

    /// Whether an overlay of `stack` works, by `check` where that is not known yet.
    pub(crate) fn check_overlay(&self, stack: &Stack, check: impl FnOnce() -> Result<()>) -> Result<()> {
        let here = boot().ok().and_then(|boot| Known::here(&self.dir, &boot, stack.names.len()));
        if here.as_ref().is_some_and(|here| here.has_worked(&self.dir)) {
            return Ok(());
        }
        check()?;
        if let Some(here) = here {
            here.remember(&self.dir);
        }
        Ok(())
    }

    /// Takes the lock against removal: shared to use layers, alone to remove some.
    pub(crate) fn lock(&self, exclusive: bool, patience: Duration, cancel: &Cancel) -> Result<Lock> {
        take(&self.dir, "lock", exclusive, patience, cancel)
    }

    /// The layers of `image`, if all of them are unpacked.
    pub fn find(&self, image: &Image) -> Result<Option<Stack>> {
        let chains = chains(&image.layers);
        let found = image.layers.iter().zip(&chains).map(|(layer, chain)| self.unpacked(layer, chain));
        let found = found.collect::<Result<Option<Vec<_>>>>()?;
        Ok(found.map(|found| stack(&found, &image.manifest.digest)))
    }

    /// Unpacks those layers of `image` that are missing. `blob` opens a blob of the store.
    pub fn unpack(
        &self,
        image: &Image,
        blob: &(dyn Fn(&Digest) -> Result<File> + Sync),
        options: &LayersOptions,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Stack> {
        self.unpack_missing(image, blob, options, progress, cancel).map_err(|error| match &image.reference {
            Some(reference) => error.reference_is(reference),
            None => error,
        })
    }

    fn unpack_missing(
        &self,
        image: &Image,
        blob: &(dyn Fn(&Digest) -> Result<File> + Sync),
        options: &LayersOptions,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Stack> {
        if let Some(stack) = self.find(image)? {
            return Ok(stack);
        }
        self.sweep(cancel)?;
        let _use = self.lock(false, Duration::from_secs(600), cancel)?;
        let chains = chains(&image.layers);
        let work = Work {
            layers: self,
            blob,
            options: layer::Options {
                limits: options.limits,
                ids: Ids::of_this_process(options.squash)?,
                xattrs: self.xattrs,
            },
            progress,
            cancel,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let at_once = options.at_once.unwrap_or(processors).clamp(1, 16);
        let fresh = work.all(&image.layers, &chains, at_once)?;
        let mut found: Vec<(String, Record)> = Vec::new();
        for ((layer, chain), fresh) in image.layers.iter().zip(&chains).zip(fresh) {
            if let Some(fresh) = fresh {
                self.settle(layer, chain, fresh, &found)?;
            }
            found.push(self.unpacked(layer, chain)?.ok_or_else(|| gone(layer))?);
        }
        Ok(stack(&found, &image.manifest.digest))
    }

    /// Sees to it that all unpacked layers survive a power failure. Until then, they are unpacked again after the next boot.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.layers).map_err(failed)?;
        for name in self.layers.names(Step::Snapshot)? {
            let Some(record) = self.record(&name)?.filter(|record| record.boot.is_some()) else { continue };
            let dir = self.layers.sub(Step::Snapshot, &name)?;
            write_record(&dir, &Record { boot: None, ..record })?;
        }
        Ok(())
    }

    /// Completes a layer that depends on those below it, and gives it its name.
    fn settle(&self, layer: &Layer, chain: &Digest, fresh: Fresh, below: &[(String, Record)]) -> Result<()> {
        let name = if settle::is_complete(&fresh.unpacked) { layer.diff_id.hex() } else { chain.hex() };
        // A layer that hides all below it depends on nothing.
        let below = if fresh.unpacked.opaque_root { &[] } else { below };
        let lower = self.merged(&stack(below, chain))?;
        let root = fresh.temporary.diff()?;
        settle::settle(root.as_fd(), &fresh.unpacked, &lower).map_err(|error| error.digest_is(&layer.blob.digest))?;
        self.commit(&name, layer, fresh)
    }

    fn commit(&self, name: &str, layer: &Layer, fresh: Fresh) -> Result<()> {
        let record = Record {
            diff_id: layer.diff_id,
            size: fresh.unpacked.size,
            describes_root: fresh.unpacked.describes_root,
            opaque_root: fresh.unpacked.opaque_root,
            xattrs: label(self.xattrs).to_owned(),
            boot: Some(boot()?),
        };
        write_record(&fresh.temporary.dir, &record)?;
        // What is there under that name was found wanting, or another process was faster.
        if self.record(name)?.is_some_and(|record| self.is_usable(&record)) {
            return Ok(());
        }
        if rustix::fs::statat(&self.layers, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            remove_directory(self.layers.as_fd(), name.as_bytes())?;
        }
        fresh.temporary.rename(&self.unpacking, &self.layers, name)?;
        let target = format!("../sha256/{name}/diff");
        match rustix::fs::symlinkat(target, &self.short, short(name)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// The directory of a layer, if it is unpacked, and what is known of it.
    fn unpacked(&self, layer: &Layer, chain: &Digest) -> Result<Option<(String, Record)>> {
        for name in [chain.hex(), layer.diff_id.hex()] {
            let record = self.record(&name)?.filter(|record| record.diff_id == layer.diff_id);
            if let Some(record) = record.filter(|record| self.is_usable(record)) {
                return Ok(Some((name, record)));
            }
        }
        Ok(None)
    }

    fn is_usable(&self, record: &Record) -> bool {
        let durable = record.boot.as_ref().is_none_or(|then| boot().is_ok_and(|now| now == *then));
        durable && record.xattrs == label(self.xattrs)
    }

    fn record(&self, name: &str) -> Result<Option<Record>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.layers, format!("{name}/layer.json"), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno).object_is(name)),
        };
        // What cannot be read is as good as missing: the layer is unpacked again.
        Ok(serde_json::from_reader(std::io::BufReader::new(std::io::Read::take(file, 1 << 16))).ok())
    }

    /// The short paths of layers.
    pub(crate) fn paths(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| Ok(self.short.path().join(short(name)))).collect()
    }

    /// What `stack` looks like once it is merged.
    pub(crate) fn merged(&self, stack: &Stack) -> Result<Directory> {
        merged(&self.paths(&stack.names)?, self.xattrs)
    }

    /// The uppermost layer that describes the root directory.
    pub(crate) fn root_of(&self, stack: &Stack) -> Result<Directory> {
        merged(&self.paths(stack.root.as_slice())?, self.xattrs)
    }

    /// Removes what processes that ended have left half unpacked.
    fn sweep(&self, cancel: &Cancel) -> Result<()> {
        // Whoever unpacks holds the lock shared; then all of it may be in use.
        let Ok(_lock) = self.lock(true, Duration::ZERO, cancel) else { return Ok(()) };
        for name in self.unpacking.names(Step::Snapshot)? {
            remove_directory(self.unpacking.as_fd(), name.as_bytes()).map_err(|error| error.object_is(name))?;
        }
        Ok(())
    }

    /// Removes all layers but those named.
    pub(crate) fn remove_except(&self, kept: &BTreeSet<String>, _lock: &Lock) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for name in self.layers.names(Step::Prune)?.into_iter().filter(|name| !kept.contains(name)) {
            pruned.bytes += self.record(&name)?.map_or(0, |record| record.size);
            // It loses its record first: what is half removed counts as missing.
            self.layers.sub(Step::Prune, &name)?.remove(Step::Prune, "layer.json")?;
            remove_directory(self.layers.as_fd(), name.as_bytes())?;
            self.short.remove(Step::Prune, &short(&name))?;
            self.locks.remove(Step::Prune, &name)?;
            pruned.layers += 1;
        }
        Ok(pruned)
    }
}

/// Layers, the lowest first, as a stack without what is hidden as a whole.
fn stack(found: &[(String, Record)], image: &Digest) -> Stack {
    let mut stack = Stack { names: Vec::new(), root: None, image: *image };
    for (name, record) in found.iter().rev() {
        if !stack.names.contains(name) {
            stack.names.push(name.clone());
            if record.describes_root {
                stack.root.get_or_insert_with(|| name.clone());
            }
        }
        if record.opaque_root {
            break;
        }
    }
    stack
}

/// Unpacking the layers of one image.
struct Work<'a> {
    layers: &'a Layers,
    blob: &'a (dyn Fn(&Digest) -> Result<File> + Sync),
    options: layer::Options,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Work<'_> {
    /// Unpacks what is missing; for each layer what still has to be completed, or none if it is there.
    fn all(&self, layers: &[Layer], chains: &[Digest], at_once: usize) -> Result<Vec<Option<Fresh>>> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<(usize, Result<Option<Fresh>>)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..at_once.min(layers.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let (Some(layer), Some(chain)) = (layers.get(index), chains.get(index)) else { return };
                        let result = self.one(layer, chain);
                        if result.is_err() {
                            // No further layer is begun.
                            next.store(layers.len(), Ordering::Relaxed);
                        }
                        if let Ok(mut results) = results.lock() {
                            results.push((index, result));
                        }
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        // An error may have kept others from being begun: it comes before the lack of a result.
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn one(&self, layer: &Layer, chain: &Digest) -> Result<Option<Fresh>> {
        let digest = &layer.blob.digest;
        if self.layers.unpacked(layer, chain)?.is_some() {
            self.progress.event(Event::End { digest, how: "already there" });
            return Ok(None);
        }
        // Who comes second waits, and then finds it there.
        let _lock = take(&self.layers.locks, &layer.diff_id.hex(), true, PATIENCE, self.cancel)?;
        if self.layers.unpacked(layer, chain)?.is_some() {
            self.progress.event(Event::End { digest, how: "already there" });
            return Ok(None);
        }
        self.progress.event(Event::Begin { what: "unpacking", digest, size: layer.blob.size, done: 0 });
        let temporary = Temporary::new(&self.layers.unpacking)?;
        let blob = Blob {
            bytes: (self.blob)(digest)?,
            digest: *digest,
            size: layer.blob.size,
            compression: layer.compression,
            diff_id: layer.diff_id,
        };
        let tell = |done| self.progress.event(Event::Advance { digest, done });
        let unpacked = layer::unpack(blob, temporary.diff()?, &self.options, self.cancel, &tell);
        let unpacked = unpacked.map_err(|error| self.explained(error, digest))?;
        for (name, times) in &unpacked.left_out {
            self.progress.event(Event::Note(&format!("{}: left out {name}, {times} times", digest.short())));
        }
        self.progress.event(Event::End { digest, how: "unpacked" });
        let fresh = Fresh { temporary, unpacked };
        if settle::is_complete(&fresh.unpacked) {
            self.layers.commit(&layer.diff_id.hex(), layer, fresh)?;
            return Ok(None);
        }
        Ok(Some(fresh))
    }

    /// Why a blob could not be unpacked: the store may be damaged there. That is looked at only now, since each blob was hashed when it was
    /// stored, and hashing it once more takes as long as a part of the unpacking.
    fn explained(&self, error: Error, digest: &Digest) -> Error {
        let stored = || -> Result<Digest> {
            let (mut file, mut hasher) = ((self.blob)(digest)?, Hasher::new(digest.algorithm()));
            let mut buffer = vec![0; 256 << 10];
            loop {
                self.cancel.check(Step::ReadBlob)?;
                match file.read(&mut buffer).map_err(|error| Error::io(Step::ReadBlob, &error))? {
                    0 => return Ok(hasher.finish()),
                    length => hasher.update(buffer.get(..length).unwrap_or_default()),
                }
            }
        };
        if stored().is_ok_and(|found| found != *digest) { crate::store::damaged(digest) } else { error }
    }
}

/// A directory on its way; removed unless it gets a name.
struct Temporary {
    dir: Dir,
    parent: OwnedFd,
    name: String,
    kept: bool,
}

impl Temporary {
    fn new(parent: &Dir) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        rustix::fs::mkdirat(parent, &name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let dir = parent.sub(Step::Snapshot, &name)?;
        // The root of a layer that does not describe it.
        let diff = dir.sub(Step::Snapshot, "diff")?;
        rustix::fs::fchmod(&diff, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let parent = parent.as_fd().try_clone_to_owned().map_err(|error| Error::io(Step::Snapshot, &error))?;
        Ok(Self { dir, parent, name, kept: false })
    }

    fn diff(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, "diff", flags, Mode::empty()).map_err(failed)
    }

    fn rename(mut self, from: &Dir, to: &Dir, name: &str) -> Result<()> {
        rustix::fs::renameat(from, &self.name, to, name).map_err(failed)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is swept by the next one.
            drop(remove_directory(self.parent.as_fd(), self.name.as_bytes()));
        }
    }
}

/// Passes bytes on and hashes them.
#[derive(Debug)]
pub(crate) struct Hashed<W> {
    output: W,
    hasher: Hasher,
}

impl<W: Write> Hashed<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, hasher: Hasher::new(Algorithm::Sha256) }
    }

    pub(crate) fn finish(mut self) -> Result<Digest> {
        self.output.flush().map_err(|error| Error::io(Step::WriteArchive, &error))?;
        Ok(self.hasher.finish())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.output.write(bytes)?;
        self.hasher.update(bytes.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// The merged view of layers at `paths`, the uppermost first.
pub(crate) fn merged(paths: &[PathBuf], xattrs: OverlayXattrs) -> Result<Directory> {
    Ok(Directory::new(open(paths)?, xattrs))
}

/// Opens the layers at `paths`.
pub(crate) fn open(paths: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &PathBuf| {
        let hint = "unpack the image again";
        let failed = |errno| failed(errno).object_is(path.display().to_string()).hint_is(hint);
        rustix::fs::open(path, flags, Mode::empty()).map_err(failed)
    };
    paths.iter().map(open).collect()
}

/// The chain ID of each layer: it stands for the layer and all below it (OCI image config).
#[must_use]
pub(crate) fn chains(layers: &[Layer]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::new();
    for layer in layers {
        let chain = match chains.last() {
            None => layer.diff_id,
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

fn take(dir: &Dir, name: &str, exclusive: bool, patience: Duration, cancel: &Cancel) -> Result<Lock> {
    let what = dir.path().join(name).display().to_string();
    match dir.file(Step::LockStore, name, OFlag::O_RDWR | OFlag::O_CREAT)? {
        Some(file) => Lock::take(file, exclusive, &what, patience, cancel),
        None => Err(Error::os(Step::LockStore, libc::ENOENT).object_is(what)),
    }
}

fn write_record(dir: &Dir, record: &Record) -> Result<()> {
    let text = serde_json::to_vec(record);
    let text = text.map_err(|error| Error::new(Kind::System, Step::Snapshot).reason_is(error.to_string()))?;
    dir.replace(Step::Snapshot, "layer.json", &text)
}

fn gone(layer: &Layer) -> Error {
    let error = Error::new(Kind::Busy, Step::Snapshot).digest_is(&layer.blob.digest);
    error.reason_is("the layer was removed while the image was unpacked").hint_is("try again")
}

/// The name of a layer's short link: 64 bits are enough to tell those of one machine apart.
fn short(name: &str) -> String {
    name.chars().take(16).collect()
}

fn label(xattrs: OverlayXattrs) -> &'static str {
    match xattrs {
        OverlayXattrs::Trusted => "trusted",
        OverlayXattrs::User => "user",
    }
}

/// Root of the host uses `trusted.*`; user namespaces and users have `user.*` only.
fn xattrs_of_this_process() -> Result<OverlayXattrs> {
    let map = std::fs::read_to_string("/proc/self/uid_map").map_err(|error| Error::io(Step::Snapshot, &error))?;
    let all = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let root = rustix::process::geteuid().is_root();
    Ok(if all && root { OverlayXattrs::Trusted } else { OverlayXattrs::User })
}

fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(Step::Snapshot, &error).object_is(path))?;
    Ok(text.trim().to_owned())
}
