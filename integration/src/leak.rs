//! What a case must not leave behind: control groups, processes, mounts, state.
//!
//! Everything a case makes carries its tag (`orlopit-PID-N`) in its name, so that leftovers are found wherever they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::{self, living_descendants};

/// The cgroup hierarchies mounted here, v1 and v2, each once: a container may have one under two names.
#[must_use]
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let kind = right.split(' ').next()?;
            let mut words = left.split(' ').skip(2);
            let (device, _root, point) = (words.next()?, words.next()?, words.next()?);
            (matches!(kind, "cgroup" | "cgroup2") && seen.insert(device.to_owned())).then(|| PathBuf::from(point))
        })
        .collect()
}

/// Below which cgroup, as the kernel writes it, this caller's containers can have theirs: none (the root) where it may write the
/// root's directory, and on v2 otherwise the one that its own is in, where systemd has delegated that to it.
#[must_use]
pub fn cgroup_parent() -> &'static str {
    static PARENT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PARENT.get_or_init(|| {
        let mounts = cgroup_mounts();
        let unified = matches!(mounts.as_slice(), [only] if only.join("cgroup.controllers").is_file());
        if !unified || nix::unistd::geteuid().is_root() {
            return String::new();
        }
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        own.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())
    })
}

/// The directories of the cgroup `path` below [`cgroup_parent`], one for each hierarchy, whether they are there or not.
#[must_use]
pub fn cgroup_places(path: &str) -> Vec<PathBuf> {
    let inside = format!("{}/{path}", cgroup_parent().trim_start_matches('/'));
    cgroup_mounts().into_iter().map(|mount| mount.join(inside.trim_start_matches('/'))).collect()
}

/// Every cgroup directory whose name contains `tag`, children before parents.
#[must_use]
pub fn cgroups(tag: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, tag: &str, inside: bool, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let ours = inside || entry.file_name().to_string_lossy().contains(tag);
                walk(&entry.path(), tag, ours, found);
                if ours {
                    found.push(entry.path());
                }
            }
        }
    }
    let mut found = Vec::new();
    for mount in cgroup_mounts() {
        walk(&mount, tag, false, &mut found);
    }
    found
}

/// Lines of `mountinfo` text that contain `tag`, apart from those of the case's own directory as a mount point.
#[must_use]
pub fn mounts(tag: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter(|line| line.contains(tag)).map(str::to_owned).collect()
}

/// What is left of the case `tag`, waiting up to two seconds for ends that are under way.
#[must_use]
pub fn find(tag: &str, state_roots: &[PathBuf]) -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let mut left = Vec::new();
        process::reap();
        left.extend(living_descendants().into_iter().map(|p| format!("process {} {} {}", p.pid, p.state, p.command)));
        left.extend(cgroups(tag).into_iter().map(|path| format!("cgroup {}", path.display())));
        for root in state_roots {
            left.extend(state_entries(root).into_iter().map(|path| format!("state {}", path.display())));
        }
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What stands in a state root, apart from a runtime's own empty housekeeping (names that start with a dot, and lock files).
fn state_entries(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !is_hidden(path)).collect()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Ends and removes what is left, so that one leak does not spoil the cases after it.
pub fn clean(tag: &str) {
    for round in 0..50 {
        for process in living_descendants() {
            process::kill_hard(process.pid);
        }
        let left = cgroups(tag);
        for dir in &left {
            thaw(dir);
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Ok(pid) = pid.parse() {
                    process::kill_hard(pid);
                }
            }
        }
        process::reap();
        let stuck: Vec<_> = left.iter().filter(|dir| fs::remove_dir(dir).is_err() && dir.is_dir()).collect();
        if stuck.is_empty() && living_descendants().is_empty() {
            return;
        }
        if round == 49 {
            eprintln!("cannot remove {stuck:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes a directory with all that is in it, what its owner may not enter included: overlayfs makes such directories.
///
/// # Errors
/// When something cannot be removed all the same.
pub fn remove_tree(dir: &Path) -> std::io::Result<()> {
    fn open(dir: &Path) -> std::io::Result<()> {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(dir)?.flatten() {
            if entry.file_type()?.is_dir() {
                open(&entry.path())?;
            }
        }
        Ok(())
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open(dir)?;
            fs::remove_dir_all(dir)
        }
        result => result,
    }
}

/// A frozen process does not die; both generations of the freezer are tried, and a hierarchy that has neither is fine.
fn thaw(dir: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let path = dir.join(file);
        if path.is_file()
            && let Err(error) = fs::write(&path, value)
        {
            eprintln!("{}: {error}", path.display());
        }
    }
}
