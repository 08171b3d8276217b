//! An image's config as a runtime-spec config, in a bundle that `orlop` and every other OCI runtime can run.
//!
//! What a container gets is what Docker gives it: its default capabilities, seccomp profile, masked paths, mounts and
//! devices, with a control group namespace of its own always. What the image says is data: nothing of it is believed to be
//! well-formed, and files of its root file system are read through [`Root`] only, which follows no link out of it.

mod capability;
mod config;
mod files;
mod mount;
mod options;
mod seccomp;
mod user;
mod value;
mod volumes;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use config::{MOUNT_POINTS, write};
pub use mount::{Mount, What};
pub use options::{ContainerOptions, Device, Seccomp, Security};
pub use seccomp::default_profile;
pub use user::{ReadFile, User, look_up};

use crate::base::{Dir, Result};
use crate::snapshot::Snapshot;
use crate::userns::IdMaps;

/// The root file system of the container to be, as far as a config depends on what is in it.
pub trait Root {
    /// The contents of the regular file `path`; `None` if there is none. Links are followed within the root. A file of more
    /// than `limit` bytes is an error.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Makes the directory `path` and those above it where they are missing.
    fn make_directory(&self, path: &str) -> Result<()>;
    /// Copies what is in the directory `path` into the empty directory `to`; `false` if there is no such directory.
    fn copy_directory(&self, path: &str, to: &Dir) -> Result<bool>;
}

impl Root for Snapshot {
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Self::read(self, path, limit)
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        Self::make_directory(self, path)
    }

    fn copy_directory(&self, path: &str, to: &Dir) -> Result<bool> {
        Self::copy_directory(self, path, to)
    }
}

/// The network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own, in which there is nothing but `lo`.
    #[default]
    New,
    /// One that is made for it alone, and is found at this path by the time the container is.
    Made(PathBuf),
    /// That of the host.
    Host,
    /// That of another container.
    Shared {
        /// Its first process.
        pid: i32,
        /// Its bundle, whose names and name servers are this one's too.
        bundle: PathBuf,
    },
}

/// Where a bundle is made, and of what.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The container's name.
    pub name: &'a str,
    /// The directory of the bundle. It gets config.json, hosts, hostname and resolv.conf.
    pub dir: &'a Dir,
    /// Where volumes with names are.
    pub volumes: &'a Dir,
    /// The directory of the root file system.
    pub root: &'a Path,
    /// What is mounted on `/`, where the runtime is to do that.
    pub root_mount: Option<&'a serde_json::Value>,
    /// What is in the root file system.
    pub files: &'a dyn Root,
    /// Its network.
    pub network: &'a Network,
    /// The container's own address, for its name in /etc/hosts.
    pub address: Option<IpAddr>,
    /// The path of its control group; none for the runtime's choice.
    pub control_group: Option<&'a str>,
    /// Its user namespace, if it has one.
    pub ids: Option<&'a IdMaps>,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("name", &self.name).field("dir", &self.dir).finish_non_exhaustive()
    }
}
