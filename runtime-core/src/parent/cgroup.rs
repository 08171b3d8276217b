//! A container's control groups: those to be made, and those of a container that there is.

mod create;
mod existing;

pub(crate) use create::{ContainerCgroup, PlannedCgroup, cgroup_mounts, mounts_without, plan, writes};
pub(crate) use existing::{
    is_frozen_of_many, is_init_program, kill_stragglers, kill_unfinished, open, require, thaw_dying,
};
