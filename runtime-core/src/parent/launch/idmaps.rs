//! The id maps of a new user namespace: written directly where the caller may, by newuidmap and newgidmap where it may not.

use std::fmt::Write as _;
use std::process::Command;

use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step};
use crate::config::IdMapping;
use crate::plan::IdMaps;

/// Writes the maps of the user namespace of `pid`, which waits for them.
pub(crate) fn write(pid: HostPid, maps: &IdMaps, maps_ids: bool) -> Result<()> {
    let procfs = Procfs::open()?;
    if !maps_ids {
        if is_own(&maps.uids, nix::unistd::geteuid().as_raw()) && is_own(&maps.gids, nix::unistd::getegid().as_raw()) {
            // One's own ids may be mapped by oneself, once groups can no longer be dropped by it (user_namespaces(7)).
            put(&procfs, pid, "setgroups", "deny")?;
        } else {
            helper("newuidmap", pid, &maps.uids, "/linux/uidMappings")?;
            return helper("newgidmap", pid, &maps.gids, "/linux/gidMappings");
        }
    }
    put(&procfs, pid, "uid_map", &lines(&maps.uids)).map_err(|error| error.field("/linux/uidMappings"))?;
    put(&procfs, pid, "gid_map", &lines(&maps.gids)).map_err(|error| error.field("/linux/gidMappings"))
}

/// Whether the map is of one single id, the caller's: what anyone may have.
pub(crate) fn is_own(maps: &[IdMapping], own: u32) -> bool {
    matches!(maps, [IdMapping { host_id, size: 1, .. }] if *host_id == own)
}

fn lines(maps: &[IdMapping]) -> String {
    let mut text = String::new();
    for map in maps {
        // Writing to a string does not fail.
        let written = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
        debug_assert!(written.is_ok());
    }
    text
}

fn put(procfs: &Procfs, pid: HostPid, file: &str, text: &str) -> Result<()> {
    procfs.write(&format!("{pid}/{file}"), text.as_bytes()).map_err(|errno| {
        Error::os(Step::MapIds, errno as i32).object(format!("{file} ({})", text.trim_end().replace('\n', ", ")))
    })
}

fn helper(name: &str, pid: HostPid, maps: &[IdMapping], field: &str) -> Result<()> {
    let mut command = Command::new(name);
    command.arg(pid.to_string()).stdin(std::process::Stdio::null());
    for map in maps {
        command.args([map.container_id.to_string(), map.host_id.to_string(), map.size.to_string()]);
    }
    let failed = || Error::new(Kind::System, Step::MapIds).object(name).field(field);
    let output = command.output().map_err(|error| {
        Error::io(Step::MapIds, &error)
            .object(name)
            .field(field)
            .hint("install the package uidmap, or map only your own id (one range of size 1)")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed()
        .detail(said.trim().to_owned())
        .hint("the ranges must be listed for this user in /etc/subuid and /etc/subgid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_own_id_needs_no_helper() {
        let map = |host_id, size| IdMapping { container_id: 0, host_id, size };
        assert!(is_own(&[map(1000, 1)], 1000));
        assert!(!is_own(&[map(1000, 2)], 1000));
        assert!(!is_own(&[map(1001, 1)], 1000));
        assert!(!is_own(&[map(1000, 1), map(100_000, 10)], 1000));
        assert_eq!(lines(&[map(1000, 1), map(5, 10)]), "0 1000 1\n0 5 10\n");
    }
}
