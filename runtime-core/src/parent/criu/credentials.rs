//! Whether restored processes have no more rights than the config gives them. Who they are and what they may do comes from images,
//! and a process can have lied about it while it was saved.

use std::ffi::CString;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::base::procfs::Procfs;
use crate::base::{Error, HostPid, Kind, Result, Step};
use crate::config::{Config, IdMapping, Process, capability_number};

/// What a process has, as /proc/PID/status tells it.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    /// Real, effective, saved and file system id.
    uids: Vec<u32>,
    gids: Vec<u32>,
    /// All five sets together.
    capabilities: u64,
    no_new_privileges: bool,
    filtered: bool,
}

/// What the config lets a process have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights<'r> {
    pub(crate) config: &'r Config<'r>,
    /// Whether the config's processes run under a seccomp filter.
    pub(crate) filtered: bool,
}

impl Held {
    fn parse(status: &str) -> Option<Self> {
        let words = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let ids =
            |key: &str| words(key)?.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>();
        let set = |key: &str| u64::from_str_radix(words(key)?.trim(), 16).ok();
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        Some(Self {
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            capabilities: sets.iter().try_fold(0, |all, key| Some(all | set(key)?))?,
            no_new_privileges: words("NoNewPrivs")?.trim() == "1",
            filtered: words("Seccomp")?.trim() == "2",
        })
    }
}

impl Rights<'_> {
    /// Looks at every thread of the process `pid`.
    ///
    /// # Errors
    /// The first that has more than the config gives, by the field that it goes beyond.
    pub(crate) fn check(&self, procfs: &Procfs, pid: HostPid) -> Result<()> {
        let failed = |errno: Errno| Error::os(Step::Restore, errno as i32).with_object(format!("threads of {pid}"));
        let path = CString::new(format!("{pid}/task")).unwrap_or_default();
        let tasks = procfs.open_file(&path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(failed)?;
        let mut tasks = nix::dir::Dir::from_fd(tasks).map_err(failed)?;
        for task in tasks.iter() {
            let task = task.map_err(failed)?;
            let name = task.file_name().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let path = CString::new(format!("{pid}/task/{name}/status")).unwrap_or_default();
            let status = procfs.read(&path).map_err(failed)?;
            let held = Held::parse(&String::from_utf8_lossy(&status)).ok_or_else(|| failed(Errno::EINVAL))?;
            if let Some((field, detail)) = self.excess(&held) {
                return Err(Error::new(Kind::InvalidArgument, Step::Restore)
                    .with_object(format!("process {name}"))
                    .with_field(field)
                    .with_reason(detail)
                    .with_hint("the images give it what the config does not"));
            }
        }
        Ok(())
    }

    fn excess(&self, held: &Held) -> Option<(&'static str, String)> {
        let process = self.config.process.as_ref()?;
        let given = given(process);
        let more = held.capabilities & !given;
        if more != 0 {
            return Some(("/process/capabilities", format!("it has the capabilities {more:x}, which are not given")));
        }
        if process.no_new_privileges && !held.no_new_privileges {
            return Some(("/process/noNewPrivileges", "it can gain privileges".into()));
        }
        if self.filtered && !held.filtered {
            return Some(("/linux/seccomp", "it has no seccomp filter".into()));
        }
        let linux = self.config.linux.as_ref();
        let uids = linux.map_or(&[][..], |linux| linux.uid_mappings.as_slice());
        let gids = linux.map_or(&[][..], |linux| linux.gid_mappings.as_slice());
        let checks = [
            ("/process/user/uid", "CAP_SETUID", process.user.uid, uids, &held.uids),
            ("/process/user/gid", "CAP_SETGID", process.user.gid, gids, &held.gids),
        ];
        checks.into_iter().find_map(|(field, capability, id, maps, held)| {
            let may_change = !process.no_new_privileges
                || capability_number(capability).is_some_and(|number| given >> number & 1 == 1);
            let expected = on_host(id, maps)?;
            let other = held.iter().find(|id| **id != expected).filter(|_| !may_change)?;
            Some((field, format!("it has the id {other} of the host, which it could not come to")))
        })
    }
}

/// All that a process of the config can have or come to.
fn given(process: &Process<'_>) -> u64 {
    let Some(sets) = &process.capabilities else { return 0 };
    [&sets.bounding, &sets.effective, &sets.inheritable, &sets.permitted, &sets.ambient]
        .iter()
        .fold(0, |all, set| all | set.mask)
}

/// The host's number of an id of the container; `None` for one that is not mapped.
fn on_host(id: u32, maps: &[IdMapping]) -> Option<u32> {
    if maps.is_empty() {
        return Some(id);
    }
    let map = maps.iter().find(|map| id >= map.container_id && id - map.container_id < map.size)?;
    map.host_id.checked_add(id - map.container_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nCapInh:\t0\nCapPrm:\t0000000000000020\nCapEff:\t20\n\
                          CapBnd:\t20\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    fn excess(config: &str, status: &str) -> Option<&'static str> {
        let config = crate::config::load(config.as_bytes()).unwrap();
        let rights = Rights { config: &config, filtered: true };
        rights.excess(&Held::parse(status).unwrap()).map(|(field, _)| field)
    }

    fn config(process: &str) -> String {
        format!(r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["x"],{process}}}}}"#)
    }

    #[test]
    fn whoever_has_more_is_told_by_the_field() {
        let kill = r#""capabilities":{"bounding":["CAP_KILL"]},"noNewPrivileges":true,"user":{"uid":7,"gid":8}"#;
        assert_eq!(excess(&config(kill), STATUS), None);
        for (what, other, field) in [
            ("CapBnd:\t20", "CapBnd:\t21", "/process/capabilities"),
            ("CapAmb:\t0", "CapAmb:\t80", "/process/capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "/process/noNewPrivileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "/linux/seccomp"),
            ("Uid:\t7\t7", "Uid:\t7\t0", "/process/user/uid"),
            ("Gid:\t8\t8\t8\t8", "Gid:\t8\t8\t8\t0", "/process/user/gid"),
        ] {
            assert_eq!(excess(&config(kill), &STATUS.replace(what, other)), Some(field), "{other}");
        }
        let may =
            r#""capabilities":{"bounding":["CAP_KILL","CAP_SETUID"]},"noNewPrivileges":true,"user":{"uid":0,"gid":8}"#;
        assert_eq!(excess(&config(may), STATUS), None, "it may have changed its user");
        let privileged = r#""capabilities":{"bounding":["CAP_KILL"]},"user":{"uid":0,"gid":0}"#;
        assert_eq!(excess(&config(privileged), STATUS), None, "by a setuid program");
    }

    #[test]
    fn ids_are_those_of_the_host() {
        let maps = [IdMapping { container_id: 0, host_id: 100_000, size: 10 }];
        assert_eq!(on_host(7, &maps), Some(100_007));
        assert_eq!(on_host(10, &maps), None);
        assert_eq!(on_host(10, &[]), Some(10));
    }
}
