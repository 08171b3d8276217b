//! One container's cgroup: its directories in every hierarchy, behind one type.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use crate::dir::Dir;
use crate::error::{Error, Kind, Result};
use crate::layout::{Layout, V1_CONTROLLERS};
use crate::path;
use crate::record::{Driver, Record, Spec};
use crate::sys;

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
    pub(crate) properties: Vec<crate::systemd::Property>,
    pub(crate) owner: Option<crate::record::Owner>,
}

/// One hierarchy's directory of a cgroup.
#[derive(Debug)]
pub(crate) struct Part {
    /// v1 controllers; none for the v2 tree.
    pub(crate) controllers: Vec<String>,
    pub(crate) path: String,
    dir: OnceLock<Dir>,
    tasks: OnceLock<OwnedFd>,
    /// Files read and written while the cgroup was made. They are closed with it, or by [`Cgroup::release`], not one by one.
    pub(crate) opened: Vec<OwnedFd>,
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

/// What an engine looks for where a process cannot be put into a cgroup.
const ENTER: &str = "adding pid of the new process to";

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
        let tasks =
            sys::open(sys::At::Absolute, &path, libc::O_WRONLY).map_err(|errno| Error::os(ENTER, errno).on(path))?;
        Ok(self.tasks.get_or_init(|| tasks).as_fd())
    }

    /// The directory, for a process that is to be born in it.
    fn entrance(&self) -> Result<BorrowedFd<'_>> {
        let failed = |error: Error| match error.errno() {
            Some(errno) => Error::os(ENTER, sys::Errno(errno)).on(self.path.as_str()),
            None => error,
        };
        self.dir().map(AsFd::as_fd).map_err(failed)
    }
}

impl Cgroup {
    /// Works out where the cgroup of `spec` will be, and makes nothing. Write the record to disk before [`create`](Self::create),
    /// and a crash in between leaves nothing that cannot be cleaned up.
    ///
    /// It reads `/proc/self/cgroup` when the path is relative, and asks the user's systemd for its cgroup when rootless under
    /// systemd; otherwise it makes no system call.
    ///
    /// # Errors
    /// [`Kind::InvalidPath`] for a malformed path, [`Kind::Bus`] when the user's manager does not answer.
    pub fn plan(layout: &Layout, spec: &Spec<'_>) -> Result<Record> {
        Record::plan(layout, spec)
    }

    /// Makes the cgroup of a planned record. Under systemd nothing is made before [`attach`](Self::attach).
    ///
    /// On failure what was made is removed again.
    ///
    /// # Errors
    /// [`Kind::Busy`] when there is such a cgroup with processes in it, [`Kind::Frozen`] and [`Kind::Threaded`] when it could not
    /// be joined, [`Kind::NotDelegated`] when it must not be made.
    pub fn create(record: Record, spec: &Spec<'_>) -> Result<Self> {
        let mut cgroup = Self::create_unified(record, spec)?;
        match cgroup.create_v1().and_then(|()| cgroup.fill_cpuset()) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                crate::create::undo(&cgroup.record.made);
                Err(error)
            }
        }
    }

    /// The first part of [`create`](Self::create): the cgroup of v2, into which a process is cloned. [`create_v1`](Self::create_v1)
    /// and [`fill_cpuset`](Self::fill_cpuset) make the rest while that process is at work already.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unified(record: Record, spec: &Spec<'_>) -> Result<Self> {
        let mut cgroup = Self::open(record);
        cgroup.fresh = true;
        cgroup.owner = spec.owner;
        match cgroup.record.driver {
            Driver::Cgroupfs => crate::create::make(&mut cgroup, Part::is_unified)?,
            Driver::Systemd => {
                cgroup.properties.clone_from(&spec.properties);
                crate::systemd::check_vacant(&cgroup)?;
            }
        }
        Ok(cgroup)
    }

    /// The second part of [`create`](Self::create): the directories in the hierarchies of v1, where there are any. On failure those
    /// that it made are removed again; what [`create_unified`](Self::create_unified) made stays for [`remove`](Self::remove).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_v1(&mut self) -> Result<()> {
        match self.record.driver {
            Driver::Cgroupfs if self.parts.iter().any(|part| !part.is_unified()) => {
                let made = crate::create::make(self, |part| !part.is_unified());
                if made.is_err() {
                    // What is there may be another's: who cleans up must neither kill in it nor remove it.
                    self.parts.retain(Part::is_unified);
                    self.record.paths.retain(|name, _| name.is_empty());
                }
                made
            }
            Driver::Cgroupfs | Driver::Systemd => Ok(()),
        }
    }

    /// The last part of [`create`](Self::create): gives a new cpuset of v1 the CPUs and memory nodes of its parent, without which no
    /// process can enter it. The kernel compares them with those of every cpuset beside it, and checks the bandwidth of all deadline
    /// tasks: beside a thousand others this takes longer than all directories together.
    ///
    /// # Errors
    /// [`Kind::System`].
    pub fn fill_cpuset(&mut self) -> Result<()> {
        match (self.unfilled.take(), self.parts.iter_mut().find(|part| part.has("cpuset"))) {
            (Some((first, new)), Some(part)) => crate::create::fill_cpuset(&first, &part.path, new, &mut part.opened),
            _ => Ok(()),
        }
    }

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
            let Some(path) = record.paths.get(controller) else { continue };
            match parts.iter_mut().find(|part| part.path == *path) {
                Some(part) => part.controllers.push(controller.to_owned()),
                None => parts.push(Part::new(vec![controller.to_owned()], path.clone())),
            }
        }
        if let Some(path) = record.paths.get("") {
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
        for part in &mut self.parts {
            part.dir.take();
            part.tasks.take();
            part.opened = Vec::new();
        }
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
                .on(self.main_path())
                .detail("it is frozen, so a process put into it would never run")
                .hint("resume the container first"));
        }
        // A user may not clone from a session into the user manager's tree: their common ancestor is root's.
        if self.record.unit.as_ref().is_some_and(|unit| unit.user) {
            join.attach = true;
            return Ok(join);
        }
        for part in &self.parts {
            if part.is_unified() {
                join.clone_into = Some(part.entrance()?);
            } else {
                join.tasks.push(part.tasks()?);
            }
        }
        Ok(join)
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
        if let Some(unknown) = controllers.iter().find(|name| !self.record.paths.contains_key(**name)) {
            return Err(Error::new(Kind::Unsupported, "find the sub-cgroup")
                .on(path)
                .detail(format!("unknown controller {unknown:?}: the container is in no hierarchy that has it")));
        }
        let mut record = self.record.clone();
        let mut missing = None;
        let mut found = 0;
        for part in self.parts.iter().filter(|part| {
            controllers.is_empty()
                || controllers.iter().any(|name| part.has(name) || (part.is_unified() && name.is_empty()))
        }) {
            let below = [&part.path, inside.as_str()].concat();
            match sys::open(sys::At::Absolute, &below, libc::O_PATH | libc::O_DIRECTORY) {
                Ok(_) => found += 1,
                Err(sys::Errno(libc::ENOENT)) => {
                    missing = missing.or(Some(below));
                    continue;
                }
                Err(errno) => return Err(Error::os(ENTER, errno).on(below)),
            }
            for path in record.paths.values_mut().filter(|path| **path == part.path) {
                path.clone_from(&below);
            }
        }
        if let Some(missing) = missing.filter(|_| found == 0 || !controllers.is_empty()) {
            return Err(Error::os(ENTER, sys::Errno(libc::ENOENT)).on(missing));
        }
        record.made.clear();
        // Processes get into a user manager's tree by that manager alone.
        if !record.unit.as_ref().is_some_and(|unit| unit.user) {
            record.driver = Driver::Cgroupfs;
            record.unit = None;
        }
        Ok(Self::open(record))
    }

    /// Moves a process (all its threads) into the cgroup. Under systemd, a new cgroup is made around it.
    ///
    /// This is the slow way in; see [`Join`].
    ///
    /// # Errors
    /// [`Kind::NotFound`] when the process or the cgroup is gone; under systemd also [`Kind::Bus`] and [`Kind::Timeout`].
    pub fn attach(&mut self, pid: i32) -> Result<()> {
        if self.record.unit.is_some() {
            crate::systemd::attach(self, pid)?;
        } else {
            self.move_into(pid, |_| true)?;
        }
        Ok(())
    }

    /// Makes the payload cgroup of the record below this one, and moves a process of this one into it; without one, nothing. What
    /// the cgroup has of controllers is handed down, and the payload belongs to the owner that the spec named.
    ///
    /// To be called once the process has its cgroup namespace, which then begins at this cgroup.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be made or entered.
    pub fn enter_payload(&self, pid: i32) -> Result<()> {
        let (Some(_), Some(mount)) = (&self.record.payload, &self.record.unified_mount) else { return Ok(()) };
        let payload = self.payload()?;
        crate::create::make_path(payload.main_path(), &mut Vec::new())?;
        payload.move_into(pid, Part::is_unified)?;
        crate::create::enable(mount, payload.main_path(), |_| true)?;
        crate::create::delegate(&payload)
    }

    /// The payload cgroup of the record, or this one where there is none.
    ///
    /// # Errors
    /// As [`sub`](Self::sub).
    pub fn payload(&self) -> Result<Self> {
        let mut record = self.record.clone();
        if let Some(payload) = record.payload.take() {
            let inside = format!("/{}", path::clean(payload.trim_matches('/'), "check the payload cgroup")?);
            record.paths.values_mut().for_each(|path| path.push_str(&inside));
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

    pub(crate) fn move_into(&self, pid: i32, wanted: impl Fn(&Part) -> bool) -> Result<()> {
        for part in self.parts.iter().filter(|part| wanted(part)) {
            let mut tries = 0;
            loop {
                match part.dir()?.write("cgroup.procs", &pid.to_string()) {
                    Ok(()) => break,
                    // A process that is still being forked cannot be moved yet.
                    Err(error) if error.is(libc::EINVAL) && tries < 5 => {
                        tries += 1;
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    Err(error) if error.is(libc::ESRCH) => {
                        return Err(error.kind_is(Kind::NotFound).detail("no such process"));
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

    /// All processes in the cgroup and below it, as the caller sees their ids, ascending.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone has no processes.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        if let Some(dir) = self.main().map(Part::dir_if_there).transpose()?.flatten() {
            collect(dir, &mut all)?;
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// The processes in the cgroup itself, without those in cgroups below it.
    ///
    /// # Errors
    /// [`Kind::System`] when it cannot be read; a cgroup that is gone has no processes.
    pub fn own_processes(&self) -> Result<Vec<i32>> {
        match self.main().map(Part::dir_if_there).transpose()?.flatten().map(Dir::processes) {
            None => Ok(Vec::new()),
            Some(Err(error)) if error.kind() == Kind::NotFound => Ok(Vec::new()),
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

/// Adds the processes of a cgroup and all below it.
pub(crate) fn collect(dir: &Dir, all: &mut Vec<i32>) -> Result<()> {
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
