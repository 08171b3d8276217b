//! `checkpoint`: saves the processes of a container to files, by CRIU.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{ContainerId, Error, HostPid, Kind, Report, Result, Rights, Runtime, Status, Step, options};
use crate::config::{self, Config, NamespaceType};
use crate::parent::cgroup::{self, cgroup_mounts};
use crate::parent::criu::{
    self, Criu, CriuOptions, Directory, Field, Mounts, Notified, Notify, Options, Place, Request, Value,
};
use crate::parent::liveness::{Facts, facts_locked, not_running};
use crate::state::{Locked, Record, Store, not_found};
use crate::verbs::delete::tear_down;

const LOG: &str = "dump.log";

/// How long the processes may take to be gone after CRIU has ended them.
const DEATH: Duration = Duration::from_secs(10);

/// A server that takes pages of memory over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// Its IP address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

options! {
    /// What `checkpoint` is told.
    #[derive(Debug, Default)]
    pub struct CheckpointOptions {
        /// What it has in common with `restore`.
        pub criu: CriuOptions,
        /// The images of an earlier `pre_dump`, relative to those that are to be made; only what has changed since is saved.
        pub parent_path: Option<PathBuf>,
        /// Let the container run on.
        pub leave_running: bool,
        /// Save memory only, and let the container run on: a later checkpoint with `parent_path` is then short.
        pub pre_dump: bool,
        /// Pass over TCP connections that are not established yet.
        pub tcp_skip_in_flight: bool,
        /// Give files that were removed while they are open a name again.
        pub link_remap: bool,
        /// With `lazy_pages`: gets one zero byte when the pages can be fetched.
        pub status_fd: Option<OwnedFd>,
        /// Send memory there.
        pub page_server: Option<PageServer>,
    }
}

/// Saves the processes of the container `id`. Unless it is left running, the container is deleted then; the result holds what
/// went wrong with its poststop hooks.
///
/// # Errors
/// [`Kind::WrongStatus`] unless the container is running or paused; [`Kind::Unsupported`] without CRIU, and for what CRIU cannot
/// save; [`Kind::Timeout`] when CRIU takes too long. The container runs on then.
pub fn checkpoint(runtime: &Runtime, id: &ContainerId, options: CheckpointOptions) -> Result<Report> {
    let store = Store::open(runtime)?.ok_or_else(|| not_found(id))?;
    let locked = store.lock(id)?;
    let record = locked.record()?.ok_or_else(|| not_found(id))?;
    let facts = facts_locked(&locked, &record)?;
    check_status(&record, &facts)?;
    refuse_rootless(record.rootless, Step::Checkpoint)?;
    let init = facts.init.as_ref().ok_or_else(|| not_running(&record))?;
    let bytes = locked.config()?;
    let config = config::load(&bytes)?;
    refuse_what_stays(&locked, &config)?;
    let goes = !options.leave_running && !options.pre_dump;
    let paused = facts.status == Status::Paused;
    let open_files = runtime.open_files;
    let saving = Saving { open_files, record: &record, config: &config, init: init.as_fd(), paused };
    saving.save(options)?;
    if !goes {
        return Ok(Report::default());
    }
    let deadline = Instant::now() + DEATH;
    let failed = |errno: Errno| Error::os(Step::Checkpoint, errno as i32).with_object(id.as_str());
    if !pidfd::wait_until(init.as_fd(), deadline).map_err(failed)? {
        return Err(Error::new(Kind::Timeout, Step::Checkpoint)
            .with_object(id.as_str())
            .with_reason("the processes are saved, and CRIU has not ended them")
            .with_hint("`delete --force` does"));
    }
    tear_down(runtime, locked, &record).map(Report::from_iter)
}

fn check_status(record: &Record, facts: &Facts) -> Result<()> {
    match facts.status {
        Status::Running | Status::Paused => Ok(()),
        Status::Stopped => Err(not_running(record)),
        other => Err(Error::new(Kind::WrongStatus, Step::FindContainer)
            .with_object(record.id.as_str())
            .with_reason(format!("a container cannot be checkpointed in the {other} state"))),
    }
}

/// CRIU does nearly all of its work by rights that only root has.
pub(crate) fn refuse_rootless(rootless: bool, step: Step) -> Result<()> {
    if !rootless && Rights::of_this_process().rules_the_host() {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, step)
        .with_reason("CRIU needs root's rights: a rootless container cannot be saved or restored"))
}

/// What would be lost or wrong after a restore.
fn refuse_what_stays(locked: &Locked, config: &Config<'_>) -> Result<()> {
    criu::refuse_lost(config, Step::Checkpoint)?;
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    match nix::sys::stat::fstatat(locked.dir(), "notify", flags) {
        Err(Errno::ENOENT) => Ok(()),
        _ => Err(Error::new(Kind::Unsupported, Step::Checkpoint).with_object(locked.id().as_str()).with_reason(
            "its /run/notify is a socket of this runtime's service manager (NOTIFY_SOCKET), which cannot go with it",
        )),
    }
}

struct Saving<'s> {
    /// The limit of open files that CRIU starts with, where the runtime's own is for itself alone.
    open_files: Option<(u64, u64)>,
    record: &'s Record,
    config: &'s Config<'s>,
    /// The container's first process.
    init: BorrowedFd<'s>,
    paused: bool,
}

impl Saving<'_> {
    fn save(&self, options: CheckpointOptions) -> Result<()> {
        let criu = Criu::find(self.open_files)?;
        let images = Directory::open(&options.criu.image_path, true, Step::Checkpoint)?;
        let work = criu::log_directory(options.criu.work_path.as_deref(), Step::Checkpoint)?;
        if let Some(parent) = &options.parent_path {
            images.check_parent_path(parent)?;
        }
        self.check_features(&criu, &options)?;
        let request = self.request(&criu, &options, &images, work.as_ref())?;
        if !options.pre_dump {
            images.write_descriptors(&self.record.stdio)?;
        }
        let mut conversation = criu.start(&Place::default(), &[])?;
        let mut points = Points { status_fd: options.status_fd };
        let deadline = Instant::now() + options.criu.deadline;
        let done = conversation.carry_on(&request, deadline, &mut points);
        let done = done.and_then(|_| conversation.end(options.pre_dump));
        let log = work.as_ref().unwrap_or(&images);
        let done = done.map_err(|error| criu::explain(error, log.as_fd(), log.path(), LOG));
        match (done, self.thaw()) {
            (Ok(()), thawed) => thawed,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(further)) => Err(error.and(further)),
        }
    }

    /// CRIU freezes the cgroup by itself; should it have died over that, the container would stand still for ever.
    fn thaw(&self) -> Result<()> {
        if self.paused { Ok(()) } else { cgroup::thaw_dying(self.record) }
    }

    fn check_features(&self, criu: &Criu, options: &CheckpointOptions) -> Result<()> {
        if !options.pre_dump && options.parent_path.is_none() && !options.criu.lazy_pages {
            return Ok(());
        }
        let features = criu.features()?;
        let lacks = |what: &str, flag: &str| {
            Err(Error::new(Kind::Unsupported, Step::Criu)
                .with_object(flag)
                .with_reason(format!("CRIU or this kernel cannot {what}"))
                .with_hint("`criu check --all` tells more"))
        };
        if !features.mem_track && (options.pre_dump || options.parent_path.is_some()) {
            return lacks("tell which memory has changed", "--pre-dump and --parent-path");
        }
        if !features.lazy_pages && options.criu.lazy_pages {
            return lacks("fetch memory when it is used", "--lazy-pages");
        }
        Ok(())
    }

    fn pid(&self) -> Result<HostPid> {
        self.record.init.map(|init| init.pid).ok_or_else(|| not_running(self.record))
    }

    fn request(
        &self,
        criu: &Criu,
        options: &CheckpointOptions,
        images: &Directory,
        work: Option<&Directory>,
    ) -> Result<Request> {
        let pid = self.pid()?;
        let mut request = criu::common(&options.criu, images.as_fd(), work.map(AsFd::as_fd), LOG);
        self.add_own(options, pid, &mut request)?;
        if let Some(file) = criu::config_file(self.config)? {
            request.text(Field::ConfigFile, file);
        }
        self.add_namespaces(&mut request)?;
        if options.criu.network_lock.is_some() {
            criu.require(31_700, "--network-lock")?;
        }
        if options.pre_dump {
            return Ok(Request::PreDump(request));
        }
        self.add_mounts(pid, &mut request)?;
        Ok(Request::Dump(request))
    }

    fn add_own(&self, options: &CheckpointOptions, pid: HostPid, request: &mut Options) -> Result<()> {
        request.text(Field::Root, self.record.rootfs.as_str());
        request.number(Field::Pid, pid.get());
        request.flag(Field::LeaveRunning, options.leave_running);
        request.flag(Field::TcpSkipInFlight, options.tcp_skip_in_flight);
        request.flag(Field::LinkRemap, options.link_remap);
        if let Some(server) = &options.page_server {
            request.add(Field::PageServer, Value::numbered(server.address.as_str(), server.port));
        }
        if let Some(parent) = &options.parent_path {
            request.text(Field::ParentImg, utf8(parent)?);
        }
        if options.parent_path.is_some() || options.pre_dump {
            request.flag(Field::TrackMem, true);
        }
        if let Some(freezer) = self.freezer() {
            request.text(Field::FreezeCgroup, freezer);
        }
        Ok(())
    }

    /// By which CRIU stops all processes at once; without, it stops one after the other.
    fn freezer(&self) -> Option<&str> {
        let cgroup = self.record.cgroup.as_ref()?;
        let unified = || cgroup.paths.unified.as_ref().filter(|_| cgroup.is_v2());
        cgroup.paths.v1.get("freezer").or_else(unified).map(String::as_str)
    }

    /// A network or pid namespace that the container has joined is not saved: it has to be there again for the restore.
    fn add_namespaces(&self, request: &mut Options) -> Result<()> {
        let namespaces = self.config.linux.as_ref().map_or(&[][..], |linux| linux.namespaces.as_slice());
        for (index, namespace) in namespaces.iter().enumerate() {
            let (word, key) = criu::namespace_key(namespace.kind);
            if namespace.kind == NamespaceType::Cgroup && namespace.path.is_some() {
                return Err(Error::new(Kind::Unsupported, Step::Checkpoint)
                    .with_field(format!("/linux/namespaces/{index}/path"))
                    .with_reason("CRIU cannot restore into a cgroup namespace that is there"));
            }
            if let (Some(path), Some(key)) = (&namespace.path, key) {
                // Its own, by the init: the path may lead elsewhere by now.
                let procfs = Procfs::open()?;
                let open = procfs.open_namespace(self.pid()?, word)?;
                let inode = fstat(&open).map_err(|errno| {
                    Error::os(Step::Checkpoint, errno as i32)
                        .with_object(path.as_str())
                        .with_field(format!("/linux/namespaces/{index}"))
                })?;
                request.text(Field::External, format!("{word}[{}]:{key}", inode.st_ino));
            }
        }
        Ok(())
    }

    /// Where in the container mounts from outside are: under that name they will be asked for at the restore.
    fn add_mounts(&self, pid: HostPid, request: &mut Options) -> Result<()> {
        let procfs = Procfs::open()?;
        let root = procfs.open_root(pid, self.init)?;
        let cgroups = cgroup_mounts(self.record.cgroup.as_ref(), self.config)?;
        let mounts = Mounts { config: self.config, bundle: Path::new(&self.record.bundle), cgroups: &cgroups };
        for mount in mounts.external() {
            // The name is the config's, which no link of the container can change.
            let inside = criu::resolve(&procfs, root.as_fd(), &mount.inside)?;
            criu::refuse_confusable(&inside, Step::Checkpoint)?;
            criu::refuse_confusable(&mount.inside, Step::Checkpoint)?;
            request.add(Field::ExtMnt, Value::texts(inside, mount.inside));
        }
        for path in mounts.masked() {
            if let Some(path) = masked_file(&procfs, root.as_fd(), &path)? {
                criu::refuse_confusable(&path, Step::Checkpoint)?;
                request.add(Field::ExtMnt, Value::texts(path, "/dev/null"));
            }
        }
        Ok(())
    }
}

/// The path of a masked file, which is the host's /dev/null; a masked directory is an empty file system, which CRIU makes anew.
fn masked_file(procfs: &Procfs, root: std::os::fd::BorrowedFd<'_>, path: &str) -> Result<Option<String>> {
    let resolved = criu::resolve(procfs, root, path)?;
    let name = CString::new(resolved.trim_start_matches('/')).unwrap_or_default();
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    match nix::sys::stat::fstatat(root, name.as_c_str(), flags) {
        Ok(status) if status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() => Ok(Some(resolved)),
        Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => {
            Err(Error::os(Step::Checkpoint, errno as i32).with_object(resolved).with_field("/linux/maskedPaths"))
        }
    }
}

pub(crate) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(Kind::InvalidArgument, Step::CheckArguments)
            .with_object(path.display().to_string())
            .with_reason("is not UTF-8")
    })
}

/// What is done at CRIU's points.
struct Points {
    status_fd: Option<OwnedFd>,
}

impl Notified for Points {
    fn at(&mut self, notify: &Notify, _: Option<OwnedFd>) -> Result<()> {
        match (notify.script.as_str(), self.status_fd.take()) {
            ("status-ready", Some(fd)) => nix::unistd::write(&fd, &[0]).map(drop).map_err(|errno| {
                Error::os(Step::Checkpoint, errno as i32)
                    .with_object("--status-fd")
                    .with_reason("tell that lazy pages are ready")
            }),
            (_, fd) => {
                self.status_fd = fd;
                Ok(())
            }
        }
    }
}
