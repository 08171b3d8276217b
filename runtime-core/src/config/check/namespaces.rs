//! Namespaces and what needs them.

use super::findings::{CheckOptions, Findings, check_no_nul};
use super::ids::check_mappings;
use crate::config::annotations::TIMENS_OFFSET;
use crate::config::model::{Config, Linux};
use crate::config::names::{NamespaceType, Propagation};

/// Linux takes host and domain names of up to this many bytes.
const LONGEST_NAME: usize = 64;

const NO_USER_NAMESPACE: &str =
    "a rootless container needs a user namespace: add one (`spec --rootless` shows how), or call as root";

/// Checks the namespaces of a config that has a linux section.
pub(super) fn check(config: &Config<'_>, linux: &Linux<'_>, options: CheckOptions, findings: &mut Findings) {
    check_list(linux, findings);
    check_user(linux, options, findings);
    check_time(config, linux, findings);
    check_names(config, linux.has(NamespaceType::Uts), findings);
    if !linux.has(NamespaceType::Mount) {
        for (paths, field) in [(&linux.masked_paths, "maskedPaths"), (&linux.readonly_paths, "readonlyPaths")] {
            if !paths.is_empty() {
                findings.error(format!("/linux/{field}"), "needs a new or joined mount namespace in /linux/namespaces");
            }
        }
    }
    let private = matches!(linux.rootfs_propagation, Some(Propagation::Private | Propagation::Rprivate));
    if options.no_pivot && private {
        findings.error("/linux/rootfsPropagation", "private is not safe without pivot_root");
    }
}

/// Checks a config without a linux section, which has no namespace of its own.
pub(super) fn check_absent(config: &Config<'_>, options: CheckOptions, findings: &mut Findings) {
    check_names(config, false, findings);
    if options.rootless {
        findings.error("/linux/namespaces", NO_USER_NAMESPACE);
    }
}

fn check_list(linux: &Linux<'_>, findings: &mut Findings) {
    for (index, namespace) in linux.namespaces.iter().enumerate() {
        let kind = namespace.kind;
        if linux.namespaces.iter().take(index).any(|earlier| earlier.kind == kind) {
            findings.error(format!("/linux/namespaces/{index}/type"), format!("duplicated namespace {kind}"));
        }
        if let Some(path) = &namespace.path {
            if !path.starts_with('/') {
                findings.error(
                    format!("/linux/namespaces/{index}/path"),
                    format!("must be an absolute path, not {path:?}"),
                );
            }
            check_no_nul(path, findings, || format!("/linux/namespaces/{index}/path"));
        }
    }
}

fn check_user(linux: &Linux<'_>, options: CheckOptions, findings: &mut Findings) {
    let maps = [(&linux.uid_mappings, "uidMappings"), (&linux.gid_mappings, "gidMappings")];
    if !linux.has(NamespaceType::User) {
        if options.rootless {
            findings.error("/linux/namespaces", NO_USER_NAMESPACE);
        }
        if let Some((_, field)) = maps.iter().find(|(map, _)| !map.is_empty()) {
            findings.error(format!("/linux/{field}"), "needs a user namespace in /linux/namespaces");
        }
        return;
    }
    for (map, field) in maps {
        if map.is_empty() && linux.makes(NamespaceType::User) {
            findings.error(format!("/linux/{field}"), "required for a new user namespace");
        }
        check_mappings(map, &format!("/linux/{field}"), findings);
    }
}

fn check_time(config: &Config<'_>, linux: &Linux<'_>, findings: &mut Findings) {
    let annotated = config.annotations.get(TIMENS_OFFSET).is_some();
    if linux.time_offsets.is_empty() && !annotated {
        return;
    }
    let annotation = format!("/annotations/{TIMENS_OFFSET}");
    if annotated && !linux.time_offsets.is_empty() {
        findings.error(annotation.clone(), "contradicts /linux/timeOffsets");
    }
    let field = if annotated { annotation.as_str() } else { "/linux/timeOffsets" };
    if !linux.has(NamespaceType::Time) {
        findings.error(field, "needs a time namespace in /linux/namespaces");
    } else if linux.joins(NamespaceType::Time).is_some() {
        findings.error(field, "cannot be set for a time namespace that is joined by its path");
    }
    for (clock, offset) in &linux.time_offsets {
        if offset.nanosecs >= 1_000_000_000 {
            findings.error(
                format!("/linux/timeOffsets/{clock}/nanosecs"),
                format!("{} is not below 1000000000, a whole second", offset.nanosecs),
            );
        }
    }
}

fn check_names(config: &Config<'_>, has_uts: bool, findings: &mut Findings) {
    for (name, field) in [(&config.hostname, "hostname"), (&config.domainname, "domainname")] {
        let Some(name) = name else { continue };
        if !has_uts {
            findings.error(format!("/{field}"), "needs a uts namespace in /linux/namespaces");
        }
        if name.len() > LONGEST_NAME {
            findings
                .error(format!("/{field}"), format!("{} bytes are too long, Linux takes {LONGEST_NAME}", name.len()));
        }
        check_no_nul(name, findings, || format!("/{field}"));
    }
}
