//! The container's control groups, from the config's words to the crate that makes them.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use orlop_cgroups::{Cgroup, DeviceFilter, DeviceRule, Driver, Layout, Owner, Property, Resources, Spec, Version};

use crate::base::{CgroupDriver, ContainerId, Error, HostPid, Result, Runtime};
use crate::config::mount_options::MountOptions;
use crate::config::{Config, DELEGATE_CGROUP, NamespaceType, SYSTEMD_SUBGROUP};
use crate::plan::{CgroupMounts, Hierarchy, HostWrite, JoinCgroup};

/// A memory limit from which on the setting-up itself, and the runtime's help for it, can never matter.
const ROOMY: i64 = 16 << 20;

/// As many processes as the setting-up never has at once.
const MANY: i64 = 16;

/// What the control groups of a config's containers have in common, whatever their ids.
#[derive(Debug)]
pub(crate) struct Cgroups {
    layout: Layout,
    /// `None`: the containers get none.
    driver: Option<Driver>,
    rootless: bool,
    path: Option<String>,
    properties: Vec<Property>,
    owner: Option<Owner>,
    /// The containers' device filter, once the first of them has one.
    filter: Arc<DeviceFilter>,
}

/// A cgroup that is to be made.
#[derive(Debug)]
pub(crate) struct PlannedCgroup {
    pub(crate) record: orlop_cgroups::Record,
    id: String,
    path: Option<String>,
    properties: Vec<Property>,
    owner: Option<Owner>,
    filter: Arc<DeviceFilter>,
}

impl Cgroups {
    /// Looks at the host.
    pub(crate) fn find(runtime: &Runtime, config: &Config<'_>, rootless: bool) -> Result<Self> {
        let linux = config.linux.as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path.as_ref()).map(|path| path.as_str().to_owned());
        let relative = path.as_ref().is_none_or(|path| !path.starts_with('/'));
        let layout = match runtime.cgroup_driver {
            CgroupDriver::Cgroupfs if relative => Layout::detect_around_self(),
            _ => Layout::detect(),
        };
        let layout = layout.map_err(|error| Error::cgroup(&error))?;
        let driver = match runtime.cgroup_driver {
            CgroupDriver::Cgroupfs => Some(Driver::Cgroupfs),
            CgroupDriver::Systemd => Some(Driver::Systemd),
            CgroupDriver::Disabled => check_unlimited(config).map(|()| None)?,
        };
        let mut properties = Vec::new();
        if driver == Some(Driver::Systemd) {
            for (name, value) in config.annotations.iter() {
                if let Some(property) = Property::from_annotation(name, value).map_err(|error| {
                    let pointer = name.replace('~', "~0").replace('/', "~1");
                    Error::cgroup(&error).with_field(format!("/annotations/{pointer}"))
                })? {
                    properties.push(property);
                }
            }
            properties.extend(linux.and_then(|linux| linux.resources.as_deref()).and_then(Property::for_start));
        }
        Ok(Self { layout, driver, rootless, path, properties, owner: delegated_owner(config), filter: Arc::default() })
    }

    /// Works out where those of the container `id` will be; `None` where it gets none.
    pub(crate) fn plan(&self, id: &ContainerId, config: &Config<'_>) -> Result<Option<PlannedCgroup>> {
        let Some(driver) = self.driver else { return Ok(None) };
        let annotation = |name| config.annotations.get(name).map(|value| value.as_str());
        let spec = Spec {
            id: id.as_str(),
            cgroups_path: self.path.as_deref(),
            driver,
            rootless: self.rootless,
            properties: self.properties.clone(),
            owner: self.owner,
            subgroup: annotation(SYSTEMD_SUBGROUP),
            payload: annotation(DELEGATE_CGROUP),
        };
        let record = Cgroup::plan(&self.layout, &spec).map_err(|error| match place_at_fault(&self.layout, &spec) {
            Some(field) => Error::cgroup(&error).with_field(field),
            None => Error::cgroup(&error),
        })?;
        Ok(Some(PlannedCgroup {
            record,
            id: id.as_str().to_owned(),
            path: self.path.clone(),
            properties: spec.properties,
            owner: self.owner,
            filter: Arc::clone(&self.filter),
        }))
    }

    /// What a mount of type `cgroup` shows a container: its own control groups, or, where it has none, where the hierarchies begin.
    pub(crate) fn mounts(&self, planned: Option<&PlannedCgroup>, config: &Config<'_>) -> CgroupMounts {
        if !wants_cgroup_mount(config) {
            return CgroupMounts::Unused;
        }
        planned.map_or_else(
            || shown(&self.layout, &orlop_cgroups::Record::default()),
            |planned| shown(&self.layout, &planned.record),
        )
    }
}

/// The field behind a cgroup that cannot be planned, if there is one.
fn place_at_fault(layout: &Layout, spec: &Spec<'_>) -> Option<String> {
    let plannable = |spec: Spec<'_>| Cgroup::plan(layout, &spec).is_ok();
    if !plannable(Spec { subgroup: None, payload: None, ..spec.clone() }) {
        return spec.cgroups_path.map(|_| "/linux/cgroupsPath".to_owned());
    }
    let subgroup = !plannable(Spec { payload: None, ..spec.clone() });
    Some(format!("/annotations/{}", if subgroup { SYSTEMD_SUBGROUP } else { DELEGATE_CGROUP }))
}

/// Without a cgroup nothing can be limited. The device rules alone are passed over: they are those that every config has, and
/// who asks for no cgroup asks for no device filter either.
fn check_unlimited(config: &Config<'_>) -> Result<()> {
    let Some(linux) = &config.linux else { return Ok(()) };
    let refuse = |field: &str, detail: &str| {
        Err(Error::config(field, detail).with_hint("leave it out, or let the runtime make a cgroup (--cgroup-manager)"))
    };
    if linux.cgroups_path.as_ref().is_some_and(|path| !path.is_empty()) {
        return refuse("/linux/cgroupsPath", "no cgroup is made: --cgroup-manager is disabled");
    }
    match linux.resources.as_deref().and_then(limited_section) {
        Some(section) => refuse(
            &format!("/linux/resources/{section}"),
            "needs a cgroup, and none is made: --cgroup-manager is disabled",
        ),
        None => Ok(()),
    }
}

/// The first section of the resources, besides the device rules, that limits anything.
fn limited_section(resources: &Resources<'_>) -> Option<&'static str> {
    fn says<T: Default + PartialEq>(section: Option<&T>) -> bool {
        section.is_some_and(|section| *section != T::default())
    }
    // Taken apart so that a section of a later specification cannot be forgotten here.
    let Resources { devices: _, memory, cpu, pids, block_io, hugepage_limits, network, rdma, unified } = resources;
    let sections = [
        ("memory", says(memory.as_ref())),
        ("cpu", says(cpu.as_ref())),
        ("pids", says(pids.as_ref())),
        ("blockIO", says(block_io.as_ref())),
        ("hugepageLimits", !hugepage_limits.is_empty()),
        ("network", says(network.as_ref())),
        ("rdma", !rdma.is_empty()),
        ("unified", !unified.is_empty()),
    ];
    sections.into_iter().find(|(_, says)| *says).map(|(name, _)| name)
}

/// The container's root owns its cgroup where it has a user and a cgroup namespace and a writable view of it (runtime-spec,
/// "Cgroup ownership").
fn delegated_owner(config: &Config<'_>) -> Option<Owner> {
    let linux = config.linux.as_ref()?;
    if !(linux.makes(NamespaceType::User) && linux.makes(NamespaceType::Cgroup)) {
        return None;
    }
    let writable = config.mounts.iter().any(|mount| {
        mount.kind.as_ref().is_some_and(|kind| kind.as_str() == "cgroup" || kind.as_str() == "cgroup2")
            && MountOptions::parse(&mount.options).flags & 1 == 0
    });
    if !writable {
        return None;
    }
    let root = linux.uid_mappings.iter().find(|map| map.container_id == 0)?;
    Some(Owner { uid: root.host_id, gid: None })
}

impl PlannedCgroup {
    /// How a process will get in: known before the cgroup exists.
    pub(crate) fn join(&self) -> JoinCgroup {
        let by_itself = |name: &str| self.record.driver == Driver::Cgroupfs && self.record.paths.v1.contains_key(name);
        JoinCgroup {
            attach: self.record.driver == Driver::Systemd,
            tasks: self.record.driver == Driver::Cgroupfs && !self.record.paths.v1.is_empty(),
            late: by_itself("cpuset") || by_itself("devices"),
        }
    }
}

fn wants_cgroup_mount(config: &Config<'_>) -> bool {
    let is_cgroup = |kind: &str| matches!(kind, "cgroup" | "cgroup2");
    config.mounts.iter().any(|mount| mount.kind.as_ref().is_some_and(|kind| is_cgroup(kind.as_str())))
}

/// What mounts of type `cgroup` show a container that is there.
#[cfg(feature = "criu")]
pub(crate) fn cgroup_mounts(record: Option<&orlop_cgroups::Record>, config: &Config<'_>) -> Result<CgroupMounts> {
    match record {
        Some(record) if wants_cgroup_mount(config) => {
            let layout = Layout::detect().map_err(|error| Error::cgroup(&error))?;
            Ok(shown(&layout, record))
        }
        _ => Ok(CgroupMounts::Unused),
    }
}

fn shown(layout: &Layout, record: &orlop_cgroups::Record) -> CgroupMounts {
    // Without root's rights the container may have no cgroup of its own: it then sees where the hierarchies begin.
    let nowhere = record.rootless && record.driver == Driver::Cgroupfs;
    let own = |path: Option<&String>, mount: &str| path.filter(|_| !nowhere).map_or(mount, String::as_str).to_owned();
    let unified = layout.unified().map(|mount| own(record.paths.unified.as_ref(), mount));
    if layout.version() == Version::V2 {
        let whole = layout.unified().unwrap_or_default().to_owned();
        return CgroupMounts::Unified { own: unified.unwrap_or_default(), whole };
    }
    let mut hierarchies: Vec<Hierarchy> = layout
        .hierarchies()
        .iter()
        .map(|hierarchy| {
            let name = hierarchy.mount.rsplit('/').next().unwrap_or("").to_owned();
            let links =
                hierarchy.controllers.iter().filter(|controller| **controller != name && !controller.contains('='));
            Hierarchy {
                options: hierarchy.controllers.clone(),
                path: own(hierarchy.controllers.first().and_then(|name| record.paths.v1.get(name)), &hierarchy.mount),
                links: links.cloned().collect(),
                name,
            }
        })
        .collect();
    hierarchies.extend(unified.map(|path| Hierarchy {
        name: "unified".into(),
        options: Vec::new(),
        path,
        links: Vec::new(),
    }));
    CgroupMounts::Separate(hierarchies)
}

/// The container's cgroups, made.
#[derive(Debug)]
pub(crate) struct ContainerCgroup {
    cgroup: Cgroup,
    filter: Arc<DeviceFilter>,
    limited: bool,
}

impl ContainerCgroup {
    pub(crate) fn create(planned: PlannedCgroup) -> Result<Self> {
        let spec = Spec {
            id: &planned.id,
            cgroups_path: planned.path.as_deref(),
            driver: planned.record.driver,
            rootless: planned.record.rootless,
            properties: planned.properties,
            owner: planned.owner,
            ..Spec::default()
        };
        let cgroup = Cgroup::create_unified(planned.record, &spec).map_err(|error| Error::cgroup(&error))?;
        Ok(Self { cgroup, filter: planned.filter, limited: false })
    }

    /// The cgroup of v2 that the init is born into.
    pub(crate) fn clone_target(&self) -> Result<Option<BorrowedFd<'_>>> {
        self.cgroup.birthplace().map_err(|error| Error::cgroup(&error))
    }

    /// How many hierarchies of v1 the init enters by itself at most.
    pub(crate) fn hierarchies(&self) -> usize {
        self.cgroup.record().paths.v1.len()
    }

    /// Makes the directories that the init needs only later.
    pub(crate) fn complete(&mut self) -> Result<()> {
        self.cgroup.create_v1().map_err(|error| Error::cgroup(&error))
    }

    /// Has a new cpuset of v1 ready to be entered.
    pub(crate) fn fill_cpuset(&mut self) -> Result<()> {
        self.cgroup.fill_cpuset().map_err(|error| Error::cgroup(&error))
    }

    /// Has it ready for the init to enter, with the limits that can be set by then.
    pub(crate) fn settle(&mut self, config: &Config<'_>, rootless: bool) -> Result<()> {
        self.fill_cpuset()?;
        if self.may_limit_early(config) { self.apply(config, rootless) } else { Ok(()) }
    }

    /// The files through which the init enters the hierarchies of v1: at once, and once the cgroup is settled.
    pub(crate) fn tasks(&self) -> Result<(Vec<BorrowedFd<'_>>, Vec<BorrowedFd<'_>>)> {
        if self.is_systemds() {
            return Ok((Vec::new(), Vec::new()));
        }
        self.cgroup.tasks_in_two().map_err(|error| Error::cgroup(&error))
    }

    /// How a process gets in by itself, once all is made.
    #[cfg(feature = "criu")]
    pub(crate) fn join(&self) -> Result<orlop_cgroups::Join<'_>> {
        self.cgroup.join().map_err(|error| Error::cgroup(&error))
    }

    /// Whether systemd makes it, around an init that waits.
    pub(crate) fn is_systemds(&self) -> bool {
        self.cgroup.record().driver == Driver::Systemd
    }

    pub(crate) fn attach(&mut self, pid: HostPid) -> Result<()> {
        self.cgroup.attach(pid.as_pid()).map_err(|error| Error::cgroup(&error))
    }

    /// Moves the init into the cgroup below this one that the config's annotation names; see [`Cgroup::enter_payload`].
    pub(crate) fn enter_payload(&self, pid: HostPid) -> Result<()> {
        self.cgroup
            .enter_payload(pid.as_pid())
            .map_err(|error| Error::cgroup(&error).with_field(format!("/annotations/{DELEGATE_CGROUP}")))
    }

    #[cfg(feature = "criu")]
    pub(crate) fn processes(&self) -> Result<Vec<HostPid>> {
        let members = self.cgroup.processes().map_err(|error| Error::cgroup(&error))?;
        Ok(members.pids.into_iter().map(HostPid::of_member).collect())
    }

    pub(crate) fn record(&self) -> &orlop_cgroups::Record {
        self.cgroup.record()
    }

    /// Whether all limits have been set.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Closes what was open for the making, unless limits are yet to be set.
    pub(crate) fn release(&mut self) {
        if self.limited {
            self.cgroup.release();
        }
    }

    /// Limits that cannot get in the way of the init are set before it enters the hierarchies of v1, or while it is at work in the
    /// cgroup of v2; tight ones only when it is done.
    fn may_limit_early(&self, config: &Config<'_>) -> bool {
        if self.is_systemds() {
            return false;
        }
        let Some(resources) = config.linux.as_ref().and_then(|linux| linux.resources.as_deref()) else { return true };
        let roomy =
            resources.memory.as_ref().and_then(|memory| memory.limit).is_none_or(|limit| !(0..ROOMY).contains(&limit));
        let unthrottled =
            resources.cpu.as_ref().is_none_or(|cpu| cpu.quota.is_none() && cpu.realtime_runtime.is_none());
        // An init that joins a pid namespace is two processes for a moment.
        let crowd = resources.pids.as_ref().and_then(|pids| pids.limit).is_none_or(|limit| !(0..MANY).contains(&limit));
        roomy && unthrottled && crowd && resources.unified.is_empty()
    }

    /// Sets the limits, once.
    pub(crate) fn apply(&mut self, config: &Config<'_>, rootless: bool) -> Result<()> {
        if std::mem::replace(&mut self.limited, true) {
            return Ok(());
        }
        self.cgroup.apply_with(&limits(config, rootless), &self.filter).map_err(|error| Error::cgroup(&error))
    }

    /// Ends what is left in it and removes it.
    pub(crate) fn destroy(mut self) -> Result<()> {
        // Where descriptors ran out, these are the ones to do it with.
        self.cgroup.release();
        self.cgroup.kill_all().and_then(|()| self.cgroup.remove()).map_err(|error| Error::cgroup(&error))
    }
}

/// What `orlop plan` shows of the limits.
pub(crate) fn writes(planned: &PlannedCgroup, config: &Config<'_>, rootless: bool) -> Result<Vec<HostWrite>> {
    let resources = limits(config, rootless);
    let cgroup = Cgroup::open(planned.record.clone());
    let writes = cgroup.writes(&resources).map_err(|error| Error::cgroup(&error))?;
    Ok(writes
        .iter()
        .map(|write| HostWrite {
            file: write.file.to_string(),
            value: write.value.to_string(),
            field: format!("/linux/resources{}", write.pointer),
        })
        .collect())
}

/// The config's limits with the devices that every container has. Without root's rights no device node can be made or opened
/// that the caller could not open anyway, and no device program may be loaded: the rules are left to the kernel then.
fn limits<'c>(config: &Config<'c>, rootless: bool) -> Resources<'c> {
    let mut limits = match config.linux.as_ref().and_then(|linux| linux.resources.as_deref()) {
        Some(resources) => resources.clone(),
        None => Resources::default(),
    };
    if rootless {
        limits.devices.clear();
        return limits;
    }
    if limits.devices.is_empty() {
        limits.devices.push(rule(false, "a", None, None, "rwm"));
    }
    for rule in default_rules() {
        limits.devices.push(rule);
    }
    limits
}

fn rule(
    allow: bool,
    kind: &'static str,
    major: Option<i64>,
    minor: Option<i64>,
    access: &'static str,
) -> DeviceRule<'static> {
    DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
}

/// What every container may use: making nodes, the default devices, and terminals; as runc allows.
fn default_rules() -> impl Iterator<Item = DeviceRule<'static>> {
    const ALLOWED: [(Option<i64>, Option<i64>); 8] = [
        (Some(1), Some(3)),
        (Some(1), Some(5)),
        (Some(1), Some(7)),
        (Some(1), Some(8)),
        (Some(1), Some(9)),
        (Some(5), Some(0)),
        (Some(5), Some(2)),
        (Some(136), None),
    ];
    let making = [rule(true, "c", None, None, "m"), rule(true, "b", None, None, "m")];
    making.into_iter().chain(ALLOWED.into_iter().map(|(major, minor)| rule(true, "c", major, minor, "rwm")))
}
