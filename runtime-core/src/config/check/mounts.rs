//! The mounts.

use super::findings::{CheckOptions, Findings, check_no_nul};
use super::ids::{check_mappings, mapped};
use crate::config::model::{Config, Linux, Mount};
use crate::config::mount_options::{MOUNT_OPTIONS, MountOptions, parse_id_map, strict_u32};
use crate::config::names::NamespaceType;
use crate::config::schema::nearest;

/// Checks all mounts.
pub(super) fn check(config: &Config<'_>, options: CheckOptions, findings: &mut Findings) {
    let linux = config.linux.as_deref();
    for (index, mount) in config.mounts.iter().enumerate() {
        let parsed = MountOptions::parse(&mount.options);
        let at = At { index };
        check_fields(mount, &parsed, at, findings);
        check_options(mount, &parsed, at, findings);
        check_ids(mount, &parsed, linux, at, findings);
        if options.rootless || linux.is_some_and(|linux| linux.makes(NamespaceType::User)) {
            check_data_ids(&parsed, linux, at, findings);
        }
    }
}

/// The place of a mount, made a pointer only when there is something to report.
#[derive(Clone, Copy)]
struct At {
    index: usize,
}

impl At {
    fn field(self, field: &str) -> String {
        format!("/mounts/{}/{field}", self.index)
    }

    fn option(self, option: usize) -> String {
        format!("/mounts/{}/options/{option}", self.index)
    }
}

fn check_fields(mount: &Mount<'_>, parsed: &MountOptions<'_>, at: At, findings: &mut Findings) {
    if mount.destination.is_empty() {
        findings.error(at.field("destination"), "must not be empty");
    } else if !mount.destination.starts_with('/') {
        findings.warn(
            at.field("destination"),
            format!("{:?} is relative, which is deprecated; it is taken as relative to /", mount.destination),
        );
    }
    check_no_nul(&mount.destination, findings, || at.field("destination"));
    if let Some(source) = &mount.source {
        check_no_nul(source, findings, || at.field("source"));
    }
    for (index, option) in mount.options.iter().enumerate() {
        check_no_nul(option, findings, || at.option(index));
    }
    if parsed.is_bind() {
        if mount.source.is_none() {
            findings.error(at.field("source"), "a bind mount needs a source");
        }
        return;
    }
    match &mount.kind {
        None => findings.error_with_hint(
            at.field("type"),
            "required for a mount that is not a bind mount",
            "or add the option bind or rbind",
        ),
        Some(kind) => {
            check_no_nul(kind, findings, || at.field("type"));
            if *kind == "bind" || *kind == "none" {
                findings.error_with_hint(
                    at.field("options"),
                    format!("type {kind:?} names no file system"),
                    "a bind mount has the option bind or rbind",
                );
            }
        }
    }
}

fn check_options(mount: &Mount<'_>, parsed: &MountOptions<'_>, at: At, findings: &mut Findings) {
    if parsed.is_bind() {
        // The kernel would ignore them: a bind mount shares the superblock of its source.
        if let Some((index, option)) = parsed.data.first() {
            let detail =
                format!("bind mounts cannot have any filesystem-specific options applied, and {option:?} is one");
            match nearest(option, MOUNT_OPTIONS.iter().map(|(name, _)| *name)) {
                Some(name) => findings.error_with_hint(at.option(*index), detail, format!("did you mean {name:?}?")),
                None => findings.error(at.option(*index), detail),
            }
        }
    } else {
        for (given, name) in [(parsed.copy_symlink, "copy-symlink"), (parsed.src_nofollow, "src-nofollow")] {
            if given {
                findings.error(at.field("options"), format!("{name} needs a bind mount"));
            }
        }
    }
    if parsed.tmpcopyup && (parsed.is_bind() || mount.kind.as_ref().is_none_or(|kind| *kind != "tmpfs")) {
        findings.error(at.field("options"), "tmpcopyup needs a mount of type tmpfs");
    }
}

fn check_ids(mount: &Mount<'_>, parsed: &MountOptions<'_>, linux: Option<&Linux<'_>>, at: At, findings: &mut Findings) {
    let has_maps = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if has_maps {
        for (maps, field, other) in
            [(&mount.uid_mappings, "uidMappings", "gidMappings"), (&mount.gid_mappings, "gidMappings", "uidMappings")]
        {
            if maps.is_empty() {
                findings.error(at.field(field), format!("required when {other} is given"));
            }
            check_mappings(maps, &at.field(field), findings);
        }
    }
    let Some(idmap) = parsed.idmap else { return };
    let Some(ranges) = idmap.ranges else {
        if !has_maps && !linux.is_some_and(|linux| linux.has(NamespaceType::User)) {
            findings.error(
                at.option(idmap.index),
                "needs uidMappings and gidMappings of the mount, or a user namespace of the container to take them from",
            );
        }
        return;
    };
    if has_maps {
        findings.error(at.option(idmap.index), "has ranges of its own, but uidMappings and gidMappings are given too");
    }
    let (uids, gids) = linux.map_or((&[][..], &[][..]), |linux| (&linux.uid_mappings[..], &linux.gid_mappings[..]));
    match parse_id_map(ranges, uids, gids) {
        Ok((uids, gids)) => {
            check_mappings(&uids, &at.option(idmap.index), findings);
            check_mappings(&gids, &at.option(idmap.index), findings);
        }
        Err(wrong) => findings.error(at.option(idmap.index), wrong),
    }
}

/// `uid=` and `gid=` of a file system are ids of the container; one that is not mapped is an EINVAL that explains nothing.
fn check_data_ids(parsed: &MountOptions<'_>, linux: Option<&Linux<'_>>, at: At, findings: &mut Findings) {
    let Some(linux) = linux.filter(|linux| linux.makes(NamespaceType::User)) else { return };
    for (index, option) in &parsed.data {
        let (mappings, id) = match option.split_once('=') {
            Some(("uid", id)) => (&linux.uid_mappings, id),
            Some(("gid", id)) => (&linux.gid_mappings, id),
            _ => continue,
        };
        let Some(id) = strict_u32(id).filter(|id| !mappings.is_empty() && !mapped(mappings, *id)) else { continue };
        findings
            .error(at.option(*index), format!("{option:?}: id {id} is not mapped in the container's user namespace"));
    }
}
