//! Which namespaces are made by the clone, which by the init, and in which order existing ones are joined.

use orlop_init::wire::{FOREIGN_PROCFS, Op, Phase, Slot};

use super::builder::Builder;
use super::options::JoinCgroup;
use super::resources::{IdMaps, Resource};
use crate::base::Result;
use crate::config::mount_options::MountOptions;
use crate::config::{Config, Mount, NamespaceType, TIMENS_OFFSET, time_offsets};

/// The kinds that are joined in this order, before a pid namespace, which holds children only.
const JOIN_ORDER: [NamespaceType; 6] = [
    NamespaceType::Network,
    NamespaceType::Ipc,
    NamespaceType::Uts,
    NamespaceType::Cgroup,
    NamespaceType::Time,
    NamespaceType::Mount,
];

fn flag(kind: NamespaceType) -> u64 {
    kind.number()
}

/// Whether the container has a network namespace of its own that can be made before there is any process of it: one that belongs to the
/// caller's user namespace.
pub(crate) fn takes_network(config: &Config<'_>) -> bool {
    config.linux.as_ref().is_some_and(|linux| linux.makes(NamespaceType::Network) && !linux.has(NamespaceType::User))
}

impl Builder<'_> {
    pub(super) fn plan_namespaces(&mut self) -> Result<()> {
        let new: u64 = self.new_flags();
        let user = self.join_slot(NamespaceType::User);
        let pid = self.join_slot(NamespaceType::Pid);
        self.joins_pid = pid.is_some();
        // A network namespace takes longer to make than all the others: it is made beside other work, if anything is.
        let network = if user.is_none() && self.clones(new) { new & flag(NamespaceType::Network) } else { 0 };
        let ahead = takes_network(self.config);
        if network != 0 && !ahead {
            // By the init, in its user namespace, while the runtime makes control groups and opens what is to be mounted.
            let flags = u32::try_from(network).unwrap_or(0);
            self.push_from(format_args!("/linux/namespaces"), Op::Unshare { flags });
        }
        if self.options.join.attach {
            // What the runtime opens next may lie in the cgroup that systemd makes only now.
            self.push(Op::Sync { phase: Phase::Attach });
        }
        // Where no fork follows, before the init waits: a busy kernel takes the processor from who leads a session of its own from now on
        // (sched(7), "autogroup feature").
        if !self.joins_pid && user.is_none() && self.clones(new) {
            self.lead_session();
        }
        self.push(Op::Receive);
        if ahead {
            self.push_from(format_args!("/linux/namespaces"), Op::Network);
        }
        self.push_cgroup_join();
        if let Some(process) = &self.config.process {
            // There it has no right to lower its score.
            if user.is_none() && self.born_in_user(new) {
                self.plan.oom_score_adj = process.oom_score_adj.map(|score| (score, "/process/oomScoreAdj".to_owned()));
            } else {
                self.plan_oom_score(process, "/process");
            }
            self.plan_labels(process, "/process")?;
        }
        // The files below /proc/self are the process's own only as long as it is dumpable and in the user namespace that it began in.
        let by_rights_of_user = self.options.host.rootless && user.is_some();
        if !by_rights_of_user {
            self.plan_time();
        }
        if self.may_hide_at_once(new) {
            self.push(Op::NotDumpable);
        }
        match user {
            Some(user) => self.plan_joined_user(user, pid, new)?,
            None => self.plan_own_user(pid, new & !network)?,
        }
        if by_rights_of_user {
            self.plan_time();
        }
        if !self.may_hide_at_once(new) {
            self.push(Op::NotDumpable);
        }
        if self.is_new(NamespaceType::Cgroup) && !self.cgroupns_by_clone() {
            self.push(Op::Unshare { flags: CGROUP });
        }
        if self.is_new(NamespaceType::Network) && !ahead {
            self.push(Op::Loopback);
        }
        Ok(())
    }

    /// Whether nobody needs to write a file below /proc/PID that belongs to real root once the process is not dumpable: the id maps of a
    /// caller who is not, and the time offsets of a process that has the right to a time namespace only in the user namespace it joins. Until
    /// then such a process has all rights over its own namespaces, and so cannot be traced by one with those of a container only.
    fn may_hide_at_once(&self, new: u64) -> bool {
        let host = &self.options.host;
        let maps_ids = new & flag(NamespaceType::User) != 0;
        let may_map = host.initial_user_namespace && !host.rootless;
        (may_map || !maps_ids) && !(host.rootless && self.joins(NamespaceType::User))
    }

    /// The new namespaces that one call can make: the time namespace needs offsets first, and the cgroup namespace its cgroup.
    fn new_flags(&self) -> u64 {
        let Some(linux) = &self.config.linux else { return 0 };
        let made = |kind: NamespaceType| match kind {
            NamespaceType::Time => false,
            NamespaceType::Cgroup => self.cgroupns_by_clone(),
            _ => true,
        };
        linux
            .namespaces
            .iter()
            .filter(|namespace| namespace.path.is_none() && made(namespace.kind))
            .fold(0, |flags, namespace| flags | flag(namespace.kind))
    }

    /// `clone3` roots a new cgroup namespace in the cgroup it puts the process into; otherwise the process must be there first.
    fn cgroupns_by_clone(&self) -> bool {
        self.options.join == JoinCgroup::default()
    }

    fn push_cgroup_join(&mut self) {
        if self.options.join.tasks {
            self.push(Op::JoinCgroups);
        }
        self.push_affinity_reset();
    }

    /// The runtime's own confinement to CPUs is not the container's; its cpuset is.
    pub(super) fn push_affinity_reset(&mut self) {
        if !self.options.host.rootless {
            let mask = self.plan.program.list(&[u8::MAX; 1024]);
            self.push(Op::Affinity { mask });
        }
    }

    fn join_slot(&mut self, kind: NamespaceType) -> Option<Slot> {
        let (path, field) = self.joined_path(kind)?;
        Some(self.slot(Resource::Namespace { path, kind, field }))
    }

    /// The path of the existing namespace that the container joins, and the field that says so.
    pub(super) fn joined_path(&self, kind: NamespaceType) -> Option<(String, String)> {
        let linux = self.config.linux.as_ref()?;
        let index = linux.namespaces.iter().position(|namespace| namespace.kind == kind)?;
        let path = linux.namespaces.get(index)?.path.as_ref()?.as_str().to_owned();
        Some((path, format!("/linux/namespaces/{index}/path")))
    }

    /// Whether the clone makes the new namespaces, as opposed to the init after it has joined others.
    fn clones(&self, new: u64) -> bool {
        let own = new & flag(NamespaceType::User) != 0;
        let joins = self.joins(NamespaceType::Pid) || JOIN_ORDER.iter().any(|kind| self.joins(*kind));
        !(own && joins) || self.options.host.rootless
    }

    /// Whether the process is born in a user namespace of its own.
    fn born_in_user(&self, new: u64) -> bool {
        new & flag(NamespaceType::User) != 0 && self.clones(new)
    }

    /// A user namespace of its own, or the caller's.
    fn plan_own_user(&mut self, pid: Option<Slot>, new: u64) -> Result<()> {
        if !self.clones(new) {
            // The rights over others' namespaces end with the entry into an own user namespace: they are joined before it.
            self.push_joins();
            self.push_pid_setns(pid)?;
            self.push(Op::Unshare { flags: u32::try_from(flag(NamespaceType::User)).unwrap_or(0) });
            self.plan_id_maps();
            self.push_making(new & !flag(NamespaceType::User));
            return Ok(());
        }
        self.plan.clone_flags = new;
        if self.born_in_user(new) {
            self.plan_id_maps();
        }
        self.push_joins();
        self.push_pid_setns(pid)
    }

    /// The namespace is an existing one.
    fn joins(&self, kind: NamespaceType) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_some())
    }

    fn plan_id_maps(&mut self) {
        let linux = self.config.linux.as_ref();
        self.plan.id_maps =
            linux.map(|linux| IdMaps { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone() });
        self.push(Op::Sync { phase: Phase::MapIds });
        self.push_become_root();
    }

    fn push_joins(&mut self) {
        for kind in JOIN_ORDER {
            if let Some(slot) = self.join_slot(kind) {
                self.push_setns(slot, kind);
            }
        }
    }

    /// Makes the new namespaces in the process itself, or in a next one where a pid namespace takes effect. A joined one takes effect for a
    /// process that is forked when all is set up (see `plan_entry`): what it mounts as procfs until then shows that namespace already.
    fn push_making(&mut self, new: u64) {
        if new & flag(NamespaceType::Pid) != 0 {
            self.push(Op::Fork { flags: new });
        } else if new != 0 {
            self.push(Op::Unshare { flags: u32::try_from(new).unwrap_or(0) });
        }
    }

    /// An existing user namespace: the others are made inside it, by a process that is in it.
    fn plan_joined_user(&mut self, user: Slot, pid: Option<Slot>, new: u64) -> Result<()> {
        // With root's rights over all of them, the others need not be owned by the user namespace: its rights would not do then.
        // Without, it is what gives the rights.
        let user_first = self.options.host.rootless;
        if user_first {
            self.push_setns(user, NamespaceType::User);
            self.push_become_root();
        }
        self.push_joins();
        self.push_pid_setns(pid)?;
        if !user_first {
            self.push_setns(user, NamespaceType::User);
            self.push_become_root();
        }
        self.push_making(new);
        Ok(())
    }

    /// An existing pid namespace: it takes effect for a process that is forked last of all, and for what is mounted as procfs.
    fn push_pid_setns(&mut self, pid: Option<Slot>) -> Result<()> {
        let Some(pid) = pid else { return Ok(()) };
        let is_new_procfs = |mount: &Mount<'_>| {
            mount.kind.as_ref().is_some_and(|kind| kind.as_str() == "proc")
                && !MountOptions::parse(&mount.options).is_bind()
        };
        let count = self.config.mounts.iter().filter(|mount| is_new_procfs(mount)).count();
        if count > FOREIGN_PROCFS {
            let detail =
                format!("{count} procfs mounts, and a container that joins a pid namespace can have {FOREIGN_PROCFS}");
            return Err(self.field_error("/mounts", detail));
        }
        if count > 0 {
            self.push(Op::OpenForeignProcfs { namespace: pid, count: u32::try_from(count).unwrap_or(0) });
        }
        self.push_setns(pid, NamespaceType::Pid);
        Ok(())
    }

    fn push_setns(&mut self, fd: Slot, kind: NamespaceType) {
        let flags = u32::try_from(flag(kind)).unwrap_or(0);
        let field = match self.plan.resources.get(fd.0 as usize) {
            Some(Resource::Namespace { field, .. }) => field.clone(),
            _ => String::new(),
        };
        self.push_from(format_args!("{field}"), Op::Setns { fd, flags });
    }

    /// Groups can be dropped only where setgroups(2) is allowed: not in a single-id map.
    fn push_become_root(&mut self) {
        self.push(Op::BecomeRoot { setgroups: u32::from(self.options.set_groups) });
    }

    fn plan_time(&mut self) {
        if !self.is_new(NamespaceType::Time) {
            return;
        }
        let lines = self.config.linux.as_ref().map_or_else(String::new, |linux| {
            linux
                .time_offsets
                .iter()
                .map(|(clock, offset)| format!("{} {} {}\n", clock.name(), offset.secs, offset.nanosecs))
                .collect()
        });
        let annotation = self.config.annotations.get(TIMENS_OFFSET).and_then(|text| time_offsets(text));
        let field = if annotation.is_some() { "/annotations/run.oci.timens_offset" } else { "/linux/timeOffsets" };
        let lines = annotation.unwrap_or(lines);
        if lines.is_empty() {
            // Nothing differs from the host's clocks, but the namespace is a new one.
            self.push(Op::Unshare { flags: TIME });
            return;
        }
        let proc = self.proc();
        let lines = self.plan.program.str(lines);
        self.push_from(format_args!("{field}"), Op::TimeOffsets { proc, lines });
    }
}

const CGROUP: u32 = 0x0200_0000;
const TIME: u32 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Host, Plan, PlanOptions, plan};

    fn planned(namespaces: serde_json::Value) -> Plan {
        let map = serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let text = serde_json::json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "linux": {"namespaces": namespaces, "uidMappings": map, "gidMappings": map},
        });
        let text = text.to_string();
        let config = crate::config::load(text.as_bytes()).unwrap();
        let host = Host { initial_user_namespace: true, ..Host::default() };
        plan(&config, &PlanOptions::entering(std::path::Path::new("/bundle"), host), None).unwrap()
    }

    #[test]
    fn the_process_that_stays_leads_its_session_before_it_waits_or_after_it_has_forked() {
        for (namespaces, forks) in [
            (serde_json::json!([{"type": "mount"}, {"type": "pid"}]), false),
            (serde_json::json!([{"type": "mount"}, {"type": "pid"}, {"type": "user"}, {"type": "time"}]), false),
            (serde_json::json!([{"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}]), true),
            (serde_json::json!([{"type": "mount"}, {"type": "pid"}, {"type": "user", "path": "/u"}]), true),
            (
                serde_json::json!([{"type": "mount"}, {"type": "pid"}, {"type": "user"}, {"type": "ipc", "path": "/i"}]),
                true,
            ),
        ] {
            let made = planned(namespaces.clone());
            let positions = |wanted: fn(&Op) -> bool| -> Vec<usize> {
                let ops = made.program.ops.iter().enumerate();
                ops.filter(|(_, record)| wanted(&record.op)).map(|(at, _)| at).collect()
            };
            let [session] = positions(|op| matches!(op, Op::Setsid))[..] else { panic!("{namespaces}") };
            let received = positions(|op| matches!(op, Op::Receive));
            let last_fork = positions(|op| matches!(op, Op::Fork { .. })).pop();
            assert_eq!(last_fork.is_some(), forks, "{namespaces}");
            match last_fork {
                Some(fork) => assert!(session > fork, "{namespaces}"),
                None => assert!(session < received[0], "{namespaces}"),
            }
        }
    }
}
