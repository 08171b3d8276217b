//! What all operations share: where state lives and who manages control groups.

use std::path::PathBuf;

use crate::base::id::ContainerId;

/// Who makes a container's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupDriver {
    /// The runtime makes directories in the cgroup file systems.
    #[default]
    Cgroupfs,
    /// systemd makes a transient scope (runc's `--systemd-cgroup`).
    Systemd,
    /// Nobody: the container stays in its caller's (crun's `--cgroup-manager=disabled`). A config with limits is refused.
    Disabled,
}

/// Where containers are kept and how they are made; every verb takes it.
///
/// ```
/// let runtime = orlop::Runtime { root: "/run/my-engine".into(), ..orlop::Runtime::default() };
/// assert_eq!(runtime.cgroup_driver, orlop::CgroupDriver::Cgroupfs);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The directory that holds one directory per container; made with mode 0700 on first use.
    pub root: PathBuf,
    /// Who makes control groups.
    pub cgroup_driver: CgroupDriver,
    /// Whether to make do without control groups where they cannot be made: `None` finds out (whoever is not root on the host, see
    /// [`Rights::rules_the_host`](crate::Rights::rules_the_host)).
    pub rootless: Option<bool>,
}

impl Runtime {
    /// The directory that holds the state of the container `id`.
    #[must_use]
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }
}

impl Default for Runtime {
    /// `/run/orlop` for root; `$XDG_RUNTIME_DIR/orlop` for others, and for an ordinary user who is root of a user namespace.
    fn default() -> Self {
        let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let root = match xdg {
            Some(dir) if is_users_own() => PathBuf::from(dir).join("orlop"),
            _ => PathBuf::from("/run/orlop"),
        };
        Self { root, cgroup_driver: CgroupDriver::Cgroupfs, rootless: None }
    }
}

/// Whether $XDG_RUNTIME_DIR is where this caller keeps things. Root of a user namespace may have come with the environment of root on the host,
/// and says so in USER, by which runc tells it too.
fn is_users_own() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    !is_root
        || (std::env::var_os("USER").is_none_or(|user| user != "root")
            && !crate::base::Rights::of_this_process().initial_user_namespace)
}
