//! What is promised of mounts.

use super::difference::Difference;
use super::facts::{Facts, Mounted};
use super::inside::Place;
use super::subject::{Subject, target};
use crate::config::mount_options::MountOptions;
use crate::config::paths::clean;
use crate::config::{Mount, NamespaceType, Propagation};

/// Flags of mount(2), their words in mountinfo, set and cleared.
const FLAGS: [(u64, &str); 8] = [
    (1, "ro"),
    (2, "nosuid"),
    (4, "nodev"),
    (8, "noexec"),
    (1 << 8, "nosymfollow"),
    (1 << 10, "noatime"),
    (1 << 11, "nodiratime"),
    (1 << 21, "relatime"),
];
const REMOUNT: u64 = 1 << 5;

/// Where the config says nothing of it: no mount of the container shows on the host.
const UNSAID: Propagation = Propagation::Slave;

/// Compares mounts, masks, paths that cannot be written, and the root.
pub(super) fn differences(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    let config = subject.config;
    let Some(linux) = config.linux.as_ref().filter(|linux| linux.makes(NamespaceType::Mount)) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let root = look(facts, "/root");
    match root {
        Ok((_, mount)) => {
            if config.root.readonly && !has(mount, "ro") {
                all.push(Difference::new("/root/readonly", "a read-only root", options(mount)));
            }
            let propagation = linux.rootfs_propagation.unwrap_or(UNSAID);
            if let Some(found) = propagation_fault(mount, propagation) {
                all.push(Difference::new("/linux/rootfsPropagation", propagation.name(), found));
            }
        }
        Err(found) => all.push(Difference::new("/root", "a root", found)),
    }
    let targets: Vec<_> =
        config.mounts.iter().map(|mount| clean(target(subject.rootfs, mount.destination.as_str()))).collect();
    // Set last, on the root and all that is below it.
    let overall = linux
        .rootfs_propagation
        .filter(|one| matches!(one, Propagation::Rshared | Propagation::Rprivate | Propagation::Runbindable));
    let is_shared = matches!(linux.rootfs_propagation, Some(Propagation::Shared | Propagation::Rshared));
    for (index, mount) in config.mounts.iter().enumerate() {
        let own = targets.get(index).map_or("", String::as_str);
        let is_covered = targets.iter().skip(index + 1).any(|later| {
            own.strip_prefix(later.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || later == "/")
        });
        if !is_covered {
            let promised = overall.or(MountOptions::parse(&mount.options).propagation.last().copied());
            // What is mounted below a shared root is shared unless it says otherwise.
            let promised = promised.or((!is_shared).then_some(UNSAID));
            check_mount(facts, index, mount, promised, &mut all);
        }
    }
    for index in 0..linux.masked_paths.len() {
        check_mask(facts, &format!("/linux/maskedPaths/{index}"), &mut all);
    }
    for index in 0..linux.readonly_paths.len() {
        let field = format!("/linux/readonlyPaths/{index}");
        match look(facts, &field) {
            Ok((_, mount)) if has(mount, "ro") => {}
            Ok((_, mount)) => all.push(Difference::new(field, "a read-only mount", options(mount))),
            // What is not there needs no protection.
            Err(_) if is_absent(facts, &field) => {}
            Err(found) => all.push(Difference::new(field, "a read-only mount", found)),
        }
    }
    all
}

fn check_mount(
    facts: &Facts,
    index: usize,
    mount: &Mount<'_>,
    propagation: Option<Propagation>,
    all: &mut Vec<Difference>,
) {
    let wanted = MountOptions::parse(&mount.options);
    if wanted.copy_symlink || wanted.flags & REMOUNT != 0 {
        return;
    }
    let field = format!("/mounts/{index}");
    let promised = format!("a mount on {}", mount.destination);
    let (place, found) = match look(facts, &field) {
        Ok(found) => found,
        Err(error) => return all.push(Difference::new(field, promised, error)),
    };
    if !place.is_root {
        return all.push(Difference::new(field, promised, "none"));
    }
    let kind = mount.kind.as_ref().map_or("", |kind| kind.as_str());
    let is_bind = wanted.is_bind() || kind == "bind";
    let is_cgroup = kind == "cgroup" || kind == "cgroup2";
    if !is_bind && !is_cgroup && !kind.is_empty() && found.filesystem != kind {
        all.push(Difference::new(format!("{field}/type"), kind, found.filesystem.as_str()));
    }
    let recursive = wanted.recursive.unwrap_or_default();
    for (flag, word) in FLAGS {
        // MOUNT_ATTR_RDONLY, _NOSUID, _NODEV and _NOEXEC have the same numbers.
        let is_set = wanted.flags & flag != 0 || (flag < 16 && recursive.set & flag != 0);
        let is_cleared = wanted.cleared & flag != 0 && flag < 16 && recursive.set & flag == 0;
        // A cgroup mount shows hierarchies that have their own.
        if is_cgroup && flag != 1 {
            continue;
        }
        if is_set && !has(found, word) {
            all.push(Difference::new(format!("{field}/options"), word, options(found)));
        } else if is_cleared && !is_cgroup && has(found, word) {
            all.push(Difference::new(format!("{field}/options"), format!("no {word}"), options(found)));
        }
    }
    if let Some(propagation) = propagation
        && let Some(fault) = propagation_fault(found, propagation)
    {
        all.push(Difference::new(format!("{field}/options"), propagation.name(), fault));
    }
}

fn check_mask(facts: &Facts, field: &str, all: &mut Vec<Difference>) {
    const S_IFMT: u32 = 0o170_000;
    const S_IFCHR: u32 = 0o020_000;
    const S_IFDIR: u32 = 0o040_000;
    match look(facts, field) {
        Ok((place, _)) if place.is_root && place.mode & S_IFMT == S_IFCHR && place.device == (1, 3) => {}
        Ok((place, mount))
            if place.is_root && place.mode & S_IFMT == S_IFDIR && mount.filesystem == "tmpfs" && has(mount, "ro") => {}
        Ok((_, mount)) => all.push(Difference::new(field, "a mask", format!("a file on {}", mount.filesystem))),
        Err(_) if is_absent(facts, field) => {}
        Err(found) => all.push(Difference::new(field, "a mask", found)),
    }
}

/// Why a mount does not propagate as it should.
fn propagation_fault(mount: &Mounted, wanted: Propagation) -> Option<String> {
    let says = |word: &str| mount.propagation.iter().any(|one| one.starts_with(word));
    let right = match wanted {
        Propagation::Shared | Propagation::Rshared => says("shared:"),
        // The slave of nobody is private.
        Propagation::Slave | Propagation::Rslave => !says("shared:"),
        Propagation::Private | Propagation::Rprivate => !says("shared:") && !says("master:"),
        Propagation::Unbindable | Propagation::Runbindable => says("unbindable"),
    };
    let found = if mount.propagation.is_empty() { "private".to_owned() } else { mount.propagation.join(" ") };
    (!right).then_some(found)
}

fn look<'f>(facts: &'f Facts, field: &str) -> Result<(Place, &'f Mounted), String> {
    let place = match facts.places.get(field) {
        Some(Ok(place)) => *place,
        Some(Err(errno)) => return Err(errno.desc().to_lowercase()),
        None => return Err("nothing".to_owned()),
    };
    let mount = facts.mounts.iter().find(|mount| mount.number == place.mount);
    mount.map(|mount| (place, mount)).ok_or_else(|| "a mount that mountinfo does not list".to_owned())
}

fn is_absent(facts: &Facts, field: &str) -> bool {
    use nix::errno::Errno;
    matches!(facts.places.get(field), Some(Err(Errno::ENOENT | Errno::ENOTDIR)))
}

fn has(mount: &Mounted, word: &str) -> bool {
    mount.options.iter().any(|option| option == word)
}

fn options(mount: &Mounted) -> String {
    mount.options.join(",")
}
