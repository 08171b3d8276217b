//! The plan of a hook that runs inside a container's namespaces.

use orlop_init::wire::{Op, Slot};

use super::builder::{Builder, Plan};
use super::options::{Host, PlanOptions};
use super::process::DEFAULT_PATH;
use super::resources::Resource;
use crate::config::{Config, Hook, NamespaceType, Text};

/// Plans the execution of `hook`, a program of the host's, in the namespaces of the container's init, with the runtime's own rights;
/// `cwd` is its working directory, if that is not the root.
pub(crate) fn plan_hook(config: &Config<'_>, hook: &Hook<'_>, cwd: Option<&str>, host: Host) -> Plan {
    let options = PlanOptions::entering(std::path::Path::new("/"), host);
    let mut builder = Builder::new(config, &options, 2048);
    builder.push(Op::Receive);
    builder.push(Op::NotDumpable);
    builder.plan_join_of_hook();
    if builder.in_userns() {
        builder.push(Op::BecomeRoot { setgroups: 0 });
    }
    if !builder.has_mount_namespace() {
        let dir = builder.slot(Resource::InitRoot);
        builder.push(Op::EnterRoot { dir });
    }
    if let Some(limit) = host.open_files_limit() {
        let limits = builder.plan.program.list(&[limit]);
        builder.push(Op::Rlimits { limits });
    }
    if let Some(cwd) = cwd {
        let path = builder.plan.program.str(cwd);
        builder.push(Op::Chdir { path });
    }
    builder.push(Op::CloseReceived { kept: [Slot::NONE; 2] });
    if builder.joins_pid {
        // The process that shows in the container's pid namespace is a child of the init and not of the runtime: between clone and
        // execve, the runtime's own child has the host's binary as its /proc/PID/exe, and the runtime's memory (CVE-2019-5736).
        builder.push(Op::Fork { flags: 0 });
    }
    builder.push(Op::Setsid);
    let path = [Text::from(format!("PATH={DEFAULT_PATH}"))];
    // Of the runtime's environment nothing belongs into a container.
    builder.push_hook_program(hook, if hook.env.is_empty() { &path } else { &hook.env });
    builder.push(Op::Execute);
    builder.plan
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

    /// Joins every namespace of the container, its pid namespace included. An init that is still at work is itself not yet in a pid
    /// namespace that it joins: the config says which one that is.
    fn plan_join_of_hook(&mut self) {
        let pid = NamespaceType::Pid.number();
        let mut all = self.joined_flags();
        self.joins_pid = all & pid != 0;
        if let Some((path, field)) = self.joined_path(NamespaceType::Pid) {
            let slot = self.slot(Resource::Namespace { path, kind: NamespaceType::Pid, field });
            self.push_join(slot, pid);
            all &= !pid;
        }
        let init = self.slot(Resource::InitPidfd);
        self.push_join(init, all);
    }
}
