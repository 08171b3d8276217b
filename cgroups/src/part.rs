//! One hierarchy's directory of a cgroup.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::members::Members;
use crate::sys::{self, OFlags};

/// One hierarchy's directory of a cgroup.
#[derive(Debug)]
pub(crate) struct Part {
    /// v1 controllers; none for the v2 tree.
    pub(crate) controllers: Vec<String>,
    pub(crate) path: String,
    dir: OnceLock<Dir>,
    tasks: OnceLock<OwnedFd>,
    /// Files read and written while the cgroup was made. They are closed with it, or by [`Cgroup::release`](crate::Cgroup::release), not one by one.
    pub(crate) opened: Vec<OwnedFd>,
}

/// What an engine looks for where a process cannot be put into a cgroup.
pub(crate) const ENTER: &str = "adding pid of the new process to";

impl Part {
    pub(crate) fn new(controllers: Vec<String>, path: String) -> Self {
        Self { controllers, path, dir: OnceLock::new(), tasks: OnceLock::new(), opened: Vec::new() }
    }

    pub(crate) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    pub(crate) fn dir(&self) -> Result<&Dir> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let dir = Dir::open(&self.path)?;
        Ok(self.dir.get_or_init(|| dir))
    }

    /// The directory, or none when the cgroup is gone.
    pub(crate) fn dir_if_there(&self) -> Result<Option<&Dir>> {
        match self.dir() {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn tasks(&self) -> Result<BorrowedFd<'_>> {
        if let Some(tasks) = self.tasks.get() {
            return Ok(tasks.as_fd());
        }
        let path = [&self.path, "/tasks"].concat();
        let tasks = sys::open(sys::At::Absolute, &path, OFlags::WRONLY)
            .map_err(|errno| Error::os(ENTER, errno).with_object(path))?;
        Ok(self.tasks.get_or_init(|| tasks).as_fd())
    }

    /// The directory, for a process that is to be born in it.
    pub(crate) fn entrance(&self) -> Result<BorrowedFd<'_>> {
        let failed = |error: Error| match error.cause() {
            Some(errno) => Error::os(ENTER, errno).with_object(self.path.as_str()),
            None => error,
        };
        self.dir().map(AsFd::as_fd).map_err(failed)
    }

    /// Closes all that is open of it. What is needed again is opened again.
    pub(crate) fn release(&mut self) {
        self.dir.take();
        self.tasks.take();
        self.opened = Vec::new();
    }
}

/// Adds the processes of a cgroup and all below it.
pub(crate) fn collect(dir: &Dir, all: &mut Members) -> Result<()> {
    match dir.processes() {
        Ok(found) => all.extend(found),
        // Removed while we look.
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for name in dir.children()? {
        match dir.child(&name) {
            Ok(child) => collect(&child, all)?,
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
