//! What this host has, and what was promised of it.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use orlop_cgroups::{Layout, Version};

/// Something a test may need.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Need {
    Root,
    Rootless,
    /// A v2 tree with all usual controllers.
    V2,
    /// v1 hierarchies.
    V1,
    /// systemd as init, and its system manager reachable.
    Systemd,
    /// A systemd user session.
    SystemdUser,
    /// A program in PATH.
    Program(&'static str),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::Rootless => f.write_str("rootless"),
            Self::V2 => f.write_str("cgroup-v2"),
            Self::V1 => f.write_str("cgroup-v1"),
            Self::Systemd => f.write_str("systemd"),
            Self::SystemdUser => f.write_str("systemd-user"),
            Self::Program(name) => write!(f, "program {name}"),
        }
    }
}

pub(crate) fn is_root() -> bool {
    // The owner of our own /proc entry, which needs no unsafe call.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

impl Need {
    pub(crate) fn is_met(&self) -> bool {
        match self {
            Self::Root => is_root(),
            Self::Rootless => !is_root(),
            Self::V2 => Layout::detect().is_ok_and(|layout| layout.version() == Version::V2),
            Self::V1 => Layout::detect().is_ok_and(|layout| !layout.hierarchies().is_empty()),
            Self::Systemd => is_root() && Path::new("/run/systemd/system").is_dir(),
            Self::SystemdUser => {
                !is_root() && std::env::var("XDG_RUNTIME_DIR").is_ok_and(|dir| Path::new(&dir).join("systemd").is_dir())
            }
            Self::Program(name) => {
                std::env::var("PATH").is_ok_and(|path| path.split(':').any(|dir| Path::new(dir).join(name).is_file()))
            }
        }
    }

    fn is_promised(&self, promises: &str) -> bool {
        let promised = |name: &str| promises.split([' ', ',']).any(|one| one == name);
        match self {
            Self::Program(_) => false,
            other => promised(&other.to_string()),
        }
    }
}

/// Whether a container on this layout would have the controller, v1 name or v2 name.
pub(crate) fn has_controller(layout: &Layout, name: &str) -> bool {
    let v2_name = match name {
        "blkio" => "io",
        other => other,
    };
    let found = layout.hierarchy(if name == "io" { "blkio" } else { name }).is_some()
        || layout.unified().is_some_and(|root| {
            // An ordinary user has what was delegated, and containers lie beside the user's own cgroup.
            let start =
                if is_root() { String::new() } else { crate::sandbox::path("").trim_end_matches('/').to_owned() };
            std::fs::read_to_string(format!("{root}{start}/cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|one| one == v2_name))
        });
    let usual = ["cpu", "cpuset", "memory", "pids", "io"].contains(&v2_name);
    let promises = std::env::var("ORLOP_TEST_NEEDS").unwrap_or_default();
    let promised = usual && Need::V2.is_promised(&promises);
    assert!(found || !promised, "controller {name} is missing, although cgroup-v2 was promised ({promises})");
    found
}

/// `MAJOR:MINOR` of a block device of this host that can be limited: a whole disk.
pub(crate) fn block_device() -> Option<(i64, i64)> {
    disks().iter().find_map(|entry| {
        let text = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// The path of that device.
pub(crate) fn block_device_node() -> Option<String> {
    Some(format!("/dev/{}", disks().first()?.file_name().to_string_lossy()))
}

fn disks() -> Vec<std::fs::DirEntry> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    // Disks before what only looks like one.
    let virtual_one = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        ["loop", "ram", "zram", "nbd", "dm-"].iter().any(|prefix| name.starts_with(prefix))
    };
    names.sort_by_key(virtual_one);
    names
}

static SKIPS: AtomicU32 = AtomicU32::new(0);

/// Says that `what` is not tested here. Standard error is written directly, since the test harness keeps what passing tests print.
pub(crate) fn skip(what: &str, reason: &str) {
    let count = SKIPS.fetch_add(1, Ordering::Relaxed) + 1;
    writeln!(std::io::stderr(), "SKIP {what}: {reason} (skip {count})").ok();
}

/// Whether `test` can run; says so if not, and fails if what is missing was promised.
pub(crate) fn can_run(test: &str, needs: &[Need]) -> bool {
    let promises = std::env::var("ORLOP_TEST_NEEDS").unwrap_or_default();
    for need in needs {
        if need.is_met() {
            continue;
        }
        assert!(!need.is_promised(&promises), "{test} needs {need}, which was promised ({promises}) and is missing");
        skip(test, &format!("needs {need}"));
        return false;
    }
    true
}

/// Leaves the test unless the needs are met.
macro_rules! needs {
    ($($need:expr),+ $(,)?) => {{
        use $crate::environment::Need::*;
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        if !$crate::environment::can_run(&name, &[$($need),+]) {
            return;
        }
    }};
}
pub(crate) use needs;
