//! A container's control groups, as its record names them.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use orlop_cgroups::Cgroup;

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{Error, HostPid, Kind, Result, Step};
use crate::state::Record;

/// The name of the memfd that the program which sets a container up is executed from, as /proc/PID/exe shows it.
const INIT_EXE: &[u8] = b"/memfd:orlop-init";

impl Error {
    /// A failure of the cgroups crate, with its pointer made one into config.json.
    pub(crate) fn cgroup(error: &orlop_cgroups::Error) -> Self {
        let kind = match error.kind() {
            orlop_cgroups::Kind::InvalidResources | orlop_cgroups::Kind::InvalidPath => Kind::InvalidConfig,
            orlop_cgroups::Kind::Unsupported | orlop_cgroups::Kind::NotDelegated => Kind::Unsupported,
            orlop_cgroups::Kind::Timeout => Kind::Timeout,
            orlop_cgroups::Kind::Frozen | orlop_cgroups::Kind::NotFrozen => Kind::WrongStatus,
            _ => Kind::System,
        };
        let mut made = match error.errno() {
            Some(errno) => Self::os(Step::Cgroup, errno).with_kind(kind),
            None => Self::new(kind, Step::Cgroup),
        };
        let mut object = error.step().to_owned();
        if let Some(value) = error.value() {
            object.push_str(&format!(" {value:?} to"));
        }
        if let Some(path) = error.object() {
            object.push_str(&format!(" {path}"));
        }
        made = made.with_object(object);
        if let Some(field) = error.field() {
            made = made.with_field(format!("/linux/resources{field}"));
        }
        if let Some(reason) = error.reason() {
            made = made.with_reason(reason);
        }
        if let Some(hint) = error.hint() {
            made = made.with_hint(hint);
        }
        made
    }
}

/// The control groups of the container, when it has any of its own. No system call.
pub(crate) fn open(record: &Record) -> Option<Cgroup> {
    record.cgroup.clone().map(Cgroup::open)
}

/// As [`open`], for an operation that cannot do without.
pub(crate) fn require(record: &Record) -> Result<Cgroup> {
    open(record).ok_or_else(|| {
        Error::new(Kind::Unsupported, Step::Cgroup)
            .with_object(record.id.as_str())
            .with_reason("the container has no cgroup of its own")
            .with_hint("a rootless container gets one where control groups are delegated to the user; --cgroup-manager=disabled makes none")
    })
}

/// Whether the process is still the program that sets a container up, which waits or works, and not yet the container's
/// command. Nothing can be said of a process that nobody may look at, or that ends just now.
pub(crate) fn is_init_program(procfs: &Procfs, pid: HostPid) -> nix::Result<bool> {
    let path = std::ffi::CString::new(pid.to_string()).unwrap_or_default();
    let directory = procfs.open_file(&path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let exe = readlinkat(directory, "exe")?;
    Ok(exe.as_encoded_bytes().starts_with(INIT_EXE))
}

/// Kills what a `create` that died has left in the cgroup it was making: the program that sets containers up, and nothing else.
/// The cgroup was only planned, so processes in it may as well be someone's who was there before.
pub(crate) fn kill_unfinished(cgroup: &Cgroup) -> Result<()> {
    kill_those(cgroup, is_init_program)
}

/// Kills what is left in the cgroup of a container whose pid namespace has ended: an `exec` that was on its way into it, and whatever
/// else was put into that very cgroup. Other processes below are another container's, which somebody has nested in it.
pub(crate) fn kill_stragglers(cgroup: &Cgroup) -> Result<()> {
    let own = cgroup.own_processes().map_err(|error| Error::cgroup(&error))?;
    kill_those(cgroup, |procfs, pid| Ok(own.contains(pid.as_pid()) || is_init_program(procfs, pid)?))?;
    cgroup.release_killed().map_err(|error| Error::cgroup(&error))
}

fn kill_those(cgroup: &Cgroup, wanted: impl Fn(&Procfs, HostPid) -> nix::Result<bool>) -> Result<()> {
    let members = cgroup.processes().map_err(|error| Error::cgroup(&error))?;
    if members.is_empty() {
        return Ok(());
    }
    let procfs = Procfs::open()?;
    for pid in members.pids.into_iter().map(HostPid::of_member) {
        let failed = |errno: Errno| Error::os(Step::Signal, errno as i32).with_object(format!("process {pid}"));
        // The pidfd first: what is then looked up by pid is the same process, or the signal goes nowhere.
        let process = match pidfd::open(pid) {
            Ok(process) => process,
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        match wanted(&procfs, pid) {
            Ok(true) => match pidfd::send_signal(process.as_fd(), libc::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(failed(errno)),
            },
            Ok(false) | Err(Errno::ENOENT | Errno::ESRCH) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}
