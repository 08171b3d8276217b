//! The command's identity, rights, limits and execution: the same for a container's init and for `exec`.

use std::collections::BTreeMap;

use orlop_seccomp::Flags;

use orlop_init::wire::{Bpf, Op, Phase, ProcFile, Rlimit, SchedAttr, Slot, Str};

use super::builder::Builder;
use super::resources::Resource;
use crate::base::{Error, Kind, Result, Step};
use crate::config::{Hook, Process, Text, granted, parse_list};

/// Where a command without a slash is looked for when its environment has no PATH, as a login shell would have it.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// The mask of a process that no config gives one: runc's.
const DEFAULT_UMASK: u32 = 0o022;

/// What is particular to one execution.
#[derive(Debug)]
pub(super) struct Execution<'e> {
    pub(super) process: &'e Process<'e>,
    /// The JSON pointer of `process` in its file.
    pub(super) pointer: &'static str,
    pub(super) filter: Option<&'e orlop_seccomp::Filter>,
    /// HOME, where the environment does not say it.
    pub(super) home: Option<&'e str>,
    pub(super) listen_fds: u32,
    pub(super) notify_socket: Option<&'e str>,
    pub(super) start_fifo: Option<Slot>,
    pub(super) set_groups: bool,
    pub(super) is_exec: bool,
    /// A hook is executed in place of the command, as what the command is.
    pub(super) hook: Option<&'e Hook<'e>>,
    /// The command and its arguments, in place of the process's.
    pub(super) args: Option<&'e [String]>,
}

impl Execution<'_> {
    fn args(&self) -> Vec<&str> {
        let own = || self.process.args.iter().map(Text::as_str).collect();
        self.args.map_or_else(own, |args| args.iter().map(String::as_str).collect())
    }

    fn uses_console(&self) -> bool {
        self.process.terminal && self.hook.is_none()
    }
}

/// When the filter is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterPlace {
    /// Before the command's capabilities, and so before other processes of a joined pid namespace see this one: nothing more than the
    /// command's rights is there then. The profile must allow what is still to be done.
    BeforeEntry,
    /// When the container is made: the agent of a listener is told then, and not only at its start.
    BeforeStart,
    /// Last of all: only `execve` is called under it.
    Last,
}

/// What an init does between its Ready and its command: waits for its start.
const CALLS_TO_START: &[(&str, &[u64])] = &[
    ("read", &[3, 0, 1]),
    ("close_range", &[3, 4, 0]),
    ("rt_sigaction", &[15, 0, 0, 8]),
    ("sched_setaffinity", &[]),
    ("exit_group", &[1]),
];
/// `Op::Capabilities`, `Op::NoNewPrivs`.
const CALLS_OF_CAPABILITIES: &[(&str, &[u64])] =
    &[("capset", &[]), ("prctl", &[47, 4]), ("prctl", &[47, 2, 10]), ("prctl", &[1, 9]), ("prctl", &[1, 0])];
/// What is done between the two besides: the working directory, the entry of a pid namespace, the terminal, finding the command, and the
/// talk with the runtime.
const CALLS_TO_COMMAND: &[(&str, &[u64])] = &[
    ("chdir", &[]),
    ("getcwd", &[0, 4096]),
    ("clone", &[0x0010_8000]),
    ("setsid", &[]),
    ("ioctl", &[3, 0x540e]),
    ("dup3", &[3, 0]),
    ("getpid", &[]),
    ("faccessat2", &[u64::MAX - 99]),
    ("openat2", &[u64::MAX - 99]),
    ("statx", &[3]),
    ("close", &[3]),
    ("write", &[3, 0, 1]),
];

/// Whether the filter lets a call through as if it were not there.
fn allows(filter: &orlop_seccomp::Filter, name: &str, arguments: &[u64]) -> bool {
    use orlop_seccomp::{Action, Arch, Call};
    let call = Arch::native().and_then(|arch| Call::named(arch, name, arguments));
    call.is_some_and(|call| filter.verdict(&call) == Action::Allow)
}

impl Builder<'_> {
    pub(super) fn plan_process(&mut self, filter: Option<&orlop_seccomp::Filter>) -> Result<()> {
        let config = self.config;
        let Some(process) = &config.process else {
            return Err(self.field_error("/process", "is missing: there is nothing to execute"));
        };
        let start_fifo = self.options.waits_for_start.then(|| self.slot(Resource::StartFifo));
        let execution = Execution {
            process,
            pointer: "/process",
            filter,
            home: self.options.home,
            listen_fds: self.options.listen_fds,
            notify_socket: self.options.notify_dir.map(|_| "/run/notify/notify.sock"),
            start_fifo,
            set_groups: self.options.set_groups,
            is_exec: false,
            hook: None,
            args: self.options.args,
        };
        self.plan_execution_domain()?;
        self.plan_execution(&execution)
    }

    /// What every process of the container has, its init and those of exec: personality and memory policy.
    pub(super) fn plan_execution_domain(&mut self) -> Result<()> {
        if let Some(personality) = self.config.linux.as_ref().and_then(|linux| linux.personality.as_ref()) {
            let domain = personality.domain.number();
            self.push_from(format_args!("/linux/personality"), Op::Personality { domain });
        }
        self.plan_memory_policy()
    }

    fn plan_memory_policy(&mut self) -> Result<()> {
        let config = self.config;
        let Some(policy) = config.linux.as_ref().and_then(|linux| linux.memory_policy.as_ref()) else { return Ok(()) };
        let mode = policy.flags.iter().fold(policy.mode.number(), |mode, flag| mode | flag.number());
        let nodes = match &policy.nodes {
            Some(nodes) => {
                parse_list(nodes, 1023).map_err(|detail| self.field_error("/linux/memoryPolicy/nodes", detail))?
            }
            None => Vec::new(),
        };
        let mut words = vec![0u64; if nodes.is_empty() { 0 } else { 16 }];
        for node in nodes.into_iter().flatten() {
            if let Some(word) = words.get_mut(node as usize / 64) {
                *word |= 1 << (node % 64);
            }
        }
        // The kernel reads one bit less than it is told, and takes 0 for far too many.
        let bits = if words.is_empty() { 1 } else { 1025 };
        let mask = self.plan.program.list(&words);
        let mode = u32::try_from(mode).unwrap_or(u32::MAX);
        self.push_from(format_args!("/linux/memoryPolicy"), Op::MemoryPolicy { mode, mask, bits });
        Ok(())
    }

    pub(super) fn plan_execution(&mut self, execution: &Execution<'_>) -> Result<()> {
        self.plan_limits(execution);
        self.plan_streams(execution);
        let filter = execution.filter.map(|filter| (filter, self.filter_place(filter, execution)));
        self.plan_identity(execution, filter);
        self.plan_to_command(execution, filter)
    }

    /// Of a process that has the command's identity, rights and limits already, which is born where the command is to be.
    pub(super) fn plan_execution_alone(&mut self, execution: &Execution<'_>) -> Result<()> {
        if self.in_userns() {
            // Elsewhere the runtime has done it.
            let op = Op::OwnStdio { uid: execution.process.user.uid, must: 1 };
            self.push_from(format_args!("{}/user", execution.pointer), op);
        }
        // A directory that only more rights than the command's lead to is not entered.
        for _ in 0..2 {
            self.push_cwd(execution);
        }
        self.plan_to_command(execution, execution.filter.map(|filter| (filter, FilterPlace::Last)))
    }

    fn plan_to_command(
        &mut self,
        execution: &Execution<'_>,
        filter: Option<(&orlop_seccomp::Filter, FilterPlace)>,
    ) -> Result<()> {
        let here = |place: FilterPlace| filter.filter(|(_, planned)| *planned == place).map(|(filter, _)| filter);
        // Before others can see this process: it opens the command's file for a moment.
        let listen_pid = self.plan_command(execution)?;
        self.plan_entry(execution);
        if let Some(at) = listen_pid {
            self.push(Op::ListenPid { at });
        }
        self.push(Op::Sync { phase: Phase::Ready });
        if let Some(filter) = here(FilterPlace::BeforeStart) {
            self.plan.listener_before_start = filter.notify;
            self.plan_filter(filter);
            if !execution.process.no_new_privileges {
                self.push_capabilities(execution, 0);
            }
        }
        if let Some(fifo) = execution.start_fifo {
            self.push(Op::WaitStart { fifo });
        }
        self.plan_final_affinity(execution)?;
        if let Some(filter) = here(FilterPlace::Last) {
            self.plan_filter(filter);
        }
        match execution.hook {
            // Who runs it says which hook it is.
            Some(_) => self.push(Op::Execute),
            None => self.push_from(format_args!("{}/args/0", execution.pointer), Op::Execute),
        }
        Ok(())
    }

    pub(super) fn plan_limits(&mut self, execution: &Execution<'_>) {
        let process = execution.process;
        let pointer = execution.pointer;
        let mut limits: Vec<Rlimit> = process
            .rlimits
            .iter()
            .map(|limit| Rlimit {
                resource: u32::try_from(limit.kind.number()).unwrap_or(u32::MAX),
                pad: 0,
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect();
        let open_files = self.options.host.open_files_limit();
        limits.extend(open_files.filter(|own| limits.iter().all(|limit| limit.resource != own.resource)));
        if !limits.is_empty() {
            let limits = self.plan.program.list(&limits);
            self.push_from(format_args!("{pointer}/rlimits"), Op::Rlimits { limits });
        }
        if !self.joins_pid {
            self.plan_scheduler(execution);
        }
        if let Some(priority) = &process.io_priority {
            let class = u32::try_from(priority.class.number()).unwrap_or(0);
            let value = class << 13 | u32::try_from(priority.priority).unwrap_or(0);
            self.push_from(format_args!("{pointer}/ioPriority"), Op::IoPriority { value });
        }
    }

    /// A fork takes a scheduling with SCHED_FLAG_RESET_ON_FORK away, and a task with a deadline has none at all. So where a pid namespace
    /// is joined, it is given to the process that was forked last: by the runtime, which has the right still, or else by itself.
    fn plan_scheduler(&mut self, execution: &Execution<'_>) {
        let Some(scheduler) = &execution.process.scheduler else { return };
        let field = format!("{}/scheduler", execution.pointer);
        let attr = SchedAttr {
            size: u32::try_from(size_of::<SchedAttr>()).unwrap_or(0),
            policy: u32::try_from(scheduler.policy.number()).unwrap_or(u32::MAX),
            flags: scheduler.flags.iter().fold(0, |flags, flag| flags | flag.number()),
            nice: scheduler.nice,
            priority: u32::try_from(scheduler.priority).unwrap_or(0),
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
        };
        if self.joins_pid && self.options.host.schedules {
            self.plan.scheduler = Some((attr, field));
        } else {
            self.push_from(format_args!("{field}"), Op::Scheduler { attr });
        }
    }

    /// By the init itself, while its files below /proc are its own: no longer once it cannot be traced, or is in another user namespace.
    pub(super) fn plan_oom_score(&mut self, process: &Process<'_>, pointer: &str) {
        let Some(score) = process.oom_score_adj else { return };
        let proc = self.proc();
        let path = self.plan.program.str("self/oom_score_adj");
        let data = self.plan.program.str(score.to_string());
        let write = Op::WriteProc { proc, path, data, what: ProcFile::OomScoreAdj };
        self.push_from(format_args!("{pointer}/oomScoreAdj"), write);
    }

    /// What a process can only write of itself, below the /proc of the host. It takes effect when the command is executed, and goes on to a
    /// process that is forked meanwhile: so it is written before any namespace is joined, and /proc is closed.
    pub(super) fn plan_labels(&mut self, process: &Process<'_>, pointer: &str) -> Result<()> {
        if let Some(profile) = &process.apparmor_profile {
            let field = format!("{pointer}/apparmorProfile");
            if !self.options.host.apparmor {
                return Err(unsupported(field, "AppArmor is not enabled on this host").with_object(profile.as_str()));
            }
            let data = self.plan.program.parts(&[b"exec ", profile.as_bytes()]);
            self.push_label(&field, "self/attr/apparmor/exec", data);
        }
        if let Some(label) = &process.selinux_label {
            let field = format!("{pointer}/selinuxLabel");
            if !self.options.host.selinux {
                return Err(unsupported(field, "SELinux is not enabled on this host").with_object(label.as_str()));
            }
            let data = self.plan.program.str(label.as_str());
            self.push_label(&field, "self/attr/exec", data);
            if !self.options.no_new_keyring {
                // The keyring gets the label of who is to use it, not of who makes it; executing the command takes this back.
                self.push_label(&field, "self/attr/keycreate", data);
            }
        }
        Ok(())
    }

    fn push_label(&mut self, field: &str, path: &str, data: Str) {
        let proc = self.proc();
        let path = self.plan.program.str(path);
        self.push_from(format_args!("{field}"), Op::WriteProc { proc, path, data, what: ProcFile::Label });
    }

    fn plan_streams(&mut self, execution: &Execution<'_>) {
        if !execution.uses_console() {
            self.push_from(
                format_args!("{}/user", execution.pointer),
                Op::OwnStdio { uid: execution.process.user.uid, must: 0 },
            );
        }
    }

    /// Enters a pid namespace that others are in, with nothing but the command's own rights, and takes the terminal.
    fn plan_entry(&mut self, execution: &Execution<'_>) {
        self.push(Op::CloseReceived { kept: [execution.start_fifo.unwrap_or(Slot::NONE), Slot::NONE] });
        if self.joins_pid {
            self.push(Op::Fork { flags: 0 });
            self.push(Op::Setsid);
            self.plan_scheduler(execution);
        }
        if execution.uses_console() {
            self.push_from(format_args!("{}/terminal", execution.pointer), Op::UseConsole);
        }
    }

    /// Where the filter goes: it comes last unless others could meanwhile make use of the right to load it.
    fn filter_place(&self, filter: &orlop_seccomp::Filter, execution: &Execution<'_>) -> FilterPlace {
        let lets = |calls: &[(&str, &[u64])]| calls.iter().all(|(name, arguments)| allows(filter, name, arguments));
        let schedules_late = execution.process.scheduler.is_some() && self.joins_pid && !self.options.host.schedules;
        match filter.notify {
            // Its agent is told of the container when it is made, as runc's is.
            true if execution.start_fifo.is_some() && lets(CALLS_TO_START) && lets(CALLS_OF_CAPABILITIES) => {
                FilterPlace::BeforeStart
            }
            false
                if !execution.process.no_new_privileges
                    && lets(CALLS_TO_START)
                    && lets(CALLS_OF_CAPABILITIES)
                    && lets(CALLS_TO_COMMAND)
                    && (!schedules_late || lets(&[("sched_setattr", &[0])])) =>
            {
                FilterPlace::BeforeEntry
            }
            _ => FilterPlace::Last,
        }
    }

    fn plan_identity(&mut self, execution: &Execution<'_>, filter: Option<(&orlop_seccomp::Filter, FilterPlace)>) {
        let process = execution.process;
        let pointer = execution.pointer;
        // The system call filter of a process that may still gain rights by execve can only be loaded with this capability; where it
        // comes later, it is kept until then.
        let later = filter.is_some_and(|(_, place)| place != FilterPlace::BeforeEntry);
        let keep = if later && !process.no_new_privileges { CAP_SYS_ADMIN } else { 0 };
        // No capabilities in the config means none at all, as for runc.
        let [bounding, ..] = process.capabilities.as_ref().map_or([0; 5], granted);
        self.push_bounding(bounding, pointer);
        self.push_cwd(execution);
        self.push_user(execution);
        if let Some((filter, FilterPlace::BeforeEntry)) = filter {
            if process.user.uid != 0 {
                // With the user went all effective capabilities, this one with them; it is among the permitted still.
                self.push_capabilities(execution, CAP_SYS_ADMIN);
            }
            self.plan_filter(filter);
        }
        self.push_capabilities(execution, keep);
        // Again for a directory that only the container's user may enter.
        self.push_cwd(execution);
        self.push_no_new_privileges(execution);
    }

    /// Identity and rights alone, for a process whose forks execute commands; they load the filter, which is the last thing of all.
    pub(super) fn plan_identity_alone(&mut self, execution: &Execution<'_>) {
        let [bounding, ..] = execution.process.capabilities.as_ref().map_or([0; 5], granted);
        self.push_bounding(bounding, execution.pointer);
        self.push_user(execution);
        self.push_capabilities(execution, 0);
        self.push_no_new_privileges(execution);
    }

    fn push_cwd(&mut self, execution: &Execution<'_>) {
        let path = self.plan.program.str(execution.process.cwd.as_str());
        self.push_from(format_args!("{}/cwd", execution.pointer), Op::Chdir { path });
    }

    fn push_user(&mut self, execution: &Execution<'_>) {
        let user = &execution.process.user;
        let groups = self.plan.program.list(&user.additional_gids);
        let umask = user.umask.unwrap_or(DEFAULT_UMASK);
        let set_groups = u32::from(execution.set_groups);
        let op = Op::User { uid: user.uid, gid: user.gid, groups, set_groups, umask };
        self.push_from(format_args!("{}/user", execution.pointer), op);
    }

    fn push_no_new_privileges(&mut self, execution: &Execution<'_>) {
        if execution.process.no_new_privileges {
            self.push_from(format_args!("{}/noNewPrivileges", execution.pointer), Op::NoNewPrivs);
        }
    }

    pub(super) fn push_bounding(&mut self, keep: u64, pointer: &str) {
        let held = self.bounding;
        self.push_from(format_args!("{pointer}/capabilities/bounding"), Op::CapBounding { keep, held });
    }

    fn push_capabilities(&mut self, execution: &Execution<'_>, keep: u64) {
        let [_, effective, inheritable, permitted, ambient] =
            execution.process.capabilities.as_ref().map_or([0; 5], granted);
        let op = Op::Capabilities { effective: effective | keep, permitted: permitted | keep, inheritable, ambient };
        self.push_from(format_args!("{}/capabilities", execution.pointer), op);
    }

    /// Returns where in the environment the process's own number goes.
    fn plan_command(&mut self, execution: &Execution<'_>) -> Result<Option<Str>> {
        let process = execution.process;
        let pointer = execution.pointer;
        if let Some(hook) = execution.hook {
            self.plan_hook_command(execution, hook);
            return Ok(None);
        }
        let args = execution.args();
        let Some(command) = args.first() else {
            return Err(self.field_error(format!("{pointer}/args"), "is empty: there is nothing to execute"));
        };
        let listen_pid = self.plan_environment(execution);
        let program = &mut self.plan.program;
        for argument in &args {
            let argument = program.str(argument);
            program.argv.push(argument);
        }
        if command.contains('/') {
            let path = program.str(command);
            program.programs.push(path);
        } else {
            let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
            // A relative entry would make the command depend on the working directory.
            for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
                let separator: &[u8] = if directory.ends_with('/') { b"" } else { b"/" };
                let path = program.parts(&[directory.as_bytes(), separator, command.as_bytes()]);
                program.programs.push(path);
            }
        }
        if execution.args.is_some() {
            // What the caller gives is in no field of the config.
            self.push(Op::FindProgram);
        } else {
            self.push_from(format_args!("{pointer}/args/0"), Op::FindProgram);
        }
        Ok(listen_pid)
    }

    /// A hook without an environment of its own has the command's, as with runc.
    fn plan_hook_command(&mut self, execution: &Execution<'_>, hook: &Hook<'_>) {
        if hook.env.is_empty() {
            self.plan_environment(execution);
        }
        self.push_hook_program(hook, &hook.env);
    }

    fn plan_environment(&mut self, execution: &Execution<'_>) -> Option<Str> {
        let env = &execution.process.env;
        // The last of several values counts, whatever the C library of the container makes of duplicates.
        let mut last = BTreeMap::new();
        for (index, entry) in env.iter().enumerate() {
            last.insert(name(entry), index);
        }
        for (index, entry) in env.iter().enumerate() {
            if entry.as_str() == "HOME=" || last.get(name(entry)) != Some(&index) {
                continue;
            }
            let text = self.plan.program.str(entry.as_str());
            self.plan.program.envp.push(text);
        }
        if !gives_home(env) {
            let home = execution.home.unwrap_or("/");
            let text = self.plan.program.parts(&[b"HOME=", home.as_bytes()]);
            self.plan.program.envp.push(text);
        }
        if let Some(socket) = execution.notify_socket {
            let text = self.plan.program.parts(&[b"NOTIFY_SOCKET=", socket.as_bytes()]);
            self.plan.program.envp.push(text);
        }
        if execution.listen_fds > 0 {
            const NAME: &[u8] = b"LISTEN_PID=";
            let text = self.plan.program.format(format_args!("LISTEN_FDS={}", execution.listen_fds));
            self.plan.program.envp.push(text);
            let text = self.plan.program.parts(&[NAME, &[0; 20]]);
            self.plan.program.envp.push(text);
            let skipped = u32::try_from(NAME.len()).unwrap_or(0);
            return Some(Str { at: text.at + skipped, len: text.len - skipped });
        }
        None
    }

    fn plan_final_affinity(&mut self, execution: &Execution<'_>) -> Result<()> {
        let process = execution.process;
        let Some(cpus) = process.exec_cpu_affinity.as_ref().and_then(|affinity| affinity.last.as_ref()) else {
            return Ok(());
        };
        if !execution.is_exec {
            return Ok(());
        }
        let field = format!("{}/execCPUAffinity/final", execution.pointer);
        let mask = cpu_mask(cpus).map_err(|detail| self.field_error(field.clone(), detail))?;
        let mask = self.plan.program.list(&mask);
        self.push_from(format_args!("{field}"), Op::FinalAffinity { mask });
        Ok(())
    }

    fn plan_filter(&mut self, filter: &orlop_seccomp::Filter) {
        let instructions: Vec<Bpf> = filter
            .instructions
            .iter()
            .map(|instruction| Bpf { code: instruction.code, jt: instruction.jt, jf: instruction.jf, k: instruction.k })
            .collect();
        let list = self.plan.program.list(&instructions);
        self.plan.seccomp_listener = filter.notify;
        self.plan.seccomp_kills_execve = kills_execve(filter);
        // The process that loads it has one thread: there is none to bring into line.
        let flags = filter.flags.bits() & !(Flags::TSYNC | Flags::TSYNC_ESRCH).bits();
        self.plan.notes.push(format!("seccomp filter flags: {flags}"));
        self.plan.notes.push(format!("seccomp filter: {} instructions", filter.instructions.len()));
        let op = Op::Seccomp { filter: list, flags, listener: u32::from(filter.notify) };
        self.push_from(format_args!("/linux/seccomp"), op);
    }
}

/// Whether a filter kills whoever executes a command, whatever the arguments.
pub(crate) fn kills_execve(filter: &orlop_seccomp::Filter) -> bool {
    use orlop_seccomp::{Action, Arch, Call};
    let call = Arch::native().and_then(|arch| Call::named(arch, "execve", &[]));
    let verdict = call.map(|call| filter.verdict(&call));
    matches!(verdict, Some(Action::KillProcess | Action::KillThread | Action::Trap))
}

/// The name of an environment variable.
fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// Whether the environment says where home is: the last HOME counts, and an empty one says nothing, as with runc.
pub(crate) fn gives_home(env: &[Text<'_>]) -> bool {
    env.iter().rev().find_map(|entry| entry.strip_prefix("HOME=")).is_some_and(|home| !home.is_empty())
}

/// A list of CPUs as the kernel's bit mask.
pub(super) fn cpu_mask(cpus: &str) -> std::result::Result<Vec<u8>, String> {
    /// More than any kernel is built for (CONFIG_NR_CPUS is at most 8192).
    const LAST_CPU: u32 = 8191;
    let ranges = parse_list(cpus, LAST_CPU)?;
    let last = ranges.iter().map(|range| *range.end()).max().unwrap_or(0);
    // The kernel takes masks in whole words.
    let mut mask = vec![0u8; (last as usize / 64 + 1) * 8];
    for cpu in ranges.into_iter().flatten() {
        if let Some(byte) = mask.get_mut(cpu as usize / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    Ok(mask)
}

fn unsupported(field: impl Into<String>, detail: &str) -> Error {
    Error::new(Kind::Unsupported, Step::SetLabel).with_field(field).with_reason(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_become_masks_of_whole_words() {
        assert_eq!(cpu_mask("0,2-3").unwrap(), [0b1101, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cpu_mask("64").unwrap().len(), 16);
        assert_eq!(cpu_mask("1500").unwrap().len() % 8, 0);
        assert!(cpu_mask("x").is_err());
    }
}
