//! The order in which a root filesystem is built.

use std::path::Path;

use orlop_init::wire::{Attr, Op, Slot, Str};

use super::builder::{Builder, has_early_hooks};
use super::mounts::{MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, attr, propagation_attr};
use super::resources::{Resource, TreeOf};
use crate::base::Result;
use crate::config::paths::clean;
use crate::config::{NamespaceType, Propagation, sysctl_file};

impl Builder<'_> {
    pub(super) fn plan_rootfs(&mut self) -> Result<()> {
        if !self.joins_pid {
            self.lead_session();
        }
        self.push_keyring();
        if self.has_mount_namespace() {
            // Before anything is attached: nothing that is mounted from here on may reach the host.
            self.push(Op::Propagation { flags: MS_SLAVE | MS_REC });
        }
        self.plan_root_mount();
        self.plan_mounts()?;
        self.plan_cwd_directory();
        if self.sets_up_dev() {
            self.plan_devices();
        }
        self.plan_console();
        // Hooks find it in all of its cgroups.
        let early = self.stops_for_hooks();
        self.plan_late_join(early);
        self.plan_hooks();
        self.plan_late_readonly();
        self.plan_protected_paths();
        self.plan_sysctls();
        if self.options.no_pivot && self.has_mount_namespace() {
            for path in self.options.revealing {
                let path = self.plan.program.str(path);
                self.push(Op::Detach { path });
            }
        }
        self.push(if self.options.no_pivot || !self.has_mount_namespace() {
            let moved = self.has_mount_namespace() && has_early_hooks(self.config);
            Op::MoveRoot { moved: u32::from(moved) }
        } else {
            Op::Pivot
        });
        self.plan_root_propagation();
        self.plan_late_join(!early);
        Ok(())
    }

    /// Plans to enter what the runtime settles last, if this is the place for it. Nothing comes late where a cgroup namespace begins
    /// with what its process is in by then, or where the init waits for id maps before: its answers come by the same socket.
    fn plan_late_join(&mut self, here: bool) {
        if here && self.options.join.late && !self.is_new(NamespaceType::Cgroup) && !self.in_userns() {
            self.plan.joins_late = true;
            self.push(Op::JoinLate);
        }
    }

    /// The root goes on top of the namespace's root, wherever no hook needs to find it under its own path.
    fn plan_root_mount(&mut self) {
        let path = self.root_path();
        // What the caller gives is in no field of the config.
        let field = if self.options.root.is_some() { "" } else { "/root/path" };
        let mut attrs = Vec::new();
        let at_own_path = has_early_hooks(self.config);
        let text = self.plan.program.str(&path);
        let tree = if self.options.host.rootless {
            Slot::NONE
        } else {
            // Opened in the host's namespace, the copy is a peer of the host's mount: it must not stay one.
            attrs.push(propagation_attr(Propagation::Rslave));
            self.slot(Resource::Tree {
                path,
                recursive: true,
                nofollow: false,
                what: TreeOf::Rootfs,
                idmap: None,
                field: field.into(),
            })
        };
        let attrs = self.plan.program.list(&attrs);
        // In the caller's mount namespace nothing is mounted at all: the tree is built and entered detached.
        let at = match (self.has_mount_namespace(), at_own_path) {
            (false, _) => Str::NONE,
            (true, true) => text,
            (true, false) => self.plan.program.str("/"),
        };
        self.push_from(format_args!("{field}"), Op::Rootfs { tree, path: text, at, attrs });
    }

    /// The root file system's directory on the host.
    pub(super) fn root_path(&self) -> String {
        let root = self.options.root.unwrap_or(Path::new(self.config.root.path.as_str()));
        self.options.bundle.join(root).to_string_lossy().into_owned()
    }

    fn plan_cwd_directory(&mut self) {
        let Some(process) = &self.config.process else { return };
        let cwd = clean(&process.cwd);
        if cwd != "/" {
            let path = self.plan.program.str(cwd);
            self.push_from(format_args!("/process/cwd"), Op::MakeDir { path, mode: 0o755 });
        }
    }

    fn plan_late_readonly(&mut self) {
        for (index, target) in std::mem::take(&mut self.late_readonly) {
            let op = self.readonly_op(&target);
            self.push_from(format_args!("/mounts/{index}/options"), op);
        }
        if self.config.root.readonly {
            let op = self.readonly_op("/");
            self.push_from(format_args!("/root/readonly"), op);
        }
    }

    fn readonly_op(&mut self, target: &str) -> Op {
        let set = Attr { set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 };
        let target = self.plan.program.str(target);
        Op::SetAttr { target, attrs: self.plan.program.list(&[set]), flags: 0 }
    }

    fn plan_protected_paths(&mut self) {
        let config = self.config;
        let Some(linux) = &config.linux else { return };
        if !linux.masked_paths.is_empty() {
            let null = self.null_tree();
            let mut masked = std::collections::BTreeSet::new();
            for (index, path) in linux.masked_paths.iter().enumerate() {
                // Named twice, it would be covered twice.
                if !masked.insert(clean(path)) {
                    continue;
                }
                let path = self.absolute(path);
                self.push_from(format_args!("/linux/maskedPaths/{index}"), Op::Mask { path, null });
            }
        }
        for (index, path) in linux.readonly_paths.iter().enumerate() {
            let path = self.absolute(path);
            self.push_from(format_args!("/linux/readonlyPaths/{index}"), Op::Readonly { path });
        }
    }

    /// A path that may lack the slash it should begin with.
    fn absolute(&mut self, path: &str) -> Str {
        if path.starts_with('/') {
            self.plan.program.str(path)
        } else {
            self.plan.program.format(format_args!("/{path}"))
        }
    }

    fn null_tree(&mut self) -> Slot {
        if self.options.host.rootless {
            return Slot::NONE;
        }
        self.slot(Resource::Tree {
            path: "/dev/null".into(),
            recursive: false,
            nofollow: true,
            what: TreeOf::Null,
            idmap: None,
            field: String::new(),
        })
    }

    fn plan_sysctls(&mut self) {
        let config = self.config;
        let Some(linux) = &config.linux else { return };
        if !linux.sysctl.is_empty() {
            let proc = self.proc();
            for (name, value) in linux.sysctl.iter() {
                // The check has refused what names no file.
                let Some(file) = sysctl_file(name) else { continue };
                let path = self.plan.program.format(format_args!("sys/{file}"));
                let data = self.plan.program.str(value.as_str());
                let what = orlop_init::wire::ProcFile::Sysctl;
                let pointer = name.replace('~', "~0").replace('/', "~1");
                self.push_from(format_args!("/linux/sysctl/{pointer}"), Op::WriteProc { proc, path, data, what });
            }
        }
        if let Some(hostname) = &config.hostname {
            let name = self.plan.program.str(hostname.as_str());
            self.push_from(format_args!("/hostname"), Op::Hostname { name });
        }
        if let Some(domainname) = &config.domainname {
            let name = self.plan.program.str(domainname.as_str());
            self.push_from(format_args!("/domainname"), Op::Domainname { name });
        }
    }

    fn plan_root_propagation(&mut self) {
        let Some(propagation) = self.config.linux.as_ref().and_then(|linux| linux.rootfs_propagation) else { return };
        if !self.has_mount_namespace() {
            return;
        }
        let attr = propagation_attr(propagation);
        if attr.propagation == MS_SLAVE {
            return;
        }
        if attr.propagation == MS_SHARED {
            // It stopped being a peer of the host's mount by becoming its slave. A root that is shared is the container's own.
            let cut = Op::RootPropagation { flags: MS_PRIVATE, recursive: 0 };
            self.push_from(format_args!("/linux/rootfsPropagation"), cut);
        }
        let op = Op::RootPropagation { flags: attr.propagation, recursive: attr.recursive };
        self.push_from(format_args!("/linux/rootfsPropagation"), op);
    }

    fn plan_console(&mut self) {
        let Some(process) = self.config.process.as_ref().filter(|process| process.terminal) else { return };
        let size = self.options.terminal_size.or(process.console_size);
        let (rows, cols) = size.map_or((0, 0), |size| (size.height, size.width));
        let uid = process.user.uid;
        let socket = self.slot(Resource::ConsoleSocket);
        let plain_lines = u16::from(self.options.plain_lines);
        let op = Op::Console { socket, rows, cols, bind: 1, plain_lines, uid };
        self.push_from(format_args!("/process/terminal"), op);
    }
}
