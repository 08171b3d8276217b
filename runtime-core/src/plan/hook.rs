//! The plan of a hook that runs inside a container's namespaces.

use orlop_init::wire::{List, Op};

use super::program::Program;
use super::{Builder, Host, Plan, PlanOptions, Resource};
use crate::config::{Config, Hook, NamespaceType, Text};

/// Plans the execution of `hook`, a program of the host's, in the namespaces of the container's init, with the runtime's own rights;
/// `cwd` is its working directory, if that is not the root.
pub(crate) fn plan_hook(config: &Config<'_>, hook: &Hook<'_>, cwd: Option<&str>, host: Host) -> Plan {
    let options = PlanOptions::of_hook(std::path::Path::new("/"), host);
    let plan = Plan { program: Program::with_capacity(2048), first_private_fd: 3, ..Plan::default() };
    let mut builder =
        Builder { config, options: &options, plan, proc: None, empty: Vec::new(), late_readonly: Vec::new() };
    builder.push(Op::Receive { slots: List::default() });
    builder.push(Op::Dumpable(0));
    let init = builder.slot(Resource::InitPidfd);
    builder.plan_join(init);
    if builder.in_userns() {
        builder.push(Op::BecomeRoot { setgroups: 0 });
    }
    if !builder.has_mount_namespace() {
        let dir = builder.slot(Resource::InitRoot);
        builder.push(Op::EnterRoot { dir });
    }
    if let Some(cwd) = cwd {
        let path = builder.plan.program.str(cwd);
        builder.push(Op::Chdir { path });
    }
    builder.push(Op::Setsid);
    builder.push_hook_program(hook, &hook.env);
    builder.push(Op::Execute);
    builder.finish()
}

impl Builder<'_> {
    /// What a hook executes, with `environment` after what is in the plan's already.
    pub(super) fn push_hook_program(&mut self, hook: &Hook<'_>, environment: &[Text<'_>]) {
        let program = &mut self.plan.program;
        let path = program.str(hook.path.as_str());
        program.programs.push(path);
        let arguments = if hook.args.is_empty() { std::slice::from_ref(&hook.path) } else { hook.args.as_slice() };
        for argument in arguments {
            let argument = program.str(argument.as_str());
            program.argv.push(argument);
        }
        for pair in environment {
            let pair = program.str(pair.as_str());
            program.envp.push(pair);
        }
        self.push(Op::FindProgram);
    }

    /// Joins every namespace of the container whose init is behind `init`, its pid namespace included.
    pub(super) fn plan_join(&mut self, init: orlop_init::wire::Slot) {
        let all = self.joined_flags();
        self.push_join(init, all);
        if all & NamespaceType::Pid.number() != 0 {
            // The process that shows in the container's pid namespace is a child of the init and not of the runtime: between clone and
            // execve, the runtime's own child has the host's binary as its /proc/PID/exe, and the runtime's memory (CVE-2019-5736).
            self.push(Op::Fork { flags: 0 });
            self.push(Op::Dumpable(0));
        }
    }
}
