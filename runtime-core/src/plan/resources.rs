//! What the launch opens for the init, and what the runtime itself writes.

use crate::config::{IdMapping, NamespaceType};

/// What the launch opens and hands over to the init; a [`Slot`](orlop_init::wire::Slot) is an index into the plan's list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A detached copy of a directory tree or file of the host.
    Tree { path: String, recursive: bool, nofollow: bool, what: TreeOf, idmap: Option<IdMapped>, field: String },
    /// A device node for a user namespace, as a detached mount.
    Device(DeviceNode),
    /// A verified handle on procfs.
    Proc,
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
