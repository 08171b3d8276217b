//! Orlop: a low-level OCI container runtime as a library.

mod base;
pub mod config;
mod parent;
mod plan;
mod state;
mod verbs;

/// The seccomp crate, whose `Profile` the config model holds.
pub use orlop_seccomp as seccomp;

pub use base::{
    CgroupDriver, ContainerId, Error, Exit, HostPid, Kind, Process, Report, Result, Rights, Runtime, Signal, Status,
    Step, Warning,
};
pub use config::Capability;
pub use parent::criu::{CgroupMode, CriuOptions, NetworkLock};
pub use parent::options::{CreateOptions, Terminal};
pub use parent::resctrl::IntelRdtStats;
pub use state::rfc3339;
pub use verbs::checkpoint::{CheckpointOptions, PageServer, checkpoint};
pub use verbs::container::Container;
pub use verbs::create::create;
pub use verbs::delete::{DeleteOptions, delete};
pub use verbs::events::{Event, EventData, Events, EventsOptions, Stats, events, stats};
pub use verbs::exec::{ExecOptions, ExecProcess, SubCgroup, User, exec};
pub use verbs::features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures, MountExtensions,
    SeccompFeatures, features,
};
pub use verbs::gc::{Collected, GcOptions, gc};
pub use verbs::kill::{KillOptions, kill};
pub use verbs::list::{Listing, list};
pub use verbs::pause::{pause, resume};
pub use verbs::plan::{Operation, Planned, plan};
pub use verbs::ps::ps;
pub use verbs::restore::{RestoreOptions, restore};
pub use verbs::run::run;
pub use verbs::spec::{SpecOptions, spec};
pub use verbs::start::{StartOptions, start};
pub use verbs::state::{ContainerState, state};
pub use verbs::update::{UpdateOptions, update};
pub use verbs::validate::{Finding, Severity, ValidateOptions, validate, validate_config};
