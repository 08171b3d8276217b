//! The options of `checkpoint` and `restore` that concern CRIU.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::options;

/// How CRIU deals with the control groups of the processes (its `--manage-cgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupMode {
    /// Save them; on restore, set the properties of those that are not there yet.
    #[default]
    Soft,
    /// Set the properties of all.
    Full,
    /// Fail where one is there already.
    Strict,
    /// Leave them alone: the way to restore into other control groups.
    Ignore,
}

/// How CRIU keeps packets of TCP connections away while it works on them (its `--network-lock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    /// By iptables-restore(8).
    Iptables,
    /// By libnftables.
    Nftables,
    /// Not at all.
    Skip,
}

options! {
    /// What `checkpoint` and `restore` have in common.
    #[derive(Debug, Clone)]
    pub struct CriuOptions {
        /// The directory of the images. `checkpoint` makes it.
        pub image_path: PathBuf,
        /// The directory of CRIU's log and scratch files; `None`: that of the images.
        pub work_path: Option<PathBuf>,
        /// Save and restore established TCP connections.
        pub tcp_established: bool,
        /// Restore established TCP connections as closed ones.
        pub tcp_close: bool,
        /// Allow Unix sockets whose other end is outside.
        pub ext_unix_sk: bool,
        /// Allow processes that belong to a session of a terminal outside.
        pub shell_job: bool,
        /// Save and restore file locks.
        pub file_locks: bool,
        /// What becomes of control groups.
        pub cgroups: CgroupMode,
        /// How the network is held up; `None`: as CRIU does by itself.
        pub network_lock: Option<NetworkLock>,
        /// Deduplicate the images of memory.
        pub auto_dedup: bool,
        /// Leave memory where it is until it is used (userfaultfd(2)).
        pub lazy_pages: bool,
        /// How long CRIU may take.
        pub deadline: Duration,
    }
}

impl Default for CriuOptions {
    fn default() -> Self {
        Self {
            image_path: PathBuf::new(),
            work_path: None,
            tcp_established: false,
            tcp_close: false,
            ext_unix_sk: false,
            shell_job: false,
            file_locks: false,
            cgroups: CgroupMode::Soft,
            network_lock: None,
            auto_dedup: false,
            lazy_pages: false,
            deadline: Duration::from_secs(3600),
        }
    }
}
