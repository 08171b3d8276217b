//! What a plan takes besides the config.

use std::path::Path;

use orlop_init::wire::Rlimit;

/// What the plan takes besides the config.
#[derive(Debug)]
pub(crate) struct PlanOptions<'o> {
    /// The bundle directory, absolute.
    pub(crate) bundle: &'o Path,
    /// The root file system, absolute or relative to the bundle, in place of the config's.
    pub(crate) root: Option<&'o Path>,
    /// The command and its arguments, in place of the config's.
    pub(crate) args: Option<&'o [String]>,
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
    /// Those of a process that enters a container and brings nothing of its own: of a hook they are all.
    pub(crate) fn entering(bundle: &'o Path, host: Host) -> Self {
        Self {
            bundle,
            root: None,
            args: None,
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
    /// No right to mount: mounts are opened after the user namespace is entered.
    pub(crate) rootless: bool,
    /// The caller is in the user namespace that the host began with.
    pub(crate) initial_user_namespace: bool,
    /// The right to map any ids of the caller's own user namespace; without it newuidmap(1) does that.
    pub(crate) maps_ids: bool,
    /// The right to make device nodes; without it the host's are bound.
    pub(crate) makes_devices: bool,
    /// The right to change the scheduling of any process.
    pub(crate) schedules: bool,
    /// The caller's user namespace lets groups be set.
    pub(crate) sets_groups: bool,
    /// Control groups that cannot be made are done without.
    pub(crate) cgroups_optional: bool,
    /// AppArmor confines processes on this host.
    pub(crate) apparmor: bool,
    /// SELinux does.
    pub(crate) selinux: bool,
    /// The limit of open files, soft and hard, of a process whose config names none, where that is not the caller's own.
    pub(crate) open_files: Option<(u64, u64)>,
}

impl Host {
    /// The limit of open files of a process whose config names none.
    pub(super) fn open_files_limit(&self) -> Option<Rlimit> {
        let (soft, hard) = self.open_files?;
        let resource = u32::try_from(crate::config::Rlimit::Nofile.number()).unwrap_or(u32::MAX);
        Some(Rlimit { resource, pad: 0, soft, hard })
    }
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

/// What the host mounts where, as far as a container's cgroup mount shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum CgroupMounts {
    /// The config has no such mount.
    #[default]
    Unused,
    /// One unified hierarchy.
    Unified {
        /// The container's directory on the host.
        own: String,
        /// Where the host mounts it.
        whole: String,
    },
    /// Several hierarchies below one tmpfs.
    Separate(Vec<Hierarchy>),
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// The directory below the mount point: `cpu`, `systemd`, `unified`.
    pub(crate) name: String,
    /// What makes a mount of it: the controllers, or `name=systemd`; empty for the unified one.
    pub(crate) options: Vec<String>,
    /// The container's directory on the host.
    pub(crate) path: String,
    /// Other names under which the controllers are looked for (`cpu` for `cpu,cpuacct`).
    pub(crate) links: Vec<String>,
}
