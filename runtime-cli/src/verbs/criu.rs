//! The flags that `checkpoint` and `restore` share.

use std::time::Duration;

use orlop::{CgroupMode, CriuOptions, NetworkLock};

use crate::failure::Failure;
use crate::parse::Args;
use crate::units;

/// These flags' lines in the table.
macro_rules! criu_flags {
    () => {
        "--image-path DIR | the directory of the images (default: checkpoint)
--work-path DIR | where CRIU's log and scratch files go (default: the directory of the images)
--tcp-established | save and restore established TCP connections
--tcp-close | restore established TCP connections as closed ones
--ext-unix-sk | allow Unix sockets whose other end is outside
--shell-job | allow processes of a terminal's session outside
--file-locks | save and restore file locks
--manage-cgroups-mode soft|full|strict|ignore | which properties of cgroups are set on restore (default: soft)
--network-lock iptables|nftables|skip | how packets are kept away meanwhile (default: CRIU's own)
--empty-ns NAMESPACE... | do not save the properties of this namespace (network, which never are)
--auto-dedup | deduplicate the images of memory
--lazy-pages | leave memory where it is until it is used
--timeout DURATION | how long CRIU may take (default: 1h)
"
    };
}
pub(super) use criu_flags;

/// What the shared flags say.
pub(super) fn options(args: &Args<'_>) -> Result<CriuOptions, Failure> {
    let unset = |text: &&str| !text.is_empty();
    for namespace in args.texts("empty-ns")? {
        if namespace != "network" {
            return Err(Failure::usage(format!("--empty-ns {namespace:?}: only network can be left empty")));
        }
    }
    let defaults = CriuOptions::default();
    Ok(CriuOptions {
        image_path: args.path("image-path").unwrap_or_else(|| "checkpoint".into()),
        work_path: args.path("work-path"),
        tcp_established: args.switch("tcp-established"),
        tcp_close: args.switch("tcp-close"),
        ext_unix_sk: args.switch("ext-unix-sk"),
        shell_job: args.switch("shell-job"),
        file_locks: args.switch("file-locks"),
        cgroups: args.text("manage-cgroups-mode")?.filter(unset).map_or(Ok(defaults.cgroups), cgroup_mode)?,
        network_lock: args.text("network-lock")?.filter(unset).map(network_lock).transpose()?,
        auto_dedup: args.switch("auto-dedup"),
        lazy_pages: args.switch("lazy-pages"),
        deadline: args.text("timeout")?.map_or(Ok(defaults.deadline), deadline)?,
    })
}

fn cgroup_mode(name: &str) -> Result<CgroupMode, Failure> {
    match name {
        "soft" => Ok(CgroupMode::Soft),
        "full" => Ok(CgroupMode::Full),
        "strict" => Ok(CgroupMode::Strict),
        "ignore" => Ok(CgroupMode::Ignore),
        _ => Err(Failure::usage(format!("--manage-cgroups-mode {name:?}: not one of soft, full, strict, ignore"))),
    }
}

fn network_lock(name: &str) -> Result<NetworkLock, Failure> {
    match name {
        "iptables" => Ok(NetworkLock::Iptables),
        "nftables" => Ok(NetworkLock::Nftables),
        "skip" => Ok(NetworkLock::Skip),
        _ => Err(Failure::usage(format!("--network-lock {name:?}: not one of iptables, nftables, skip"))),
    }
}

fn deadline(text: &str) -> Result<Duration, Failure> {
    match units::duration(text) {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(Failure::usage(format!("--timeout {text:?}: not a time such as 90s or 10m"))),
    }
}
