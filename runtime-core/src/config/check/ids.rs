//! Ids and their mappings. An id is a number from 0 to 4294967294 and never anything else: 4294967295 means "leave it" to the kernel.

use super::findings::Findings;
use crate::config::model::{Config, IdMapping, Linux};
use crate::config::names::NamespaceType;

/// The kernel takes this many ranges per map.
const MOST_RANGES: usize = 340;

/// Reports an id that the kernel reads as -1.
pub(super) fn check_id(id: u32, findings: &mut Findings, pointer: impl FnOnce() -> String) {
    if id == u32::MAX {
        findings.error(pointer(), "4294967295 is not an id: to the kernel it means \"unchanged\"");
    }
}

/// Whether `id` of a container has an id of the host behind it.
#[must_use]
pub fn mapped(mappings: &[IdMapping], id: u32) -> bool {
    mappings.iter().any(|mapping| id.checked_sub(mapping.container_id).is_some_and(|offset| offset < mapping.size))
}

/// Checks the ranges of one map.
pub(super) fn check_mappings(mappings: &[IdMapping], pointer: &str, findings: &mut Findings) {
    if mappings.len() > MOST_RANGES {
        findings.error(pointer, format!("{} ranges, the kernel takes at most {MOST_RANGES}", mappings.len()));
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let at = |field: &str| format!("{pointer}/{index}/{field}");
        if mapping.size == 0 {
            findings.error(at("size"), "must not be 0");
            continue;
        }
        // The last id of all is -1, so a range may reach up to but not include it.
        for (first, field) in [(mapping.container_id, "containerID"), (mapping.host_id, "hostID")] {
            if first.checked_add(mapping.size).is_none() {
                findings.error(at(field), format!("{first} plus size {} is beyond 4294967295", mapping.size));
            }
        }
        for (other_index, other) in mappings.iter().enumerate().take(index) {
            let overlap = |a: u32, b: u32| {
                let (a, b) = (u64::from(a), u64::from(b));
                a < b + u64::from(other.size) && b < a + u64::from(mapping.size)
            };
            let fields =
                [(mapping.container_id, other.container_id, "containerID"), (mapping.host_id, other.host_id, "hostID")];
            for (a, b, field) in fields {
                if overlap(a, b) {
                    findings.error(at(field), format!("overlaps with the range of {pointer}/{other_index}"));
                }
            }
        }
    }
}

/// Checks that whom the process runs as exists in a new user namespace.
pub(super) fn check_user(config: &Config<'_>, linux: &Linux<'_>, findings: &mut Findings) {
    let Some(process) = &config.process else { return };
    if !linux.makes(NamespaceType::User) || linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
        return;
    }
    let user = &process.user;
    if !mapped(&linux.uid_mappings, user.uid) {
        findings.error("/process/user/uid", format!("user {} is not in /linux/uidMappings", user.uid));
    }
    if !mapped(&linux.gid_mappings, user.gid) {
        findings.error("/process/user/gid", format!("group {} is not in /linux/gidMappings", user.gid));
    }
    for (index, gid) in user.additional_gids.iter().enumerate() {
        if !mapped(&linux.gid_mappings, *gid) {
            findings.error(
                format!("/process/user/additionalGids/{index}"),
                format!("group {gid} is not in /linux/gidMappings"),
            );
        }
    }
}
