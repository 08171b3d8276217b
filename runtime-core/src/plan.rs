//! The plan: everything that a container's creation will do, decided before anything is done.
//!
//! Pure: config, options and facts about the host go in, a [`Plan`] comes out. It is what `launch` carries out, what
//! `orlop plan` prints, and what the index in a failed init's report points back into.

mod builder;
mod cgroup_mounts;
pub(crate) mod describe;
mod devices;
mod exec;
mod exec_server;
mod hook;
mod mounts;
mod namespaces;
mod options;
mod process;
pub(crate) mod program;
mod resources;
mod rootfs;
#[cfg(test)]
mod secrecy;

pub(crate) use builder::Plan;
pub(crate) use exec::{ExecPlan, plan_exec};
pub(crate) use exec_server::{ServerOf, bounding, own_server_fits, plan_exec_server, plan_served, same_identity};
pub(crate) use hook::plan_hook;
pub(crate) use namespaces::takes_network;
pub(crate) use options::{CgroupMounts, Hierarchy, Host, JoinCgroup, PlanOptions};
pub(crate) use process::{gives_home, kills_execve};
pub(crate) use resources::{DeviceNode, HostWrite, IdMapped, IdMaps, MountMaps, Resource, TreeOf};

use builder::Builder;

use crate::base::Result;
use crate::config::Config;

/// Plans the creation of a container.
///
/// # Errors
/// [`crate::Kind::InvalidConfig`] or [`crate::Kind::Unsupported`] with the field, when the config asks for what cannot be.
pub(crate) fn plan(
    config: &Config<'_>,
    options: &PlanOptions<'_>,
    filter: Option<&orlop_seccomp::Filter>,
) -> Result<Plan> {
    let mut builder = Builder::new(config, options, 16 * 1024);
    builder.plan_namespaces()?;
    builder.plan_rootfs()?;
    builder.plan_process(filter)?;
    Ok(builder.plan)
}
