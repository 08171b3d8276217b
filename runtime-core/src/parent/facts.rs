//! What this host and this caller can do, as far as a config asks.

use std::fs::{self, File};
use std::os::fd::AsFd as _;

use crate::base::procfs::Procfs;
use crate::base::{HostPid, Rights, Runtime, sys};
use crate::config::{Config, NamespaceType, Process};
use crate::plan::Host;

/// The facts that matter for `config`; nothing is looked up that it does not ask for.
pub(crate) fn host(runtime: &Runtime, config: &Config<'_>) -> Host {
    let process = config.process.as_ref();
    let mount_label = config.linux.as_ref().is_some_and(|linux| linux.mount_label.is_some());
    let selinux = (mount_label || wants_selinux(process)) && selinux();
    let host = host_for(runtime, process);
    let sets_groups = host.sets_groups && joined_user_allows_groups(config);
    Host { selinux, sets_groups, ..host }
}

/// The facts that matter for one process in a container of `config` whose first process is `init`.
pub(crate) fn host_within(
    runtime: &Runtime,
    config: &Config<'_>,
    process: Option<&Process<'_>>,
    procfs: &Procfs,
    init: HostPid,
) -> Host {
    let host = host_for(runtime, process);
    // Without a user namespace of its own the process stays in the caller's. Who cannot be asked any more has ended, which is found out
    // when it is joined.
    let namespaces = config.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let joins = namespaces.iter().any(|namespace| namespace.kind == NamespaceType::User);
    let allows = || !joins || procfs.allows_setgroups(init).unwrap_or(true);
    Host { sets_groups: host.sets_groups && allows(), ..host }
}

/// What the user namespace that a container joins lets its processes do is its own, not the caller's. One that cannot be opened or entered
/// stops the container later, with its field.
fn joined_user_allows_groups(config: &Config<'_>) -> bool {
    let namespaces = config.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let joined = namespaces.iter().find(|namespace| namespace.kind == NamespaceType::User);
    let path = joined.and_then(|namespace| namespace.path.as_ref());
    let opened = path.and_then(|path| File::open(path.as_str()).ok());
    opened.and_then(|namespace| sys::allows_setgroups(namespace.as_fd())).unwrap_or(true)
}

/// The facts that matter for one process.
fn host_for(runtime: &Runtime, process: Option<&Process<'_>>) -> Host {
    let rights = Rights::of_this_process();
    Host {
        rootless: !rights.mounts(),
        initial_user_namespace: rights.initial_user_namespace,
        maps_ids: rights.maps_ids(),
        makes_devices: rights.makes_devices(),
        schedules: rights.schedules(),
        sets_groups: rights.sets_groups,
        cgroups_optional: cgroups_optional(runtime, rights),
        apparmor: process.is_some_and(|process| process.apparmor_profile.is_some()) && apparmor(),
        selinux: wants_selinux(process) && selinux(),
        open_files: runtime.open_files,
    }
}

/// Whether a container does without control groups where they cannot be made.
pub(crate) fn cgroups_optional(runtime: &Runtime, rights: Rights) -> bool {
    runtime.rootless.unwrap_or(!rights.rules_the_host())
}

fn wants_selinux(process: Option<&Process<'_>>) -> bool {
    process.is_some_and(|process| process.selinux_label.is_some())
}

/// Whether AppArmor confines processes on this host.
pub(crate) fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// The AppArmor profile around this process, with its mode.
pub(crate) fn apparmor_profile() -> Option<String> {
    let profile = fs::read_to_string("/proc/self/attr/apparmor/current").ok().filter(|_| apparmor())?;
    Some(profile.trim_end_matches(['\n', '\0']).to_owned())
}

/// Whether SELinux does.
pub(crate) fn selinux() -> bool {
    fs::symlink_metadata("/sys/fs/selinux/enforce").is_ok()
}
