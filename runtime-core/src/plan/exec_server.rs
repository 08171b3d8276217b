//! The plans of an exec server and of its commands. What an `exec` does before it is seen in the container, the server does once; what is
//! the command's own is left.

use orlop_init::wire::{Op, Phase};

use super::builder::{Builder, Plan};
use super::exec::ExecPlan;
use super::resources::Resource;
use crate::base::Result;
use crate::config::{Config, NamespaceType, Process, ResourceLimit, Rlimit, granted};

/// Whose commands a server makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerOf {
    /// Those of anybody: each takes on an identity of its own, outside the pid namespace, and enters that by one more fork.
    All,
    /// Those with the identity, rights and limits of the container's own process: the server has taken them on, so that it has nothing
    /// which a command may not have, and forks each into the pid namespace at once.
    Own,
}

/// The capabilities by which a process of the container could trace a command that is on its way, or do more than its namespaces let it.
const MIGHTY: u64 = 1 << 19 | 1 << 21;
/// The fewest open files with which a server can serve.
const OPEN_FILES: u64 = 64;

/// Whether a server can take on the identity of the container's own `process`.
///
/// The container has a pid namespace to keep out of. The streams of a command belong to its user: they are given to it by the runtime, or in a
/// user namespace, where the runtime has other ids, belong to its root from the start. The filter, if there is one, can be loaded without any
/// rights. The limits count what a process does itself, and not what the server does; the scheduling goes over to what it forks.
pub(crate) fn own_server_fits(config: &Config<'_>, process: &Process<'_>, filter: bool) -> bool {
    let namespaces = config.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let has = |kind| namespaces.iter().any(|namespace| namespace.kind == kind);
    has(NamespaceType::Pid)
        && has(NamespaceType::Mount)
        && (process.user.uid == 0 || !has(NamespaceType::User))
        && (process.no_new_privileges || !filter)
        && process.scheduler.is_none()
        && bounding(process) & MIGHTY == 0
        && process.rlimits.iter().all(leaves_a_server_room)
}

fn leaves_a_server_room(limit: &ResourceLimit) -> bool {
    match limit.kind {
        Rlimit::Nofile => limit.soft >= OPEN_FILES,
        Rlimit::Core | Rlimit::Fsize | Rlimit::Locks | Rlimit::Memlock | Rlimit::Msgqueue => true,
        Rlimit::Nice | Rlimit::Rtprio | Rlimit::Sigpending => true,
        Rlimit::As | Rlimit::Cpu | Rlimit::Data | Rlimit::Nproc | Rlimit::Rss | Rlimit::Rttime | Rlimit::Stack => false,
    }
}

/// Whether two processes are the same but for their commands, environments and working directories, and what an exec server refuses.
pub(crate) fn same_identity(one: &Process<'_>, other: &Process<'_>) -> bool {
    let sets = |process: &Process<'_>| process.capabilities.as_ref().map_or([0; 5], granted);
    one.user == other.user
        && sets(one) == sets(other)
        && one.no_new_privileges == other.no_new_privileges
        && one.rlimits == other.rlimits
        && one.scheduler == other.scheduler
        && one.io_priority == other.io_priority
}

/// Plans the process that waits in the namespaces of a container. It is not in its pid namespace, so that nobody in there sees it.
///
/// # Errors
/// As [`super::plan_exec`].
pub(crate) fn plan_exec_server(exec: &ExecPlan<'_>, of: ServerOf) -> Result<Plan> {
    let mut builder = Builder::new(exec.config, exec.options, 2048);
    let all = builder.joined_flags();
    match of {
        ServerOf::All => {
            builder.plan_joining(exec, all & !NamespaceType::Pid.number())?;
            // What no command has, no command needs to drop, at more than a microsecond for each capability.
            builder.push_bounding(bounding(exec.process), "/process");
        }
        ServerOf::Own => {
            // A joined pid namespace is that of the processes that are forked from then on.
            builder.plan_joining(exec, all)?;
            let execution = exec.execution();
            builder.plan_limits(&execution);
            builder.plan_identity_alone(&execution);
        }
    }
    let init = builder.slot(Resource::InitPidfd);
    builder.push(Op::CloseReceived { kept: [init, orlop_init::wire::Slot::NONE] });
    builder.push(Op::Sync { phase: Phase::Ready });
    builder.push(Op::Serve { init, parent: std::process::id(), enters: u32::from(of == ServerOf::Own) });
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
pub(crate) fn plan_served(exec: &ExecPlan<'_>, own: &Process<'_>, of: ServerOf) -> Result<Plan> {
    let mut builder = Builder::new(exec.config, exec.options, 4096);
    if of == ServerOf::Own {
        builder.push(Op::NotDumpable);
        builder.push(Op::TopmostRoot);
        builder.push(Op::Setsid);
        builder.push_keyring();
        builder.plan_execution_alone(&exec.execution())?;
        return Ok(builder.plan);
    }
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
