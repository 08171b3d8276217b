//! Control groups: which there are, what of them is ours, and whether a systemd answers.

use std::fs;

use orlop_cgroups::{Cgroup, Driver, Layout, ProcessCgroups, Spec, Version};

use super::finding::{HostFinding, Level};
use crate::base::{CgroupDriver, Rights, Runtime};
use crate::parent::facts;

/// What there is.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    /// `Err`: none are mounted, in the words of the crate that looked.
    layout: Result<Found, String>,
    /// Where a container could be made; what stands in the way.
    granted: Result<(), String>,
    /// Without any right a container is in its caller's control groups.
    optional: bool,
    /// Nobody is to make control groups.
    disabled: bool,
    /// The version of a systemd that answers: the system's, the user's.
    systemd: [Option<u32>; 2],
    wanted: bool,
    /// The least `pids.max` around this process.
    pids: Option<u64>,
}

#[derive(Debug, Clone)]
struct Found {
    version: Version,
    /// What is mounted where: controllers, or the unified tree.
    mounted: Vec<String>,
}

impl Cgroups {
    pub(super) fn probe(runtime: &Runtime, rights: Rights) -> Self {
        let layout = Layout::detect();
        let systemd = [false, true].map(|user| orlop_cgroups::systemd_version(user).ok());
        let driver = runtime.cgroup_driver;
        let granted = layout.as_ref().map_err(ToString::to_string).and_then(granted);
        Self {
            pids: layout.as_ref().ok().and_then(least_pids),
            layout: layout.as_ref().map(Found::of).map_err(ToString::to_string),
            granted,
            optional: facts::cgroups_optional(runtime, rights),
            disabled: driver == CgroupDriver::Disabled,
            wanted: driver == CgroupDriver::Systemd,
            systemd,
        }
    }

    pub(super) fn judge(&self) -> Vec<HostFinding> {
        let level = if self.optional || self.disabled { Level::Limit } else { Level::Broken };
        let lacks = if level == Level::Limit {
            "containers cannot be limited, paused or counted"
        } else {
            "no container can be made"
        };
        // Where there are none at all, only who asks for none does without.
        let (without, lost) =
            if self.disabled { (Level::Limit, lacks) } else { (Level::Broken, "no container can be made") };
        let mut found = vec![match &self.layout {
            Ok(found) => HostFinding::ok("cgroups", found.text()),
            Err(error) => HostFinding::new(
                without,
                "cgroups",
                error.clone(),
                lost,
                "mount -t cgroup2 none /sys/fs/cgroup, or --cgroup-manager disabled",
            ),
        }];
        if self.layout.is_ok() {
            found.push(match &self.granted {
                Ok(()) => HostFinding::ok("cgroup rights", "a cgroup can be made for a container"),
                Err(obstacle) => HostFinding::new(
                    level,
                    "cgroup rights",
                    obstacle.clone(),
                    lacks,
                    "systemd-run --user --scope -p Delegate=yes COMMAND, or --systemd-cgroup with a user session",
                ),
            });
        }
        found.push(self.systemd());
        found.push(self.processes());
        found
    }

    fn systemd(&self) -> HostFinding {
        const NAME: &str = "systemd";
        let words: Vec<_> = [("the system's", self.systemd[0]), ("the user's", self.systemd[1])]
            .iter()
            .filter_map(|(whose, version)| version.map(|version| format!("{whose} answers (version {version})")))
            .collect();
        match (words.is_empty(), self.wanted) {
            (false, _) => HostFinding::ok(NAME, words.join(", ")),
            (true, false) => HostFinding::note(NAME, "none answers; the cgroupfs driver does without"),
            (true, true) => HostFinding::new(
                Level::Broken,
                NAME,
                "none answers",
                "--systemd-cgroup makes no container",
                "leave --systemd-cgroup out, or start a session (loginctl enable-linger USER)",
            ),
        }
    }

    fn processes(&self) -> HostFinding {
        const NAME: &str = "pids.max around us";
        match self.pids {
            None => HostFinding::ok(NAME, "no limit"),
            Some(most) if most < 4 => HostFinding::new(
                Level::Broken,
                NAME,
                most.to_string(),
                "the runtime cannot start a container's first process beside itself",
                "raise pids.max of this cgroup (systemd: TasksMax=)",
            ),
            Some(most) => HostFinding::note(NAME, most.to_string()),
        }
    }
}

impl Found {
    fn of(layout: &Layout) -> Self {
        let mut mounted: Vec<String> = layout
            .hierarchies()
            .iter()
            .map(|hierarchy| format!("{} at {}", hierarchy.controllers.join(","), hierarchy.mount))
            .collect();
        mounted.extend(layout.unified().map(|mount| {
            let list = fs::read_to_string(format!("{mount}/cgroup.controllers")).unwrap_or_default();
            let names = if list.trim().is_empty() { "no controllers" } else { list.trim() };
            format!("cgroup2 ({names}) at {mount}")
        }));
        Self { version: layout.version(), mounted }
    }

    fn text(&self) -> String {
        let layout = match self.version {
            Version::V1 => "v1",
            Version::Hybrid => "hybrid",
            Version::V2 => "v2",
        };
        format!("{layout}: {}", self.mounted.join("; "))
    }
}

/// Whether the cgroups of a container that does not exist could be made.
fn granted(layout: &Layout) -> Result<(), String> {
    let spec = Spec { id: "orlop-doctor", driver: Driver::Cgroupfs, ..Spec::default() };
    let asked = Cgroup::plan(layout, &spec).and_then(|record| Cgroup::rights(&record));
    match asked {
        Ok(rights) => rights.error().map_or(Ok(()), |error| Err(error.to_string())),
        Err(error) => Err(error.to_string()),
    }
}

/// The least `pids.max` from this process's cgroup up to the mounted one.
fn least_pids(layout: &Layout) -> Option<u64> {
    let own = ProcessCgroups::parse(fs::read_to_string("/proc/self/cgroup").ok()?);
    let v1 = layout.hierarchy("pids").and_then(|hierarchy| Some((hierarchy.mount.as_str(), own.v1("pids")?)));
    let (mount, path) = v1.or_else(|| Some((layout.unified()?, own.unified()?)))?;
    let mut least = None;
    let mut path = path.trim_end_matches('/');
    loop {
        let text = fs::read_to_string(format!("{mount}{path}/pids.max")).unwrap_or_default();
        if let Ok(most) = text.trim().parse::<u64>() {
            least = Some(least.map_or(most, |now: u64| now.min(most)));
        }
        match path.rsplit_once('/') {
            Some((above, _)) => path = above,
            None => return least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Cgroups {
        Cgroups {
            layout: Ok(Found { version: Version::V2, mounted: vec!["cgroup2 (cpu) at /sys/fs/cgroup".into()] }),
            granted: Ok(()),
            optional: false,
            disabled: false,
            systemd: [Some(252), None],
            wanted: false,
            pids: None,
        }
    }

    fn level(cgroups: &Cgroups, name: &str) -> Option<Level> {
        cgroups.judge().iter().find(|one| one.name == name).map(|one| one.level)
    }

    #[test]
    fn what_is_in_the_way_of_control_groups_is_named() {
        assert!(all().judge().iter().all(|one| one.level == Level::Ok), "{:?}", all().judge());
        let none = Cgroups { layout: Err("look for control groups".into()), granted: Err("none".into()), ..all() };
        assert_eq!(level(&none, "cgroups"), Some(Level::Broken));
        assert_eq!(level(&none, "cgroup rights"), None);
        assert_eq!(level(&Cgroups { disabled: true, ..none }, "cgroups"), Some(Level::Limit));
        let not_ours = Cgroups { granted: Err("permission denied".into()), ..all() };
        assert_eq!(level(&not_ours, "cgroup rights"), Some(Level::Broken));
        assert_eq!(level(&Cgroups { optional: true, ..not_ours }, "cgroup rights"), Some(Level::Limit));
    }

    #[test]
    fn a_missing_systemd_matters_to_who_wants_it() {
        let none = Cgroups { systemd: [None, None], ..all() };
        assert_eq!(level(&none, "systemd"), Some(Level::Note));
        assert_eq!(level(&Cgroups { wanted: true, ..none }, "systemd"), Some(Level::Broken));
    }

    #[test]
    fn a_tight_limit_of_processes_is_named() {
        assert_eq!(level(&Cgroups { pids: Some(2), ..all() }, "pids.max around us"), Some(Level::Broken));
        assert_eq!(level(&Cgroups { pids: Some(100), ..all() }, "pids.max around us"), Some(Level::Note));
    }
}
