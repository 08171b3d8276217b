//! What is around this process: its rights, a seccomp filter, limits.

use std::fs;

use rustix::process::Resource;

use super::finding::{HostFinding, Level};
use crate::base::{Rights, sys};
use crate::config::CAPABILITIES;

/// What this process may do, and what its containers do without.
pub(super) fn rights(rights: Rights) -> HostFinding {
    const NAME: &str = "rights";
    let found = rights.to_string();
    if rights.rules_the_host() {
        return HostFinding::ok(NAME, found);
    }
    let lacks = if rights.mounts() {
        "device nodes are bound from the host, control groups that cannot be made are done without"
    } else {
        "a container needs a user namespace in its config (orlop spec --rootless)"
    };
    HostFinding { consequence: lacks.into(), ..HostFinding::note(NAME, found) }
}

/// The value of a line of /proc/self/status.
pub(super) fn status(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// What this process inherited.
#[derive(Debug, Clone)]
pub(super) struct Confinement {
    /// `Seccomp` of /proc/self/status: 0 none, 1 strict, 2 a filter.
    seccomp: u8,
    no_new_privs: bool,
    /// The soft limits, as getrlimit(2) has them.
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    open_files: u64,
    /// The hard limit.
    most_files: u64,
    processes: u64,
    locked_memory: u64,
    file_size: u64,
}

/// The limit of open files that `orlop spec` writes.
const SPEC_FILES: u64 = 1024;
/// How many descriptors making a container takes at most, besides what its config passes.
const DESCRIPTORS: u64 = 64;
/// The runtime's largest file: a state, and the copy of a config.
const FILE: u64 = 1 << 20;

impl Confinement {
    pub(super) fn probe() -> Self {
        let soft = |resource| sys::limits(resource).0;
        Self {
            seccomp: status("Seccomp").and_then(|mode| mode.parse().ok()).unwrap_or(0),
            no_new_privs: status("NoNewPrivs").is_some_and(|value| value == "1"),
            limits: Limits {
                open_files: soft(Resource::Nofile),
                most_files: sys::limits(Resource::Nofile).1,
                processes: soft(Resource::Nproc),
                locked_memory: soft(Resource::Memlock),
                file_size: soft(Resource::Fsize),
            },
        }
    }

    pub(super) fn judge(&self, rights: Rights) -> Vec<HostFinding> {
        vec![capabilities(rights), self.filter(), self.new_privileges(rights), self.limits(rights)]
    }

    fn filter(&self) -> HostFinding {
        match self.seccomp {
            0 => HostFinding::ok("seccomp around us", "no filter"),
            _ => HostFinding {
                consequence: "containers have it too; see \"system calls\" for what it refuses of what is needed"
                    .into(),
                ..HostFinding::note("seccomp around us", "a filter is loaded")
            },
        }
    }

    fn new_privileges(&self, rights: Rights) -> HostFinding {
        const NAME: &str = "no_new_privs";
        match (self.no_new_privs, rights.maps_ids()) {
            (false, _) => HostFinding::ok(NAME, "not set"),
            (true, true) => {
                HostFinding::note(NAME, "set: no program of a container gains rights, whatever its config says")
            }
            (true, false) => HostFinding::new(
                Level::Limit,
                NAME,
                "set around this process",
                "newuidmap and newgidmap gain no rights: only one's own id can be mapped",
                "start without it (systemd: NoNewPrivileges=no; docker: without --security-opt no-new-privileges)",
            ),
        }
    }

    fn limits(&self, rights: Rights) -> HostFinding {
        let Limits { open_files, most_files, processes, locked_memory, file_size } = self.limits;
        let word = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        let found = format!(
            "open files {}, processes {}, locked memory {}, file size {}",
            word(open_files),
            word(processes),
            word(locked_memory),
            word(file_size)
        );
        let low = |what: &str, remedy: &str| {
            HostFinding::new(Level::Broken, "limits", found.clone(), format!("making a container needs {what}"), remedy)
        };
        if open_files < DESCRIPTORS {
            return low(&format!("up to {DESCRIPTORS} descriptors"), "ulimit -n 1024");
        }
        if most_files < SPEC_FILES && !rights.raises_limits() {
            return HostFinding::new(
                Level::Broken,
                "limits",
                format!("{found}; the hard limit of open files is {most_files}"),
                format!("orlop spec gives a container {SPEC_FILES}, and raising a hard limit needs CAP_SYS_RESOURCE"),
                "lower RLIMIT_NOFILE in process.rlimits, or start with a higher limit (systemd: LimitNOFILE=)",
            );
        }
        if file_size < FILE {
            return HostFinding::new(
                Level::Limit,
                "limits",
                found,
                format!("a config or state of more than {file_size} bytes cannot be kept"),
                "ulimit -f unlimited",
            );
        }
        HostFinding::ok("limits", found)
    }
}

fn capabilities(rights: Rights) -> HostFinding {
    const NAME: &str = "capabilities";
    let lacks = |number: &usize| rights.capabilities & (1 << number) == 0;
    let missing: Vec<_> = (0..CAPABILITIES.len()).filter(lacks).filter_map(|number| CAPABILITIES.get(number)).collect();
    let count = CAPABILITIES.len() - missing.len();
    if missing.is_empty() {
        return HostFinding::ok(NAME, format!("all {count}"));
    }
    if !rights.mounts() {
        return HostFinding::note(NAME, format!("{count} of {}", CAPABILITIES.len()));
    }
    let list: Vec<_> = missing.iter().map(|name| format!("CAP_{name}")).collect();
    let resource = missing.contains(&&"SYS_RESOURCE");
    let more = if resource { "; nor can a hard limit be raised, or an OOM score lowered" } else { "" };
    HostFinding::new(
        Level::Limit,
        NAME,
        format!("{count} of {}, without {}", CAPABILITIES.len(), list.join(", ")),
        format!("no container can have these{more}"),
        "start with them (docker: --cap-add; systemd: CapabilityBoundingSet=)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << CAPABILITIES.len()) - 1;

    fn caller(initial: bool, capabilities: u64) -> Rights {
        Rights { initial_user_namespace: initial, capabilities, sets_groups: true }
    }

    fn calm() -> Confinement {
        let many = u64::MAX;
        Confinement {
            seccomp: 0,
            no_new_privs: false,
            limits: Limits {
                open_files: 1024,
                most_files: 1024,
                processes: many,
                locked_memory: many,
                file_size: many,
            },
        }
    }

    #[test]
    fn rights_say_what_containers_do_without() {
        assert_eq!(rights(caller(true, ALL)).level, Level::Ok);
        assert!(rights(caller(false, ALL)).consequence.contains("bound from the host"));
        assert!(rights(caller(true, 0)).consequence.contains("--rootless"));
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities(caller(true, ALL)).level, Level::Ok);
        let without = capabilities(caller(true, ALL & !(1 << 24)));
        assert_eq!(without.level, Level::Limit);
        assert!(without.found.contains("40 of 41, without CAP_SYS_RESOURCE"), "{without:?}");
        assert!(without.consequence.contains("hard limit"), "{without:?}");
        // An ordinary user has none, and gets all in a user namespace.
        assert_eq!(capabilities(caller(true, 0)).level, Level::Note);
    }

    #[test]
    fn a_filter_is_a_note() {
        assert_eq!(calm().filter().level, Level::Ok);
        assert_eq!(Confinement { seccomp: 2, ..calm() }.filter().level, Level::Note);
    }

    #[test]
    fn no_new_privs_matters_to_who_needs_helpers() {
        let set = Confinement { no_new_privs: true, ..calm() };
        assert_eq!(set.new_privileges(caller(true, ALL)).level, Level::Note);
        assert_eq!(set.new_privileges(caller(true, 0)).level, Level::Limit);
        assert_eq!(calm().new_privileges(caller(true, 0)).level, Level::Ok);
    }

    #[test]
    fn low_limits_are_named_with_the_remedy() {
        assert_eq!(calm().limits(caller(true, 0)).level, Level::Ok);
        let files = Confinement { limits: Limits { open_files: 8, ..calm().limits }, ..calm() }.limits(caller(true, 0));
        assert_eq!((files.level, files.remedy.as_str()), (Level::Broken, "ulimit -n 1024"));
        let hard = Confinement { limits: Limits { most_files: 512, ..calm().limits }, ..calm() };
        assert_eq!(hard.limits(caller(true, 0)).level, Level::Broken);
        assert_eq!(hard.limits(caller(true, ALL)).level, Level::Ok);
        let size =
            Confinement { limits: Limits { file_size: 4096, ..calm().limits }, ..calm() }.limits(caller(true, 0));
        assert_eq!((size.level, size.remedy.as_str()), (Level::Limit, "ulimit -f unlimited"));
    }
}
