//! A plan, and the builder that makes it.

use orlop_init::wire::{Op, Phase, SchedAttr, Slot, Str};

use super::options::PlanOptions;
use super::program::Program;
use super::resources::{IdMaps, MappedMount, Resource};
use crate::base::Error;
use crate::config::{Config, Namespace, NamespaceType};

/// A container's creation (or an exec), ready to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Namespace flags for clone3(2).
    pub(crate) clone_flags: u64,
    /// What the init does.
    pub(crate) program: Program,
    /// What is opened for it, by slot.
    pub(crate) resources: Vec<Resource>,
    /// The mounts whose ids the runtime maps while the init waits.
    pub(crate) mapped_mounts: Vec<MappedMount>,
    /// Whether the init enters some hierarchies of v1 only after its mounts.
    pub(crate) joins_late: bool,
    /// The id maps of a new user namespace.
    pub(crate) id_maps: Option<IdMaps>,
    /// The first fd that the command does not inherit.
    pub(crate) first_private_fd: u32,
    /// The `oom_score_adj` of an init that cannot write it itself: the runtime does before it hands anything over. With the field behind it.
    pub(crate) oom_score_adj: Option<(i32, String)>,
    /// The scheduling that the runtime gives the process that is to execute the command, and the field behind it.
    pub(crate) scheduler: Option<(SchedAttr, String)>,
    /// Whether the seccomp filter has a listener.
    pub(crate) seccomp_listener: bool,
    /// Whether it is there before the container is started, and not only after.
    pub(crate) listener_before_start: bool,
    /// Whether the seccomp filter kills whoever executes a command.
    pub(crate) seccomp_kills_execve: bool,
    /// What the user should know, but nothing fails for.
    pub(crate) warnings: Vec<String>,
    /// What was decided that a debug log should tell.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Whether the filter is there by the time that the init says that all is set up.
    pub(crate) fn loads_filter_before_ready(&self) -> bool {
        let before =
            self.program.ops.iter().take_while(|record| !matches!(record.op, Op::Sync { phase: Phase::Ready }));
        before.into_iter().any(|record| matches!(record.op, Op::Seccomp { .. }))
    }

    /// Whether the init allows itself all processors that there are.
    pub(crate) fn frees_affinity(&self) -> bool {
        self.program.ops.iter().any(|record| matches!(record.op, Op::Affinity { .. }))
    }

    /// How often the init goes on by a fork of its own.
    pub(crate) fn forks(&self) -> usize {
        self.program.ops.iter().filter(|record| matches!(record.op, Op::Fork { .. })).count()
    }

    /// Whether the init is an exec server.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.program.ops.last(), Some(record) if matches!(record.op, Op::Serve { .. }))
    }

    /// Whether the init takes descriptors.
    pub(crate) fn receives(&self) -> bool {
        self.program.ops.iter().any(|record| matches!(record.op, Op::Receive))
    }

    /// Whether nobody has anything to do for the process between its word that all is set up and its command, as far as the plan says: it
    /// waits there and nowhere else, its scheduling is no matter of the runtime's, and no agent is told of it.
    pub(crate) fn may_go_on(&self) -> bool {
        let ops = self.program.ops.iter().map(|record| &record.op);
        let waits = ops.filter_map(|op| if let Op::Sync { phase } = op { Some(*phase) } else { None });
        waits.eq([Phase::Ready]) && !self.serves() && self.scheduler.is_none() && !self.seccomp_listener
    }

    /// Whether the init says that all is set up before it goes on to its command; a hook does not.
    pub(crate) fn says_ready(&self) -> bool {
        self.program.ops.iter().any(|record| matches!(record.op, Op::Sync { phase: Phase::Ready }))
    }
}

/// A plan in the create.
pub(super) struct Builder<'b> {
    pub(super) config: &'b Config<'b>,
    pub(super) options: &'b PlanOptions<'b>,
    pub(super) plan: Plan,
    pub(super) proc: Option<Slot>,
    /// A pid namespace with other processes in it is joined: it takes effect with a fork, once all is set up.
    pub(super) joins_pid: bool,
    /// It leads a session of its own already.
    pub(super) leads_session: bool,
    /// The capabilities that can be in the bounding set of whoever carries the plan out.
    pub(super) bounding: u64,
    /// The directories that are new and empty tmpfs mounts.
    pub(super) empty: Vec<String>,
    /// Mounts that become read-only once all is in place, by index and path.
    pub(super) late_readonly: Vec<(usize, String)>,
}

impl<'b> Builder<'b> {
    /// An empty plan, with room for `data` bytes of strings.
    pub(super) fn new(config: &'b Config<'b>, options: &'b PlanOptions<'b>, data: usize) -> Self {
        let first_private_fd = 3 + options.listen_fds + options.preserve_fds;
        Self {
            config,
            options,
            plan: Plan { program: Program::with_capacity(data), first_private_fd, ..Plan::default() },
            proc: None,
            joins_pid: false,
            leads_session: false,
            bounding: u64::MAX,
            empty: Vec::new(),
            late_readonly: Vec::new(),
        }
    }
}

impl Builder<'_> {
    pub(super) fn slot(&mut self, resource: Resource) -> Slot {
        self.plan.resources.push(resource);
        Slot(u32::try_from(self.plan.resources.len() - 1).unwrap_or(u32::MAX))
    }

    /// The private procfs handle, opened once.
    pub(super) fn proc(&mut self) -> Slot {
        match self.proc {
            Some(slot) => slot,
            None => {
                let slot = self.slot(Resource::Proc);
                self.proc = Some(slot);
                slot
            }
        }
    }

    /// A session of its own, once.
    pub(super) fn lead_session(&mut self) {
        if !std::mem::replace(&mut self.leads_session, true) {
            self.push(Op::Setsid);
        }
    }

    pub(super) fn push_keyring(&mut self) {
        if !self.options.no_new_keyring {
            // Without a name: by name the kernel would look for one that there is, and a container could have put one in the way.
            self.push(Op::NewKeyring);
        }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.plan.program.push(Str::NONE, op);
    }

    pub(super) fn push_from(&mut self, field: std::fmt::Arguments<'_>, op: Op) {
        let field = self.plan.program.format(field);
        self.plan.program.push(field, op);
    }

    /// A new namespace of this kind is made for the container, as opposed to a joined one or the caller's.
    pub(super) fn is_new(&self, kind: NamespaceType) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }

    pub(super) fn namespace(&self, kind: NamespaceType) -> Option<&Namespace<'_>> {
        self.config.linux.as_ref()?.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// The container has a mount namespace, new or joined, and not the caller's.
    pub(super) fn has_mount_namespace(&self) -> bool {
        self.namespace(NamespaceType::Mount).is_some()
    }

    /// The container has a user namespace, new or joined.
    pub(super) fn in_userns(&self) -> bool {
        self.namespace(NamespaceType::User).is_some()
    }

    pub(super) fn field_error(&self, field: impl Into<String>, detail: impl Into<String>) -> Error {
        Error::config(field, detail)
    }
}

/// The hooks that run between the mounts and the change of root, for which the init waits.
pub(super) fn has_early_hooks(config: &Config<'_>) -> bool {
    config.hooks.as_ref().is_some_and(|hooks| {
        !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.create_container.is_empty())
    })
}

impl Builder<'_> {
    /// Whether the runtime runs hooks, or moves network devices, between the mounts and the change of root.
    pub(super) fn stops_for_hooks(&self) -> bool {
        let devices = self.config.linux.as_ref().is_some_and(|linux| !linux.net_devices.is_empty());
        has_early_hooks(self.config) || devices
    }

    /// A point at which the parent runs hooks.
    pub(super) fn plan_hooks(&mut self) {
        if self.stops_for_hooks() {
            self.push(Op::Sync { phase: Phase::Namespaces });
        }
    }
}
