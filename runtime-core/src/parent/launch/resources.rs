//! What a plan names, opened.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::namespaces::open_namespace;
use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step, sys};
use crate::parent::network::Network;
use crate::plan::{Plan, Resource, TreeOf};

/// Descriptors that the caller of the launch has already.
#[derive(Debug, Default)]
pub(crate) struct Given<'g> {
    pub(crate) console: Option<BorrowedFd<'g>>,
    pub(crate) fifo: Option<BorrowedFd<'g>>,
    /// The caller has work to do while the init does its own, and there was an idle processor for it when it was started.
    pub(crate) beside: bool,
    /// The container's network namespace, where it was made ahead.
    pub(crate) network: Option<&'g Network>,
    pub(crate) init_pidfd: Option<BorrowedFd<'g>>,
    /// The pid of the same process.
    pub(crate) init_pid: Option<HostPid>,
}

/// An opened resource, or one that was given.
#[derive(Debug)]
pub(crate) enum Opened<'g> {
    Own(OwnedFd),
    Given(BorrowedFd<'g>),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Given(fd) => *fd,
        }
    }
}

/// Opens the resources of `plan`, in their order.
pub(crate) fn open_all<'g>(plan: &Plan, given: &Given<'g>) -> Result<Vec<Opened<'g>>> {
    plan.resources.iter().map(|resource| open_one(resource, given)).collect()
}

fn open_one<'g>(resource: &Resource, given: &Given<'g>) -> Result<Opened<'g>> {
    let missing = |what: &str| Error::new(Kind::InvalidArgument, Step::CheckArguments).with_reason(what.to_owned());
    match resource {
        Resource::Tree { path, recursive, nofollow, what, idmap, field } => {
            let tree = open_tree(path, *recursive, *nofollow, *what, field)?;
            if let Some(idmap) = idmap {
                super::idmapped::apply(tree.as_fd(), idmap, path, field)?;
            }
            Ok(Opened::Own(tree))
        }
        Resource::Device(node) => super::nodes::open(node).map(Opened::Own),
        Resource::Proc => Ok(Opened::Own(Procfs::open()?.into_fd())),
        Resource::Namespace { path, kind, field } => open_namespace(path, *kind, field).map(Opened::Own),
        Resource::IdMap { maps, field } => super::idmapped::namespace(maps, field).map(Opened::Own),
        Resource::ConsoleSocket => given.console.map(Opened::Given).ok_or_else(|| {
            missing("a terminal is asked for (config /process/terminal), and a console socket is missing")
        }),
        Resource::StartFifo => given.fifo.map(Opened::Given).ok_or_else(|| missing("the start FIFO is missing")),
        Resource::InitRoot => {
            let init =
                given.init_pid.zip(given.init_pidfd).ok_or_else(|| missing("the container's init is missing"))?;
            Procfs::open()?.open_root(init.0, init.1).map(Opened::Own)
        }
        Resource::InitPidfd => {
            given.init_pidfd.map(Opened::Given).ok_or_else(|| missing("the container's init is missing"))
        }
    }
}

fn c_string(path: &str, step: Step) -> Result<CString> {
    CString::new(Path::new(path).as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::InvalidConfig, step).with_object(path).with_reason("has a NUL byte"))
}

fn open_tree(path: &str, recursive: bool, nofollow: bool, what: TreeOf, field: &str) -> Result<OwnedFd> {
    let step = match what {
        TreeOf::Rootfs => Step::OpenRootfs,
        TreeOf::Bind => Step::BindMount,
        TreeOf::Null => Step::MaskPath,
    };
    sys::clone_tree(&c_string(path, step)?, recursive, nofollow).map_err(|errno| {
        let error = Error::os(step, errno as i32).with_object(path);
        let error = if field.is_empty() { error } else { error.with_field(field) };
        match errno {
            Errno::EPERM | Errno::ENOSYS if sys::filtered_mount_call(errno as i32).is_some() => {
                super::report::filtered(error, errno as i32)
            }
            Errno::ENOSPC => error.with_hint("fs.mount-max limits the mounts of a namespace"),
            Errno::EPERM => error.with_hint("this needs CAP_SYS_ADMIN"),
            Errno::EMFILE => {
                error.with_hint("raise the limit of open files (ulimit -n): each mount takes one for a moment")
            }
            Errno::EINVAL => error.with_hint("mounts below it are locked or unbindable"),
            Errno::ENOENT if what == TreeOf::Bind => error.with_hint("create it on the host first"),
            _ => error,
        }
    })
}
