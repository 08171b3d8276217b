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
    Host { selinux, assembles: kernel_is_at_least(6, 15), ..host_for(runtime, process) }
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
        assembles: false,
    }
}

/// Whether a container does without control groups where they cannot be made.
pub(crate) fn cgroups_optional(runtime: &Runtime, rights: Rights) -> bool {
    runtime.rootless.unwrap_or(!rights.rules_the_host())
}

fn wants_selinux(process: Option<&Process<'_>>) -> bool {
    process.is_some_and(|process| process.selinux_label.is_some())
}

/// Whether the running kernel is of this version or a later one.
fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    nix::sys::utsname::uname().is_ok_and(|name| is_at_least(&name.release().to_string_lossy(), (major, minor)))
}

fn is_at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

fn apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn selinux() -> bool {
    fs::symlink_metadata("/sys/fs/selinux/enforce").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        for later in ["6.15.0", "6.18.3-arch1", "7.0-rc1", "6.15", "10.1.2+deb14-amd64"] {
            assert!(is_at_least(later, (6, 15)), "{later}");
        }
        for earlier in ["6.14.99", "5.15.0-91-generic", "6.1.0-44-amd64", "6", "", "unknown"] {
            assert!(!is_at_least(earlier, (6, 15)), "{earlier}");
        }
    }
}
