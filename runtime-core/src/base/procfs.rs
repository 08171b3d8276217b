//! Access to /proc through one handle that is known to be procfs, and never through a path below it that could lead elsewhere.
//!
//! Runtimes have written to the wrong file because an attacker had put a mount or a link below /proc (CVE-2019-16884,
//! CVE-2025-52881). The handle is checked to be the root of a procfs; every lookup below it stays on that very mount and follows
//! no link.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use orlop_cgroups::ProcessCgroups;

use crate::base::error::{Error, Result};
use crate::base::id::HostPid;
use crate::base::step::Step;
use crate::base::sys::{self, ResolveFlags};

/// The inode of a procfs's root (`PROC_ROOT_INO` of linux/proc_fs.h): a bind mount of a directory below it has another.
const PROC_ROOT_INODE: u64 = 1;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_XDEV).union(ResolveFlags::NO_MAGICLINKS);
/// The same, and through no link at all.
const CONFINED: ResolveFlags = BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// The root of a procfs.
#[derive(Debug)]
pub(crate) struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// Opens /proc and makes sure that it is one.
    pub(crate) fn open() -> Result<Self> {
        let failed = |errno: Errno| Error::os(Step::ProbeHost, errno as i32).with_object("/proc");
        // Not `open`: with musl it takes a second system call to set what O_CLOEXEC has set.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(AT_FDCWD, "/proc", flags, Mode::empty()).map_err(failed)?;
        let magic = fstatfs(&root).map_err(failed)?.filesystem_type();
        if magic != PROC_SUPER_MAGIC || fstat(&root).map_err(failed)?.st_ino != PROC_ROOT_INODE {
            return Err(Error::os(Step::ProbeHost, libc::EXDEV)
                .with_object("/proc")
                .with_reason("is not the root of a procfs")
                .with_hint("mount procfs there"));
        }
        Ok(Self { root })
    }

    /// Opens a file below it, close-on-exec, on the same mount and through no link.
    pub(crate) fn open_file(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        self.open_resolved(path, flags, CONFINED)
    }

    fn open_resolved(&self, path: &CStr, flags: OFlag, resolve: ResolveFlags) -> nix::Result<OwnedFd> {
        sys::openat2(self.root.as_fd(), path, flags | OFlag::O_NOFOLLOW, resolve)
    }

    /// The directory of a process, as a handle like this one: what is looked up in it is the process's own for good, and nothing once
    /// it is gone, whoever gets its number then.
    pub(crate) fn of_process(&self, pid: HostPid, pidfd: BorrowedFd<'_>) -> nix::Result<Self> {
        let path = CString::new(pid.to_string()).map_err(|_| Errno::EINVAL)?;
        let root = self.open_file(&path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        if sys::pidfd::keeps_number(pidfd) { Ok(Self { root }) } else { Err(Errno::ESRCH) }
    }

    /// What identifies a namespace of the process whose directory this is, by its name below /proc/PID/ns: device and inode.
    pub(crate) fn own_namespace(&self, name: &CStr) -> nix::Result<(u64, u64)> {
        let links = self.open_file(c"ns", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let status = nix::sys::stat::fstatat(&links, name, nix::fcntl::AtFlags::empty())?;
        Ok((status.st_dev, status.st_ino))
    }

    /// Opens the root directory of a process (O_PATH).
    pub(crate) fn open_root(&self, pid: HostPid, pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
        let failed =
            |errno: Errno| Error::os(Step::FindContainer, errno as i32).with_object(format!("/proc/{pid}/root"));
        let process = self.of_process(pid, pidfd).map_err(failed)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&process.root, "root", flags, Mode::empty()).map_err(failed)
    }

    /// The cgroups of a process, seen from the caller's cgroup namespace.
    pub(crate) fn process_cgroups(&self, pid: HostPid) -> Result<ProcessCgroups> {
        let failed = |errno: Errno| Error::os(Step::Cgroup, errno as i32).with_object(format!("/proc/{pid}/cgroup"));
        let path = CString::new(format!("{pid}/cgroup")).map_err(|_| failed(Errno::EINVAL))?;
        let text = self.read(&path).map_err(failed)?;
        Ok(ProcessCgroups::parse(String::from_utf8_lossy(&text).into_owned()))
    }

    /// The number of the parent of a process, 0 where that is none that the caller could name; `None` when there is no such process.
    pub(crate) fn parent(&self, pid: HostPid) -> Result<Option<i32>> {
        Ok(self.stat(pid)?.map(|stat| stat.parent))
    }

    /// What identifies the pid namespace of a process.
    pub(crate) fn pid_namespace(&self, pid: HostPid) -> nix::Result<std::ffi::OsString> {
        let path = CString::new(format!("{pid}/ns")).map_err(|_| Errno::EINVAL)?;
        let links = self.open_file(&path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        nix::fcntl::readlinkat(links, "pid")
    }

    /// How many tasks of the whole machine can run now, this thread included (proc_pid_loadavg(5)).
    pub(crate) fn runnable(&self) -> nix::Result<usize> {
        let text = self.read(c"loadavg")?;
        runnable(&text).ok_or(Errno::EINVAL)
    }

    /// Whether setgroups(2) is allowed in the user namespace of a process.
    pub(crate) fn allows_setgroups(&self, pid: HostPid) -> nix::Result<bool> {
        let path = CString::new(format!("{pid}/setgroups")).map_err(|_| Errno::EINVAL)?;
        Ok(!self.read(&path)?.starts_with(b"deny"))
    }

    /// Reads a file below it.
    pub(crate) fn read(&self, path: &CStr) -> nix::Result<Vec<u8>> {
        let file = File::from(self.open_file(path, OFlag::O_RDONLY)?);
        let mut bytes = Vec::with_capacity(4096);
        // `take`: without it the size is asked for first, which no file of procfs has.
        file.take(u64::MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        Ok(bytes)
    }

    /// The handle itself, for a child that works below it; it says nothing of a path and can only be used with the same care.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.root
    }

    /// Writes a file below it in a single write, as files of procfs demand.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> nix::Result<()> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let file = self.open_file(&path, OFlag::O_WRONLY)?;
        if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Errno::EXDEV);
        }
        match nix::unistd::write(&file, bytes)? {
            count if count == bytes.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// Opens a namespace of a process by its name below /proc/PID/ns (`net`, `pid_for_children`).
    pub(crate) fn open_namespace(&self, pid: HostPid, name: &str) -> Result<OwnedFd> {
        self.namespace(&format!("{pid}/ns"), name, CONFINED)
    }

    /// Opens a namespace of the calling thread.
    pub(crate) fn open_own_namespace(&self, name: &str) -> Result<OwnedFd> {
        // A link of procfs itself: it is right even where /proc belongs to another pid namespace than this process.
        self.namespace("thread-self/ns", name, BENEATH)
    }

    /// A namespace is a magic link, which the confined lookup rightly refuses: only its directory is looked up so.
    fn namespace(&self, directory: &str, name: &str, resolve: ResolveFlags) -> Result<OwnedFd> {
        let open = || {
            let path = CString::new(directory).map_err(|_| Errno::EINVAL)?;
            let links = self.open_resolved(&path, OFlag::O_PATH | OFlag::O_DIRECTORY, resolve)?;
            openat(links, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        };
        open().map_err(|errno| {
            Error::os(Step::JoinNamespace, errno as i32).with_object(format!("/proc/{directory}/{name}"))
        })
    }

    /// Opens once more what is behind a descriptor, which may be one that only names it (O_PATH).
    pub(crate) fn reopen(&self, file: BorrowedFd<'_>, flags: OFlag) -> nix::Result<OwnedFd> {
        let directory = self.open_resolved(c"thread-self/fd", OFlag::O_PATH | OFlag::O_DIRECTORY, BENEATH)?;
        openat(directory, file.as_raw_fd().to_string().as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The path of an open file, as the calling thread would name it now.
    #[cfg(feature = "criu")]
    pub(crate) fn path_of(&self, file: BorrowedFd<'_>) -> Result<String> {
        let failed = |errno: Errno| Error::os(Step::ProbeHost, errno as i32).with_object("/proc/thread-self/fd");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let directory = self.open_resolved(c"thread-self/fd", flags, BENEATH).map_err(failed)?;
        let path = nix::fcntl::readlinkat(directory, file.as_raw_fd().to_string().as_str()).map_err(failed)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The cgroups of a process by controller, as /proc/PID/cgroup names them; the v2 tree has the empty name.
    pub(crate) fn cgroups(&self, pid: HostPid) -> Result<Vec<(String, String)>> {
        let failed = |errno: Errno| Error::os(Step::Cgroup, errno as i32).with_object(format!("/proc/{pid}/cgroup"));
        let path = CString::new(format!("{pid}/cgroup")).map_err(|_| failed(Errno::EINVAL))?;
        let text = self.read(&path).map_err(failed)?;
        Ok(parse_cgroups(&String::from_utf8_lossy(&text)))
    }

    /// When the process started, in clock ticks since boot; `None` when there is no such process.
    pub(crate) fn start_time(&self, pid: HostPid) -> Result<Option<u64>> {
        Ok(self.stat(pid)?.map(|stat| stat.start_time))
    }

    /// Whether the process is exiting and has given back its memory, and with that all that it held before: only its entry in the
    /// process table is left. Also when there is no such process.
    pub(crate) fn has_released_memory(&self, pid: HostPid) -> Result<bool> {
        /// `PF_EXITING` of linux/sched.h.
        const EXITING: u64 = 0x4;
        Ok(self.stat(pid)?.is_none_or(|stat| stat.flags & EXITING != 0 && stat.memory == 0))
    }

    /// Whether a SIGKILL waits for the process, or it has ended.
    pub(crate) fn is_being_killed(&self, pid: HostPid) -> Result<bool> {
        let path = CString::new(format!("{pid}/status")).unwrap_or_default();
        match self.read(&path) {
            Ok(status) => Ok(has_pending_kill(&String::from_utf8_lossy(&status))),
            Err(Errno::ENOENT | Errno::ESRCH) => Ok(true),
            Err(errno) => Err(Error::os(Step::ReadState, errno as i32).with_object(format!("/proc/{pid}/status"))),
        }
    }

    fn stat(&self, pid: HostPid) -> Result<Option<Stat>> {
        let object = || format!("/proc/{pid}/stat");
        let path = CString::new(format!("{pid}/stat")).unwrap_or_default();
        match self.read(&path) {
            Ok(stat) => Stat::parse(&stat).map(Some).ok_or_else(|| {
                Error::os(Step::ReadState, libc::EINVAL).with_object(object()).with_reason("cannot be understood")
            }),
            Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
            Err(errno) => Err(Error::os(Step::ReadState, errno as i32).with_object(object())),
        }
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// `hierarchy:controllers:path`, one a line (cgroups(7)).
fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (fields.next(), fields.next()) {
            found.extend(controllers.split(',').map(|controller| (controller.to_owned(), path.to_owned())));
        }
    }
    found
}

/// Whether SIGKILL is among the pending signals of a thread or its process by /proc/PID/status (proc_pid_status(5)).
fn has_pending_kill(status: &str) -> bool {
    const KILL: u64 = 1 << (libc::SIGKILL - 1);
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & KILL != 0)
}

/// What is used of /proc/PID/stat (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Field 4: its parent.
    parent: i32,
    /// Field 9: the kernel's flags.
    flags: u64,
    /// Field 22: when it started, in clock ticks since boot.
    start_time: u64,
    /// Field 23: bytes of virtual memory.
    memory: u64,
}

impl Stat {
    /// The second field is the command's name in parentheses, which may itself hold any character, so fields are counted from its
    /// end.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        let start_time = fields.nth(12)?.parse().ok()?;
        Some(Self { parent, flags, start_time, memory: fields.next()?.parse().ok()? })
    }
}

/// The first half of the fourth field of /proc/loadavg.
fn runnable(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.split(' ').nth(3)?.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_command_is_called() {
        let stat = |start_time, memory| Some(Stat { parent: 3, flags: 4_194_560, start_time, memory });
        for (text, expected) in [
            ("1 (init) S 3 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 9 10", stat(77, 9)),
            ("1 (a) S 1) R 3 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 78 0 10", stat(78, 0)),
            ("1 (x\n) Z 3 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 79 1", stat(79, 1)),
            ("1 (init) S 0", None),
            ("", None),
            ("1 (init) S 3 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 1", None),
        ] {
            assert_eq!(Stat::parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_pending_kill_is_found_for_thread_and_process() {
        let text = |own: &str, shared: &str| {
            format!("Name:\tSigPnd:\nSigQ:\t1/9\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n")
        };
        for (own, shared, expected) in [
            ("0000000000000100", "0000000000000000", true),
            ("0000000000000000", "0000000000004100", true),
            ("0000000000000200", "0000000000000080", false),
            ("", "x", false),
        ] {
            assert_eq!(has_pending_kill(&text(own, shared)), expected, "{own} {shared}");
        }
    }

    #[test]
    fn cgroups_are_told_by_controller() {
        let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        assert_eq!(
            parse_cgroups("4:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/c\nnonsense\n"),
            [pair("cpu", "/a:b"), pair("cpuacct", "/a:b"), pair("name=systemd", "/s"), pair("", "/c")]
        );
    }

    #[test]
    fn namespaces_are_opened_and_files_written() {
        let procfs = Procfs::open().unwrap();
        let pid = HostPid::new(nix::unistd::getpid().as_raw()).unwrap();
        let inode = |fd: OwnedFd| fstat(fd).unwrap().st_ino;
        let own = std::fs::File::open("/proc/self/ns/net").unwrap();
        assert_eq!(inode(procfs.open_namespace(pid, "net").unwrap()), inode(own.into()));
        assert!(procfs.open_namespace(pid, "no such").is_err());
        procfs.write(&format!("{pid}/comm"), b"renamed").unwrap();
        assert_eq!(procfs.write("sys/no/such", b"1"), Err(Errno::ENOENT));
    }

    #[test]
    fn lookups_stay_on_procfs_and_follow_no_link() {
        let procfs = Procfs::open().unwrap();
        let pid = HostPid::new(nix::unistd::getpid().as_raw()).unwrap();
        assert!(procfs.start_time(pid).unwrap().is_some_and(|ticks| ticks > 0));
        assert!(procfs.start_time(HostPid::new(i32::MAX).unwrap()).unwrap().is_none());
        assert!(!procfs.has_released_memory(pid).unwrap());
        for (path, errno) in
            [(c"self/stat", Errno::ELOOP), (c"../etc/passwd", Errno::EXDEV), (c"/etc/passwd", Errno::EXDEV)]
        {
            assert_eq!(procfs.open_file(path, OFlag::O_RDONLY).unwrap_err(), errno, "{path:?}");
        }
    }

    #[test]
    fn tasks_that_can_run_are_told_from_all_others() {
        let table: [(&[u8], _); 5] = [
            (b"0.59 1.35 2.62 1/84 698\n", Some(1)),
            (b"12.00 9.10 3.00 17/1200 70001\n", Some(17)),
            (b"", None),
            (b"0.59 1.35 2.62\n", None),
            (b"0.59 1.35 2.62 x/84 698\n", None),
        ];
        for (text, tasks) in table {
            assert_eq!(runnable(text), tasks, "{}", String::from_utf8_lossy(text));
        }
    }
}
