//! What may be bind mounted over /proc.

use std::path::Path;

use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use crate::config::mount_options::MountOptions;
use crate::config::{Config, Mount};
use crate::plan::clean;
use crate::{Error, Result};

/// What tools such as LXCFS put in the place of procfs's own files: runc's list.
const OVER_PROC: [&str; 11] = [
    "/cpuinfo",
    "/diskstats",
    "/meminfo",
    "/stat",
    "/swaps",
    "/uptime",
    "/loadavg",
    "/slabinfo",
    "/net/dev",
    "/sys/kernel/ns_last_pid",
    "/sys/crypto/fips_enabled",
];

/// Refuses bind mounts that could stand in for what the runtime and others trust on /proc (CVE-2019-16884): only another procfs
/// may cover all of it, and files below it only where monitoring tools are known to do so.
pub(super) fn check(config: &Config<'_>, bundle: &Path) -> Result<()> {
    let is_bind = |mount: &Mount<'_>| {
        MountOptions::parse(&mount.options).is_bind() || mount.kind.as_ref().is_some_and(|kind| kind.as_str() == "bind")
    };
    for (index, mount) in config.mounts.iter().enumerate() {
        let target = clean(&mount.destination);
        let Some(below) = target.strip_prefix("/proc").filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            continue;
        };
        if !is_bind(mount) || OVER_PROC.contains(&below) {
            continue;
        }
        let field = format!("/mounts/{index}/destination");
        if !below.is_empty() {
            let detail =
                format!("{target} is inside /proc, where nothing but a few monitoring files can be bind mounted");
            return Err(Error::config(field, detail));
        }
        let source = bundle.join(mount.source.as_ref().map_or("", |source| source.as_str()));
        if !statfs(&source).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC) {
            return Err(Error::config(field, "only a procfs can be bind mounted on /proc"));
        }
    }
    Ok(())
}
