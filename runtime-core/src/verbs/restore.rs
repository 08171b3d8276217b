//! `restore`: makes a container from what `checkpoint` has saved. As `create`, with CRIU in the place of the init.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;

use orlop_init::wire::Op;

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{
    ContainerId, Error, HostPid, Kind, Process, Report, Result, Runtime, Status, Step, Warning, by_number, options,
};
use crate::config::{Config, NamespaceType};
use crate::parent::cgroup::{ContainerCgroup, cgroup_mounts};
use crate::parent::criu::CriuOptions;
use crate::parent::criu::{
    self, Conversation, Criu, Directory, Field, Images, Mounts, Notified, Notify, Options, Place, Request, Value,
};
use crate::parent::hooks::{self, HookKind, HookState, InRuntime};
use crate::parent::options::CreateOptions;
use crate::parent::prepare::{Bundle, Common, Prepared, Wanted, read_bundle};
use crate::parent::sockets::{self, stdio, write_pid_file};
use crate::parent::{net_devices, resctrl};
use crate::state::{Claim, InitProcess, NamespaceRecord, Phase, Store};
use crate::verbs::checkpoint::refuse_rootless;

const LOG: &str = "restore.log";

/// The directory, in the container's, on which CRIU finds the root file system: it must be a mount point.
const ROOT: &str = "criu-root";

/// How long killed processes may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

options! {
    /// What `restore` is told.
    #[derive(Debug, Default)]
    pub struct RestoreOptions {
        /// The bundle, and what the caller gets besides the container.
        pub create: CreateOptions,
        /// What it has in common with `checkpoint`.
        pub criu: CriuOptions,
        /// Another security label for the processes, `apparmor:NAME` or `selinux:LABEL`.
        pub lsm_profile: Option<String>,
        /// Another SELinux context for mounts that have one.
        pub lsm_mount_context: Option<String>,
    }
}

/// Makes the container `id` from images and a bundle: its processes run on. Of the hooks, prestart and createRuntime are run, as
/// runc does.
///
/// # Errors
/// [`Kind::AlreadyExists`] when there is such a container; [`Kind::Unsupported`] without CRIU, and for what CRIU cannot restore;
/// [`Kind::InvalidArgument`] for images that are none; [`Kind::Timeout`]. Nothing is left behind then.
pub fn restore(runtime: &Runtime, id: &ContainerId, options: RestoreOptions) -> Result<Process> {
    let unused = [
        (options.create.no_pivot, "CRIU changes the root by pivot_root(2) in any case"),
        (options.create.no_new_keyring, "keyrings are not saved"),
        (
            options.create.preserve_fds > 0 || options.create.listen_fds > 0,
            "the saved processes have their own descriptors",
        ),
        (options.create.notify_socket, "the saved processes know of no service manager here"),
        (options.create.pidfd_socket.is_some(), "the pidfd is in the container that is returned"),
    ];
    match unused.into_iter().find(|(given, _)| *given) {
        Some((_, reason)) => Err(Error::new(Kind::InvalidArgument, Step::CheckArguments)
            .with_object("an option of `create`")
            .with_reason(format!("it would do nothing in a restore: {reason}"))),
        None => make(runtime, id, &options),
    }
}

/// Makes the container.
fn make(runtime: &Runtime, id: &ContainerId, options: &RestoreOptions) -> Result<Process> {
    let bundle = read_bundle(&options.create)?;
    let common = Common::decide(runtime, &bundle, bundle.config()?, options.create.no_pivot)?;
    let wanted = Wanted::new(runtime, id, &bundle, &common, &options.create);
    let prepared = Prepared::new(&Wanted { waits_for_start: false, ..wanted })?;
    let config = &common.config;
    refuse_rootless(prepared.record.rootless, Step::Restore)?;
    criu::refuse_lost(config, Step::Restore)?;
    let criu = Criu::find(runtime.open_files)?;
    check_version(&criu, options)?;
    let images = Images::open(&options.criu.image_path)?;
    let work = criu::log_directory(options.criu.work_path.as_deref(), Step::Restore)?;
    let console = sockets::console(config, &options.create)?;
    let store = Store::create(runtime)?;
    let claim = store.claim(id, &prepared.record)?;
    claim.locked()?.keep_config(&bundle.bytes)?;
    let root = runtime.container_dir(id).join(ROOT);
    let mut restoring = Restoring {
        config,
        bundle: &bundle,
        options,
        images: &images,
        work: work.as_ref(),
        root,
        prepared,
        claim,
        cgroup: None,
        console,
        init: None,
        criu: None,
    };
    match restoring.carry_out(&criu) {
        Ok(()) => restoring.finish(criu.describe()),
        Err(error) => Err(restoring.undo(error)),
    }
}

fn check_version(criu: &Criu, options: &RestoreOptions) -> Result<()> {
    for (given, version, flag) in [
        (options.lsm_profile.is_some(), 31_600, "--lsm-profile"),
        (options.lsm_mount_context.is_some(), 31_600, "--lsm-mount-context"),
        (options.criu.network_lock.is_some(), 31_700, "--network-lock"),
    ] {
        if given {
            criu.require(version, flag)?;
        }
    }
    if options.criu.lazy_pages && !criu.features()?.lazy_pages {
        return Err(Error::new(Kind::Unsupported, Step::Criu)
            .with_object("--lazy-pages")
            .with_reason("CRIU or this kernel cannot fetch memory when it is used"));
    }
    Ok(())
}

/// A namespace that is there already.
enum Joined<'r> {
    /// Left out of the images under this name.
    Inherited(&'static str, OwnedFd),
    /// Saved, and joined all the same, under CRIU's word for its kind.
    ByPath(&'static str, &'r str),
}

impl Joined<'_> {
    fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Inherited(_, fd) => Some(fd.as_raw_fd()),
            Self::ByPath(..) => None,
        }
    }
}

fn open_namespace(path: &str, kind: NamespaceType, field: &str) -> Result<OwnedFd> {
    let fd = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| Error::os(Step::JoinNamespace, errno as i32).with_object(path).with_field(field))?;
    if crate::base::sys::namespace_type(fd.as_fd()) == Ok(kind.number()) {
        return Ok(fd);
    }
    Err(Error::new(Kind::InvalidConfig, Step::JoinNamespace)
        .with_object(path)
        .with_field(field)
        .with_reason(format!("is no {} namespace", kind.name())))
}

/// A container that is being restored: what exists of it so far.
struct Restoring<'r> {
    config: &'r Config<'r>,
    bundle: &'r Bundle,
    options: &'r RestoreOptions,
    images: &'r Images,
    work: Option<&'r Directory>,
    root: PathBuf,
    prepared: Prepared,
    claim: Claim,
    cgroup: Option<ContainerCgroup>,
    console: Option<OwnedFd>,
    /// The container's first process, from when CRIU tells of it.
    init: Option<(HostPid, OwnedFd)>,
    /// CRIU itself, which is in the container's cgroup.
    criu: Option<HostPid>,
}

impl<'r> Restoring<'r> {
    fn carry_out(&mut self, criu: &Criu) -> Result<()> {
        self.prepared.record.phase = Phase::Restoring;
        self.make_cgroup()?;
        self.make_root()?;
        let namespaces = self.joined()?;
        let inherit: Vec<RawFd> = namespaces.iter().filter_map(Joined::fd).collect();
        let mut conversation = self.start(criu, &inherit)?;
        // CRIU mounts in the directory where it works: that has to be of its own mount namespace.
        let procfs = Procfs::open()?;
        let seen = |directory: &Directory| directory.seen_by(&procfs, conversation.pid(), conversation.pidfd());
        let (images, work) = (seen(&self.images.directory)?, self.work.map(seen).transpose()?);
        let mut request = criu::common(&self.options.criu, images.as_fd(), work.as_ref().map(AsFd::as_fd), LOG);
        self.fill(&mut request, &namespaces)?;
        self.add_cgroups(conversation.pid(), &mut request)?;
        let images: &'r Directory = &self.images.directory;
        let _searchable = self.root_group().map(|gid| images.searchable_by(gid)).transpose()?;
        let deadline = Instant::now() + self.options.criu.deadline;
        let done = conversation.carry_on(&Request::Restore(request), deadline, self);
        let done = done.and_then(|_| conversation.end(false));
        let log = self.work.unwrap_or(&self.images.directory);
        done.map_err(|error| criu::explain(error, log.as_fd(), log.path(), LOG))?;
        if self.init.is_none() {
            return Err(Error::new(Kind::System, Step::Restore)
                .with_object("CRIU")
                .with_reason("it has not told of any process"));
        }
        self.claim.locked()?.remove_directory(ROOT)
    }

    /// From here on all processes in the cgroup are the container's: should this runtime be killed, `delete --force` ends them.
    fn make_cgroup(&mut self) -> Result<()> {
        if let Some(planned) = self.prepared.cgroup.take() {
            let cgroup = self.cgroup.insert(ContainerCgroup::create(planned)?);
            cgroup.complete()?;
            cgroup.fill_cpuset()?;
            self.prepared.record.cgroup = Some(cgroup.record().clone());
        }
        self.claim.locked()?.save(&self.prepared.record)
    }

    /// The directory for the root, and in the root what mounts go on: CRIU makes nothing.
    fn make_root(&self) -> Result<()> {
        let failed = |errno: Errno| Error::os(Step::Restore, errno as i32).with_object(self.root.display().to_string());
        nix::sys::stat::mkdirat(self.claim.locked()?.dir(), ROOT, Mode::S_IRWXU).map_err(failed)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let rootfs = &self.prepared.record.rootfs;
        let root = nix::fcntl::open(rootfs.as_str(), flags, Mode::empty())
            .map_err(|errno| Error::os(Step::OpenRootfs, errno as i32).with_object(rootfs).with_field("/root/path"))?;
        let procfs = Procfs::open()?;
        let cgroups = self.cgroup_mounts()?;
        let mounts = self.mounts(&cgroups);
        for target in mounts.targets(|path| criu::resolve(&procfs, root.as_fd(), path))? {
            let wrong = |errno: Errno| {
                Error::os(Step::MakeMountTarget, errno as i32).with_object(&target.path).with_field(&target.field)
            };
            let directory = match &target.source {
                None => true,
                Some(source) => std::fs::metadata(source)
                    .map_err(|error| Error::io(Step::BindMount, &error).with_object(source).with_field(&target.field))?
                    .is_dir(),
            };
            let made = match &target.on {
                None => criu::make_target(root.as_fd(), &target.path, directory),
                Some(on) => {
                    let source = nix::fcntl::open(on.source.as_str(), flags, Mode::empty()).map_err(wrong)?;
                    if on.read_only && !criu::has_target(source.as_fd(), &target.path).map_err(wrong)? {
                        return Err(wrong(Errno::EROFS)
                            .with_reason(format!("it is missing in {}, which is bound read-only", on.source)));
                    }
                    criu::make_target(source.as_fd(), &target.path, directory)
                }
            };
            made.map_err(wrong)?;
        }
        Ok(())
    }

    fn cgroup_mounts(&self) -> Result<crate::plan::CgroupMounts> {
        cgroup_mounts(self.prepared.record.cgroup.as_ref(), self.config)
    }

    fn mounts<'c>(&'c self, cgroups: &'c crate::plan::CgroupMounts) -> Mounts<'c> {
        Mounts { config: self.config, bundle: &self.bundle.directory, cgroups }
    }

    /// All of the request that is known without CRIU.
    fn fill(&self, request: &mut Options, namespaces: &[Joined<'_>]) -> Result<()> {
        request.text(Field::Root, self.root.to_string_lossy());
        // The processes become children of this program, as after `create`.
        request.flag(Field::RstSibling, true);
        // A device may be another node of the same number by now.
        request.flag(Field::EvasiveDevices, true);
        for (field, value) in
            [(Field::LsmProfile, &self.options.lsm_profile), (Field::LsmMountContext, &self.options.lsm_mount_context)]
        {
            if let Some(value) = value {
                request.text(field, value.as_str());
            }
        }
        if let Some(file) = criu::config_file(self.config)? {
            request.text(Field::ConfigFile, file);
        }
        for (number, pipe) in (0..).zip(&self.images.pipes) {
            if let Some(pipe) = pipe {
                request.add(Field::InheritFd, Value::numbered(pipe.as_str(), number));
            }
        }
        for namespace in namespaces {
            match namespace {
                Joined::Inherited(key, fd) => request.add(Field::InheritFd, Value::numbered(*key, fd.as_raw_fd())),
                Joined::ByPath(word, path) => request.add(Field::JoinNs, Value::texts(*word, *path)),
            }
        }
        self.add_mounts(request)
    }

    /// Mounts from outside, under the names that `checkpoint` has given them: those of the config, never those of what links lead to.
    fn add_mounts(&self, request: &mut Options) -> Result<()> {
        let cgroups = self.cgroup_mounts()?;
        let mounts = self.mounts(&cgroups);
        for mount in mounts.external() {
            criu::refuse_confusable(&mount.inside, Step::Restore)?;
            request.add(Field::ExtMnt, Value::texts(mount.inside, mount.source));
        }
        if mounts.masked().next().is_some() {
            request.add(Field::ExtMnt, Value::texts("/dev/null", "/dev/null"));
        }
        Ok(())
    }

    /// Namespaces that the config names by a path: the container is restored into them.
    fn joined(&self) -> Result<Vec<Joined<'r>>> {
        let mut found = Vec::new();
        let config: &'r Config<'r> = self.config;
        let namespaces = config.linux.as_ref().map_or(&[][..], |linux| linux.namespaces.as_slice());
        for (index, namespace) in namespaces.iter().enumerate() {
            let Some(path) = namespace.path.as_ref().map(|path| path.as_str()) else { continue };
            let field = format!("/linux/namespaces/{index}/path");
            match criu::namespace_key(namespace.kind) {
                (_, Some(key)) => found.push(Joined::Inherited(key, open_namespace(path, namespace.kind, &field)?)),
                (word, None) if namespace.kind != NamespaceType::Cgroup => found.push(Joined::ByPath(word, path)),
                _ => {
                    return Err(Error::new(Kind::Unsupported, Step::Restore)
                        .with_field(field)
                        .with_reason("CRIU cannot restore into a cgroup namespace that is there"));
                }
            }
        }
        Ok(found)
    }

    /// Starts CRIU in the container's cgroup, in which everything that it makes is born, and in a mount namespace that shows the root
    /// where it looks for it.
    fn start<'c>(&mut self, criu: &'c Criu, inherit: &[RawFd]) -> Result<Conversation<'c>> {
        let c_string = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| Error::os(Step::OpenRootfs, libc::EINVAL).with_field("/root/path"))
        };
        let source = c_string(self.prepared.record.rootfs.as_bytes())?;
        let target = c_string(self.root.as_os_str().as_bytes())?;
        let stdio = self.options.create.stdio.as_ref().map(|streams| streams.each_ref().map(AsFd::as_fd));
        let mut place = Place { root: Some((&source, &target)), stdio, ..Place::default() };
        let mut attach = false;
        let conversation = {
            if let Some(cgroup) = &self.cgroup {
                let join = cgroup.join()?;
                (place.cgroup, place.tasks, attach) = (join.clone_into, join.tasks, join.attach);
            }
            criu.start(&place, inherit)?
        };
        let (pid, pidfd) = (conversation.pid(), conversation.pidfd());
        self.criu = Some(pid);
        if let Some(cgroup) = self.cgroup.as_mut().filter(|_| attach) {
            by_number(pid, pidfd, |pid| cgroup.attach(pid))?;
        }
        let linux = self.config.linux.as_ref();
        if let (Some(record), Some(rdt)) =
            (&self.prepared.record.intel_rdt, linux.and_then(|linux| linux.intel_rdt.as_ref()))
        {
            by_number(pid, pidfd, |pid| resctrl::create(record, rdt, pid))?;
        }
        Ok(conversation)
    }

    /// The group, on the host, of root in the container's user namespace.
    fn root_group(&self) -> Option<u32> {
        let linux = self.config.linux.as_ref().filter(|linux| linux.makes(NamespaceType::User))?;
        linux.gid_mappings.iter().find(|map| map.container_id == 0).map(|map| map.host_id)
    }

    /// Where the saved cgroups are to be now: where CRIU itself is.
    fn add_cgroups(&self, criu: HostPid, request: &mut Options) -> Result<()> {
        if self.cgroup.is_none() {
            return Ok(());
        }
        for (controller, path) in Procfs::open()?.cgroups(criu)? {
            let root = if controller.is_empty() { Value::Second(path) } else { Value::texts(controller, path) };
            request.add(Field::CgRoot, root);
        }
        Ok(())
    }

    /// The namespaces are there, and nothing runs in them yet.
    fn set_up_namespaces(&mut self, pid: HostPid) -> Result<()> {
        let linux = self.config.linux.as_ref();
        if linux.is_some_and(|linux| linux.makes(NamespaceType::Network)) {
            net_devices::set_up_loopback(pid)?;
        }
        if let Some(linux) = linux.filter(|linux| !linux.net_devices.is_empty()) {
            let devices = linux.net_devices.iter();
            let devices = devices
                .map(|(name, device)| (name.as_str(), device.name.as_ref().map_or(name.as_str(), |new| new.as_str())));
            net_devices::move_all(devices, pid)?;
        }
        let Some(all) = &self.config.hooks else { return Ok(()) };
        let state = HookState::of(&self.prepared.record, Status::Creating, Some(pid));
        let here =
            InRuntime { cwd: Path::new(&self.prepared.record.bundle), open_files: self.prepared.host.open_files };
        let cancel = self.options.create.cancel.as_ref().map(AsFd::as_fd);
        hooks::run(HookKind::Prestart, &all.prestart, &state, &here, cancel)?;
        hooks::run(HookKind::CreateRuntime, &all.create_runtime, &state, &here, cancel)
    }

    /// All processes are restored and wait. Limits come last, as with `create`: CRIU's own memory is not the container's.
    fn restored(&mut self, pid: HostPid) -> Result<()> {
        let fd = pidfd::open(pid).map_err(|errno| {
            Error::os(Step::Restore, errno as i32)
                .with_object(format!("process {pid}"))
                .with_reason("of which CRIU has told")
        })?;
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.apply(self.config, self.prepared.host.cgroups_optional)?;
        }
        let record = &mut self.prepared.record;
        record.init = Some(InitProcess::of(pid, fd.as_fd())?);
        record.phase = Phase::Created;
        record.stdio = stdio(self.config, &self.options.create);
        if let Some(cgroup) = &self.cgroup {
            record.cgroup = Some(cgroup.record().clone());
        }
        if !record.namespaces.iter().any(|namespace| namespace.kind == "time") && has_own_time(pid)? {
            record.namespaces.push(NamespaceRecord { kind: "time".into(), path: None });
        }
        self.init = Some((pid, fd));
        if let Some(path) = &self.options.create.pid_file {
            write_pid_file(path, pid)?;
        }
        self.claim.locked()?.save(&self.prepared.record)
    }

    /// Who the processes are and what they may do is restored, and they stand still. CRIU would let them go whatever is said now, so
    /// they are killed if they have more than the config gives.
    fn check_rights(&self) -> Result<()> {
        let Some((pid, init)) = &self.init else { return Ok(()) };
        let filtered = self.prepared.plan.program.ops.iter().any(|record| matches!(record.op, Op::Seccomp { .. }));
        let rights = criu::Rights { config: self.config, filtered };
        let procfs = Procfs::open()?;
        let all = self.cgroup.as_ref().map(ContainerCgroup::processes).transpose()?.unwrap_or_default();
        let mut all: Vec<HostPid> = all.into_iter().filter(|pid| !self.is_criu(&procfs, *pid)).collect();
        if !all.contains(pid) {
            all.push(*pid);
        }
        let checked = all.iter().try_for_each(|pid| rights.check(&procfs, *pid));
        if checked.is_err() {
            for pid in all {
                // One that has ended meanwhile is no danger any more.
                pidfd::open(pid).and_then(|process| pidfd::send_signal(process.as_fd(), libc::SIGKILL)).ok();
            }
            pidfd::send_signal(init.as_fd(), libc::SIGKILL).ok();
        }
        checked
    }

    /// Whether a process is CRIU, or a child of it that helps: what it restores are children of this program.
    fn is_criu(&self, procfs: &Procfs, pid: HostPid) -> bool {
        const GENERATIONS: usize = 4;
        let parent = |pid: &HostPid| procfs.parent(*pid).ok().flatten().and_then(HostPid::new);
        std::iter::successors(Some(pid), parent).take(GENERATIONS).any(|ancestor| Some(ancestor) == self.criu)
    }

    fn hand_over(&self, master: &OwnedFd) -> Result<()> {
        let Some(socket) = &self.console else {
            return Err(Error::new(Kind::InvalidConfig, Step::SetUpTerminal)
                .with_field("/process/terminal")
                .with_reason("the saved processes have a terminal, and the config says that they have none"));
        };
        let fds = [master.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        let iov = [std::io::IoSlice::new(b"/dev/ptmx")];
        sendmsg::<()>(socket.as_raw_fd(), &iov, &control, MsgFlags::MSG_NOSIGNAL, None)
            .map(drop)
            .map_err(|errno| Error::os(Step::SetUpTerminal, errno as i32).with_object("the console socket"))
    }

    fn finish(mut self, note: String) -> Result<Process> {
        let Some((pid, fd)) = self.init.take() else {
            return Err(self.undo(Error::new(Kind::System, Step::Restore).with_reason("there is no process")));
        };
        drop(self.claim.keep()?);
        let warnings = self.prepared.warnings.into_iter().map(Warning::from).collect();
        Ok(Process::new(pid, fd).with_report(Report::new(warnings, vec![note])))
    }

    /// Takes away all that was made, and adds what could not be to the error.
    fn undo(mut self, error: Error) -> Error {
        let mut error = error.after(std::mem::take(&mut self.prepared.warnings));
        let processes = self.cgroup.as_ref().map(ContainerCgroup::processes).and_then(Result::ok).unwrap_or_default();
        let children: Vec<OwnedFd> = processes.into_iter().filter_map(|pid| pidfd::open(pid).ok()).collect();
        if let Some((_, init)) = &self.init {
            pidfd::send_signal(init.as_fd(), libc::SIGKILL).ok();
        }
        if let Some(cgroup) = self.cgroup.take()
            && let Err(further) = cgroup.destroy()
        {
            error = error.and(further);
        }
        reap(&children);
        if let Some(rdt) = &self.prepared.record.intel_rdt
            && let Err(further) = resctrl::remove(rdt)
        {
            error = error.and(further);
        }
        if let Some(path) = self.options.create.pid_file.as_ref().filter(|_| self.init.is_some()) {
            // It names a process that is gone.
            drop(std::fs::remove_file(path));
        }
        match self.claim.give_up() {
            Ok(()) => error,
            Err(further) => error.and(further),
        }
    }
}

/// The processes that CRIU made are children of this program: those that were killed are taken in.
fn reap(killed: &[OwnedFd]) {
    let deadline = Instant::now() + DEATH;
    for process in killed {
        // Those that are another's children cannot be, and are not to be, waited for.
        if pidfd::wait_until(process.as_fd(), deadline).unwrap_or(false) {
            crate::base::wait_for(process.as_fd(), true).ok();
        }
    }
}

/// CRIU restores into a new time namespace where the kernel has such, so that clocks go on from where they were.
fn has_own_time(pid: HostPid) -> Result<bool> {
    let procfs = Procfs::open()?;
    let inode = |fd: OwnedFd| nix::sys::stat::fstat(fd).map(|status| status.st_ino).ok();
    match (procfs.open_own_namespace("time"), procfs.open_namespace(pid, "time")) {
        (Ok(own), Ok(its)) => Ok(inode(own) != inode(its)),
        // Linux before 5.6.
        _ => Ok(false),
    }
}

impl Notified for Restoring<'_> {
    fn at(&mut self, notify: &Notify, fd: Option<OwnedFd>) -> Result<()> {
        let pid = || {
            notify.pid.and_then(HostPid::new).ok_or_else(|| {
                Error::new(Kind::System, Step::Restore)
                    .with_object("CRIU")
                    .with_reason(format!("no pid at {:?}", notify.script))
            })
        };
        match (notify.script.as_str(), fd) {
            ("setup-namespaces", _) => self.set_up_namespaces(pid()?),
            ("post-restore", _) => self.restored(pid()?),
            ("pre-resume", _) => self.check_rights(),
            ("orphan-pts-master", Some(master)) => self.hand_over(&master),
            _ => Ok(()),
        }
    }
}
