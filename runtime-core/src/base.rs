//! What every floor above stands on: errors, ids, the status of a container, processes, system calls and /proc.

pub(crate) mod error;
pub(crate) mod id;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod rights;
pub(crate) mod runtime;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod sys;

pub use error::{Error, Kind, Result};
pub use id::{ContainerId, HostPid};
pub(crate) use process::wait_for;
pub use process::{Container, Exit};
pub use rights::Rights;
pub use runtime::{CgroupDriver, Runtime};
pub use status::Status;
pub use step::Step;
