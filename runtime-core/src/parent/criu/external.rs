//! Mounts that come from outside the container. CRIU leaves them out of its images, and is told at restore where to find them.

use std::path::Path;

use crate::base::{Error, Kind, Result, Step};
use crate::config::mount_options::MountOptions;
use crate::config::paths::clean;
use crate::config::{Config, DELEGATE_CGROUP, Mount, NamespaceType};
use crate::plan::CgroupMounts;

/// A mount from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    /// Where it is in the container, as the config says it.
    pub(crate) inside: String,
    /// What is mounted there, on the host.
    pub(crate) source: String,
}

/// What decides which mounts are external.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mounts<'m> {
    pub(crate) config: &'m Config<'m>,
    /// The bundle's directory, absolute.
    pub(crate) bundle: &'m Path,
    /// What mounts of type `cgroup` are.
    pub(crate) cgroups: &'m CgroupMounts,
}

/// What CRIU is told of a mount is `mnt[KEY]:NAME`, and it looks for the first `mnt[KEY]:` that fits.
///
/// # Errors
/// A path that could be read as another key with another name: a container that can make links or directories could so have the mount
/// of one place put on another.
pub(crate) fn refuse_confusable(path: &str, step: Step) -> Result<()> {
    if !path.contains("]:") {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, step)
        .with_object(path)
        .with_reason("CRIU cannot tell mounts apart whose paths have \"]:\" in them"))
}

/// Whether it is a bind mount.
pub(super) fn is_bind(mount: &Mount<'_>) -> bool {
    mount.kind.as_ref().is_some_and(|kind| *kind == "bind") || MountOptions::parse(&mount.options).is_bind()
}

fn is_cgroup(mount: &Mount<'_>) -> bool {
    mount.kind.as_ref().is_some_and(|kind| *kind == "cgroup" || *kind == "cgroup2")
}

impl Mounts<'_> {
    /// All external mounts, in the config's order.
    pub(crate) fn external(&self) -> Vec<External> {
        let mut found = Vec::new();
        for mount in &self.config.mounts {
            let inside = clean(&mount.destination);
            if is_bind(mount) {
                let source = self.bundle.join(mount.source.as_ref().map_or("", |source| source.as_str()));
                found.push(External { inside, source: source.to_string_lossy().into_owned() });
            } else if is_cgroup(mount) {
                found.extend(self.hierarchies(&inside));
            }
        }
        found.extend(self.devices());
        found
    }

    /// Without a cgroup namespace, a hierarchy is the host's mount, or the container's directory of it; else it is a mount of its own.
    fn hierarchies(&self, inside: &str) -> Vec<External> {
        let own = self
            .config
            .linux
            .as_ref()
            .is_some_and(|linux| linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceType::Cgroup));
        match self.cgroups {
            CgroupMounts::Separate(hierarchies) if !own => hierarchies
                .iter()
                .map(|hierarchy| External {
                    inside: format!("{inside}/{}", hierarchy.name),
                    source: hierarchy.path.clone(),
                })
                .collect(),
            CgroupMounts::Unified { own: path, .. } if !own && self.in_userns() => {
                vec![External { inside: inside.to_owned(), source: path.clone() }]
            }
            CgroupMounts::Unified { whole, .. } if !own => {
                vec![External { inside: inside.to_owned(), source: whole.clone() }]
            }
            _ => Vec::new(),
        }
    }

    fn in_userns(&self) -> bool {
        let linux = self.config.linux.as_ref();
        linux.is_some_and(|linux| linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceType::User))
    }

    /// In a user namespace the default devices are the host's nodes.
    fn devices(&self) -> Vec<External> {
        let of = |path: &str| External { inside: path.to_owned(), source: path.to_owned() };
        if self.in_userns() {
            crate::config::devices::DEFAULT_DEVICES.iter().map(|(path, ..)| of(path)).collect()
        } else {
            vec![]
        }
    }

    /// Paths over which /dev/null is mounted where they are files.
    pub(crate) fn masked(&self) -> impl Iterator<Item = String> {
        let linux = self.config.linux.as_ref();
        linux.map_or(&[][..], |linux| linux.masked_paths.as_slice()).iter().map(|path| clean(path))
    }

    /// What has to be there before CRIU can mount: for each mount its target, with the bind mount on which it lies, if it does not lie
    /// on the root.
    pub(crate) fn targets(&self, resolve: impl Fn(&str) -> Result<String>) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        let mut seen: Vec<(String, Option<Bound>)> = Vec::new();
        for (index, mount) in self.config.mounts.iter().enumerate() {
            let inside = resolve(&clean(&mount.destination))?;
            let source = is_bind(mount).then(|| {
                let source = mount.source.as_ref().map_or("", |source| source.as_str());
                self.bundle.join(source).to_string_lossy().into_owned()
            });
            // A v1 hierarchy's directories are on a tmpfs, and the v2 tree's is in sysfs.
            if let Some((on, path)) = place(&seen, &inside).filter(|_| !is_cgroup(mount)) {
                let field = format!("/mounts/{index}/destination");
                targets.push(Target { on, path, source: source.clone(), field });
            }
            let read_only = MountOptions::parse(&mount.options).is_read_only();
            seen.push((inside, source.map(|source| Bound { source, read_only })));
        }
        // `create` makes it, too.
        if let Some(process) = &self.config.process
            && let Some((on, path)) = place(&seen, &resolve(&clean(&process.cwd))?)
        {
            targets.push(Target { on, path, source: None, field: "/process/cwd".into() });
        }
        Ok(targets)
    }
}

/// Where a path of the container is on the host, given what is mounted (with the source of bind mounts): in which directory, or in the
/// root file system, and where in it. `None` when it is on neither: CRIU brings the files of a tmpfs along, and other file systems
/// make their own.
fn place(mounts: &[(String, Option<Bound>)], inside: &str) -> Option<(Option<Bound>, String)> {
    let rest = |top: &str| inside.strip_prefix(top).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let covering = mounts.iter().rev().filter(|(top, _)| rest(top).is_some()).max_by_key(|(top, _)| top.len());
    match covering {
        None => Some((None, inside.to_owned())),
        Some((top, Some(bound))) => {
            let below = rest(top).filter(|rest| !rest.is_empty()).unwrap_or("/");
            Some((Some(bound.clone()), below.to_owned()))
        }
        Some((_, None)) => None,
    }
}

/// A directory of the host that is bound into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) source: String,
    /// Nothing may be made in it on the container's behalf.
    pub(crate) read_only: bool,
}

/// What a mount goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The directory of the host in which it lies; `None`: the root file system.
    pub(crate) on: Option<Bound>,
    /// Its path there.
    pub(crate) path: String,
    /// What will be bound on it; a file goes on a file.
    pub(crate) source: Option<String>,
    pub(crate) field: String,
}

/// What CRIU would restore as something else. It binds external mounts anew, and knows neither id maps for that nor the nodes that the
/// runtime makes for a user namespace; and it puts processes into the container's cgroup, not into one below it that is delegated to
/// them.
pub(crate) fn refuse_lost(config: &Config<'_>, step: Step) -> Result<()> {
    let mapped = |mount: &&Mount<'_>| {
        let option = mount.options.iter().any(|option| *option == "idmap" || *option == "ridmap");
        option || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()
    };
    if let Some((index, mount)) = config.mounts.iter().enumerate().find(|(_, mount)| mapped(mount)) {
        return Err(Error::new(Kind::Unsupported, step)
            .with_object(mount.destination.as_str())
            .with_field(format!("/mounts/{index}/uidMappings"))
            .with_reason("CRIU cannot make an id-mapped mount again: its files would have other owners"));
    }
    let linux = config.linux.as_ref();
    if let Some(device) = linux.filter(|linux| linux.makes(NamespaceType::User)).and_then(|linux| linux.devices.first())
    {
        return Err(Error::new(Kind::Unsupported, step)
            .with_object(device.path.as_str())
            .with_field("/linux/devices/0")
            .with_reason("CRIU cannot make a device for a user namespace again"));
    }
    if config.annotations.get(DELEGATE_CGROUP).is_some() {
        return Err(Error::new(Kind::Unsupported, step)
            .with_field(format!("/annotations/{DELEGATE_CGROUP}"))
            .with_reason("CRIU would not restore the processes into the cgroup that is delegated to them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Hierarchy;

    const CONFIG: &str = r#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"process":{"cwd":"/srv/work"},"mounts":[
        {"destination":"/proc","type":"proc","source":"proc"},
        {"destination":"/dev","type":"tmpfs","source":"tmpfs"},
        {"destination":"/data/","type":"bind","source":"data","options":["rbind"]},
        {"destination":"/data/sub/file","type":"none","source":"/srv/file","options":["bind","ro"]},
        {"destination":"/dev/shm","type":"tmpfs","source":"shm"},
        {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup"}],
        "linux":{"maskedPaths":["/proc/kcore"],"namespaces":[NAMESPACES],
        "devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}]}}"#;

    fn inside(namespaces: &str, cgroups: &CgroupMounts) -> Vec<(String, String)> {
        let text = CONFIG.replace("NAMESPACES", namespaces);
        let config = crate::config::load(text.as_bytes()).unwrap();
        let mounts = Mounts { config: &config, bundle: Path::new("/b"), cgroups };
        mounts.external().into_iter().map(|mount| (mount.inside, mount.source)).collect()
    }

    #[test]
    fn bind_mounts_hierarchies_and_devices_are_external() {
        let hierarchy =
            Hierarchy { name: "cpu".into(), options: vec![], path: "/sys/fs/cgroup/cpu/c".into(), links: vec![] };
        let separate = CgroupMounts::Separate(vec![hierarchy]);
        let pair = |inside: &str, source: &str| (inside.to_owned(), source.to_owned());
        let binds = [pair("/data", "/b/data"), pair("/data/sub/file", "/srv/file")];
        let cpu = pair("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/c");
        let unified = CgroupMounts::Unified { own: "/sys/fs/cgroup/c".into(), whole: "/sys/fs/cgroup".into() };
        assert_eq!(inside("", &unified), [&binds[..], &[pair("/sys/fs/cgroup", "/sys/fs/cgroup")]].concat());
        assert_eq!(inside(r#"{"type":"cgroup"}"#, &unified), binds);
        assert_eq!(inside("", &separate), [&binds[..], &[cpu]].concat());
        assert_eq!(inside(r#"{"type":"cgroup"}"#, &separate), binds);
        let in_userns = inside(r#"{"type":"user"}"#, &unified);
        assert!(in_userns.contains(&pair("/sys/fs/cgroup", "/sys/fs/cgroup/c")), "{in_userns:?}");
        for device in ["/dev/null", "/dev/tty"] {
            assert!(in_userns.contains(&pair(device, device)), "{device}");
        }
    }

    #[test]
    fn targets_lie_on_the_root_or_on_what_is_bound() {
        let text = CONFIG.replace("NAMESPACES", "");
        let config = crate::config::load(text.as_bytes()).unwrap();
        let mounts = Mounts { config: &config, bundle: Path::new("/b"), cgroups: &CgroupMounts::Unused };
        let targets = mounts.targets(|path| Ok(path.to_owned())).unwrap();
        let on = |target: &Target| target.on.as_ref().map(|bound| bound.source.clone());
        let short: Vec<_> = targets.iter().map(|target| (on(target), target.path.as_str())).collect();
        let expected = [
            (None, "/proc"),
            (None, "/dev"),
            (None, "/data"),
            (Some("/b/data".to_owned()), "/sub/file"),
            (None, "/srv/work"),
        ];
        assert_eq!(short, expected);
        assert_eq!(targets[3].source.as_deref(), Some("/srv/file"));
        assert_eq!(mounts.masked().collect::<Vec<_>>(), ["/proc/kcore"]);
    }

    #[test]
    fn what_would_be_lost_is_refused_by_its_field() {
        let text = r#"{"ociVersion":"1.3.0","root":{"path":"r"},"mounts":[{"destination":"/d","source":"/s","options":["bind"],
            "uidMappings":[{"containerID":0,"hostID":1,"size":1}]}]}"#;
        let config = crate::config::load(text.as_bytes()).unwrap();
        assert_eq!(
            refuse_lost(&config, Step::Checkpoint).unwrap_err().to_string(),
            "checkpoint /d (config /mounts/0/uidMappings): CRIU cannot make an id-mapped mount again: its files would have other owners"
        );
        let text = CONFIG.replace("NAMESPACES", r#"{"type":"user"}"#);
        let error = refuse_lost(&crate::config::load(text.as_bytes()).unwrap(), Step::Restore).unwrap_err();
        assert_eq!(error.field(), Some("/linux/devices/0"));
        let text = r#"{"ociVersion":"1.3.0","root":{"path":"r"},"annotations":{"run.oci.delegate-cgroup":"payload"}}"#;
        let error = refuse_lost(&crate::config::load(text.as_bytes()).unwrap(), Step::Restore).unwrap_err();
        assert_eq!(error.field(), Some("/annotations/run.oci.delegate-cgroup"));
    }
}
