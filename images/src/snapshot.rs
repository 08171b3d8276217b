//! Root file systems out of layers.
//!
//! ```text
//! STATE/layers/
//!   lock                       shared by whoever unpacks or uses layers for a moment, alone for whoever removes some
//!   locks/HEX                  held by who unpacks that layer
//!   sha256/HEX/diff/           a layer as overlayfs takes it; HEX is its diff ID, or the chain ID where it depends on
//!                              the layers below it
//!   sha256/HEX/layer.json      what is known of it; a layer gets its name last, whole
//!   l/HEX16                    links to them with short names, since mount(2) takes options of one page
//!   overlay.json               that overlays have worked there in this boot
//!   unpacking/                 what is on its way; who finds it unlocked removes it
//! STATE/snapshots/NAME/
//!   snapshot.json              the layers of a container, and how they are put together
//!   upper/ work/               what the container writes (overlay)
//!   rootfs/                    the root file system (copy), or the empty place for it (overlay)
//! ```
//! On the host nothing is mounted: a container's overlay is described in its config, as a mount on `/` that the runtime
//! makes in the container's own mount namespace, whatever the number of layers.

mod changes;
mod copy;
mod files;
mod known;
mod layers;
mod merged;
mod overlay;
mod settle;

pub use changes::{Change, Happened};
pub use layers::{Layers, LayersOptions, Pruned, Stack};

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::base::{Cancel, Digest, Dir, Error, Kind, Result, Step};
use crate::layer::{OverlayXattrs, remove_directory};
use crate::snapshot::merged::{Directory, failed};

/// How a root file system is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// An overlay where that works, else a copy.
    #[default]
    Auto,
    /// An overlay, or an error.
    Overlay,
    /// A copy: by reflink where the file system can.
    Copy,
}

/// How a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Made {
    Overlay,
    Copy,
}

/// What is on disk of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    made: Made,
    /// The manifest of the image.
    image: Digest,
    /// The layers by the names of their directories, the uppermost first.
    layers: Vec<String>,
}

/// The root file systems of containers.
#[derive(Debug)]
pub struct Snapshots {
    layers: Layers,
    snapshots: Dir,
}

/// The root file system of one container.
#[derive(Debug)]
pub struct Snapshot {
    dir: Dir,
    record: Record,
    layers: Vec<PathBuf>,
    xattrs: OverlayXattrs,
}

impl Snapshots {
    /// Opens those below the state directory `state`.
    pub fn open(state: &Dir) -> Result<Self> {
        Ok(Self { layers: Layers::open(state)?, snapshots: state.sub(Step::Snapshot, "snapshots")? })
    }

    /// The layers that they are made of.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Makes the root file system `name` out of `stack`.
    pub fn prepare(&self, name: &str, stack: &Stack, method: Method, cancel: &Cancel) -> Result<Snapshot> {
        check_name(name)?;
        let _use = self.layers.lock(false, Duration::from_secs(600), cancel)?;
        match rustix::fs::mkdirat(&self.snapshots, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                let error = Error::new(Kind::AlreadyExists, Step::Snapshot).object_is(name);
                return Err(error.reason_is("there is one of that name").hint_is("choose another name, or remove it"));
            }
            Err(errno) => return Err(failed(errno).object_is(name)),
        }
        let made = self.fill(name, stack, method, cancel);
        if made.is_err() {
            drop(remove_directory(self.snapshots.as_fd(), name.as_bytes()));
        }
        made.map_err(|error| if error.object().is_none() { error.object_is(name) } else { error })
    }

    fn fill(&self, name: &str, stack: &Stack, method: Method, cancel: &Cancel) -> Result<Snapshot> {
        let dir = self.snapshots.sub(Step::Snapshot, name)?;
        let root = dir.sub(Step::Snapshot, "rootfs")?;
        let lower = self.layers.merged(stack)?;
        let made = match method {
            Method::Copy => Made::Copy,
            Method::Auto | Method::Overlay => {
                let upper = dir.sub(Step::Snapshot, "upper")?;
                let work = dir.sub(Step::Snapshot, "work")?;
                describe_root(&self.layers.root_of(stack)?, upper.as_fd())?;
                let options = overlay::options(&self.layers.paths(&stack.names)?, dir.path(), self.layers.xattrs());
                match self.layers.check_overlay(stack, || overlay::check(&options, work.as_fd())) {
                    Err(_) if method == Method::Auto => Made::Copy,
                    result => result.map(|()| Made::Overlay)?,
                }
            }
        };
        if made == Made::Copy {
            copy::tree(&lower, root.as_fd(), cancel)?;
            describe_root(&self.layers.root_of(stack)?, root.as_fd())?;
        }
        let record = Record { made, image: stack.image, layers: stack.names.clone() };
        let text = serde_json::to_vec(&record).map_err(|error| not_json(&error))?;
        dir.replace_for_now(Step::Snapshot, "snapshot.json", &text)?;
        self.snapshot(dir, record)
    }

    /// Copies the root file system of `stack` to the new directory `rootfs` of the directory `path`. It stands alone: no
    /// layer needs to stay for it.
    pub fn copy_to(&self, path: &std::path::Path, stack: &Stack, cancel: &Cancel) -> Result<Snapshot> {
        let _use = self.layers.lock(false, Duration::from_secs(600), cancel)?;
        let dir = Dir::make(Step::Snapshot, path)?;
        if dir.stat(Step::Snapshot, "rootfs")?.is_some() {
            let error =
                Error::new(Kind::AlreadyExists, Step::Snapshot).object_is(path.join("rootfs").display().to_string());
            return Err(error.reason_is("there is one already").hint_is("choose another directory, or remove it"));
        }
        let root = dir.sub(Step::Snapshot, "rootfs")?;
        let copied = copy::tree(&self.layers.merged(stack)?, root.as_fd(), cancel)
            .and_then(|()| describe_root(&self.layers.root_of(stack)?, root.as_fd()));
        if let Err(error) = copied {
            drop(remove_directory(dir.as_fd(), b"rootfs"));
            return Err(error.object_is(path.display().to_string()));
        }
        self.snapshot(dir, Record { made: Made::Copy, image: stack.image, layers: stack.names.clone() })
    }

    /// The root file system `name`.
    pub fn get(&self, name: &str) -> Result<Snapshot> {
        check_name(name)?;
        let missing =
            || Error::new(Kind::NotFound, Step::Snapshot).object_is(name).reason_is("there is none of that name");
        let dir =
            Dir::open(Step::Snapshot, &self.snapshots.path().join(name)).map_err(|error| match error.errno() {
                Some(libc::ENOENT) => missing(),
                _ => error,
            })?;
        let text = dir.read(Step::Snapshot, "snapshot.json", 1 << 20)?.ok_or_else(missing)?;
        let record = serde_json::from_slice(&text).map_err(|error| not_json(&error).object_is(name))?;
        self.snapshot(dir, record)
    }

    fn snapshot(&self, dir: Dir, record: Record) -> Result<Snapshot> {
        let layers = self.layers.paths(&record.layers)?;
        Ok(Snapshot { dir, record, layers, xattrs: self.layers.xattrs() })
    }

    /// The names of all.
    pub fn names(&self) -> Result<Vec<String>> {
        self.snapshots.names(Step::Snapshot)
    }

    /// Removes the root file system `name`; that there is none is no error.
    pub fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        match remove_directory(self.snapshots.as_fd(), name.as_bytes()) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(|error| error.object_is(name)),
        }
    }

    /// Removes the layers that neither `stacks` nor any snapshot needs.
    pub fn prune(&self, stacks: &[Stack], cancel: &Cancel) -> Result<Pruned> {
        let lock = self.layers.lock(true, Duration::from_secs(600), cancel)?;
        let mut kept: std::collections::BTreeSet<String> =
            stacks.iter().flat_map(|stack| stack.names.clone()).collect();
        for name in self.names()? {
            match self.get(&name) {
                Ok(snapshot) => kept.extend(snapshot.record.layers),
                // Whoever made it was killed, or the machine has crashed: no container can have it, and it needs nothing.
                Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Damaged) => {}
                Err(error) => return Err(error),
            }
        }
        self.layers.remove_except(&kept, &lock)
    }
}

impl Snapshot {
    /// The directory that the config names as the root: the file system itself, or the empty place of the overlay.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// The manifest of its image.
    #[must_use]
    pub fn image(&self) -> &Digest {
        &self.record.image
    }

    /// The mount on `/` of the config; none for a copy.
    #[must_use]
    pub fn mount(&self) -> Option<serde_json::Value> {
        (self.record.made == Made::Overlay).then(|| {
            let options = overlay::options(&self.layers, self.dir.path(), self.xattrs).in_config();
            json!({ "destination": "/", "type": "overlay", "source": "overlay", "options": options })
        })
    }

    /// Mounts it on its root in this process's mount namespace: one mount, whatever the number of layers. For runtimes
    /// that cannot mount on `/` themselves.
    pub fn mount_here(&self) -> Result<()> {
        match self.record.made {
            Made::Copy => Ok(()),
            Made::Overlay => {
                overlay::mount(&overlay::options(&self.layers, self.dir.path(), self.xattrs), &self.root())
            }
        }
    }

    /// Has on disk what it is made of, so that it is there after a crash of the machine too.
    pub fn keep(&self) -> Result<()> {
        let record = self.dir.file(Step::Snapshot, "snapshot.json", nix::fcntl::OFlag::O_RDONLY)?;
        if let Some(record) = record {
            record.sync_all().map_err(|error| Error::io(Step::Snapshot, &error))?;
        }
        self.dir.sync(Step::Snapshot)
    }

    /// What the container has changed, in the order of a walk. What the image has not, and is nothing but one of the
    /// `mount_points`, is no change.
    pub fn changes(&self, mount_points: &[&str], cancel: &Cancel) -> Result<Vec<Change>> {
        let lower = layers::merged(&self.layers, self.xattrs)?;
        let now = self.written()?;
        match self.record.made {
            Made::Overlay => changes::of_overlay(now.as_fd(), &lower, self.xattrs, mount_points, cancel),
            Made::Copy => changes::of_copy(now.as_fd(), &lower, mount_points, cancel),
        }
    }

    /// Writes [`Snapshot::changes`] as a layer, and returns its diff ID. Stop or pause the container before.
    pub fn write_layer(&self, mount_points: &[&str], output: impl Write, cancel: &Cancel) -> Result<Digest> {
        let changes = self.changes(mount_points, cancel)?;
        let now = self.written()?;
        let output = layers::Hashed::new(output);
        changes::write(now.as_fd(), &changes, output, cancel)?.finish()
    }

    fn written(&self) -> Result<OwnedFd> {
        let name = match self.record.made {
            Made::Overlay => "upper",
            Made::Copy => "rootfs",
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty()).map_err(|errno| failed(errno).object_is(name))
    }
}

/// Gives the root of a file system the attributes of the uppermost layer that describes it.
fn describe_root(lower: &Directory, root: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    match lower.top() {
        Some(top) => copy::attributes(top, root, &rustix::fs::fstat(top).map_err(failed)?),
        None => rustix::fs::fchmod(root, Mode::from_raw_mode(0o755)).map_err(failed),
    }
}

fn check_name(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(good) {
        return Ok(());
    }
    let error = Error::new(Kind::InvalidArgument, Step::Snapshot).object_is(format!("{name:?}"));
    Err(error.reason_is("a name has letters, digits, `_`, `.` and `-`, and does not begin with `.`"))
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::new(Kind::Damaged, Step::Snapshot).reason_is(error.to_string())
}
