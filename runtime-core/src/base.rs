//! What every floor above stands on: errors, ids, the status of a container, processes, system calls and /proc.

pub(crate) mod error;
pub(crate) mod id;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod report;
pub(crate) mod rights;
pub(crate) mod runtime;
pub(crate) mod signal;
pub(crate) mod status;
pub(crate) mod step;
pub(crate) mod sys;

pub use error::{Error, Kind, Result};
pub use id::{ContainerId, HostPid};
pub(crate) use options::options;
pub use process::{Exit, Process, Usage};
pub(crate) use process::{by_number, wait_for};
pub use report::{Report, Warning};
pub use rights::Rights;
pub use runtime::{CgroupDriver, Runtime};
pub use signal::Signal;
pub use status::Status;
pub use step::Step;
