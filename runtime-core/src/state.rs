//! What is kept on disk about each container: `<root>/<id>/state.json`, locked by its directory and replaced atomically.
//!
//! The directory of a container is also where its `config.json` (a verbatim copy, since an engine may change or remove the
//! bundle), its [`EXEC_FIFO`] and other files of its life are. A directory exists before any other resource of the container
//! does and goes after all of them, so whatever a killed runtime leaves can be found from here.
//!
//! The lock is a `flock` on the directory itself: it needs no file, it ends with its holder, and while `create` holds it nobody
//! takes the half-made container for a dead one.

mod brief;
mod record;
mod timestamp;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::base::{ContainerId, Error, Kind, Result, Runtime, Step, sys};

use crate::base::sys::lock::Lock;
pub(crate) use brief::Brief;
pub(crate) use record::{InitProcess, IntelRdtRecord, NamespaceRecord, Phase, Record};
pub(crate) use timestamp::now_rfc3339;

/// The state file in a container's directory.
const STATE_FILE: &str = "state.json";
/// Where the next state file is written before it takes its place; only the holder of the lock writes it.
const NEXT_STATE_FILE: &str = "state.json.new";
/// The verbatim copy of the bundle's config in a container's directory.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The FIFO that a created container's init waits on. Its presence is what makes a live container `created` rather than
/// `running`: `start` removes it once the command has been executed, `run` never makes it.
pub(crate) const EXEC_FIFO: &str = "exec.fifo";

/// Before the id in the name of a directory whose container is deleted but for its poststop hooks. No id can have it.
const PARKED: char = '~';

/// How long a verb waits for another one that works on the same container.
pub(crate) const LOCK_DEADLINE: Duration = Duration::from_secs(30);
/// How often a claim is tried again after a clean-up has removed the directory under it.
const CLAIM_ATTEMPTS: u32 = 16;
/// How old a directory without an intent must be to count as left by a create that died, rather than as one in the making: the
/// lock is taken only after the directory is made.
pub(crate) const INFANCY: Duration = Duration::from_millis(200);

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const OWNER_ONLY: Mode = Mode::S_IRWXU;
const PRIVATE_FILE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The open state root.
#[derive(Debug)]
pub(crate) struct Store {
    root: Arc<OwnedFd>,
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
                    Claim { entry: Some(Locked { root: Arc::clone(&self.root), dir, id: id.clone(), parked: false }) };
                let entry = claim.locked()?;
                // Nobody reads a state file that is not there yet, so the first one is written in place.
                write_new(entry.dir.as_fd(), STATE_FILE, &record.to_json()?, id)?;
                return Ok(claim);
            }
        }
        Err(Error::new(Kind::State, Step::ClaimId).object(id.as_str()).detail("its directory keeps being removed"))
    }

    /// Makes and locks the directory of `id`; `None` when a clean-up took it for a leftover before the lock was held.
    fn make_directory(&self, id: &ContainerId) -> Result<Option<Lock>> {
        let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).object(id.as_str());
        match mkdirat(self.root.as_fd(), id.as_str(), OWNER_ONLY) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                return Err(Error::new(Kind::AlreadyExists, Step::ClaimId)
                    .object(id.as_str())
                    .detail("container with given ID already exists"));
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
        let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).object(id.as_str());
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
            Err(errno) => Err(Error::os(Step::FindContainer, errno as i32).object(id.as_str())),
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

    /// Locks what a `delete` has parked of `id`, at once; [`Kind::Timeout`] when that `delete` is still at it.
    pub(crate) fn lock_parked(&self, id: &ContainerId) -> Result<Locked> {
        match openat(self.root.as_fd(), parked_name(id).as_str(), DIRECTORY, Mode::empty()) {
            Ok(dir) => self.lock_directory(dir, id, true, Instant::now()),
            Err(Errno::ENOENT) => Err(not_found(id)),
            Err(errno) => Err(Error::os(Step::FindContainer, errno as i32).object(parked_name(id))),
        }
    }

    fn lock_directory(&self, dir: OwnedFd, id: &ContainerId, parked: bool, deadline: Instant) -> Result<Locked> {
        let dir = lock_until(dir, id, deadline)?;
        let linked =
            is_linked(dir.as_fd()).map_err(|errno| Error::os(Step::FindContainer, errno as i32).object(id.as_str()))?;
        if !linked {
            return Err(not_found(id));
        }
        Ok(Locked { root: Arc::clone(&self.root), dir, id: id.clone(), parked })
    }

    /// The ids of all directories in the state root, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<ContainerId>> {
        self.names(|name| ContainerId::new(name).ok())
    }

    /// The ids of which a `delete` has parked something, sorted.
    pub(crate) fn parked(&self) -> Result<Vec<ContainerId>> {
        self.names(|name| name.strip_prefix(PARKED).and_then(|id| ContainerId::new(id).ok()))
    }

    fn names(&self, wanted: impl Fn(&str) -> Option<ContainerId>) -> Result<Vec<ContainerId>> {
        let failed = |errno: Errno| Error::os(Step::ReadState, errno as i32).object("the state root");
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
    dir: OwnedFd,
    id: ContainerId,
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
        let failed = |errno: Errno| Error::os(Step::FindContainer, errno as i32).object(self.id.as_str());
        let dir = openat(&self.dir, ".", DIRECTORY, Mode::empty()).map_err(|errno| match errno {
            Errno::ENOENT => not_found(&self.id),
            errno => failed(errno),
        })?;
        let dir = lock_until(dir, &self.id, Instant::now() + LOCK_DEADLINE)?;
        if is_linked(dir.as_fd()).map_err(failed)? { Ok(dir) } else { Err(not_found(&self.id)) }
    }
}

/// A container's directory with its lock held.
#[derive(Debug)]
pub(crate) struct Locked {
    root: Arc<OwnedFd>,
    dir: Lock,
    id: ContainerId,
    parked: bool,
}

impl Locked {
    /// The container's id.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The container's directory.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Reads the record; `None` when its create died before the intent was written.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        read_record(self.dir.as_fd(), &self.id)
    }

    /// Whether a directory without an intent may still be one in the making; see [`INFANCY`].
    pub(crate) fn is_infant(&self) -> Result<bool> {
        let stat =
            fstat(self.dir()).map_err(|errno| Error::os(Step::ReadState, errno as i32).object(self.id.as_str()))?;
        let changed = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let changed = changed + Duration::from_nanos(u64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // From the future, after the clock was set back: of unknown age, and the claim is tried again anyway.
        Ok(now.checked_sub(changed).is_some_and(|age| age < INFANCY))
    }

    /// The bytes of the config.json the container was created from.
    pub(crate) fn config(&self) -> Result<Vec<u8>> {
        read_config(self.dir.as_fd(), &self.id)
    }

    /// Whether the FIFO of a container that was not started is there.
    pub(crate) fn has_exec_fifo(&self) -> Result<bool> {
        has_fifo(self.dir.as_fd(), &self.id)
    }

    /// Writes the bytes of config.json beside the state file: by the time the container counts as created, and where it has poststop
    /// hooks, before any resource of it exists.
    pub(crate) fn keep_config(&self, config: &[u8]) -> Result<()> {
        write_new(self.dir(), CONFIG_FILE, config, &self.id)
    }

    /// Replaces the state file. A reader sees the old or the new one, never a part.
    ///
    /// Nothing is synced to the disk: the state describes processes, and no process survives what a sync protects from.
    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        self.prepare(record)?;
        self.commit()
    }

    /// The first half of [`Self::save`]: writes all that may fail for want of room beside the state file.
    pub(crate) fn prepare(&self, record: &Record) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let next = openat(self.dir(), NEXT_STATE_FILE, flags, PRIVATE_FILE)
            .map_err(|errno| Error::os(Step::WriteState, errno as i32).object(self.id.as_str()))?;
        File::from(next)
            .write_all(&record.to_json()?)
            .map_err(|error| Error::io(Step::WriteState, &error).object(self.id.as_str()))
    }

    /// The second half of [`Self::save`]: what was prepared takes the place of the state file.
    pub(crate) fn commit(&self) -> Result<()> {
        renameat(self.dir(), NEXT_STATE_FILE, self.dir(), STATE_FILE)
            .map_err(|errno| Error::os(Step::WriteState, errno as i32).object(self.id.as_str()))
    }

    /// Removes the exec FIFO, which turns `created` into `running`; it may be gone already.
    pub(crate) fn remove_exec_fifo(&self) -> Result<()> {
        match unlinkat(self.dir(), EXEC_FIFO, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::os(Step::WriteState, errno as i32).object(self.id.as_str())),
        }
    }

    /// Removes an empty directory in the container's.
    pub(crate) fn remove_directory(&self, name: &str) -> Result<()> {
        unlinkat(self.dir(), name, UnlinkatFlags::RemoveDir)
            .map_err(|errno| Error::os(Step::RemoveState, errno as i32).object(format!("{name} of {}", self.id)))
    }

    /// Gives the id free, while what is left to do for the container stays on disk under a name that is no id.
    pub(crate) fn park(mut self) -> Result<Self> {
        let to = parked_name(&self.id);
        match renameat(self.root.as_fd(), self.name().as_str(), self.root.as_fd(), to.as_str()) {
            Ok(()) => {
                self.parked = true;
                Ok(self)
            }
            Err(errno) => Err(Error::os(Step::RemoveState, errno as i32).object(self.id.as_str())),
        }
    }

    /// The directory's name.
    fn name(&self) -> String {
        if self.parked { parked_name(&self.id) } else { self.id.as_str().to_owned() }
    }

    /// Removes the directory with all that is in it. The state file goes last, so that a remove that is killed half-way can
    /// be done again by anyone.
    pub(crate) fn remove(self) -> Result<()> {
        let failed = |errno: Errno| Error::os(Step::RemoveState, errno as i32).object(self.id.as_str());
        let name = self.name();
        // The usual files by name: no walk on the way that every container takes.
        for file in [EXEC_FIFO, CONFIG_FILE, STATE_FILE] {
            match unlinkat(self.dir(), file, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        match unlinkat(self.root.as_fd(), name.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
                remove_contents(self.dir(), 0).map_err(failed)?;
                unlinkat(self.root.as_fd(), name.as_str(), UnlinkatFlags::RemoveDir).map_err(failed)
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

fn parked_name(id: &ContainerId) -> String {
    format!("{PARKED}{id}")
}

/// A new container's directory, locked, which goes when this is dropped unless it is kept.
#[derive(Debug)]
pub(crate) struct Claim {
    entry: Option<Locked>,
}

impl Claim {
    /// The locked directory, to save records in.
    pub(crate) fn locked(&self) -> Result<&Locked> {
        // `None` only between `keep` or `drop` and the end of the value's life.
        self.entry.as_ref().ok_or_else(|| Error::new(Kind::State, Step::ClaimId).detail("the claim was given up"))
    }

    /// Keeps the container: from here on only `delete` removes it.
    pub(crate) fn keep(mut self) -> Result<Locked> {
        self.entry.take().ok_or_else(|| Error::new(Kind::State, Step::ClaimId).detail("the claim was given up"))
    }

    /// Gives the id back, telling what went wrong; dropping the claim does the same in silence.
    pub(crate) fn give_up(mut self) -> Result<()> {
        self.entry.take().map_or(Ok(()), Locked::remove)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            // Teardown after an earlier error, which is the one to report; `delete --force` and `gc` find what is left.
            drop(entry.remove());
        }
    }
}

/// The error for a container that is not there, in the words engines look for.
pub(crate) fn not_found(id: &ContainerId) -> Error {
    Error::new(Kind::NotFound, Step::FindContainer).object(id.as_str()).detail("container does not exist")
}

/// Opens the state root and checks that nobody else can write to it.
fn open_root(path: &Path) -> Result<Store> {
    let failed = |errno: Errno| Error::os(Step::FindContainer, errno as i32).object(path.display().to_string());
    // Not `open`: with musl it takes a second system call to set what O_CLOEXEC has set.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, path, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&root).map_err(failed)?;
    let refused = |detail: String| {
        Err(Error::new(Kind::State, Step::FindContainer)
            .object(path.display().to_string())
            .detail(detail)
            .hint("the state root must belong to the caller, and nobody else may write to it"))
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
    let failed = |errno: Errno| Error::os(Step::ClaimId, errno as i32).object(path.display().to_string());
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

/// Whether a directory still has a name: one that was removed while it was opened or waited for has none.
fn is_linked(dir: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(fstat(dir)?.st_nlink > 0)
}

/// Takes the lock of a container's directory. `flock` knows no timeout, so it is asked for again and again, more and more
/// rarely; the usual case is one call.
fn lock_until(mut dir: OwnedFd, id: &ContainerId, deadline: Instant) -> Result<Lock> {
    let mut pause = Duration::from_micros(200);
    loop {
        match Lock::try_take(dir) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => dir = back,
            Err((_, errno)) => return Err(Error::os(Step::FindContainer, errno as i32).object(id.as_str())),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Kind::Timeout, Step::FindContainer)
                .object(id.as_str())
                .detail("another operation on this container does not end"));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Writes a file that must not be there yet.
fn write_new(dir: BorrowedFd<'_>, name: &str, bytes: &[u8], id: &ContainerId) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(dir, name, flags, PRIVATE_FILE)
        .map_err(|errno| Error::os(Step::WriteState, errno as i32).object(format!("{name} of {id}")))?;
    File::from(file)
        .write_all(bytes)
        .map_err(|error| Error::io(Step::WriteState, &error).object(format!("{name} of {id}")))
}

/// Reads a whole file of a container's directory; `None` when it is not there.
fn read_file(dir: BorrowedFd<'_>, name: &str, id: &ContainerId) -> Result<Option<Vec<u8>>> {
    let failed = |error: &std::io::Error| Error::io(Step::ReadState, error).object(format!("{name} of {id}"));
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(failed(&errno.into())),
    };
    let mut bytes = Vec::new();
    let length = read_into(&mut file.into(), &mut bytes).map_err(|error| failed(&error))?.len();
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// Reads all of a regular file, with `room` for it.
fn read_into<'r>(file: &mut File, room: &'r mut Vec<u8>) -> std::io::Result<&'r [u8]> {
    // Enough for nearly every state file, so that one read finds its end: no fstat needed.
    const USUAL: usize = 8192;
    if room.len() < USUAL {
        room.resize(USUAL, 0);
    }
    let mut length = 0;
    loop {
        let Some(rest) = room.get_mut(length..).filter(|rest| !rest.is_empty()) else {
            room.resize(length * 2, 0);
            continue;
        };
        let (asked, got) = (rest.len(), file.read(rest));
        match got {
            // A regular file gives all it has.
            Ok(count) if count < asked => return Ok(room.get(..length + count).unwrap_or_default()),
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_record(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<Record>> {
    let bytes = read_file(dir, STATE_FILE, id)?.unwrap_or_default();
    // A create that died before it wrote its intent has not come to the config; one that died later has an intent.
    if bytes.is_empty() && !has_file(dir, CONFIG_FILE, id)? {
        return Ok(None);
    }
    Record::from_json(&bytes, id).map(Some)
}

fn read_config(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Vec<u8>> {
    read_file(dir, CONFIG_FILE, id)?.ok_or_else(|| {
        Error::os(Step::ReadState, libc::ENOENT).object(format!("{CONFIG_FILE} of {id}")).kind_is(Kind::State)
    })
}

fn has_fifo(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<bool> {
    has_file(dir, EXEC_FIFO, id)
}

fn has_file(dir: BorrowedFd<'_>, name: &str, id: &ContainerId) -> Result<bool> {
    match nix::unistd::faccessat(dir, name, nix::unistd::AccessFlags::F_OK, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(Error::os(Step::ReadState, errno as i32).object(format!("{name} of {id}"))),
    }
}

/// How deep the directories in a state directory may be nested; the runtime itself makes one level.
const MAX_DEPTH: u32 = 16;

/// Removes everything in a directory, following no link.
fn remove_contents(dir: BorrowedFd<'_>, depth: u32) -> nix::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let readable = openat(dir, ".", DIRECTORY, Mode::empty())?;
    let mut directory = nix::dir::Dir::from_fd(readable)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let name = entry?.file_name().to_owned();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        let name = name.as_c_str();
        match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => {
                let child = openat(dir, name, DIRECTORY, Mode::empty())?;
                remove_contents(child.as_fd(), depth + 1)?;
                ignore_missing(unlinkat(dir, name, UnlinkatFlags::RemoveDir))?;
            }
            Ok(_) => ignore_missing(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir))?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn ignore_missing(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
