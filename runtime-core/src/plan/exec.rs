//! The plan of an `exec`: join what the container has, then the same as for its init.

use orlop_init::wire::{Op, Slot};

use super::builder::{Builder, Plan};
use super::options::PlanOptions;
use super::process::{Execution, cpu_mask};
use super::resources::Resource;
use crate::base::Result;
use crate::config::{Config, Hook, NamespaceType, Process};

/// What an exec is planned from.
#[derive(Debug)]
pub(crate) struct ExecPlan<'e> {
    /// The container's config.
    pub(crate) config: &'e Config<'e>,
    pub(crate) options: &'e PlanOptions<'e>,
    pub(crate) process: &'e Process<'e>,
    pub(crate) filter: Option<&'e orlop_seccomp::Filter>,
    /// A startContainer hook, which is executed in place of the command.
    pub(crate) hook: Option<&'e Hook<'e>>,
}

/// Plans the execution of a further process in a container.
///
/// # Errors
/// As [`super::plan`]; pointers count from the process object.
pub(crate) fn plan_exec(exec: &ExecPlan<'_>) -> Result<Plan> {
    let mut builder = Builder::new(exec.config, exec.options, 8 * 1024);
    builder.joins_pid = builder.joined_flags() & NamespaceType::Pid.number() != 0;
    let all = builder.joined_flags();
    builder.plan_joining(exec, all)?;
    builder.plan_execution(&exec.execution())?;
    Ok(builder.plan)
}

impl<'e> ExecPlan<'e> {
    pub(super) fn execution(&self) -> Execution<'e> {
        Execution {
            process: self.process,
            pointer: if self.hook.is_some() { "/process" } else { "" },
            filter: self.filter,
            home: self.options.home,
            listen_fds: 0,
            notify_socket: None,
            start_fifo: None,
            set_groups: self.options.set_groups,
            is_exec: self.hook.is_none(),
            hook: self.hook,
            args: None,
        }
    }
}

impl Builder<'_> {
    /// Enters the container's cgroups and those of its namespaces that `flags` name.
    pub(super) fn plan_joining(&mut self, exec: &ExecPlan<'_>, flags: u64) -> Result<()> {
        self.push(Op::Receive);
        let affinity = exec.process.exec_cpu_affinity.as_ref().filter(|_| exec.hook.is_none());
        if let Some(initial) = affinity.and_then(|affinity| affinity.initial.as_ref()) {
            let field = "/execCPUAffinity/initial";
            let mask = cpu_mask(initial).map_err(|detail| self.field_error(field, detail))?;
            let mask = self.plan.program.list(&mask);
            self.push_from(format_args!("{field}"), Op::Affinity { mask });
        } else {
            self.push_affinity_reset();
        }
        if self.options.join.tasks {
            self.push(Op::JoinCgroups);
        }
        let pointer = if exec.hook.is_some() { "/process" } else { "" };
        self.plan_oom_score(exec.process, pointer);
        self.plan_labels(exec.process, pointer)?;
        // From the first namespace on, processes of the container could trace this one: CVE-2016-9962.
        self.push(Op::NotDumpable);
        let init = self.slot(Resource::InitPidfd);
        self.push_join(init, flags);
        if self.in_userns() {
            self.push(Op::BecomeRoot { setgroups: u32::from(self.options.set_groups) });
        }
        if !self.has_mount_namespace() {
            let dir = self.slot(Resource::InitRoot);
            self.push(Op::EnterRoot { dir });
        }
        self.push(Op::CurrentRoot);
        if !self.joins_pid {
            self.push(Op::Setsid);
        }
        self.push_keyring();
        self.plan_execution_domain()?;
        if exec.process.terminal && exec.hook.is_none() {
            let (rows, cols) = exec.process.console_size.map_or((0, 0), |size| (size.height, size.width));
            let socket = self.slot(Resource::ConsoleSocket);
            let uid = exec.process.user.uid;
            let plain_lines = u16::from(self.options.plain_lines);
            self.push_from(format_args!("/terminal"), Op::Console { socket, rows, cols, bind: 0, plain_lines, uid });
        }
        Ok(())
    }

    /// Every kind of namespace that the container does not share with the runtime.
    pub(super) fn joined_flags(&self) -> u64 {
        let Some(linux) = &self.config.linux else { return 0 };
        linux.namespaces.iter().fold(0, |flags, namespace| flags | namespace.kind.number())
    }

    pub(super) fn push_join(&mut self, fd: Slot, flags: u64) {
        self.push(Op::Setns { fd, flags: u32::try_from(flags).unwrap_or(0) });
    }
}
