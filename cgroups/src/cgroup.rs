//! One container's cgroup: its directories in every hierarchy, behind one type.

use std::os::fd::{AsFd, BorrowedFd};

use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::layout::V1_CONTROLLERS;
use crate::members::{Members, Pid};
use crate::part::{ENTER, Part, collect};
use crate::path;
use crate::record::{Driver, Record};
use crate::sys::{self, Errno, OFlags};

/// The cgroup of one container, in all hierarchies it is part of.
///
/// Directories are opened when first needed and then kept; nothing is resolved twice. Dropping it closes them and changes nothing
/// else.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) record: Record,
    pub(crate) parts: Vec<Part>,
    /// Made by this object, and no process has joined it yet as far as this object knows.
    pub(crate) fresh: bool,
    /// The topmost new directory of a cpuset of v1 that has neither CPUs nor memory nodes yet, and whether all below it is new.
    pub(crate) unfilled: Option<(String, bool)>,
    /// Device rules have been set by this object.
    pub(crate) filtered: std::sync::atomic::AtomicBool,
    /// Unit properties to start the scope with.
    pub(crate) properties: Vec<crate::systemd::property::Property>,
    pub(crate) owner: Option<crate::record::Owner>,
}

/// How a new process gets into the cgroup.
///
/// A process that is cloned with `CLONE_INTO_CGROUP`, or that writes `0` to v1 `tasks` files while it has a single thread, enters
/// without the kernel's wait for an RCU grace period; moving a process by its id costs that wait for every hierarchy.
#[derive(Debug)]
pub struct Join<'a> {
    /// Pass this to clone3 with `CLONE_INTO_CGROUP`.
    pub clone_into: Option<BorrowedFd<'a>>,
    /// The child writes `0` to each of these before anything else.
    pub tasks: Vec<BorrowedFd<'a>>,
    /// While the child waits, call [`Cgroup::attach`] with its id: systemd makes the cgroup around it.
    pub attach: bool,
}

impl Cgroup {
    /// The directory of v2 to pass to clone3(2) with `CLONE_INTO_CGROUP`; none on v1, and where systemd makes the cgroup.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is gone.
    pub fn birthplace(&self) -> Result<Option<BorrowedFd<'_>>> {
        if self.fresh && self.record.driver == Driver::Systemd {
            return Ok(None);
        }
        self.unified().map(|part| part.dir().map(AsFd::as_fd)).transpose()
    }

    /// The cgroup of a record; makes no system call, and does not look whether it is still there.
    #[must_use]
    pub fn open(record: Record) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for controller in V1_CONTROLLERS {
            let Some(path) = record.paths.v1.get(controller) else { continue };
            match parts.iter_mut().find(|part| part.path == *path) {
                Some(part) => part.controllers.push(controller.to_owned()),
                None => parts.push(Part::new(vec![controller.to_owned()], path.clone())),
            }
        }
        if let Some(path) = &record.paths.unified {
            parts.push(Part::new(Vec::new(), path.clone()));
        }
        Self {
            record,
            parts,
            fresh: false,
            unfilled: None,
            filtered: false.into(),
            properties: Vec::new(),
            owner: None,
        }
    }

    /// Closes all that is open of it. What is needed again is opened again.
    pub fn release(&mut self) {
        self.parts.iter_mut().for_each(Part::release);
    }

    /// What to keep in the state file.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How a new process gets in.
    ///
    /// # Errors
    /// [`Kind::Frozen`] when a process put into the cgroup would never run, [`Kind::NotFound`] when it is gone.
    pub fn join(&self) -> Result<Join<'_>> {
        let mut join = self.birth()?;
        if !join.attach {
            join.tasks = self.tasks()?;
        }
        Ok(join)
    }

    /// As [`join`](Self::join), with no `tasks` file opened yet: for a process that is to be under way meanwhile, and gets those of
    /// [`tasks`](Self::tasks) then, unless it is to be attached.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn birth(&self) -> Result<Join<'_>> {
        let mut join = Join { clone_into: None, tasks: Vec::new(), attach: false };
        if self.fresh && self.record.driver == Driver::Systemd {
            join.attach = true;
            return Ok(join);
        }
        if let Some(part) = self.unified().filter(|_| !self.fresh) {
            part.entrance()?;
        }
        if !self.fresh && self.is_frozen()? {
            return Err(Error::new(Kind::Frozen, "join the cgroup")
                .with_object(self.main_path())
                .with_reason("it is frozen, so a process put into it would never run")
                .with_hint("resume the container first"));
        }
        // A user may not clone from a session into the user manager's tree: their common ancestor is root's.
        if self.record.unit.as_ref().is_some_and(|unit| unit.user) {
            join.attach = true;
            return Ok(join);
        }
        join.clone_into = self.unified().map(Part::entrance).transpose()?;
        Ok(join)
    }

    /// The `tasks` files of v1.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when a cgroup is gone.
    pub fn tasks(&self) -> Result<Vec<BorrowedFd<'_>>> {
        self.parts.iter().filter(|part| !part.is_unified()).map(Part::tasks).collect()
    }

    /// The `tasks` files of [`join`](Self::join) for a process that has work to do meanwhile: those that it can enter at once, and
    /// those that it enters when its limits are set. A cpuset cannot be entered before [`fill_cpuset`](Self::fill_cpuset), and while
    /// device rules are written they forbid more than they will.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn tasks_in_two(&self) -> Result<(Vec<BorrowedFd<'_>>, Vec<BorrowedFd<'_>>)> {
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for part in self.parts.iter().filter(|part| !part.is_unified()) {
            let when = if part.has("cpuset") || part.has("devices") { &mut late } else { &mut early };
            when.push(part.tasks()?);
        }
        Ok((early, late))
    }

    /// The cgroup at `path` below this one, for an `exec` into it; it must be there. With controllers given, only those
    /// hierarchies use the sub-cgroup, and all others stay with this one (v1 only). Without, it is used in each hierarchy that has
    /// it: beside v1 hierarchies few containers have it in the v2 tree, too.
    ///
    /// # Errors
    /// [`Kind::InvalidPath`] for a path that leaves this cgroup, [`Kind::Unsupported`] for an unknown controller, and
    /// [`Kind::NotFound`] when no hierarchy, or not the one that was named, has such a cgroup.
    pub fn sub(&self, controllers: &[&str], path: &str) -> Result<Self> {
        let inside = match path.trim_matches('/') {
            "" => String::new(),
            path => format!("/{}", path::clean(path, "check the sub-cgroup path")?),
        };
        if let Some(unknown) = controllers.iter().find(|name| !self.record.paths.v1.contains_key(**name)) {
            return Err(Error::new(Kind::Unsupported, "find the sub-cgroup")
                .with_object(path)
                .with_reason(format!("unknown controller {unknown:?}: the container is in no hierarchy that has it")));
        }
        let mut record = self.record.clone();
        let mut missing = None;
        let mut found = 0;
        for part in
            self.parts.iter().filter(|part| controllers.is_empty() || controllers.iter().any(|name| part.has(name)))
        {
            let below = [&part.path, inside.as_str()].concat();
            match sys::open(sys::At::Absolute, &below, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => found += 1,
                Err(Errno::NOENT) => {
                    missing = missing.or(Some(below));
                    continue;
                }
                Err(errno) => return Err(Error::os(ENTER, errno).with_object(below)),
            }
            for path in record.paths.iter_mut().filter(|path| **path == part.path) {
                path.clone_from(&below);
            }
        }
        if let Some(missing) = missing.filter(|_| found == 0 || !controllers.is_empty()) {
            return Err(Error::os(ENTER, Errno::NOENT).with_object(missing));
        }
        record.made.clear();
        // Processes get into a user manager's tree by that manager alone.
        if !record.unit.as_ref().is_some_and(|unit| unit.user) {
            record.driver = Driver::Cgroupfs;
            record.unit = None;
        }
        Ok(Self::open(record))
    }

    /// The payload cgroup of the record, or this one where there is none.
    ///
    /// # Errors
    /// As [`sub`](Self::sub).
    pub fn payload(&self) -> Result<Self> {
        let mut record = self.record.clone();
        if let Some(payload) = record.payload.take() {
            let inside = format!("/{}", path::clean(payload.trim_matches('/'), "check the payload cgroup")?);
            record.paths.iter_mut().for_each(|path| path.push_str(&inside));
        }
        record.made.clear();
        if !record.unit.as_ref().is_some_and(|unit| unit.user) {
            record.driver = Driver::Cgroupfs;
            record.unit = None;
        }
        let mut payload = Self::open(record);
        payload.owner = self.owner;
        Ok(payload)
    }

    pub(crate) fn move_into(&self, pid: Pid, wanted: impl Fn(&Part) -> bool) -> Result<()> {
        for part in self.parts.iter().filter(|part| wanted(part)) {
            let mut tries = 0;
            loop {
                match part.dir()?.write("cgroup.procs", &pid.to_string()) {
                    Ok(()) => break,
                    // A process that is still being forked cannot be moved yet.
                    Err(error) if error.has_errno(Errno::INVAL) && tries < 5 => {
                        tries += 1;
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    Err(error) if error.has_errno(Errno::SRCH) => {
                        return Err(error.with_kind(Kind::NotFound).with_reason("no such process"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The part in the v2 tree.
    pub(crate) fn unified(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.is_unified())
    }

    /// The part in the v1 hierarchy of `controller`.
    pub(crate) fn v1(&self, controller: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.has(controller))
    }

    /// The part that stands for the whole: the v2 tree when it has all, else the freezer's or the first hierarchy.
    pub(crate) fn main(&self) -> Option<&Part> {
        ["freezer", "devices", "pids"].iter().find_map(|name| self.v1(name)).or_else(|| self.parts.first())
    }

    pub(crate) fn main_path(&self) -> &str {
        self.main().map_or("(no cgroup)", |part| part.path.as_str())
    }

    /// All processes in the cgroup and below it.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone has no processes.
    pub fn processes(&self) -> Result<Members> {
        let mut all = Members::default();
        if let Some(dir) = self.main().map(Part::dir_if_there).transpose()?.flatten() {
            collect(dir, &mut all)?;
        }
        all.sort();
        Ok(all)
    }

    /// The processes in the cgroup itself, without those in cgroups below it.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone has no processes.
    pub fn own_processes(&self) -> Result<Members> {
        match self.main().map(Part::dir_if_there).transpose()?.flatten().map(Dir::processes) {
            None => Ok(Members::default()),
            Some(Err(error)) if error.kind() == Kind::NotFound => Ok(Members::default()),
            Some(outcome) => outcome,
        }
    }

    /// Whether no process is left in the cgroup and below it.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone is empty.
    pub fn is_empty(&self) -> Result<bool> {
        if self.record.is_v2() {
            let Some(dir) = self.unified().map(Part::dir_if_there).transpose()?.flatten() else {
                return Ok(true);
            };
            let events = dir.read_if_there("cgroup.events")?;
            return Ok(events.is_none_or(|text| crate::dir::keyed(&text, "populated") != Some(1)));
        }
        Ok(self.processes()?.is_empty())
    }

    /// How often the kernel's OOM killer killed a process in the cgroup or below it; none without the memory controller.
    ///
    /// # Errors
    /// [`Kind::System`] when the file cannot be read.
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let (part, file) = match (self.v1("memory"), self.unified()) {
            (Some(part), _) => (part, "memory.oom_control"),
            (None, Some(part)) => (part, "memory.events"),
            (None, None) => return Ok(None),
        };
        let Some(dir) = part.dir_if_there()? else { return Ok(None) };
        Ok(dir.read_if_there(file)?.and_then(|text| crate::dir::keyed(&text, "oom_kill")))
    }
}
