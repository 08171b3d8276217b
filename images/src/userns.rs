//! The user namespace of an ordinary user: root in it is the user, and the ids from 1 on are those that the host has set aside for
//! the user in /etc/subuid and /etc/subgid. newuidmap(1) and newgidmap(1) map them.
//!
//! Files of other owners than the user can be made and removed only in such a namespace. A process enters one with [`enter`]
//! as the first thing that it does; whoever has started it with [`run`] writes the maps meanwhile.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::base::{Cancel, Error, Kind, Result, Step};

/// How long newuidmap may take: it may ask a directory service.
const PATIENCE: Duration = Duration::from_secs(20);

/// A range of ids: inside, outside, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first in the namespace.
    pub container: u32,
    /// The first on the host.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The ids of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

impl IdMaps {
    /// The maps of a namespace of this process's user: as many ids as the host gives, the own one at least.
    pub fn of_this_user() -> Result<Self> {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        let name = user.map(|user| user.name);
        let map = |file: &str, own: u32| {
            let text = match std::fs::read_to_string(file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                read => read.map_err(|error| Error::io(Step::MapIds, &error).object_is(file))?,
            };
            Ok(with_own(own, &subordinate(&text, name.as_deref(), uid.as_raw())))
        };
        let maps = Self { uids: map("/etc/subuid", uid.as_raw())?, gids: map("/etc/subgid", gid.as_raw())? };
        // newuidmap alone is of no use, nor is newgidmap.
        if maps.uids.len() > 1 && maps.gids.len() > 1 {
            return Ok(maps);
        }
        let own = |id| vec![IdRange { container: 0, host: id, size: 1 }];
        Ok(Self { uids: own(uid.as_raw()), gids: own(gid.as_raw()) })
    }

    /// The maps of the namespace that this process is in, as the one above it would write them.
    pub fn of_this_namespace() -> Result<Self> {
        let map = |file: &str| -> Result<Vec<IdRange>> {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Error::io(Step::MapIds, &error).object_is(file))?;
            text.lines()
                .map(|line| {
                    let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
                    let mut next = || numbers.next().flatten();
                    let (container, host, size) = (next(), next(), next());
                    let range = || Some(IdRange { container: container?, host: host?, size: size? });
                    range().ok_or_else(|| Error::new(Kind::System, Step::MapIds).object_is(file))
                })
                .collect()
        };
        Ok(Self { uids: map("/proc/self/uid_map")?, gids: map("/proc/self/gid_map")? })
    }

    fn is_own_id_only(&self) -> bool {
        self.uids.len() == 1 && self.gids.len() == 1
    }
}

/// The lines `USER:FIRST:COUNT` of a user, by name or number (subuid(5)).
fn subordinate(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let of_user = |line: &str| {
        let mut fields = line.trim().split(':');
        let (user, first, count) = (fields.next()?, fields.next()?.parse::<u32>().ok()?, fields.next()?.parse().ok()?);
        let mine = Some(user) == name || user.parse() == Ok(uid);
        // What goes beyond the last id is no range.
        (mine && fields.next().is_none() && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    };
    text.lines().filter_map(of_user).collect()
}

/// The own id as 0, then the others from 1 on.
fn with_own(own: u32, others: &[(u32, u32)]) -> Vec<IdRange> {
    let mut ranges = vec![IdRange { container: 0, host: own, size: 1 }];
    let mut next = 1_u32;
    // The kernel takes 340 lines.
    for &(host, size) in others.iter().take(300) {
        let size = size.min(u32::MAX - next);
        if size > 0 {
            ranges.push(IdRange { container: next, host, size });
            next += size;
        }
    }
    ranges
}

/// Enters new user and mount namespaces, in a program that was started with [`run`] and has no other thread yet.
pub fn enter() -> Result<()> {
    let failed = |error: std::io::Error| Error::io(Step::MapIds, &error).object_is("the user namespace");
    let stdin = std::io::stdin();
    let socket = std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned().map_err(failed)?;
    let mut socket = UnixStream::from(socket);
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|errno| {
        let error = Error::os(Step::MapIds, errno as i32).object_is("a new user namespace");
        error.hint_is("sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces; or run as root")
    })?;
    socket.set_read_timeout(Some(PATIENCE * 3)).map_err(failed)?;
    socket.write_all(b"r").map_err(failed)?;
    socket.read_exact(&mut [0]).map_err(failed)?;
    // The groups that the user has on the host are no business of what is done here; with one id they cannot be dropped.
    nix::unistd::setgroups(&[]).ok();
    Ok(())
}

/// Runs `program`, which begins with [`enter`], in a user namespace with `maps`. Its standard input is used for that.
pub fn run(program: &mut Command, maps: &IdMaps, cancel: &Cancel) -> Result<ExitStatus> {
    let failed = |error: std::io::Error| Error::io(Step::MapIds, &error).object_is("a process in a user namespace");
    let (mut here, there) = UnixStream::pair().map_err(failed)?;
    let mut child = program.stdin(Stdio::from(OwnedFd::from(there))).spawn().map_err(failed)?;
    // The other end is the child's alone: its end is the end of what is read here.
    program.stdin(Stdio::null());
    let admitted = admit(&mut here, child.id(), maps);
    if admitted.is_err() {
        child.kill().ok();
    }
    let status = wait(&mut child, cancel).map_err(failed)?;
    // One that ended by itself has said why.
    match admitted {
        Err(error) if status.code().is_none_or(|code| code == 0) => Err(error),
        _ => cancel.check(Step::MapIds).map(|()| status),
    }
}

fn admit(socket: &mut UnixStream, pid: u32, maps: &IdMaps) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(Step::MapIds, &error).object_is(format!("pid {pid}"));
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.read_exact(&mut [0]).map_err(failed)?;
    if maps.is_own_id_only() {
        let write = |file: &str, text: String| std::fs::write(format!("/proc/{pid}/{file}"), text).map_err(failed);
        write("setgroups", "deny".to_owned())?;
        for (file, ranges) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
            write(file, ranges.iter().map(|range| format!("0 {} 1\n", range.host)).collect())?;
        }
    } else {
        map("newuidmap", pid, &maps.uids)?;
        map("newgidmap", pid, &maps.gids)?;
    }
    socket.write_all(b"g").map_err(failed)
}

fn map(program: &str, pid: u32, ranges: &[IdRange]) -> Result<()> {
    let hint = "apt-get install uidmap";
    let failed = |error: &std::io::Error| Error::io(Step::MapIds, error).object_is(program).hint_is(hint);
    let numbers = ranges.iter().flat_map(|range| [range.container, range.host, range.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let end = Instant::now() + PATIENCE;
    while child.try_wait().map_err(|error| failed(&error))?.is_none() {
        if Instant::now() >= end {
            child.kill().ok();
            drop(child.wait());
            return Err(Error::new(Kind::Timeout, Step::MapIds).object_is(program).reason_is("it does not end"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().next().unwrap_or("it says nothing").trim().to_owned();
    let error = Error::new(Kind::Command, Step::MapIds).object_is(program).reason_is(reason);
    Err(error.hint_is("look for the user in /etc/subuid and /etc/subgid, and whether the program is setuid"))
}

/// Waits for the end, which comes at once when it is asked for.
fn wait(child: &mut Child, cancel: &Cancel) -> std::io::Result<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            child.kill()?;
            return child.wait();
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_user_by_name_or_number() {
        let text =
            "# users\nme:100000:65536\nother:200000:65536\n1000:300000:10\nme:4294967295:2\nme:1:0\nme:x:1\nme:5:5:5\n";
        assert_eq!(subordinate(text, Some("me"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(subordinate(text, None, 1001), []);
    }

    #[test]
    fn the_own_id_is_root_and_the_others_follow() {
        let range = |container, host, size| IdRange { container, host, size };
        assert_eq!(
            with_own(1000, &[(100_000, 65536), (300_000, 10)]),
            [range(0, 1000, 1), range(1, 100_000, 65536), range(65537, 300_000, 10)]
        );
        assert_eq!(with_own(1000, &[]), [range(0, 1000, 1)]);
        let huge = with_own(0, &[(1, u32::MAX - 1), (5, 5)]);
        assert_eq!(huge.len(), 2);
    }
}
