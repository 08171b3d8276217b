//! Mounts of type `cgroup`: the one kind whose meaning depends on the host's layout.

use orlop_init::wire::{Attr, Op, RECURSIVE, Slot};

use super::builder::Builder;
use super::mounts::{MS_REC, MS_SLAVE, attr, propagation_attr};
use super::options::{CgroupMounts, Hierarchy};
use super::resources::{Resource, TreeOf};
use crate::base::Result;
use crate::config::mount_options::MountOptions;
use crate::config::{NamespaceType, Propagation};

/// When the tree that is bound is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// By the runtime, before anything is mounted.
    Ahead,
    /// By the init, among the mounts: so it is listed where a mount of its own would be.
    InTurn,
}

impl Builder<'_> {
    pub(super) fn plan_cgroup_mount(&mut self, index: usize, options: &MountOptions<'_>, target: &str) -> Result<()> {
        self.check_cgroup_data(index, options)?;
        let options_set = self.options;
        match &options_set.cgroups {
            CgroupMounts::Unused => {}
            CgroupMounts::Unified { own, .. } if self.binds_own_unified() => {
                self.bind_cgroup(index, own, target, options, Taken::Ahead);
            }
            CgroupMounts::Unified { whole, .. } if self.binds_whole_unified(options) => {
                self.bind_cgroup(index, whole, target, options, Taken::InTurn);
            }
            CgroupMounts::Unified { .. } => self.mount_cgroup(index, "cgroup2", &[], target, options),
            CgroupMounts::Separate(hierarchies) => self.plan_separate(index, hierarchies, target, options),
        }
        Ok(())
    }

    /// A mount of the unified hierarchy shows the cgroup namespace of who mounts it, and takes rights over that namespace: a user namespace
    /// without a cgroup namespace of its own, be it the container's or the caller's, has none (cgroup_namespaces(7)).
    fn binds_own_unified(&self) -> bool {
        let foreign = self.in_userns() || !self.options.host.initial_user_namespace;
        foreign && self.namespace(NamespaceType::Cgroup).is_none()
    }

    /// A mount from the host's cgroup namespace sets the options of the hierarchy for the whole host: one without options takes away
    /// `nsdelegate`, and waits for a grace period of RCU. Where none are asked for, the host's own mount is shown.
    fn binds_whole_unified(&self, options: &MountOptions<'_>) -> bool {
        self.namespace(NamespaceType::Cgroup).is_none() && options.data.is_empty()
    }

    /// Options of a file system go to the unified hierarchy where one is mounted anew. One that is bound keeps its own, and so does each of
    /// v1, whose options say what it is.
    fn check_cgroup_data(&mut self, index: usize, options: &MountOptions<'_>) -> Result<()> {
        let Some((option, text)) = options.data.first() else { return Ok(()) };
        let own_namespace = self.namespace(NamespaceType::Cgroup).is_some();
        let acts = match &self.options.cgroups {
            CgroupMounts::Unused => true,
            CgroupMounts::Unified { .. } => !self.binds_own_unified(),
            CgroupMounts::Separate(hierarchies) => {
                own_namespace && hierarchies.iter().any(|one| one.options.is_empty())
            }
        };
        if !acts {
            let field = format!("/mounts/{index}/options/{option}");
            let detail = format!("{text:?} has no effect: no unified hierarchy is mounted anew for this container");
            return Err(self.field_error(field, detail));
        }
        if own_namespace {
            self.plan.warnings.push(format!(
                "config /mounts/{index}/options/{option}: the kernel takes {text:?} from the host's cgroup namespace only, and leaves the hierarchy as it is"
            ));
        }
        Ok(())
    }

    fn plan_separate(&mut self, index: usize, hierarchies: &[Hierarchy], target: &str, options: &MountOptions<'_>) {
        let params = [self.param("mode", Some("755"))];
        let program = &mut self.plan.program;
        let params = program.list(&params);
        let after = program.list(&[]);
        let op = Op::Mount {
            target: program.str(target),
            fstype: program.str("tmpfs"),
            source: program.str("tmpfs"),
            params,
            attr: super::mounts::attributes(options.flags) & !attr::RDONLY,
            flags: 0,
            after,
        };
        self.push_from(format_args!("/mounts/{index}"), op);
        self.empty.push(target.to_owned());
        // A cgroup namespace shows the container its own subtree; without one that subtree is bound.
        let own_namespace = self.namespace(NamespaceType::Cgroup).is_some();
        for hierarchy in hierarchies {
            let below = format!("{target}/{}", hierarchy.name);
            match (own_namespace, hierarchy.options.is_empty()) {
                (true, true) => self.mount_cgroup(index, "cgroup2", &[], &below, options),
                (true, false) => self.mount_cgroup(index, "cgroup", &hierarchy.options, &below, options),
                (false, _) => self.bind_cgroup(index, &hierarchy.path, &below, options, Taken::Ahead),
            }
            for link in &hierarchy.links {
                let path = self.plan.program.format(format_args!("{target}/{link}"));
                let to = self.plan.program.str(&hierarchy.name);
                self.push_from(format_args!("/mounts/{index}"), Op::Symlink { path, target: to, replace: 0 });
            }
        }
        if options.flags & attr::RDONLY != 0 && !self.has_mount_namespace() {
            self.plan.warnings.push(format!(
                "config /mounts/{index}: the directory around the hierarchies stays writable in a container without a mount namespace; the hierarchies do not"
            ));
        } else if options.flags & attr::RDONLY != 0 {
            let set = Attr { set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 };
            let attrs = self.plan.program.list(&[set]);
            let target = self.plan.program.str(target);
            self.push_from(format_args!("/mounts/{index}"), Op::SetAttr { target, attrs, flags: 0 });
        }
    }

    fn mount_cgroup(
        &mut self,
        index: usize,
        kind: &str,
        controllers: &[String],
        target: &str,
        options: &MountOptions<'_>,
    ) {
        let mut params = Vec::new();
        for controller in controllers {
            match controller.split_once('=') {
                Some((key, value)) => params.push(self.param(key, Some(value))),
                None => params.push(self.param(controller, None)),
            }
        }
        if kind == "cgroup2" {
            for (_, option) in &options.data {
                let (key, value) = option.split_once('=').map_or((*option, None), |(key, value)| (key, Some(value)));
                params.push(self.param(key, value));
            }
        }
        let flags = self.make_first(target);
        let after: Vec<Attr> = options.propagation.iter().map(|propagation| propagation_attr(*propagation)).collect();
        let program = &mut self.plan.program;
        let params = program.list(&params);
        let after = program.list(&after);
        let op = Op::Mount {
            target: program.str(target),
            fstype: program.str(kind),
            source: program.str("cgroup"),
            params,
            attr: super::mounts::attributes(options.flags),
            flags,
            after,
        };
        self.push_from(format_args!("/mounts/{index}"), op);
    }

    /// As writable as the mount says, CVE-2023-25809 being a bind of the host's hierarchy that kept no `ro`, and no peer of the host's mount
    /// whatever propagation is asked for.
    fn bind_cgroup(&mut self, index: usize, path: &str, target: &str, options: &MountOptions<'_>, taken: Taken) {
        let recursive = options.flags & MS_REC != 0;
        let source = self.plan.program.str(path);
        let tree = if self.options.host.rootless || taken == Taken::InTurn {
            Slot::NONE
        } else {
            self.slot(Resource::Tree {
                path: path.to_owned(),
                recursive,
                nofollow: true,
                what: TreeOf::Bind,
                idmap: None,
                field: format!("/mounts/{index}"),
            })
        };
        let set = super::mounts::attributes(options.flags);
        let own = Attr { set, clear: 0, propagation: MS_SLAVE, userns: Slot::NONE, recursive: 0 };
        let below = recursive.then(|| propagation_attr(Propagation::Rslave));
        let asked = options.propagation.iter().map(|propagation| propagation_attr(*propagation));
        let attrs: Vec<Attr> = std::iter::once(own).chain(below).chain(asked).collect();
        let attrs = self.plan.program.list(&attrs);
        let flags = self.make_first(target) | if recursive { RECURSIVE } else { 0 };
        let target = self.plan.program.str(target);
        self.push_from(format_args!("/mounts/{index}"), Op::Bind { tree, source, target, flags, attrs });
    }
}
