//! A container's directory while its lock is held.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::fstat;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::files::{
    CONFIG_FILE, EXEC_FIFO, NEXT_STATE_FILE, PRIVATE_FILE, STATE_FILE, has_fifo, read_config, read_record,
    remove_contents, write_new,
};
use super::record::Record;
use crate::base::sys::lock::Lock;
use crate::base::{ContainerId, Error, Kind, Result, Step};

/// Before the id in the name of a directory whose container is deleted but for its poststop hooks. No id can have it.
pub(super) const TOMBSTONE: char = '~';

/// How old a directory without an intent must be to count as left by a create that died, rather than as one in the making: the
/// lock is taken only after the directory is made.
pub(crate) const CLAIM_GRACE: Duration = Duration::from_millis(200);

/// A container's directory with its lock held.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(super) root: Arc<OwnedFd>,
    pub(super) dir: Lock,
    pub(super) id: ContainerId,
    pub(super) deleted: bool,
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

    /// Whether a directory without an intent may still be one in the making; see [`CLAIM_GRACE`].
    pub(crate) fn is_being_claimed(&self) -> Result<bool> {
        let stat = fstat(self.dir())
            .map_err(|errno| Error::os(Step::ReadState, errno as i32).with_object(self.id.as_str()))?;
        let changed = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let changed = changed + Duration::from_nanos(u64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // From the future, after the clock was set back: of unknown age, and the claim is tried again anyway.
        Ok(now.checked_sub(changed).is_some_and(|age| age < CLAIM_GRACE))
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
            .map_err(|errno| Error::os(Step::WriteState, errno as i32).with_object(self.id.as_str()))?;
        File::from(next)
            .write_all(&record.to_json()?)
            .map_err(|error| Error::io(Step::WriteState, &error).with_object(self.id.as_str()))
    }

    /// The second half of [`Self::save`]: what was prepared takes the place of the state file.
    pub(crate) fn commit(&self) -> Result<()> {
        renameat(self.dir(), NEXT_STATE_FILE, self.dir(), STATE_FILE)
            .map_err(|errno| Error::os(Step::WriteState, errno as i32).with_object(self.id.as_str()))
    }

    /// Removes the exec FIFO, which turns `created` into `running`; it may be gone already.
    pub(crate) fn remove_exec_fifo(&self) -> Result<()> {
        match unlinkat(self.dir(), EXEC_FIFO, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::os(Step::WriteState, errno as i32).with_object(self.id.as_str())),
        }
    }

    /// Removes an empty directory in the container's.
    #[cfg(feature = "criu")]
    pub(crate) fn remove_directory(&self, name: &str) -> Result<()> {
        unlinkat(self.dir(), name, UnlinkatFlags::RemoveDir)
            .map_err(|errno| Error::os(Step::RemoveState, errno as i32).with_object(format!("{name} of {}", self.id)))
    }

    /// Gives the id free, while what is left to do for the container stays on disk under a name that is no id.
    pub(crate) fn park(mut self) -> Result<Self> {
        let to = tombstone_name(&self.id);
        match renameat(self.root.as_fd(), self.name().as_str(), self.root.as_fd(), to.as_str()) {
            Ok(()) => {
                self.deleted = true;
                Ok(self)
            }
            Err(errno) => Err(Error::os(Step::RemoveState, errno as i32).with_object(self.id.as_str())),
        }
    }

    /// The directory's name.
    fn name(&self) -> String {
        if self.deleted { tombstone_name(&self.id) } else { self.id.as_str().to_owned() }
    }

    /// Removes the directory with all that is in it. The state file goes last, so that a remove that is killed half-way can
    /// be done again by anyone.
    pub(crate) fn remove(self) -> Result<()> {
        let failed = |errno: Errno| Error::os(Step::RemoveState, errno as i32).with_object(self.id.as_str());
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

/// A new container's directory, locked, which goes when this is dropped unless it is kept.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) entry: Option<Locked>,
}

impl Claim {
    /// The locked directory, to save records in.
    pub(crate) fn locked(&self) -> Result<&Locked> {
        // `None` only between `keep` or `drop` and the end of the value's life.
        self.entry.as_ref().ok_or_else(|| Error::new(Kind::State, Step::ClaimId).with_reason("the claim was given up"))
    }

    /// Keeps the container: from here on only `delete` removes it.
    pub(crate) fn keep(mut self) -> Result<Locked> {
        self.entry.take().ok_or_else(|| Error::new(Kind::State, Step::ClaimId).with_reason("the claim was given up"))
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

pub(super) fn tombstone_name(id: &ContainerId) -> String {
    format!("{TOMBSTONE}{id}")
}

/// Takes the lock of a container's directory. `flock` knows no timeout, so it is asked for again and again, more and more
/// rarely; the usual case is one call.
pub(super) fn lock_until(mut dir: OwnedFd, id: &ContainerId, deadline: Instant) -> Result<Lock> {
    let mut pause = Duration::from_micros(200);
    loop {
        match Lock::try_take(dir) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => dir = back,
            Err((_, errno)) => return Err(Error::os(Step::FindContainer, errno as i32).with_object(id.as_str())),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Kind::Timeout, Step::FindContainer)
                .with_object(id.as_str())
                .with_reason("another operation on this container does not end"));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
