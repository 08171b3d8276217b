//! What may be bind mounted over /proc.

use std::ffi::CString;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use orlop_cgroups::mountinfo;

use crate::base::procfs::Procfs;
use crate::base::{Error, Result, Step};
use crate::config::mount_options::MountOptions;
use crate::config::paths::clean;
use crate::config::{Config, Mount};

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
pub(crate) fn check(config: &Config<'_>, bundle: &Path) -> Result<()> {
    let is_bind = |mount: &Mount<'_>| {
        MountOptions::parse(&mount.options).is_bind() || mount.kind.as_ref().is_some_and(|kind| kind.as_str() == "bind")
    };
    // To make a path plain costs more than to see that it cannot become one below /proc.
    let concerned = |mount: &Mount<'_>| mount.destination.as_bytes().windows(4).any(|part| part == b"proc");
    for (index, mount) in config.mounts.iter().enumerate().filter(|(_, mount)| concerned(mount)) {
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
/// Where whole procfs and sysfs file systems are mounted, by the path that the calling process sees.
pub(crate) fn revealing() -> Result<Vec<String>> {
    let failed = |errno: Errno| Error::os(Step::PivotRoot, errno as i32).with_object("/proc/self/mountinfo");
    // By number: the handle follows no link, and `self` is one.
    let path = CString::new(format!("{}/mountinfo", std::process::id())).map_err(|_| failed(Errno::EINVAL))?;
    let bytes = Procfs::open()?.read(&path).map_err(failed)?;
    Ok(revealing_in(&String::from_utf8_lossy(&bytes)))
}

/// The mount points in the text of a mountinfo file that show a whole procfs or sysfs.
fn revealing_in(text: &str) -> Vec<String> {
    let whole = |mount: &mountinfo::Mount<'_>| mount.root == "/" && matches!(mount.filesystem, "proc" | "sysfs");
    mountinfo::mounts(text).filter(whole).map(|mount| mount.point.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::revealing_in;

    #[test]
    fn whole_procfs_and_sysfs_are_found_in_mountinfo() {
        for (line, expected) in [
            ("22 1 0:21 / /proc rw,nosuid shared:12 - proc proc rw", Some("/proc")),
            ("23 1 0:22 / /sys rw - sysfs sysfs rw", Some("/sys")),
            (r"24 1 0:21 / /a\040b/proc\134x rw - proc proc rw", Some(r"/a b/proc\x")),
            ("25 1 0:21 /sys /mnt rw - proc proc rw", None),
            ("26 1 8:1 / /proc-like rw - ext4 /dev/sda1 rw", None),
            ("", None),
        ] {
            assert_eq!(revealing_in(line).first().map(String::as_str), expected, "{line}");
        }
    }
}
