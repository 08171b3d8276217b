//! The summary that `state` and `list` show: the few fields of the state file that they need. All others are skipped.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::files::{EXEC_FIFO, STATE_FILE, has_file, read_into};
use super::record::{InitProcess, Phase};
use super::store::{Entry, Store};
use super::wire::Wire;
use crate::base::sys::{self, ResolveFlags};
use crate::base::{ContainerId, Error, Result, Step};

/// A container as it is described to others.
#[derive(Debug)]
pub(crate) struct Brief<'s> {
    root: BorrowedFd<'s>,
    /// What it was read from, the state file or its directory; both were made by the container's owner.
    source: OwnedFd,
    id: ContainerId,
    /// How far `create` came.
    pub(crate) phase: Phase,
    /// The `ociVersion` of the config.
    pub(crate) oci_version: String,
    /// The absolute path of the bundle.
    pub(crate) bundle: String,
    /// The absolute path of the root file system.
    pub(crate) rootfs: String,
    /// When it was created, in RFC 3339.
    pub(crate) created: String,
    /// The config's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The container's first process; `None` in an intent.
    pub(crate) init: Option<InitProcess>,
    /// Whether its init waits, or waited, for `start`.
    waits: bool,
    /// Only the paths by which one sees whether it is frozen.
    pub(crate) cgroup: Option<orlop_cgroups::Record>,
}

/// What of the control groups says whether they are frozen.
#[derive(Deserialize, Default)]
struct Cgroup {
    #[serde(default)]
    paths: Paths,
}

#[derive(Deserialize, Default)]
struct Paths {
    #[serde(default)]
    freezer: Option<String>,
    #[serde(default, rename = "")]
    unified: Option<String>,
}

impl Store {
    /// Reads a summary of the container `id`. `buffer` is scratch space, reusable across calls.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub(crate) fn brief(&self, id: &ContainerId, buffer: &mut Vec<u8>) -> Result<Brief<'_>> {
        let mut read = || -> Option<Brief<'_>> {
            let path = CString::new(format!("{id}/{STATE_FILE}")).ok()?;
            // No id is `..` or has a slash, so that without links there is no way out.
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
            let file = sys::openat2(self.root.as_fd(), &path, flags, ResolveFlags::NO_SYMLINKS).ok()?;
            let mut file = File::from(file);
            let wire = Wire::read(read_into(&mut file, buffer).ok()?, id).ok()?;
            Some(self.brief_of_wire(id, wire, file.into()))
        };
        // What is missing or wrong is told by the one who reads it all.
        read().map_or_else(|| self.load(id).map(|entry| self.brief_of_entry(entry)), Ok)
    }

    fn brief_of_wire(&self, id: &ContainerId, wire: Wire<Cgroup, IgnoredAny>, source: OwnedFd) -> Brief<'_> {
        let init = wire.init();
        let cgroup = wire.cgroup.map(|cgroup| {
            let v1 = cgroup.paths.freezer.map(|path| ("freezer".to_owned(), path)).into_iter().collect();
            let paths = orlop_cgroups::Paths { v1, unified: cgroup.paths.unified };
            orlop_cgroups::Record { paths, ..orlop_cgroups::Record::default() }
        });
        Brief {
            root: self.root.as_fd(),
            source,
            id: id.clone(),
            waits: !wire.at_once,
            phase: wire.phase,
            oci_version: wire.oci_version,
            bundle: wire.bundle,
            rootfs: wire.rootfs,
            created: wire.created,
            annotations: wire.annotations,
            init,
            cgroup,
        }
    }

    fn brief_of_entry(&self, entry: Entry) -> Brief<'_> {
        let Entry { dir, id, record } = entry;
        Brief {
            root: self.root.as_fd(),
            source: dir,
            id,
            waits: !record.at_once,
            phase: record.phase,
            oci_version: record.oci_version,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            init: record.init,
            cgroup: record.cgroup,
        }
    }
}

impl Brief<'_> {
    /// The container's id.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The uid that owns the container.
    pub(crate) fn owner(&self) -> Result<u32> {
        fstat(&self.source)
            .map(|stat| stat.st_uid)
            .map_err(|errno| Error::os(Step::ReadState, errno as i32).with_object(self.id.as_str()))
    }

    /// Whether the FIFO of a container that was not started is there.
    pub(crate) fn has_exec_fifo(&self) -> Result<bool> {
        Ok(self.waits && has_file(self.root, &format!("{}/{EXEC_FIFO}", self.id), &self.id)?)
    }
}
