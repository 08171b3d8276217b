//! Orlop: a low-level OCI container runtime as a library.

pub mod config;
mod control;
mod creation;
mod criu;
mod error;
mod hooks;
mod id;
mod launch;
mod lifecycle;
mod net_devices;
mod passwd;
mod pidfd;
mod plan;
mod procfs;
mod resctrl;
mod runtime;
mod state;
mod step;
mod sys;
mod verbs;

/// The seccomp crate, whose `Profile` the config model holds.
pub use orlop_seccomp as seccomp;

pub use criu::{CgroupMode, CriuOptions, NetworkLock};
pub use error::{Error, Kind, Result};
pub use id::{ContainerId, HostPid};
pub use resctrl::IntelRdtStats;
pub use runtime::{CgroupDriver, Runtime};
pub use step::Step;
pub use verbs::checkpoint::{CheckpointOptions, PageServer, checkpoint};
pub use verbs::create::{CreateOptions, create};
pub use verbs::delete::{DeleteOptions, delete};
pub use verbs::events::{Event, EventData, Events, EventsOptions, Stats, events, stats};
pub use verbs::exec::{ExecOptions, ExecProcess, exec};
pub use verbs::features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures, MountExtensions,
    SeccompFeatures, features,
};
pub use verbs::gc::{Collected, GcOptions, gc};
pub use verbs::kill::{KillOptions, Signal, kill};
pub use verbs::list::{Containers, Listing, list};
pub use verbs::pause::{pause, resume};
pub use verbs::plan::{Operation, Planned, plan};
pub use verbs::ps::ps;
pub use verbs::restore::{RestoreOptions, restore};
pub use verbs::run::{RunOptions, run};
pub use verbs::spec::{SpecOptions, spec};
pub use verbs::start::{StartOptions, start};
pub use verbs::state::{ContainerState, Status, state};
pub use verbs::update::{UpdateOptions, update};
pub use verbs::validate::{Finding, Severity, ValidateOptions, validate, validate_config};
pub use verbs::{Container, Exit};
