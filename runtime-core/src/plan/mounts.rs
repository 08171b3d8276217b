//! The config's mounts as operations.

use orlop_init::wire::{
    Attr, BY_MOUNT, COPY_SYMLINK, COPY_UP, IF_ALLOWED, LABEL_ROOT, LONGEST_VALUE, MAKE_FIRST, NO_SYMLINK, ON_PROCFS,
    Op, Param, RECURSIVE, SOURCE_IN_ROOT, SOURCE_NOFOLLOW, Slot, Str, TAKE_MODE,
};

use super::builder::Builder;
use super::resources::{IdMapped, IdMaps, MappedMount, MountMaps, Resource, TreeOf};
use crate::base::{Error, Kind, Result, Step};
use crate::config::mount_options::MountOptions;
use crate::config::paths::clean;
use crate::config::{IdMapping, Mount, NamespaceType, Propagation};

/// `MS_*` of mount(2).
pub(super) const MS_REC: u64 = 1 << 14;
pub(super) const MS_SLAVE: u64 = 1 << 19;
pub(super) const MS_PRIVATE: u64 = 1 << 18;
pub(super) const MS_SHARED: u64 = 1 << 20;
const MS_PROPAGATION: u64 = (1 << 17) | MS_PRIVATE | MS_SLAVE | MS_SHARED;
const MS_RDONLY: u64 = 1;
const MS_REMOUNT: u64 = 1 << 5;
const MS_NODIRATIME: u64 = 1 << 11;
const MS_BIND: u64 = 1 << 12;

/// `MOUNT_ATTR_*` of mount_setattr(2).
pub(super) mod attr {
    pub(crate) const RDONLY: u64 = 0x01;
    pub(crate) const NOSUID: u64 = 0x02;
    pub(crate) const NOEXEC: u64 = 0x08;
    /// Read-only, nosuid, nodev and noexec.
    pub(crate) const RESTRICTIONS: u64 = 0x0f;
    pub(crate) const ATIME: u64 = 0x70;
    pub(crate) const NODIRATIME: u64 = 0x80;
    pub(crate) const NOSYMFOLLOW: u64 = 0x20_0000;
    pub(crate) const IDMAP: u64 = 0x0010_0000;
}

/// A flag of mount(2) and the attribute of a mount that it is now.
const PER_MOUNT: [(u64, u64); 9] = [
    (MS_RDONLY, attr::RDONLY),
    (2, 2),           // nosuid
    (4, 4),           // nodev
    (8, 8),           // noexec
    (256, 0x20_0000), // nosymfollow
    (1024, 0x10),     // noatime
    (2048, 0x80),     // nodiratime
    (1 << 21, 0),     // relatime, the default
    (1 << 24, 0x20),  // strictatime
];

/// Flags that belong to the file system, and the parameter that sets each.
const PER_FILESYSTEM: [(u64, &str); 5] =
    [(16, "sync"), (64, "mand"), (128, "dirsync"), (1 << 25, "lazytime"), (1 << 23, "iversion")];

const MS_ATIME: u64 = 1024 | (1 << 21) | (1 << 24);

/// The attributes that flags of mount(2) stand for.
pub(super) fn attributes(flags: u64) -> u64 {
    PER_MOUNT.iter().filter(|(flag, _)| flags & flag != 0).fold(0, |all, (_, attribute)| all | attribute)
}

/// The call that sets a propagation.
pub(super) fn propagation_attr(propagation: Propagation) -> Attr {
    let flags = propagation.number();
    Attr {
        set: 0,
        clear: 0,
        propagation: flags & MS_PROPAGATION,
        userns: Slot::NONE,
        recursive: u32::from(flags & MS_REC != 0),
    }
}

/// Where in the container a mount goes. Like runc, a destination that is written as the host sees it, below the root filesystem's
/// own directory, is taken for what it means.
fn target(root: &str, mount: &Mount<'_>) -> String {
    let target = clean(&mount.destination);
    below(root, &target).map(str::to_owned).unwrap_or(target)
}

/// `path` from `root`, if it is below it; both are clean.
fn below<'p>(root: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(root).filter(|rest| rest.starts_with('/'))
}

/// File systems that are made read-only only after all is mounted, since others are mounted or made in them.
fn is_written_later(kind: &str, target: &str) -> bool {
    kind == "tmpfs" || target == "/dev"
}

/// Whether the config names a place in /proc: what may go there has been checked by its name.
fn on_procfs(target: &str) -> u32 {
    if target.strip_prefix("/proc").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        ON_PROCFS
    } else {
        0
    }
}

const NOTHING: Attr = Attr { set: 0, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 };

/// What the options of a bind mount change on the mount itself.
fn bind_attributes(options: &MountOptions<'_>) -> Attr {
    let set = attributes(options.flags);
    let mut clear = attributes(options.cleared);
    if says_flags(options) && set & attr::NOSYMFOLLOW == 0 {
        clear |= attr::NOSYMFOLLOW;
    }
    // One of the access time settings replaces all of them, and the kernel takes them only as a whole.
    if options.flags & (MS_ATIME | MS_NODIRATIME) != 0 {
        clear |= attr::ATIME | (attr::NODIRATIME & !set);
    } else if clear & attr::ATIME != 0 {
        clear |= attr::ATIME;
    }
    Attr { set, clear, ..NOTHING }
}

/// Whether any flag of mount(2) is named besides those that make it a bind mount.
fn says_flags(options: &MountOptions<'_>) -> bool {
    (options.flags | options.cleared) & !(MS_BIND | MS_REC | MS_REMOUNT) != 0
}

/// The source's restrictions that a bind mount drops, as runc does it: all that its options do not name, once they name a flag at
/// all. Access times stay as the source has them.
fn unasked(options: &MountOptions<'_>) -> u64 {
    if says_flags(options) { attr::RESTRICTIONS & !attributes(options.flags | options.cleared) } else { 0 }
}

impl Builder<'_> {
    pub(super) fn plan_mounts(&mut self) -> Result<()> {
        let label = self.config.linux.as_ref().and_then(|linux| linux.mount_label.as_ref());
        if let Some(label) = label.filter(|_| !self.options.host.selinux) {
            return Err(Error::new(Kind::Unsupported, Step::SetLabel)
                .with_object(label.as_str())
                .with_field("/linux/mountLabel")
                .with_reason("SELinux is not enabled on this host"));
        }
        let config = self.config;
        let root = clean(&self.root_path());
        for (index, mount) in config.mounts.iter().enumerate() {
            let options = MountOptions::parse(&mount.options);
            let target = target(&root, mount);
            let kind = mount.kind.as_ref().map_or("", |kind| kind.as_str());
            if options.is_bind() || kind == "bind" {
                self.plan_bind(index, mount, &options, &target)?;
            } else if kind == "cgroup" || kind == "cgroup2" {
                self.plan_cgroup_mount(index, &options, &target)?;
            } else {
                // A tree that is built detached takes no changes below its root.
                let late_readonly =
                    options.flags & MS_RDONLY != 0 && is_written_later(kind, &target) && self.has_mount_namespace();
                self.plan_filesystem(index, mount, &options, &target, late_readonly)?;
                if late_readonly {
                    self.late_readonly.push((index, target));
                }
            }
        }
        if let Some(directory) = self.options.notify_dir {
            self.plan_notify(directory);
        }
        Ok(())
    }

    /// Gives a new file system the config's mountLabel. True when its root is to be labelled once it is there (the last parameter):
    /// a message queue's file system is as old as its namespace, and takes no option that would change it.
    fn push_mount_label(&mut self, kind: &str, options: &MountOptions<'_>, params: &mut Vec<Param>) -> bool {
        const OWN: [&str; 4] = ["context=", "fscontext=", "defcontext=", "rootcontext="];
        let own = options.data.iter().any(|(_, option)| OWN.iter().any(|name| option.starts_with(name)));
        let label = self.config.linux.as_ref().and_then(|linux| linux.mount_label.as_ref());
        let Some(label) = label.filter(|_| !own && !matches!(kind, "proc" | "sysfs" | "cgroup" | "cgroup2")) else {
            return false;
        };
        if kind == "mqueue" {
            params.push(self.param("security.selinux", Some(label)));
            return true;
        }
        let key = self.config.annotations.get(crate::config::MOUNT_CONTEXT_TYPE);
        params.push(self.param(key.map_or("context", |key| key.as_str()), Some(label)));
        false
    }

    fn plan_filesystem(
        &mut self,
        index: usize,
        mount: &Mount<'_>,
        options: &MountOptions<'_>,
        target: &str,
        late_readonly: bool,
    ) -> Result<()> {
        let kind = mount.kind.as_ref().map_or("", |kind| kind.as_str());
        if kind.is_empty() {
            return Err(
                self.field_error(format!("/mounts/{index}/type"), "a mount that is not a bind mount needs a type")
            );
        }
        let mut params = Vec::with_capacity(options.data.len() + 1);
        for (_, option) in &options.data {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (*option, None),
            };
            // Quotes keep a context with commas in one piece for mount(2); the kernel takes it without.
            match value.filter(|value| key.ends_with("context") && value.contains('"')) {
                Some(value) => params.push(self.param(key, Some(&value.replace('"', "")))),
                None => params.push(self.param(key, value)),
            }
        }
        for (_, name) in PER_FILESYSTEM.iter().filter(|(flag, _)| options.flags & flag != 0) {
            params.push(self.param(name, None));
        }
        let virtual_fs = matches!(kind, "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "ramfs");
        if options.flags & MS_RDONLY != 0 && !virtual_fs {
            params.push(self.param("ro", None));
        }
        let labels_root = self.push_mount_label(kind, options, &mut params);
        let mut after = Vec::new();
        self.push_recursive(options, &mut after);
        if let Some(idmap) = self.id_mapped(index, mount, options)? {
            after.push(self.idmap_attr(index, idmap));
        }
        after.extend(options.propagation.iter().map(|propagation| propagation_attr(*propagation)));
        let mut flags = if matches!(kind, "proc" | "sysfs") || options.dest_nofollow { NO_SYMLINK } else { 0 };
        if flags & NO_SYMLINK == 0 {
            flags |= self.make_first(target);
        }
        if kind == "tmpfs" && !options.tmpcopyup {
            self.empty.push(target.to_owned());
        }
        if options.tmpcopyup {
            flags |= COPY_UP;
        } else if kind == "tmpfs" && !options.data.iter().any(|(_, option)| option.starts_with("mode=")) {
            flags |= TAKE_MODE;
        }
        if labels_root {
            flags |= LABEL_ROOT;
        }
        flags |= on_procfs(target);
        let source = mount.source.as_ref().map_or("", |source| source.as_str());
        if self.has_long_value(&params, source) {
            params = self.join_long(index, kind, source, &params)?;
            flags |= if params.len() == 1 { BY_MOUNT } else { 0 };
        }
        let mut set = attributes(options.flags);
        if late_readonly || options.tmpcopyup {
            set &= !attr::RDONLY;
        }
        if options.tmpcopyup && options.flags & MS_RDONLY != 0 && !late_readonly {
            after.push(Attr { set: attr::RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 });
        }
        let program = &mut self.plan.program;
        let source = if source.is_empty() { Str::NONE } else { program.str(source) };
        let target = program.str(target);
        let fstype = program.str(kind);
        let params = program.list(&params);
        let after = program.list(&after);
        let op = Op::Mount { target, fstype, source, params, attr: set, flags, after };
        self.push_from(format_args!("/mounts/{index}"), op);
        Ok(())
    }

    /// Whether fsconfig(2) does not take one of these.
    fn has_long_value(&self, params: &[Param], source: &str) -> bool {
        let long = |param: &Param| param.value.is_some() && param.value.len as usize > LONGEST_VALUE;
        params.iter().any(long) || source.len() > LONGEST_VALUE
    }

    /// Options of which one is too long for fsconfig(2): all in one string for mount(2), which takes a page, or else a parameter for each
    /// layer of an overlay (Linux 6.7).
    fn join_long(&mut self, index: usize, kind: &str, source: &str, params: &[Param]) -> Result<Vec<Param>> {
        const PAGE: usize = 4096;
        let view = self.plan.program.view();
        let texts: Vec<(String, Option<String>)> = params
            .iter()
            .map(|param| {
                let value = param.value.is_some().then(|| view.text(param.value).to_owned());
                (view.text(param.key).to_owned(), value)
            })
            .collect();
        let joined: Vec<String> = texts
            .iter()
            .map(|(key, value)| match value {
                Some(value) if key.ends_with("context") => format!("{key}=\"{value}\""),
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            })
            .collect();
        let joined = joined.join(",");
        // A tmpfs takes its mode from what it covers, by a parameter of its own.
        if joined.len() < PAGE && kind != "tmpfs" {
            return Ok(vec![self.param("options", Some(&joined))]);
        }
        let fits = |text: &str| text.len() <= LONGEST_VALUE;
        let mut all = Vec::new();
        for (key, value) in &texts {
            match value {
                Some(value)
                    if !fits(value) && kind == "overlay" && key == "lowerdir" && !value.contains(['\\', '"']) =>
                {
                    all.extend(value.split(':').map(|layer| ("lowerdir+".to_owned(), Some(layer.to_owned()))));
                }
                _ => all.push((key.clone(), value.clone())),
            }
        }
        let too_long =
            all.iter().any(|(_, value)| value.as_ref().is_some_and(|value| !fits(value) || value.is_empty()));
        if too_long || !fits(source) {
            return Err(self.field_error(
                format!("/mounts/{index}/options"),
                format!("the kernel takes {} bytes of options in all, or {LONGEST_VALUE} for each", PAGE - 1),
            ));
        }
        Ok(all.iter().map(|(key, value)| self.param(key, value.as_deref())).collect())
    }

    /// What is mounted in an empty directory finds no target there.
    pub(super) fn make_first(&self, target: &str) -> u32 {
        let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
        if self.empty.iter().any(|empty| empty == parent) { MAKE_FIRST } else { 0 }
    }

    pub(super) fn param(&mut self, key: &str, value: Option<&str>) -> Param {
        let key = self.plan.program.str(key);
        let value = value.map_or(Str::NONE, |value| self.plan.program.str(value));
        Param { key, value }
    }

    fn plan_bind(&mut self, index: usize, mount: &Mount<'_>, options: &MountOptions<'_>, target: &str) -> Result<()> {
        let Some(source) = &mount.source else {
            return Err(self.field_error(format!("/mounts/{index}/source"), "a bind mount needs a source"));
        };
        let source = self.options.bundle.join(source.as_str()).to_string_lossy().into_owned();
        let inside = self.source_in_root(index, &source);
        let by_init = self.options.host.rootless || inside.is_some();
        let recursive = options.flags & MS_REC != 0;
        let nofollow = options.src_nofollow || options.copy_symlink;
        let mut attrs = Vec::new();
        let shared = options.propagation.iter().any(|p| matches!(p, Propagation::Shared | Propagation::Rshared));
        let mut first = bind_attributes(options);
        if !by_init && !shared {
            // A copy that was made in the host's namespace is a peer of the host's mount until this is said.
            attrs.push(propagation_attr(if recursive { Propagation::Rslave } else { Propagation::Slave }));
        }
        for propagation in &options.propagation {
            let attr = propagation_attr(*propagation);
            match attrs.last_mut().filter(|last| last.recursive == attr.recursive && last.propagation == MS_SLAVE) {
                // One that covers as much needs no call for the slave before it.
                Some(last) => *last = attr,
                None => attrs.push(attr),
            }
        }
        if let Some(only) = attrs.first_mut().filter(|attr| attr.recursive == 0) {
            first.propagation = std::mem::take(&mut only.propagation);
        }
        attrs.retain(|attr| attr.propagation != 0);
        if first.set != 0 || first.clear != 0 || first.propagation != 0 {
            attrs.insert(0, first);
        }
        // Outside a user namespace, clear flags that the config did not ask for; inside one, the kernel locks inherited flags.
        let unasked = if by_init || self.in_userns() { 0 } else { unasked(options) };
        if unasked != 0 {
            attrs.insert(0, Attr { clear: unasked, recursive: IF_ALLOWED, ..NOTHING });
        }
        self.push_recursive(options, &mut attrs);
        let mut idmap = self.id_mapped(index, mount, options)?;
        if by_init && let Some(idmap) = idmap.take() {
            let attr = self.idmap_attr_of_bind(index, idmap, &source);
            attrs.push(attr);
        }
        let mut flags = if recursive { RECURSIVE } else { 0 };
        flags |= if inside.is_some() { SOURCE_IN_ROOT } else { 0 };
        flags |= if options.copy_symlink { COPY_SYMLINK } else { 0 };
        flags |= if options.src_nofollow { SOURCE_NOFOLLOW } else { 0 };
        flags |= if options.dest_nofollow { NO_SYMLINK } else { 0 };
        flags |= on_procfs(target);
        let path = self.plan.program.str(inside.as_deref().unwrap_or(&source));
        let tree = if by_init {
            Slot::NONE
        } else {
            let field = format!("/mounts/{index}/source");
            self.slot(Resource::Tree { path: source, recursive, nofollow, what: TreeOf::Bind, idmap, field })
        };
        let target = self.plan.program.str(target);
        let attrs = self.plan.program.list(&attrs);
        self.push_from(format_args!("/mounts/{index}"), Op::Bind { tree, source: path, target, flags, attrs });
        Ok(())
    }

    /// A source below the root filesystem's own directory, where an earlier mount has put something, means what is there in the
    /// container: its path inside.
    fn source_in_root(&self, index: usize, source: &str) -> Option<String> {
        let root = clean(&self.root_path());
        let inside = below(&root, &clean(source)).map(str::to_owned)?;
        let covers =
            |target: String| inside.strip_prefix(&target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.config.mounts.iter().take(index).any(|earlier| covers(target(&root, earlier))).then_some(inside)
    }

    fn push_recursive(&mut self, options: &MountOptions<'_>, attrs: &mut Vec<Attr>) {
        if let Some(change) = options.recursive {
            attrs.push(Attr { set: change.set, clear: change.clear, propagation: 0, userns: Slot::NONE, recursive: 1 });
        }
    }

    /// The id maps of a mount: its own, those of its option, or the container's.
    fn id_mapped(&self, index: usize, mount: &Mount<'_>, options: &MountOptions<'_>) -> Result<Option<IdMapped>> {
        if options.idmap.is_none() && mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty() {
            return Ok(None);
        }
        let none: &[IdMapping] = &[];
        let (own_uids, own_gids) = match &self.config.linux {
            Some(linux) => (linux.uid_mappings.as_slice(), linux.gid_mappings.as_slice()),
            None => (none, none),
        };
        let (uids, gids) = match options.idmap.and_then(|idmap| idmap.ranges) {
            Some(ranges) => {
                crate::config::mount_options::parse_id_map(ranges, own_uids, own_gids).map_err(|detail| {
                    let option = options.idmap.map_or(0, |idmap| idmap.index);
                    self.field_error(format!("/mounts/{index}/options/{option}"), detail)
                })?
            }
            None if mount.uid_mappings.is_empty() => (own_uids.to_vec(), own_gids.to_vec()),
            None => (mount.uid_mappings.clone(), mount.gid_mappings.clone()),
        };
        let recursive = options.idmap.is_some_and(|idmap| idmap.recursive);
        if uids.is_empty()
            && gids.is_empty()
            && let Some((path, field)) = self.joined_path(NamespaceType::User)
        {
            return Ok(Some(IdMapped { maps: MountMaps::Joined { path, field }, recursive }));
        }
        if uids.is_empty() || gids.is_empty() {
            return Err(self.field_error(
                format!("/mounts/{index}"),
                "an idmapped mount needs uidMappings and gidMappings, its own or the container's",
            ));
        }
        Ok(Some(IdMapped { maps: MountMaps::Given(IdMaps { uids, gids }), recursive }))
    }

    /// The call that maps ids on a mount which the init makes itself.
    fn idmap_attr(&mut self, index: usize, idmap: IdMapped) -> Attr {
        let IdMapped { maps, recursive } = idmap;
        let userns = self.slot(Resource::IdMap { maps, field: format!("/mounts/{index}") });
        Attr { set: attr::IDMAP, clear: 0, propagation: 0, userns, recursive: u32::from(recursive) }
    }

    /// As [`Self::idmap_attr`] for the bind mount that is planned next. The source's file system is not the user namespace's, so
    /// in one the runtime has to make the call; without root's rights it could not either, and the kernel says why.
    fn idmap_attr_of_bind(&mut self, index: usize, idmap: IdMapped, source: &str) -> Attr {
        if !self.in_userns() || self.options.host.rootless {
            return self.idmap_attr(index, idmap);
        }
        let recursive = u32::from(idmap.recursive);
        self.plan.mapped_mounts.push(MappedMount {
            op: self.plan.program.ops.len(),
            idmap,
            path: source.to_owned(),
            field: format!("/mounts/{index}"),
        });
        Attr { set: attr::IDMAP, clear: 0, propagation: 0, userns: Slot::RUNTIME, recursive }
    }

    /// The directory in which the notify socket appears, as runc lays it out.
    fn plan_notify(&mut self, directory: &str) {
        let path = self.plan.program.str(directory);
        let tree = if self.options.host.rootless {
            Slot::NONE
        } else {
            self.slot(Resource::Tree {
                path: directory.into(),
                recursive: false,
                nofollow: true,
                what: TreeOf::Bind,
                idmap: None,
                field: String::new(),
            })
        };
        let set = attributes(MS_RDONLY | 2 | 4 | 8);
        let attrs =
            self.plan.program.list(&[Attr { set, clear: 0, propagation: MS_SLAVE, userns: Slot::NONE, recursive: 0 }]);
        let target = self.plan.program.str("/run/notify");
        self.push(Op::Bind { tree, source: path, target, flags: 0, attrs });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_a_root_by_whole_components() {
        assert_eq!(below("/b/rootfs", "/b/rootfs/mnt/x"), Some("/mnt/x"));
        for path in ["/b/rootfs", "/b/rootfs2/mnt", "/mnt", "/b"] {
            assert_eq!(below("/b/rootfs", path), None, "{path}");
        }
        // Of the host's own root nothing is cut off.
        assert_eq!(below("/", "/mnt"), None);
    }

    #[test]
    fn a_bind_mount_has_the_flags_that_it_names_and_no_others() {
        let of = |options: &[&'static str]| {
            let texts: Vec<crate::config::Text<'_>> = options.iter().map(|option| (*option).into()).collect();
            let options = MountOptions::parse(&texts);
            let attr = bind_attributes(&options);
            (attr.set, attr.clear, unasked(&options))
        };
        // Named: nothing.
        assert_eq!(of(&["bind"]), (0, 0, 0));
        assert_eq!(of(&["rbind", "rprivate"]), (0, 0, 0));
        // Named: something.
        assert_eq!(of(&["rbind", "ro"]), (1, 0x20_0000, 0x0e));
        assert_eq!(of(&["bind", "rw", "nosuid"]), (2, 0x20_0001, 0x0c));
        assert_eq!(of(&["bind", "nosymfollow"]), (0x20_0000, 0, 0x0f));
        // Access times are replaced as a whole, or left.
        assert_eq!(of(&["bind", "noatime"]), (0x10, 0x20_00f0, 0x0f));
        assert_eq!(of(&["bind", "nodiratime"]), (0x80, 0x20_0070, 0x0f));
        assert_eq!(of(&["bind", "strictatime"]), (0x20, 0x20_00f0, 0x0f));
        assert_eq!(of(&["bind", "atime"]), (0, 0x20_0070, 0x0f));
        assert_eq!(of(&["bind", "diratime"]), (0, 0x20_0080, 0x0f));
        assert_eq!(of(&["bind", "norelatime"]), (0, 0x20_0000, 0x0f));
    }

    #[test]
    fn mount_flags_become_attributes() {
        assert_eq!(attributes(MS_RDONLY | 2 | 4 | 8), 15);
        assert_eq!(attributes(1024 | 2048), 0x90);
        assert_eq!(propagation_attr(Propagation::Rprivate).recursive, 1);
        assert_eq!(propagation_attr(Propagation::Slave).propagation, MS_SLAVE);
    }
}
