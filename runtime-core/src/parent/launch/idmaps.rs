//! The id maps of a new user namespace: written directly where the caller may, by newuidmap and newgidmap where it may not.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::base::procfs::Procfs;
use crate::base::sys::pidfd;
use crate::base::{Error, HostPid, Kind, Result, Step, by_number};
use crate::config::IdMapping;
use crate::plan::IdMaps;

/// How long newuidmap may take: it may ask a directory service for the user's ranges.
const HELPER_DEADLINE: Duration = Duration::from_secs(20);

/// Writes the maps of the user namespace of a child, which waits for them.
pub(super) fn write(pid: HostPid, pidfd: BorrowedFd<'_>, maps: &IdMaps, maps_ids: bool) -> Result<()> {
    let own = Procfs::open()?.of_process(pid, pidfd);
    let own = own.map_err(|errno| Error::os(Step::MapIds, errno as i32).with_object("a process that waits for it"))?;
    if !maps_ids {
        if is_own(&maps.uids, nix::unistd::geteuid().as_raw()) && is_own(&maps.gids, nix::unistd::getegid().as_raw()) {
            // One's own ids may be mapped by oneself, once groups can no longer be dropped by it (user_namespaces(7)).
            put(&own, "setgroups", "deny")?;
        } else {
            return by_number(pid, pidfd, |pid| {
                helper("newuidmap", pid, &maps.uids, "/linux/uidMappings")?;
                helper("newgidmap", pid, &maps.gids, "/linux/gidMappings")
            });
        }
    }
    put(&own, "uid_map", &lines(&maps.uids)).map_err(|error| error.with_field("/linux/uidMappings"))?;
    put(&own, "gid_map", &lines(&maps.gids)).map_err(|error| error.with_field("/linux/gidMappings"))
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

fn put(own: &Procfs, file: &str, text: &str) -> Result<()> {
    own.write(file, text.as_bytes()).map_err(|errno| {
        Error::os(Step::MapIds, errno as i32).with_object(format!("{file} ({})", text.trim_end().replace('\n', ", ")))
    })
}

fn helper(name: &str, pid: HostPid, maps: &[IdMapping], field: &str) -> Result<()> {
    let mut command = Command::new(name);
    command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for map in maps {
        command.args([map.container_id.to_string(), map.host_id.to_string(), map.size.to_string()]);
    }
    let failed = |error: &std::io::Error| Error::io(Step::MapIds, error).with_object(name).with_field(field);
    let mut child = command.spawn().map_err(|error| {
        failed(&error).with_hint("install the package uidmap, or map only your own id (one range of size 1)")
    })?;
    let Some(status) = end_of(&mut child).map_err(|error| failed(&error))? else {
        let waited = format!("has not ended after {} s and was killed", HELPER_DEADLINE.as_secs());
        return Err(Error::new(Kind::Timeout, Step::MapIds).with_object(name).with_field(field).with_reason(waited));
    };
    if status.success() {
        return Ok(());
    }
    Err(Error::new(Kind::System, Step::MapIds)
        .with_object(name)
        .with_field(field)
        .with_reason(words_of(child))
        .with_hint("the ranges must be listed for this user in /etc/subuid and /etc/subgid"))
}

/// How the program ended; `None` when it had to be killed at the deadline.
fn end_of(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let pidfd = pidfd::open(i32::try_from(child.id()).ok().and_then(HostPid::new).ok_or(Errno::ESRCH)?)?;
    let ended = pidfd::wait_until(pidfd.as_fd(), Instant::now() + HELPER_DEADLINE)?;
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(ended.then_some(status))
}

/// What a program that has ended had to say; not what others still say that it has left its pipe to.
fn words_of(child: Child) -> String {
    let mut words = [0; 1024];
    let Some(mut pipe) = child.stderr else { return String::new() };
    let quiet = nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).is_err();
    let length = if quiet { 0 } else { pipe.read(&mut words).unwrap_or(0) };
    String::from_utf8_lossy(words.get(..length).unwrap_or_default()).trim().replace('\n', "; ")
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
