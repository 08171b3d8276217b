//! The state root: finding containers, and claiming ids for new ones.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::files::{DIRECTORY, STATE_FILE, has_fifo, is_linked, read_config, read_record, write_new};
use super::locked::{Claim, Locked, TOMBSTONE, lock_until, tombstone_name};
use super::record::Record;
use crate::base::sys::lock::Lock;
use crate::base::{ContainerId, Error, Kind, Result, Runtime, Step};

/// How long a verb waits for another one that works on the same container.
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(30);
const OWNER_ONLY: Mode = Mode::S_IRWXU;
/// How often a claim is tried again after a clean-up has removed the directory under it.
const CLAIM_ATTEMPTS: u32 = 16;
/// The open state root.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) root: Arc<OwnedFd>,
}

impl Store {
    /// Opens the state root of `runtime`, making it (mode 0700) when it is missing.
    pub(crate) fn create(runtime: &Runtime) -> Result<Self> {
        match open_root(&runtime.root) {
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                make_root(&runtime.root)?;
                open_root(&runtime.root)
            }
            result => result,
        }
    }

    /// Opens the state root of `runtime`; where it is missing, so is every container.
    pub(crate) fn open(runtime: &Runtime) -> Result<Option<Self>> {
        match open_root(&runtime.root) {
            Ok(store) => Ok(Some(store)),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the container `id` of `runtime` and reads its record.
    pub(crate) fn find(runtime: &Runtime, id: &ContainerId) -> Result<Entry> {
        Self::open(runtime)?.ok_or_else(|| not_found(id))?.load(id)
    }

    /// Takes the id for a new container: makes its directory (mode 0700), locks it, and writes `record` as the intent. All of it
    /// goes again when the claim is dropped, unless it is kept.
    pub(crate) fn claim(&self, id: &ContainerId, record: &Record) -> Result<Claim> {
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(dir) = self.make_directory(id)? {
                let claim =
                    Claim { entry: Some(Locked { root: Arc::clone(&self.root), dir, id: id.clone(), deleted: false }) };
                let entry = claim.locked()?;
                // Nobody reads a state file that is not there yet, so the first one is written in place.
                write_new(entry.dir.as_fd(), STATE_FILE, &record.to_json()?, id)?;
                return Ok(claim);
            }
        }
        Err(Error::new(Kind::State, Step::ClaimId)
            .with_object(id.as_str())
            .with_reason("its directory keeps being removed"))
    }

    /// Makes and locks the directory of `id`; `None` when a clean-up took it for a leftover before the lock was held.
    fn make_directory(&self, id: &ContainerId) -> Result<Option<Lock>> {
        let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).with_object(id.as_str());
        match mkdirat(self.root.as_fd(), id.as_str(), OWNER_ONLY) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                return Err(Error::new(Kind::AlreadyExists, Step::ClaimId)
                    .with_object(id.as_str())
                    .with_reason("container with given ID already exists"));
            }
            Err(errno) => return Err(failed(errno)),
        }
        let taken = self.lock_made(id);
        if taken.is_err() {
            // It is empty, since nobody else has it yet. Should this fail too, `gc` takes it away.
            unlinkat(self.root.as_fd(), id.as_str(), UnlinkatFlags::RemoveDir).ok();
        }
        taken
    }

    /// Opens and locks the directory that was just made.
    fn lock_made(&self, id: &ContainerId) -> Result<Option<Lock>> {
        let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).with_object(id.as_str());
        let dir = match openat(self.root.as_fd(), id.as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let dir = lock_until(dir, id, Instant::now() + LOCK_DEADLINE)?;
        Ok(is_linked(dir.as_fd()).map_err(failed)?.then_some(dir))
    }

    /// Opens the directory of `id`, whatever it holds.
    pub(crate) fn directory(&self, id: &ContainerId) -> Result<OwnedFd> {
        match openat(self.root.as_fd(), id.as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => Ok(dir),
            // A file of that name in the state root is no container.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Err(not_found(id)),
            Err(errno) => Err(Error::os(Step::FindContainer, errno as i32).with_object(id.as_str())),
        }
    }

    /// Opens the container `id` and reads its record.
    ///
    /// [`Kind::NotFound`] also while its create has not yet written the intent; [`Kind::State`] when the file is damaged.
    pub(crate) fn load(&self, id: &ContainerId) -> Result<Entry> {
        let dir = self.directory(id)?;
        let record = read_record(dir.as_fd(), id)?.ok_or_else(|| not_found(id))?;
        Ok(Entry { dir, id: id.clone(), record })
    }

    /// Locks the container `id`, whatever state its record is in, waiting at most [`LOCK_DEADLINE`].
    pub(crate) fn lock(&self, id: &ContainerId) -> Result<Locked> {
        self.lock_until(id, Instant::now() + LOCK_DEADLINE)
    }

    /// Locks the container `id`, whatever state its record is in; [`Kind::Timeout`] when `deadline` passes.
    pub(crate) fn lock_until(&self, id: &ContainerId, deadline: Instant) -> Result<Locked> {
        self.lock_directory(self.directory(id)?, id, false, deadline)
    }

    /// Locks what a `delete` has deleted of `id`, at once; [`Kind::Timeout`] when that `delete` is still at it.
    pub(crate) fn lock_tombstone(&self, id: &ContainerId) -> Result<Locked> {
        match openat(self.root.as_fd(), tombstone_name(id).as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => self.lock_directory(dir, id, true, Instant::now()),
            Err(Errno::ENOENT) => Err(not_found(id)),
            Err(errno) => Err(Error::os(Step::FindContainer, errno as i32).with_object(tombstone_name(id))),
        }
    }

    fn lock_directory(&self, dir: OwnedFd, id: &ContainerId, deleted: bool, deadline: Instant) -> Result<Locked> {
        let dir = lock_until(dir, id, deadline)?;
        let linked = is_linked(dir.as_fd())
            .map_err(|errno| Error::os(Step::FindContainer, errno as i32).with_object(id.as_str()))?;
        if !linked {
            return Err(not_found(id));
        }
        Ok(Locked { root: Arc::clone(&self.root), dir, id: id.clone(), deleted })
    }

    /// The ids of all directories in the state root, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>> {
        self.names(|name| ContainerId::new(name).ok())
    }

    /// The ids of which a `delete` has deleted something, sorted.
    pub(crate) fn deleted(&self) -> Result<Vec<ContainerId>> {
        self.names(|name| name.strip_prefix(TOMBSTONE).and_then(|id| ContainerId::new(id).ok()))
    }

    fn names(&self, wanted: impl Fn(&str) -> Option<ContainerId>) -> Result<Vec<ContainerId>> {
        let failed = |errno: Errno| Error::os(Step::ReadState, errno as i32).with_object("the state root");
        let readable = openat(self.root.as_fd(), ".", DIRECTORY, Mode::empty()).map_err(failed)?;
        let mut directory = nix::dir::Dir::from_fd(readable).map_err(failed)?;
        let mut ids = Vec::new();
        for entry in directory.iter() {
            let entry = entry.map_err(failed)?;
            // A file, or a name that is no id, was not made by create.
            if entry.file_type().is_some_and(|kind| kind != nix::dir::Type::Directory) {
                continue;
            }
            ids.extend(entry.file_name().to_str().ok().and_then(&wanted));
        }
        ids.sort();
        Ok(ids)
    }
}

/// A container that was there when it was looked for, not locked: what its record said then.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) dir: OwnedFd,
    pub(super) id: ContainerId,
    /// The record.
    pub(crate) record: Record,
}

impl Entry {
    /// The container's id.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The bytes of the config.json the container was created from.
    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        read_config(self.dir.as_fd(), &self.id)
    }

    /// Whether the FIFO of a container that was not started is there.
    pub(crate) fn has_exec_fifo(&self) -> Result<bool> {
        has_fifo(self.dir.as_fd(), &self.id)
    }

    /// Locks the container as long as the result lives; [`Kind::NotFound`] when it was deleted meanwhile.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let failed = |errno: Errno| Error::os(Step::FindContainer, errno as i32).with_object(self.id.as_str());
        let dir = openat(&self.dir, ".", DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOENT => not_found(&self.id),
            errno => failed(errno),
        })?;
        let dir = lock_until(dir, &self.id, Instant::now() + LOCK_DEADLINE)?;
        if is_linked(dir.as_fd()).map_err(failed)? { Ok(dir) } else { Err(not_found(&self.id)) }
    }
}

/// The error for a container that is not there, in the words engines look for.
pub(crate) fn not_found(id: &ContainerId) -> Error {
    Error::new(Kind::NotFound, Step::FindContainer).with_object(id.as_str()).with_reason("container does not exist")
}

/// Opens the state root and checks that nobody else can write to it.
fn open_root(path: &Path) -> Result<Store> {
    let failed = |errno: Errno| Error::os(Step::FindContainer, errno as i32).with_object(path.display().to_string());
    // Not `open`: with musl it takes a second system call to set what O_CLOEXEC has set.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, path, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&root).map_err(failed)?;
    let refused = |detail: String| {
        Err(Error::new(Kind::State, Step::FindContainer)
            .with_object(path.display().to_string())
            .with_reason(detail)
            .with_hint("the state root must belong to the caller, and nobody else may write to it"))
    };
    if stat.st_uid != geteuid().as_raw() {
        return refused(format!("belongs to uid {}", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 {
        return refused(format!("is writable by others (mode {:04o})", stat.st_mode & 0o7777));
    }
    Ok(Store { root: Arc::new(root) })
}

/// Makes the state root and the directories above it that are missing.
fn make_root(path: &Path) -> Result<()> {
    let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).with_object(path.display().to_string());
    let mut mode = OWNER_ONLY;
    // Aging of $XDG_RUNTIME_DIR spares what has the sticky bit (XDG base directory specification).
    if std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| !dir.is_empty() && path.starts_with(dir)) {
        mode |= Mode::S_ISVTX;
    }
    match mkdirat(AT_FDCWD, path, mode) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => match path.parent() {
            Some(parent) if parent.as_os_str() != OsStr::new("") => {
                make_root(parent)?;
                match mkdirat(AT_FDCWD, path, mode) {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(failed(errno)),
                }
            }
            _ => Err(failed(Errno::ENOENT)),
        },
        Err(errno) => Err(failed(errno)),
    }
}
