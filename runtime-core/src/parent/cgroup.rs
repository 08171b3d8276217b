//! A container's control groups: those to be made, and those of a container that there is.

mod create;
mod existing;
mod present;

#[cfg(feature = "criu")]
pub(crate) use create::cgroup_mounts;
pub(crate) use create::{Cgroups, ContainerCgroup, PlannedCgroup, writes};
pub(crate) use existing::{is_init_program, kill_stragglers, kill_unfinished, open, require};
pub(crate) use present::{
    all, beside_init, each, elsewhere, here, hold, is_frozen_of_many, of_init, require_here, thaw_dying,
};
