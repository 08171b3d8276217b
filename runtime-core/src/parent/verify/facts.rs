//! The facts, as the kernel tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};

use super::inside::{self, Place};
use super::subject::{Subject, directories, sysctl_field, target, value_path};
use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Result, Step};
use crate::config::{IdMapping, NamespaceType};

/// The file of a kind of namespace below /proc/PID/ns. A time namespace is entered by the next execve.
const NAMESPACES: [(NamespaceType, &str); 8] = [
    (NamespaceType::Cgroup, "cgroup"),
    (NamespaceType::Ipc, "ipc"),
    (NamespaceType::Mount, "mnt"),
    (NamespaceType::Network, "net"),
    (NamespaceType::Pid, "pid"),
    (NamespaceType::Time, "time_for_children"),
    (NamespaceType::User, "user"),
    (NamespaceType::Uts, "uts"),
];

/// One namespace: the inode of the init's, of the runtime's, of the one at the config's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Namespace {
    pub(super) init: Option<u64>,
    pub(super) own: Option<u64>,
    pub(super) joined: Option<u64>,
}

/// A line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mounted {
    pub(super) number: u64,
    pub(super) options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`.
    pub(super) propagation: Vec<String>,
    pub(super) filesystem: String,
}

/// All that is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// By kind's name.
    pub(super) namespaces: BTreeMap<&'static str, Namespace>,
    /// /proc/PID/status.
    pub(super) status: BTreeMap<String, String>,
    /// The runtime's own filters.
    pub(super) own_filters: u64,
    /// Soft and hard, by the number of the resource.
    pub(super) limits: BTreeMap<u64, (u64, u64)>,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) maps: [Vec<IdMapping>; 2],
    /// The labels that take effect with the command.
    pub(super) apparmor: Option<String>,
    pub(super) selinux: Option<String>,
    /// By the field that promises them: hostname, domainname, sysctls.
    pub(super) parameters: BTreeMap<String, std::result::Result<String, Errno>>,
    pub(super) mounts: Vec<Mounted>,
    /// What stands at each path that a field names.
    pub(super) places: BTreeMap<String, std::result::Result<Place, Errno>>,
    /// By controller; the v2 tree has the empty name.
    pub(super) cgroups: Vec<(String, String)>,
    /// The promised control groups that list the init. The paths above are those of a namespace, these those of a mount.
    pub(super) members: BTreeSet<String>,
    /// By the path of the file.
    pub(super) values: BTreeMap<String, std::result::Result<String, Errno>>,
}

pub(super) fn read(subject: &Subject<'_>) -> Result<Facts> {
    let pid = subject.pid;
    let procfs = Procfs::open()?;
    let failed =
        |name: &str, errno: Errno| Error::os(Step::Verify, errno as i32).with_object(format!("/proc/{pid}/{name}"));
    let text = |name: &str| -> Result<String> {
        let path = CString::new(format!("{pid}/{name}")).map_err(|_| failed(name, Errno::EINVAL))?;
        let bytes = procfs.read(&path).map_err(|errno| failed(name, errno))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let label = |name: &str| text(name).ok().map(|label| label.trim_end_matches(['\n', '\0']).to_owned());
    let process = subject.config.process.as_ref();
    let mut facts = Facts {
        namespaces: namespaces(subject, &procfs)?,
        status: status(&text("status")?),
        own_filters: own_filters()?,
        limits: limits(&text("limits")?),
        oom_score_adj: text("oom_score_adj")?.trim().parse().ok(),
        maps: [maps(&text("uid_map")?), maps(&text("gid_map")?)],
        apparmor: process
            .and_then(|process| process.apparmor_profile.as_ref())
            .and_then(|_| label("attr/apparmor/exec")),
        selinux: process.and_then(|process| process.selinux_label.as_ref()).and_then(|_| label("attr/exec")),
        cgroups: procfs.cgroups(pid)?,
        members: members(subject),
        mounts: text("mountinfo")?.lines().filter_map(mounted).collect(),
        ..Facts::default()
    };
    facts.places = places(subject, &procfs)?;
    facts.parameters = parameters(subject, &procfs, &facts.namespaces);
    facts.values = values(subject);
    Ok(facts)
}

/// The lines of /proc/PID/status.
pub(super) fn status_of(pid: HostPid) -> Result<BTreeMap<String, String>> {
    let failed = |errno: Errno| Error::os(Step::Verify, errno as i32).with_object(format!("/proc/{pid}/status"));
    let path = CString::new(format!("{pid}/status")).map_err(|_| failed(Errno::EINVAL))?;
    let bytes = Procfs::open()?.read(&path).map_err(failed)?;
    Ok(status(&String::from_utf8_lossy(&bytes)))
}

/// How many seccomp filters this process has, which its children inherit (Linux 5.9; none before).
pub(crate) fn own_filters() -> Result<u64> {
    let own = i32::try_from(std::process::id()).ok().and_then(HostPid::new);
    let own = own.ok_or_else(|| Error::os(Step::Verify, Errno::ESRCH as i32))?;
    Ok(status_of(own)?.get("Seccomp_filters").and_then(|count| count.parse().ok()).unwrap_or(0))
}

fn members(subject: &Subject<'_>) -> BTreeSet<String> {
    let Some((record, _)) = subject.cgroup else { return BTreeSet::new() };
    let pid = subject.pid.to_string();
    let lists = |path: &String| {
        let found = std::fs::read_to_string(format!("{path}/cgroup.procs"));
        found.is_ok_and(|text| text.lines().any(|line| line == pid))
    };
    directories(record).map(|(_, path)| path).filter(lists).collect()
}

fn namespaces(subject: &Subject<'_>, procfs: &Procfs) -> Result<BTreeMap<&'static str, Namespace>> {
    let inode = |fd: BorrowedFd<'_>| fstat(fd).ok().map(|found| found.st_ino);
    let linux = subject.config.linux.as_ref();
    let mut all = BTreeMap::new();
    for (kind, name) in NAMESPACES {
        let path = linux
            .and_then(|linux| linux.namespaces.iter().find(|namespace| namespace.kind == kind))
            .and_then(|namespace| namespace.path.as_ref());
        let own = match procfs.open_own_namespace(name) {
            Ok(own) => own,
            // A kernel without this kind.
            Err(error) if error.errno() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        let init = procfs.open_namespace(subject.pid, name)?;
        let joined = path.and_then(|path| std::fs::metadata(path.as_str()).ok());
        let joined = joined.map(|found| std::os::unix::fs::MetadataExt::ino(&found));
        all.insert(kind.name(), Namespace { init: inode(init.as_fd()), own: inode(own.as_fd()), joined });
    }
    Ok(all)
}

pub(super) fn status(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).collect()
}

/// The resources in the order of their numbers, as proc_pid_limits(5) names them.
const RESOURCES: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

pub(super) fn limits(text: &str) -> BTreeMap<u64, (u64, u64)> {
    let value = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
    let limit = |line: &str| {
        let (number, rest) =
            (0..).zip(RESOURCES).find_map(|(number, name)| Some((number, line.strip_prefix(name)?)))?;
        let mut words = rest.split_ascii_whitespace();
        Some((number, (value(words.next()?)?, value(words.next()?)?)))
    };
    text.lines().filter_map(limit).collect()
}

pub(super) fn maps(text: &str) -> Vec<IdMapping> {
    let map = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
    };
    text.lines().filter_map(map).collect()
}

pub(super) fn mounted(line: &str) -> Option<Mounted> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut words = mount.split(' ');
    let number = words.next()?.parse().ok()?;
    let options = words.nth(4)?.split(',').map(str::to_owned).collect();
    let propagation = words.map(str::to_owned).collect();
    Some(Mounted { number, options, propagation, filesystem: filesystem.split(' ').next()?.to_owned() })
}

fn places(subject: &Subject<'_>, procfs: &Procfs) -> Result<BTreeMap<String, std::result::Result<Place, Errno>>> {
    let config = subject.config;
    let root = procfs.open_root(subject.pid, subject.pidfd)?;
    let mut all = BTreeMap::new();
    let mut look = |field: String, path: &str| all.insert(field, inside::place(root.as_fd(), path));
    look("/root".to_owned(), "/");
    for (index, mount) in config.mounts.iter().enumerate() {
        look(format!("/mounts/{index}"), target(subject.rootfs, mount.destination.as_str()));
    }
    if let Some(linux) = &config.linux {
        for (kind, paths) in [("maskedPaths", &linux.masked_paths), ("readonlyPaths", &linux.readonly_paths)] {
            for (index, path) in paths.iter().enumerate() {
                look(format!("/linux/{kind}/{index}"), path);
            }
        }
    }
    if let Some(process) = &config.process {
        look("/process/cwd".to_owned(), &process.cwd);
    }
    // Where the init is.
    let path = CString::new(subject.pid.to_string()).unwrap_or_default();
    let directory = procfs.open_file(&path, OFlag::O_PATH | OFlag::O_DIRECTORY);
    let cwd = directory
        .and_then(|directory| openat(&directory, "cwd", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()))
        .and_then(|cwd| inside::place_of(cwd.as_fd()));
    all.insert("cwd".to_owned(), cwd);
    Ok(all)
}

fn parameters(
    subject: &Subject<'_>,
    procfs: &Procfs,
    namespaces: &BTreeMap<&'static str, Namespace>,
) -> BTreeMap<String, std::result::Result<String, Errno>> {
    let config = subject.config;
    let differs = |kind: NamespaceType| namespaces.get(kind.name()).is_some_and(|one| one.init != one.own);
    let mut flags = 0;
    for kind in [NamespaceType::Network, NamespaceType::Ipc, NamespaceType::Uts] {
        flags |= if differs(kind) { kind.number() } else { 0 };
    }
    // Without root's rights over the others, it is the user namespace that gives them.
    if flags != 0 && subject.host.rootless && differs(NamespaceType::User) {
        flags |= NamespaceType::User.number();
    }
    let mut all = BTreeMap::new();
    let mut read = |field: String, name: &str| {
        let found = CString::new(format!("sys/{name}"))
            .map_err(|_| Errno::EINVAL)
            .and_then(|path| inside::read(subject.pidfd, flags, procfs, &path));
        all.insert(field, found);
    };
    if config.hostname.is_some() {
        read("/hostname".to_owned(), "kernel/hostname");
    }
    if config.domainname.is_some() {
        read("/domainname".to_owned(), "kernel/domainname");
    }
    if let Some(linux) = &config.linux {
        for (name, _) in linux.sysctl.iter() {
            let path = if name.contains('/') { name.as_str().to_owned() } else { name.replace('.', "/") };
            read(sysctl_field(name), &path);
        }
    }
    all
}

fn values(subject: &Subject<'_>) -> BTreeMap<String, std::result::Result<String, Errno>> {
    let Some((record, writes)) = subject.cgroup else { return BTreeMap::new() };
    let read = |path: &String| {
        std::fs::read_to_string(path)
            .map(|text| text.trim_end().to_owned())
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    };
    let paths = writes.iter().filter_map(|write| value_path(record, write));
    paths
        .map(|path| {
            let found = read(&path);
            (path, found)
        })
        .collect()
}
