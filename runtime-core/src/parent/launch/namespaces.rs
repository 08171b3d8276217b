//! Existing namespaces that a container joins.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::base::{Error, Result, Step, sys};
use crate::config::NamespaceType;
use crate::plan::describe;

/// Opens the namespace at `path`, of which the config's `field` says the kind.
pub(super) fn open_namespace(path: &str, kind: NamespaceType, field: &str) -> Result<OwnedFd> {
    let failed = |errno: Errno| {
        Error::os(Step::JoinNamespace, errno as i32).with_object(format!("{kind} {path}")).with_field(field)
    };
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
    match sys::namespace_type(fd.as_fd()) {
        Ok(found) if found == kind.number() => Ok(fd),
        Ok(found) => {
            Err(Error::config(field, format!("{path} is a {}, not a {kind} namespace", describe::namespaces(found))))
        }
        Err(_) => Err(Error::config(field, format!("{path} is not a namespace"))),
    }
}
