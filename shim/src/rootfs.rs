//! The mounts of a container's root file system, as containerd's snapshots describe them: made in the bundle, in the mount
//! namespace of containerd, which looks for them there.

use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir};

use crate::idmap::{self, IdMaps, Layers};
use crate::proto::Mount;
use crate::ttrpc::{Code, Failure};

/// The kernel takes a page of options; the last byte is its end.
const LONGEST_DATA: usize = 4095;

/// The options that are flags, with what they set and clear.
const FLAGS: [(&str, MsFlags, bool); 28] = [
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("atime", MsFlags::MS_NOATIME, false),
    ("bind", MsFlags::MS_BIND, true),
    ("defaults", MsFlags::empty(), true),
    ("dev", MsFlags::MS_NODEV, false),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("mand", MsFlags::MS_MANDLOCK, true),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("nodev", MsFlags::MS_NODEV, true),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("nomand", MsFlags::MS_MANDLOCK, false),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("rbind", MsFlags::MS_BIND.union(MsFlags::MS_REC), true),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("private", MsFlags::MS_PRIVATE, true),
    ("rprivate", MsFlags::MS_PRIVATE.union(MsFlags::MS_REC), true),
    ("slave", MsFlags::MS_SLAVE, true),
    ("rslave", MsFlags::MS_SLAVE.union(MsFlags::MS_REC), true),
];

/// Options that are for a program in between, and for which there is none here.
const FOREIGN: [&str; 1] = ["loop"];

/// Mounts all, one after the other, on `target` or below it. Undoes what was done when one fails.
///
/// # Errors
/// What could not be mounted, and why.
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), Failure> {
    if mounts.is_empty() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().mode(0o711).create(target);
    if let Err(error) = made.or_else(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    }) {
        return Err(Failure::new(Code::Unknown, format!("make the directory {}: {error}", target.display())));
    }
    for one in mounts {
        if let Err(failure) = mount_one(one, target) {
            return Err(match unmount_all(target) {
                Ok(()) => failure,
                Err(second) => Failure::new(failure.code, format!("{}; then {}", failure.message, second.message)),
            });
        }
    }
    Ok(())
}

/// Unmounts all that is mounted on `target`, with what is below.
///
/// # Errors
/// When something stays mounted.
pub(crate) fn unmount_all(target: &Path) -> Result<(), Failure> {
    loop {
        let result = match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            // Something is mounted below, or in use: it goes from sight now, and altogether with its last user.
            Err(Errno::EBUSY) => umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
            result => result,
        };
        match result {
            Ok(()) => {}
            // EINVAL: nothing is mounted there (any more).
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => {
                return Err(Failure::new(Code::Unknown, format!("unmount {}: {errno}", target.display())));
            }
        }
    }
}

/// A mount's options, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    flags: MsFlagsBits,
    propagation: Option<MsFlagsBits>,
    ids: Option<IdMaps>,
    data: Vec<String>,
}

/// The bits, which can be compared and printed.
type MsFlagsBits = libc::c_ulong;

fn sort(options: &[String]) -> Result<Options, String> {
    let mut sorted = Options::default();
    let (mut uids, mut gids) = (None, None);
    for option in options {
        if let Some(value) = option.strip_prefix("uidmap=") {
            uids = Some(value);
            continue;
        }
        if let Some(value) = option.strip_prefix("gidmap=") {
            gids = Some(value);
            continue;
        }
        if FOREIGN.iter().any(|foreign| option.starts_with(foreign)) || option.to_ascii_lowercase().starts_with("x-") {
            return Err(format!("the mount option {option} is not supported by this shim"));
        }
        let Some((_, flag, set)) = FLAGS.iter().find(|(name, ..)| name == option) else {
            sorted.data.push(option.clone());
            continue;
        };
        let bits = flag.bits();
        if flag.intersects(MsFlags::MS_PRIVATE | MsFlags::MS_SLAVE) {
            sorted.propagation = Some(bits);
        } else if *set {
            sorted.flags |= bits;
        } else {
            sorted.flags &= !bits;
        }
    }
    sorted.ids = match (uids, gids) {
        (None, None) => None,
        (Some(uids), Some(gids)) => Some(IdMaps::parse(uids, gids)?),
        (Some(_), None) => return Err("the mount option uidmap needs gidmap beside it".to_owned()),
        (None, Some(_)) => return Err("the mount option gidmap needs uidmap beside it".to_owned()),
    };
    Ok(sorted)
}

fn mount_one(one: &Mount, root: &Path) -> Result<(), Failure> {
    let target = below(root, &one.target);
    let named = |reason: &dyn std::fmt::Display| {
        let (kind, source) = (&one.kind, &one.source);
        Failure::new(Code::Unknown, format!("mount rootfs: {kind} {source} on {}: {reason}", target.display()))
    };
    if one.kind.starts_with("fuse") || one.kind.contains('/') {
        return Err(named(&"needs a program to mount it, which this shim does not start"));
    }
    let options = sort(&one.options).map_err(|reason| named(&reason))?;
    let flags = MsFlags::from_bits_retain(options.flags);
    let is_bind = flags.contains(MsFlags::MS_BIND);
    let nothing = None::<&str>;
    let first = if is_bind { flags & (MsFlags::MS_BIND | MsFlags::MS_REC) } else { flags };
    // The layers need other owners only until the overlay is mounted.
    let (layers, data) = match &options.ids {
        Some(maps) if one.kind == "overlay" => {
            let (layers, data) = map_layers(&options.data, root, maps).map_err(|reason| named(&reason))?;
            (Some(layers), data)
        }
        _ => (None, options.data),
    };
    let (data, from) = shorten(&data);
    if data.len() > LONGEST_DATA {
        return Err(named(&format!("its options have {} bytes, and the kernel takes {LONGEST_DATA}", data.len())));
    }
    let kind = if is_bind { nothing } else { Some(one.kind.as_str()) };
    let data = (!data.is_empty() && !is_bind).then_some(data.as_str());
    in_directory(from.as_deref(), || mount(Some(one.source.as_str()), &target, kind, first, data))
        .map_err(|errno| named(&errno.desc()))?;
    // The flags of a bind mount count in a second call only.
    let rest = flags - (MsFlags::MS_BIND | MsFlags::MS_REC);
    if is_bind && !rest.is_empty() {
        let again = rest | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(nothing, &target, nothing, again, nothing).map_err(|errno| named(&errno.desc()))?;
    }
    match &options.ids {
        Some(maps) if layers.is_none() => {
            idmap::remap(&target, maps, flags.contains(MsFlags::MS_REC)).map_err(|reason| named(&reason))?;
        }
        _ => drop(layers),
    }
    if let Some(propagation) = options.propagation {
        let flags = MsFlags::from_bits_retain(propagation);
        mount(nothing, &target, nothing, flags, nothing).map_err(|errno| named(&errno.desc()))?;
    }
    Ok(())
}

/// The options of an overlay whose lower layers others own, for as long as what is returned with them is there. The upper layer is
/// the container's own, and has its owners already.
fn map_layers(options: &[String], root: &Path, maps: &IdMaps) -> Result<(Layers, Vec<String>), String> {
    let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    let lower = lower.ok_or("an overlay with uidmap and gidmap needs lowerdir")?;
    let common =
        common_directory(lower).ok_or("the layers of an overlay with uidmap and gidmap have no directory in common")?;
    let layers = Layers::mount(Path::new(common), root, maps)?;
    let mapped: Vec<String> = lower.split(':').map(|layer| layers.layer(layer, common)).collect::<Result<_, _>>()?;
    let options = options.iter().map(|option| match option.strip_prefix("lowerdir=") {
        Some(_) => format!("lowerdir={}", mapped.join(":")),
        None => option.clone(),
    });
    Ok((layers, options.collect()))
}

/// A place in the root: whatever the name, it does not leave it.
fn below(root: &Path, target: &str) -> PathBuf {
    let parts = Path::new(target).components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    parts.fold(root.to_owned(), |path, name| path.join(name))
}

/// The options as one string. Where the layers of an overlay make it too long, they are named relative to the directory that
/// they have in common, which is returned too.
fn shorten(options: &[String]) -> (String, Option<String>) {
    let whole = options.join(",");
    if whole.len() <= LONGEST_DATA {
        return (whole, None);
    }
    let Some(layers) = options.iter().find_map(|option| option.strip_prefix("lowerdir=")) else {
        return (whole, None);
    };
    let Some(common) = common_directory(layers) else { return (whole, None) };
    let short = options.iter().map(|option| match option.strip_prefix("lowerdir=") {
        Some(layers) => {
            let relative: Vec<&str> =
                layers.split(':').map(|layer| layer.strip_prefix(common).unwrap_or(layer)).collect();
            format!("lowerdir={}", relative.join(":"))
        }
        None => option.clone(),
    });
    (short.collect::<Vec<_>>().join(","), Some(common.to_owned()))
}

/// The longest directory, with its final slash, that all of the layers are below.
fn common_directory(layers: &str) -> Option<&str> {
    let first = layers.split(':').next()?;
    let mut common = first.get(..=first.rfind('/')?)?;
    while !layers.split(':').all(|layer| layer.len() > common.len() && layer.starts_with(common)) {
        common = common.strip_suffix('/')?;
        common = common.get(..=common.rfind('/')?)?;
    }
    // Relative to the root directory nothing gets shorter.
    (common.len() > 1 && common.starts_with('/')).then_some(common)
}

/// Does something in another working directory, which is this thread's alone: others mount at the same time, and may hang in it.
fn in_directory(directory: Option<&str>, act: impl FnOnce() -> nix::Result<()>) -> nix::Result<()> {
    let Some(directory) = directory else { return act() };
    unshare(CloneFlags::CLONE_FS)?;
    let here = open(".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    chdir(directory)?;
    let result = act();
    fchdir(here.as_fd())?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(options: &[&str]) -> Vec<String> {
        options.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn options_are_flags_propagation_or_data() {
        let sorted =
            sort(&texts(&["rbind", "ro", "nosuid", "suid", "rprivate", "index=off", "lowerdir=/a:/b"])).unwrap();
        assert_eq!(sorted.flags, (MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY).bits());
        assert_eq!(sorted.propagation, Some((MsFlags::MS_PRIVATE | MsFlags::MS_REC).bits()));
        assert_eq!(sorted.data, ["index=off", "lowerdir=/a:/b"]);
        for foreign in ["loop", "X-containerd.mkdir.path=/x"] {
            assert!(sort(&texts(&[foreign])).unwrap_err().contains(foreign));
        }
        let mapped = sort(&texts(&["uidmap=0:1000:1", "ro", "gidmap=0:1000:1"])).unwrap();
        assert_eq!((mapped.ids, mapped.data.len()), (Some(IdMaps::parse("0:1000:1", "0:1000:1").unwrap()), 0));
        for alone in ["uidmap", "gidmap"] {
            let error = sort(&texts(&[&format!("{alone}=0:1000:1")])).unwrap_err();
            assert!(error.contains(&format!("option {alone} needs")), "{error}");
        }
    }

    #[test]
    fn a_target_stays_in_the_root() {
        for (target, path) in [("", "/b/rootfs"), ("/a/b", "/b/rootfs/a/b"), ("../../etc", "/b/rootfs/etc")] {
            assert_eq!(below(Path::new("/b/rootfs"), target), Path::new(path));
        }
    }

    #[test]
    fn a_working_directory_is_of_one_thread() {
        let here = std::env::current_dir().unwrap();
        let (inside, is_inside) = std::sync::mpsc::channel();
        let (leave, may_leave) = std::sync::mpsc::channel();
        let there = std::thread::spawn(move || {
            in_directory(Some("/"), || {
                inside.send(std::env::current_dir().unwrap()).unwrap();
                may_leave.recv().unwrap();
                Ok(())
            })
            .unwrap();
            std::env::current_dir().unwrap()
        });
        assert_eq!(is_inside.recv().unwrap(), Path::new("/"));
        let meanwhile = std::env::current_dir().unwrap();
        leave.send(()).unwrap();
        assert_eq!(there.join().unwrap(), here);
        assert_eq!(meanwhile, here, "another thread's working directory was changed");
    }

    #[test]
    fn many_layers_are_named_from_where_they_are() {
        let layers: Vec<String> = (0..100).map(|n| format!("/var/lib/containerd/snapshots/{n:060}/fs")).collect();
        let options = texts(&["index=off", &format!("lowerdir={}", layers.join(":")), "upperdir=/var/lib/u"]);
        let (data, from) = shorten(&options);
        assert_eq!(from.as_deref(), Some("/var/lib/containerd/snapshots/"));
        assert!(data.starts_with(&format!("index=off,lowerdir={:060}/fs:{:060}/fs", 0, 1)), "{data}");
        assert!(data.ends_with(",upperdir=/var/lib/u"));
        // Few layers stay as they are, and so do those that have nothing in common.
        assert_eq!(shorten(&texts(&["lowerdir=/a:/b"])), ("lowerdir=/a:/b".to_owned(), None));
        assert_eq!(common_directory("/a/x:/b/y"), None);
        assert_eq!(common_directory("/a/b/c:/a/b:/a/bc/d"), Some("/a/"));
    }
}
