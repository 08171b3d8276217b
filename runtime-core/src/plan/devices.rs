//! /dev: the devices every container has, those of the config, and the links that programs expect.

use orlop_init::wire::{Attr, Op, Slot};

use super::builder::Builder;
use super::mounts::attr::{NOEXEC, NOSUID};
use super::resources::{DeviceNode, Resource, TreeOf};
use crate::config::devices::DEFAULT_DEVICES;
use crate::config::mount_options::MountOptions;
use crate::config::paths::clean;
use crate::config::{Device, DeviceType, IdMapping, NamespaceType};

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

const PTMX: &str = "/dev/ptmx";

/// The host's id behind one of the container's.
fn host_id(mappings: &[IdMapping], id: u32) -> Option<u32> {
    let inside = |map: &&IdMapping| id.checked_sub(map.container_id).is_some_and(|offset| offset < map.size);
    mappings.iter().find(inside).map(|map| map.host_id + (id - map.container_id))
}

/// A node that is bound is there to be opened, whatever the host's mount lets programs do.
const BOUND: Attr = Attr { set: NOSUID | NOEXEC, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 };

const S_IFCHR: u32 = 0o020_000;

impl Builder<'_> {
    /// The container has a /dev of its own, unless the config binds one there.
    pub(super) fn sets_up_dev(&self) -> bool {
        !self.config.mounts.iter().any(|mount| {
            clean(&mount.destination) == "/dev"
                && (mount.kind.as_ref().is_some_and(|kind| *kind == "bind")
                    || MountOptions::parse(&mount.options).is_bind())
        })
    }

    pub(super) fn plan_devices(&mut self) {
        let config = self.config;
        let devices = config.linux.as_ref().map_or(&[][..], |linux| linux.devices.as_slice());
        // What is wrong with a default device is wrong with what it is made on.
        let below = config.mounts.iter().rposition(|mount| clean(&mount.destination) == "/dev");
        let below = below.map_or_else(|| "/root/path".to_owned(), |index| format!("/mounts/{index}"));
        for (path, major, minor) in DEFAULT_DEVICES {
            if !devices.iter().any(|device| clean(&device.path) == path) {
                self.push_device(path, &below, S_IFCHR | 0o666, (major, minor), (0, 0));
            }
        }
        // Whatever the image has in its place: the terminals are those of the container's own devpts.
        let own_terminals = config.mounts.iter().any(|mount| clean(&mount.destination) == "/dev/pts");
        for (index, device) in devices.iter().enumerate() {
            // `--privileged` lists all devices of the host. This one is what the link leads to; a node bound here would be in its way.
            if own_terminals && clean(&device.path) == PTMX {
                continue;
            }
            let mode = u32::try_from(device.kind.number()).unwrap_or(0) | device.file_mode.unwrap_or(0o666) & 0o7777;
            let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
            let field = format!("/linux/devices/{index}");
            match self.node(device, mode, &field) {
                Some(node) => self.push_node(node),
                None => self.push_device(&clean(&device.path), &field, mode, (device.major, device.minor), owner),
            }
        }
        if !config.process.as_ref().is_some_and(|process| process.terminal) {
            self.push(Op::StdioNull);
        }
        for (path, target) in LINKS {
            self.push_link(path, target, 0, &below);
        }
        if own_terminals {
            self.push_link(PTMX, "pts/ptmx", 1, &below);
        }
    }

    fn push_link(&mut self, path: &str, target: &str, replace: u32, field: &str) {
        let path = self.plan.program.str(path);
        let target = self.plan.program.str(target);
        self.push_from(format_args!("{field}"), Op::Symlink { path, target, replace });
    }

    /// The node of the config that the runtime makes, or takes from the host, for a new user namespace; `None` where the init does.
    /// In a namespace that is joined nobody knows here who is who.
    fn node(&self, device: &Device<'_>, mode: u32, field: &str) -> Option<DeviceNode> {
        let linux = self.config.linux.as_ref()?;
        let fifo = device.kind == DeviceType::Fifo;
        if !self.is_new(NamespaceType::User) || !self.options.host.makes_devices || fifo {
            return None;
        }
        let uid = |id| host_id(&linux.uid_mappings, id);
        let gid = |id| host_id(&linux.gid_mappings, id);
        let unmapped = |id: Option<u32>, host: Option<u32>| id.is_some() && host.is_none();
        if unmapped(device.uid, device.uid.and_then(uid)) || unmapped(device.gid, device.gid.and_then(gid)) {
            // Such an owner is nobody in the container, as the owner of the host's node is.
            return None;
        }
        Some(DeviceNode {
            path: clean(&device.path),
            mode,
            major: device.major,
            minor: device.minor,
            file_mode: device.file_mode,
            uid: device.uid.and_then(uid),
            gid: device.gid.and_then(gid),
            root: (uid(0), gid(0)),
            field: field.to_owned(),
        })
    }

    fn push_node(&mut self, node: DeviceNode) {
        let (text, field) = (self.plan.program.str(node.path.as_str()), node.field.clone());
        let tree = self.slot(Resource::Device(node));
        let attrs = self.plan.program.list(&[BOUND]);
        self.push_from(format_args!("{field}"), Op::Bind { tree, source: text, target: text, flags: 0, attrs });
    }

    /// In a user namespace, the config's or the caller's own, no nodes can be made: the host's node of the same path is bound instead.
    fn push_device(&mut self, path: &str, field: &str, mode: u32, number: (u32, u32), owner: (u32, u32)) {
        let text = self.plan.program.str(path);
        let fifo = mode & 0o170_000 == 0o010_000;
        if (self.in_userns() || !self.options.host.makes_devices) && !fifo {
            let tree = if self.options.host.rootless {
                Slot::NONE
            } else {
                let path = path.to_owned();
                // The host's node of a default device is no matter of the config's.
                let field = if field.starts_with("/linux/") { field.to_owned() } else { String::new() };
                self.slot(Resource::Tree {
                    path,
                    recursive: false,
                    nofollow: false,
                    what: TreeOf::Bind,
                    idmap: None,
                    field,
                })
            };
            let attrs = self.plan.program.list(&[BOUND]);
            let op = Op::Bind { tree, source: text, target: text, flags: 0, attrs };
            self.push_from(format_args!("{field}"), op);
            return;
        }
        let (major, minor) = number;
        let op = Op::Device { path: text, mode, major, minor, uid: owner.0, gid: owner.1 };
        self.push_from(format_args!("{field}"), op);
    }
}
