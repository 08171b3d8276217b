//! The plans of an exec server and of its commands. What an `exec` does before it is seen in the container, the server does once; what is
//! the command's own is left.

use orlop_init::wire::{Op, Phase};

use super::builder::{Builder, Plan};
use super::exec::ExecPlan;
use super::resources::Resource;
use crate::base::Result;
use crate::config::{NamespaceType, Process, granted};

/// Plans the process that waits in the namespaces of a container. Its pid namespace is left to the commands: so nobody in there sees it.
///
/// # Errors
/// As [`super::plan_exec`].
pub(crate) fn plan_exec_server(exec: &ExecPlan<'_>) -> Result<Plan> {
    let mut builder = Builder::new(exec.config, exec.options, 2048);
    let flags = builder.joined_flags() & !NamespaceType::Pid.number();
    builder.plan_joining(exec, flags)?;
    // What no command has, no command needs to drop, at more than a microsecond for each capability.
    builder.push_bounding(bounding(exec.process), "/process");
    let init = builder.slot(Resource::InitPidfd);
    let runtime = builder.slot(Resource::OwnPidfd);
    builder.push(Op::CloseReceived { kept: [init, runtime] });
    builder.push(Op::Sync { phase: Phase::Ready });
    builder.push(Op::Serve { init, runtime });
    Ok(builder.plan)
}

/// The capabilities that a process, and what it executes, can have at most.
pub(crate) fn bounding(process: &Process<'_>) -> u64 {
    let [bounding, ..] = process.capabilities.as_ref().map_or([0; 5], granted);
    bounding
}

/// Plans a command of an exec server whose container's process is `own`.
///
/// # Errors
/// As [`super::plan_exec`].
pub(crate) fn plan_served(exec: &ExecPlan<'_>, own: &Process<'_>) -> Result<Plan> {
    let mut builder = Builder::new(exec.config, exec.options, 4096);
    builder.bounding = bounding(own);
    builder.push(Op::Receive);
    builder.push(Op::NotDumpable);
    let joined = builder.joined_flags();
    builder.joins_pid = joined & NamespaceType::Pid.number() != 0;
    // The mount namespace once more: the container may have mounted another root upon the one that the server entered.
    let again = joined & (NamespaceType::Pid.number() | NamespaceType::Mount.number());
    if again != 0 {
        let init = builder.slot(Resource::InitPidfd);
        builder.push_join(init, again);
    }
    if !builder.joins_pid {
        builder.push(Op::Setsid);
    }
    builder.push_keyring();
    builder.plan_execution(&exec.execution())?;
    Ok(builder.plan)
}
