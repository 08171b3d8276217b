//! What this host and this caller can do, as far as a config asks.

use std::fs;

use crate::base::{Rights, Runtime};
use crate::config::{Config, Process};
use crate::plan::Host;

/// The facts that matter for `config`; nothing is looked up that it does not ask for.
pub(crate) fn host(runtime: &Runtime, config: &Config<'_>) -> Host {
    let process = config.process.as_ref();
    let mount_label = config.linux.as_ref().is_some_and(|linux| linux.mount_label.is_some());
    let selinux = (mount_label || wants_selinux(process)) && selinux();
    Host { selinux, ..host_for(runtime, process) }
}

/// The facts that matter for one process.
pub(crate) fn host_for(runtime: &Runtime, process: Option<&Process<'_>>) -> Host {
    let rights = Rights::of_this_process();
    Host {
        rootless: !rights.mounts(),
        initial_user_namespace: rights.initial_user_namespace,
        maps_ids: rights.maps_ids(),
        makes_devices: rights.makes_devices(),
        sets_groups: rights.sets_groups,
        cgroups_optional: cgroups_optional(runtime, rights),
        apparmor: process.is_some_and(|process| process.apparmor_profile.is_some()) && apparmor(),
        selinux: wants_selinux(process) && selinux(),
    }
}

/// Whether a container does without control groups where they cannot be made.
pub(crate) fn cgroups_optional(runtime: &Runtime, rights: Rights) -> bool {
    runtime.rootless.unwrap_or(!rights.rules_the_host())
}

fn wants_selinux(process: Option<&Process<'_>>) -> bool {
    process.is_some_and(|process| process.selinux_label.is_some())
}

fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn selinux() -> bool {
    fs::symlink_metadata("/sys/fs/selinux/enforce").is_ok()
}
