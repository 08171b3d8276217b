//! The plan: everything that a container's creation will do, decided before anything is done.
//!
//! Pure: config, options and facts about the host go in, a [`Plan`] comes out. It is what `launch` carries out, what
//! `orlop plan` prints, and what the index in a failed init's report points back into.

mod assemblies;
mod cgroup_mounts;
pub(crate) mod describe;
mod devices;
mod exec;
mod hook;
mod mounts;
mod namespaces;
mod process;
pub(crate) mod program;
mod rootfs;
#[cfg(test)]
mod secrecy;

pub(crate) use assemblies::Assembly;
pub(crate) use cgroup_mounts::{CgroupMounts, Hierarchy};
pub(crate) use devices::DEFAULT_DEVICES;
pub(crate) use exec::{ExecPlan, plan_exec};
pub(crate) use hook::plan_hook;
pub(crate) use mounts::clean;
pub(crate) use process::{gives_home, kills_execve};

use std::path::Path;

use orlop_init::wire::{Op, Phase, Slot, Str};
use program::Program;

use crate::base::{Error, Result};
use crate::config::{Config, IdMapping, NamespaceType};

/// What the plan takes besides the config.
#[derive(Debug)]
pub(crate) struct PlanOptions<'o> {
    /// The bundle directory, absolute.
    pub(crate) bundle: &'o Path,
    pub(crate) no_pivot: bool,
    /// Without pivot_root, the old root stays below: the host paths of the procfs and sysfs mounts that must not.
    pub(crate) revealing: &'o [String],
    pub(crate) no_new_keyring: bool,
    /// The terminal's size, where the caller knows better than the config.
    pub(crate) terminal_size: Option<crate::config::ConsoleSize>,
    /// The terminal's line breaks reach its master as they are.
    pub(crate) plain_lines: bool,
    /// Fds 3 and up that the command inherits: first those of LISTEN_FDS.
    pub(crate) listen_fds: u32,
    pub(crate) preserve_fds: u32,
    /// A host directory to be mounted on /run/notify.
    pub(crate) notify_dir: Option<&'o str>,
    /// Whether the init waits for `start` (`create`), or goes on by itself (`run`).
    pub(crate) waits_for_start: bool,
    /// How the process gets into its control group.
    pub(crate) join: JoinCgroup,
    /// What a mount of type `cgroup` shows.
    pub(crate) cgroups: CgroupMounts,
    /// What this host and this caller can do.
    pub(crate) host: Host,
    /// The home directory of the command's user, for an environment without HOME.
    pub(crate) home: Option<&'o str>,
    /// Whether supplementary groups can be set: not in a user namespace that was made without the right to.
    pub(crate) set_groups: bool,
}

impl<'o> PlanOptions<'o> {
    /// Those of a process that enters a container and brings nothing of its own: a hook.
    pub(crate) fn of_hook(bundle: &'o Path, host: Host) -> Self {
        Self {
            bundle,
            no_pivot: false,
            revealing: &[],
            no_new_keyring: true,
            terminal_size: None,
            plain_lines: false,
            listen_fds: 0,
            preserve_fds: 0,
            notify_dir: None,
            waits_for_start: false,
            join: JoinCgroup::default(),
            cgroups: CgroupMounts::Unused,
            host,
            home: None,
            set_groups: false,
        }
    }
}

/// Facts about the host that the plan depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Host {
    /// No root's rights: mounts are opened after the user namespace is entered.
    pub(crate) rootless: bool,
    /// AppArmor confines processes on this host.
    pub(crate) apparmor: bool,
    /// SELinux does.
    pub(crate) selinux: bool,
    /// Mounts can be attached to what is not attached itself (Linux 6.15).
    pub(crate) assembles: bool,
}

/// How the process gets into its control groups, besides being born into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct JoinCgroup {
    /// It writes itself into the `tasks` files of v1 hierarchies.
    pub(crate) tasks: bool,
    /// Into some of them only when the limits are set, unless a cgroup namespace is to begin where it is.
    pub(crate) late: bool,
    /// systemd moves it while it waits.
    pub(crate) attach: bool,
}

/// What the launch opens and hands over to the init; a [`Slot`] is an index into the plan's list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A detached copy of a directory tree or file of the host.
    Tree { path: String, recursive: bool, nofollow: bool, what: TreeOf, idmap: Option<IdMapped>, field: String },
    /// A device node for a user namespace, as a detached mount.
    Device(DeviceNode),
    /// A verified handle on procfs.
    Proc,
    /// A file system that is put together while the init is at work (see [`Assembly`]).
    Assembly,
    /// A namespace.
    Namespace { path: String, kind: NamespaceType, field: String },
    /// A user namespace whose mappings an idmapped mount takes.
    IdMap { maps: MountMaps, field: String },
    /// The socket that takes the terminal's master.
    ConsoleSocket,
    /// The FIFO that `start` writes.
    StartFifo,
    /// The pidfd of the container's init, for `exec`.
    InitPidfd,
    /// The root directory of the container's init, for `exec` where no mount namespace leads there.
    InitRoot,
}

/// Id maps for a mount. They are set by the runtime: its rights over the file system are needed, not those of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMapped {
    pub(crate) maps: MountMaps,
    pub(crate) recursive: bool,
}

/// A mount that only the init can make, and only the runtime can map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedMount {
    /// The operation that makes it, by index.
    pub(crate) op: usize,
    pub(crate) idmap: IdMapped,
    pub(crate) path: String,
    pub(crate) field: String,
}

/// Where the maps of an idmapped mount come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountMaps {
    /// They are given.
    Given(IdMaps),
    /// They are those of the existing user namespace at this path, which the container joins.
    Joined { path: String, field: String },
}

/// A device of the config, for a user namespace; ids are the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceNode {
    pub(crate) path: String,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// What the config says of permissions and owner.
    pub(crate) file_mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// The container's root, who owns what the config gives to nobody.
    pub(crate) root: (Option<u32>, Option<u32>),
    pub(crate) field: String,
}

/// What a [`Resource::Tree`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeOf {
    Rootfs,
    Bind,
    Null,
}

/// A container's creation (or an exec), ready to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Namespace flags for clone3(2).
    pub(crate) clone_flags: u64,
    /// What the init does.
    pub(crate) program: Program,
    /// What is opened for it, by slot.
    pub(crate) resources: Vec<Resource>,
    /// Those of them that are handed over at once.
    pub(crate) handed: Vec<Slot>,
    /// What is put together after that, and handed over one by one.
    pub(crate) assemblies: Vec<Assembly>,
    /// The mounts whose ids the runtime maps while the init waits.
    pub(crate) mapped_mounts: Vec<MappedMount>,
    /// Whether the init enters some hierarchies of v1 only after its mounts.
    pub(crate) joins_late: bool,
    /// The id maps of a new user namespace.
    pub(crate) id_maps: Option<IdMaps>,
    /// The first fd that the command does not inherit.
    pub(crate) first_private_fd: u32,
    /// Whether the init sets its affinity, whatever it has been started with.
    pub(crate) sets_affinity: bool,
    /// The init's `oom_score_adj`, which the runtime writes before it hands anything over, and the field behind it.
    pub(crate) oom_score_adj: Option<(i32, String)>,
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
    /// Whether the init says that all is set up before it goes on to its command; a hook does not.
    pub(crate) fn says_ready(&self) -> bool {
        self.program.ops.iter().any(|record| matches!(record.op, Op::Sync { phase: Phase::Ready }))
    }
}

/// A value that the runtime itself writes to a file of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostWrite {
    pub(crate) file: String,
    pub(crate) value: String,
    /// The JSON pointer behind it.
    pub(crate) field: String,
}

/// The id maps of a new user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

/// A plan in the making.
struct Builder<'b> {
    config: &'b Config<'b>,
    options: &'b PlanOptions<'b>,
    plan: Plan,
    proc: Option<Slot>,
    /// A pid namespace with other processes in it is joined: it takes effect with a fork, once all is set up.
    joins_pid: bool,
    /// The directories that are new and empty tmpfs mounts.
    empty: Vec<String>,
    /// Mounts that become read-only once all is in place, by index and path.
    late_readonly: Vec<(usize, String)>,
}

impl Builder<'_> {
    fn slot(&mut self, resource: Resource) -> Slot {
        self.plan.resources.push(resource);
        Slot(u32::try_from(self.plan.resources.len() - 1).unwrap_or(u32::MAX))
    }

    /// The plan, once all that it opens is known.
    fn finish(mut self) -> Plan {
        let plan = &mut self.plan;
        let all = 0..u32::try_from(plan.resources.len()).unwrap_or(u32::MAX);
        let later = |slot: &Slot| plan.assemblies.iter().any(|one| one.slot == *slot || one.lent.contains(slot));
        plan.handed = all.map(Slot).filter(|slot| !later(slot)).collect();
        let slots = plan.program.list(&plan.handed);
        for record in &mut plan.program.ops {
            if let Op::Receive { slots: handed } = &mut record.op {
                *handed = slots;
            }
        }
        self.plan
    }

    /// The private procfs handle, opened once.
    fn proc(&mut self) -> Slot {
        match self.proc {
            Some(slot) => slot,
            None => {
                let slot = self.slot(Resource::Proc);
                self.proc = Some(slot);
                slot
            }
        }
    }

    fn push_keyring(&mut self) {
        if !self.options.no_new_keyring {
            // Without a name: by name the kernel would look for one that there is, and a container could have put one in the way.
            self.push(Op::NewKeyring);
        }
    }

    fn push(&mut self, op: Op) {
        self.plan.program.push(Str::NONE, op);
    }

    fn push_from(&mut self, field: std::fmt::Arguments<'_>, op: Op) {
        let field = self.plan.program.format(field);
        self.plan.program.push(field, op);
    }

    /// A new namespace of this kind is made for the container, as opposed to a joined one or the caller's.
    fn is_new(&self, kind: NamespaceType) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }

    fn namespace(&self, kind: NamespaceType) -> Option<&crate::config::Namespace<'_>> {
        self.config.linux.as_ref()?.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// The container has a mount namespace, new or joined, and not the caller's.
    fn has_mount_namespace(&self) -> bool {
        self.namespace(NamespaceType::Mount).is_some()
    }

    /// The container has a user namespace, new or joined.
    fn in_userns(&self) -> bool {
        self.namespace(NamespaceType::User).is_some()
    }

    fn field_error(&self, field: impl Into<String>, detail: impl Into<String>) -> Error {
        Error::config(field, detail)
    }
}

/// Plans the creation of a container.
///
/// # Errors
/// [`crate::Kind::InvalidConfig`] or [`crate::Kind::Unsupported`] with the field, when the config asks for what cannot be.
pub(crate) fn plan(
    config: &Config<'_>,
    options: &PlanOptions<'_>,
    filter: Option<&orlop_seccomp::Filter>,
) -> Result<Plan> {
    let mut builder = Builder {
        config,
        options,
        plan: Plan { program: Program::with_capacity(16 * 1024), ..Plan::default() },
        proc: None,
        joins_pid: false,
        empty: Vec::new(),
        late_readonly: Vec::new(),
    };
    builder.plan.first_private_fd = 3 + options.listen_fds + options.preserve_fds;
    builder.plan_namespaces()?;
    builder.plan_rootfs()?;
    builder.plan_process(filter)?;
    builder.plan_assemblies();
    Ok(builder.finish())
}

/// The hooks that run between the mounts and the change of root, for which the init waits.
fn has_early_hooks(config: &Config<'_>) -> bool {
    config.hooks.as_ref().is_some_and(|hooks| {
        !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.create_container.is_empty())
    })
}

impl Builder<'_> {
    /// Whether the runtime runs hooks, or moves network devices, between the mounts and the change of root.
    fn stops_for_hooks(&self) -> bool {
        let devices = self.config.linux.as_ref().is_some_and(|linux| !linux.net_devices.is_empty());
        has_early_hooks(self.config) || devices
    }

    /// A point at which the parent runs hooks.
    fn plan_hooks(&mut self) {
        if self.stops_for_hooks() {
            self.push(Op::Sync { phase: Phase::Namespaces });
        }
    }
}
