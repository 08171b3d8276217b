//! What all operations share: where state lives and who manages control groups.

use std::path::PathBuf;

use super::id::ContainerId;
use super::options::options;

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

options! {
    /// Where containers are kept and how they are made; every verb takes it.
    ///
    /// ```
    /// let runtime = orlop::Runtime::new("/run/my-engine").cgroup_driver(orlop::CgroupDriver::Systemd);
    /// assert_eq!(runtime.rootless, None);
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
        /// The limit of open files (soft, hard) that processes of containers begin with where their config names none, and hooks and
        /// CRIU with: the caller's own, or what a caller that has raised its own began with.
        pub open_files: Option<(u64, u64)>,
    }
}

impl Runtime {
    /// The runtime whose containers are kept in `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), cgroup_driver: CgroupDriver::Cgroupfs, rootless: None, open_files: None }
    }

    /// The runtime whose containers are kept where the program `orlop` keeps them: in `/run/orlop` for root, in
    /// `$XDG_RUNTIME_DIR/orlop` for others, and for an ordinary user who is root of a user namespace.
    #[must_use]
    pub fn from_environment() -> Self {
        let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        match xdg {
            Some(dir) if is_users_own() => Self::new(PathBuf::from(dir).join("orlop")),
            _ => Self::new("/run/orlop"),
        }
    }

    /// The directory that holds the state of the container `id`.
    #[must_use]
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }
}

/// Whether $XDG_RUNTIME_DIR is where this caller keeps things. Root of a user namespace may have come with the environment of root on the host,
/// and says so in USER, by which runc tells it too.
fn is_users_own() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    !is_root
        || (std::env::var_os("USER").is_none_or(|user| user != "root")
            && !crate::base::rights::Rights::of_this_process().initial_user_namespace)
}
