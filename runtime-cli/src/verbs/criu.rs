//! The flags that `checkpoint` and `restore` share.

use std::time::Duration;

use orlop::{CgroupMode, CriuOptions, NetworkLock};

use crate::failure::Failure;
use crate::parse::Args;
use crate::table::flag_group;
use crate::units;

flag_group! {
    criu_flags
    IMAGE_PATH = "--image-path DIR | the directory of the images (default: checkpoint)",
    WORK_PATH = "--work-path DIR | where CRIU's log and scratch files go (default: the directory of the images)",
    TCP_ESTABLISHED = "--tcp-established | save and restore established TCP connections",
    TCP_CLOSE = "--tcp-close | restore established TCP connections as closed ones",
    EXT_UNIX_SK = "--ext-unix-sk | allow Unix sockets whose other end is outside",
    SHELL_JOB = "--shell-job | allow processes of a terminal's session outside",
    FILE_LOCKS = "--file-locks | save and restore file locks",
    MANAGE_CGROUPS_MODE = "--manage-cgroups-mode soft|full|strict|ignore | which properties of cgroups are set on restore (default: soft)",
    NETWORK_LOCK = "--network-lock iptables|nftables|skip | how packets are kept away meanwhile (default: CRIU's own)",
    EMPTY_NS = "--empty-ns NAMESPACE... | do not save the properties of this namespace (network, which never are)",
    AUTO_DEDUP = "--auto-dedup | deduplicate the images of memory",
    LAZY_PAGES = "--lazy-pages | leave memory where it is until it is used",
    TIMEOUT = "--timeout DURATION | how long CRIU may take (default: 1h)",
}

/// What the shared flags say.
pub(super) fn options(args: &Args<'_>) -> Result<CriuOptions, Failure> {
    let unset = |text: &&str| !text.is_empty();
    for namespace in args.texts(EMPTY_NS)? {
        if namespace != "network" {
            return Err(Failure::usage(format!("--empty-ns {namespace:?}: only network can be left empty")));
        }
    }
    let defaults = CriuOptions::default();
    let (cgroups, timeout) = (defaults.cgroups, defaults.deadline);
    Ok(defaults
        .image_path(args.path(IMAGE_PATH).unwrap_or_else(|| "checkpoint".into()))
        .work_path(args.path(WORK_PATH))
        .tcp_established(args.switch(TCP_ESTABLISHED))
        .tcp_close(args.switch(TCP_CLOSE))
        .ext_unix_sk(args.switch(EXT_UNIX_SK))
        .shell_job(args.switch(SHELL_JOB))
        .file_locks(args.switch(FILE_LOCKS))
        .cgroups(args.text(MANAGE_CGROUPS_MODE)?.filter(unset).map_or(Ok(cgroups), cgroup_mode)?)
        .network_lock(args.text(NETWORK_LOCK)?.filter(unset).map(network_lock).transpose()?)
        .auto_dedup(args.switch(AUTO_DEDUP))
        .lazy_pages(args.switch(LAZY_PAGES))
        .deadline(args.text(TIMEOUT)?.map_or(Ok(timeout), deadline)?))
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
