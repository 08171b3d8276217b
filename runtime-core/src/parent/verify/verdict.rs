//! The verdict: a pure comparison of promises with facts.

use super::difference::Difference;
use super::facts::{Facts, Namespace};
use super::mounts;
use super::subject::{Subject, directories, sysctl_field, value_path};
use crate::config::{Config, IdMapping, NamespaceType, granted};

/// All differences, in the order of the config's sections.
pub(super) fn differences(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    let mut all = namespaces(subject.config, facts);
    all.extend(id_maps(subject.config, facts));
    all.extend(identity(subject, facts));
    all.extend(capabilities(subject, facts));
    all.extend(process(subject, facts));
    all.extend(seccomp(subject, facts));
    all.extend(parameters(subject.config, facts));
    all.extend(mounts::differences(subject, facts));
    all.extend(control_groups(subject, facts));
    all
}

const KINDS: [NamespaceType; 8] = [
    NamespaceType::Cgroup,
    NamespaceType::Ipc,
    NamespaceType::Mount,
    NamespaceType::Network,
    NamespaceType::Pid,
    NamespaceType::Time,
    NamespaceType::User,
    NamespaceType::Uts,
];

fn namespaces(config: &Config<'_>, facts: &Facts) -> Vec<Difference> {
    let listed = config.linux.as_ref().map_or(&[][..], |linux| &linux.namespaces);
    let mut all = Vec::new();
    for kind in KINDS {
        let found = facts.namespaces.get(kind.name()).copied();
        let Namespace { init, own, joined } = found.unwrap_or_default();
        let index = listed.iter().position(|namespace| namespace.kind == kind);
        let path = index.and_then(|index| listed.get(index)).and_then(|namespace| namespace.path.as_ref());
        let number = |inode: Option<u64>| inode.map_or("none".to_owned(), |inode| format!("{kind}:[{inode}]"));
        let (kept, promised) = match (index, path) {
            (None, _) => (init == own, format!("the runtime's own {}", number(own))),
            (Some(_), None) => (init.is_some() && init != own, format!("a new {kind} namespace")),
            // One that has gone since, as a path below /proc does, cannot be asked any more.
            (Some(_), Some(path)) if joined.is_none() => (init.is_some(), format!("the one at {path}")),
            (Some(_), Some(path)) => (init == joined, format!("the one at {path}, {}", number(joined))),
        };
        if !kept {
            let field = index.map_or("/linux/namespaces".to_owned(), |index| format!("/linux/namespaces/{index}"));
            all.push(Difference::new(field, promised, number(init)));
        }
    }
    all
}

fn id_maps(config: &Config<'_>, facts: &Facts) -> Vec<Difference> {
    let Some(linux) = config.linux.as_ref().filter(|linux| linux.makes(NamespaceType::User)) else { return Vec::new() };
    let [uids, gids] = &facts.maps;
    let sorted = |maps: &[IdMapping]| {
        let mut maps: Vec<_> = maps.iter().map(|map| (map.container_id, map.host_id, map.size)).collect();
        maps.sort_unstable();
        maps
    };
    let one = |field: &str, promised: &[IdMapping], found: &[IdMapping]| {
        let (promised, found) = (sorted(promised), sorted(found));
        (promised != found).then(|| Difference::new(field, format!("{promised:?}"), format!("{found:?}")))
    };
    [one("/linux/uidMappings", &linux.uid_mappings, uids), one("/linux/gidMappings", &linux.gid_mappings, gids)]
        .into_iter()
        .flatten()
        .collect()
}

/// The numbers of a line of status, which are those that the runtime sees, as the container sees them.
fn ids(facts: &Facts, name: &str, maps: &[IdMapping]) -> Option<Vec<u32>> {
    let text = facts.status.get(name)?;
    let in_userns = facts.namespaces.get(NamespaceType::User.name()).is_some_and(|one| one.init != one.own);
    let inside = |id: u32| {
        let map = maps.iter().find(|map| id.checked_sub(map.host_id).is_some_and(|above| above < map.size));
        map.map_or(u32::MAX, |map| map.container_id + (id - map.host_id))
    };
    text.split_ascii_whitespace()
        .map(|word| word.parse().ok().map(|id| if in_userns { inside(id) } else { id }))
        .collect()
}

fn identity(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    let Some(process) = &subject.config.process else { return Vec::new() };
    let mut all = Vec::new();
    let [uids, gids] = &facts.maps;
    for (field, name, maps, promised) in
        [("/process/user/uid", "Uid", uids, process.user.uid), ("/process/user/gid", "Gid", gids, process.user.gid)]
    {
        let found = ids(facts, name, maps).unwrap_or_default();
        if found != [promised; 4] {
            all.push(Difference::new(field, promised.to_string(), format!("{found:?}")));
        }
    }
    if subject.sets_groups {
        let mut found = ids(facts, "Groups", gids).unwrap_or_default();
        let mut promised = process.user.additional_gids.clone();
        found.sort_unstable();
        promised.sort_unstable();
        if found != promised {
            all.push(Difference::new("/process/user/additionalGids", format!("{promised:?}"), format!("{found:?}")));
        }
    }
    let umask = process.user.umask.unwrap_or(0o022) & 0o777;
    let found = facts.status.get("Umask").and_then(|text| u32::from_str_radix(text, 8).ok());
    if found != Some(umask) {
        let found = facts.status.get("Umask").cloned().unwrap_or_default();
        all.push(Difference::new("/process/user/umask", format!("{umask:04o}"), found));
    }
    all
}

fn capabilities(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    const SYS_ADMIN: u64 = 1 << 21;
    let Some(process) = &subject.config.process else { return Vec::new() };
    let [bounding, effective, inheritable, permitted, ambient] = process.capabilities.as_ref().map_or([0; 5], granted);
    let has_filter = subject.config.linux.as_ref().is_some_and(|linux| linux.seccomp.is_some());
    // Kept for the loading of a filter that comes last, and gone with the execution of the command.
    let kept = if has_filter && !subject.filter_is_loaded && !process.no_new_privileges { SYS_ADMIN } else { 0 };
    let one = |set: &str, line: &str, promised: u64, kept: u64| {
        let found = facts.status.get(line).and_then(|text| u64::from_str_radix(text, 16).ok());
        let right = found == Some(promised) || found == Some(promised | kept);
        let text = found.map_or("none".to_owned(), |found| format!("{found:016x}"));
        (!right).then(|| Difference::new(format!("/process/capabilities/{set}"), format!("{promised:016x}"), text))
    };
    [
        one("bounding", "CapBnd", bounding, 0),
        one("effective", "CapEff", effective, kept),
        one("inheritable", "CapInh", inheritable, 0),
        one("permitted", "CapPrm", permitted, kept),
        one("ambient", "CapAmb", ambient, 0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn process(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    let Some(process) = &subject.config.process else { return Vec::new() };
    let mut all = Vec::new();
    let text = |name: &str| facts.status.get(name).map_or("", String::as_str);
    if process.no_new_privileges && text("NoNewPrivs") != "1" {
        all.push(Difference::new("/process/noNewPrivileges", "1", text("NoNewPrivs")));
    }
    if let Some(score) = process.oom_score_adj
        && facts.oom_score_adj != Some(score)
    {
        all.push(Difference::new("/process/oomScoreAdj", score.to_string(), format!("{:?}", facts.oom_score_adj)));
    }
    for (index, limit) in process.rlimits.iter().enumerate() {
        let found = facts.limits.get(&limit.kind.number()).copied();
        if found != Some((limit.soft, limit.hard)) {
            let promised = format!("{} {} {}", limit.kind, limit.soft, limit.hard);
            all.push(Difference::new(format!("/process/rlimits/{index}"), promised, format!("{found:?}")));
        }
    }
    let place =
        |field: &str| facts.places.get(field).copied().and_then(Result::ok).map(|place| (place.mount, place.inode));
    if place("/process/cwd").is_none() || place("/process/cwd") != place("cwd") {
        all.push(Difference::new("/process/cwd", process.cwd.as_str(), "another directory"));
    }
    if let Some(profile) = &process.apparmor_profile {
        let found = facts.apparmor.as_deref().unwrap_or("none");
        if found.split(" (").next() != Some(profile.as_str()) {
            all.push(Difference::new("/process/apparmorProfile", profile.as_str(), found));
        }
    }
    if let Some(label) = &process.selinux_label {
        let found = facts.selinux.as_deref().unwrap_or("none");
        if found != label.as_str() {
            all.push(Difference::new("/process/selinuxLabel", label.as_str(), found));
        }
    }
    all
}

fn seccomp(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    if !subject.filter_is_loaded {
        return Vec::new();
    }
    let number = |name: &str| facts.status.get(name).and_then(|text| text.parse().ok());
    filters(facts.own_filters, number("Seccomp"), number("Seccomp_filters")).into_iter().collect()
}

/// A process that inherited some filters and has loaded its own, by its mode and the number of filters, which Linux tells since 5.9.
pub(super) fn filters(inherited: u64, mode: Option<u64>, count: Option<u64>) -> Option<Difference> {
    let right = mode == Some(2) && count.is_none_or(|count| count == inherited + 1);
    let text = |number: Option<u64>| number.map_or("unknown".to_owned(), |number| number.to_string());
    let promised = format!("mode 2 with {} filters", inherited + 1);
    let found = format!("mode {} with {} filters", text(mode), text(count));
    (!right).then(|| Difference::new("/linux/seccomp", promised, found))
}

fn parameters(config: &Config<'_>, facts: &Facts) -> Vec<Difference> {
    let mut promises = Vec::new();
    promises.extend(config.hostname.as_ref().map(|name| ("/hostname".to_owned(), name.as_str())));
    promises.extend(config.domainname.as_ref().map(|name| ("/domainname".to_owned(), name.as_str())));
    if let Some(linux) = &config.linux {
        promises.extend(linux.sysctl.iter().map(|(name, value)| (sysctl_field(name), value.as_str())));
    }
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (field, promised) in promises {
        let found = match facts.parameters.get(&field) {
            Some(Ok(found)) if words(found) == words(promised) => continue,
            // No message repeats the values of sysctls.
            Some(Ok(_)) => "another".to_owned(),
            Some(Err(errno)) => errno.desc().to_lowercase(),
            None => "nothing".to_owned(),
        };
        all.push(Difference::new(field, "the config's value", found));
    }
    all
}

/// Whether a value is what was written, as the kernel rounds it: to pages, and what is less than none to the most.
fn is_value(written: &str, found: &str) -> bool {
    const PAGE: i64 = 4096;
    let mut words = found.split_ascii_whitespace();
    written.split(' ').all(|written| {
        let Some(found) = words.next() else { return false };
        if written == found {
            return true;
        }
        match (written.parse::<i64>(), found.parse::<u64>()) {
            (Ok(written), Ok(found)) if written < 0 => found >= (i64::MAX - PAGE).cast_unsigned(),
            (Ok(written), Ok(found)) => u64::try_from(written / PAGE * PAGE).is_ok_and(|rounded| rounded == found),
            _ => false,
        }
    })
}

fn control_groups(subject: &Subject<'_>, facts: &Facts) -> Vec<Difference> {
    let Some((record, writes)) = subject.cgroup else { return Vec::new() };
    let mut all = Vec::new();
    for (name, path) in directories(record) {
        if !facts.members.contains(&path) {
            let found = facts.cgroups.iter().find(|(controller, _)| controller == name).map(|(_, path)| path.as_str());
            all.push(Difference::new("/linux/cgroupsPath", path, found.unwrap_or("none")));
        }
    }
    for write in writes {
        let Some(path) = value_path(record, write) else { continue };
        let promised = format!("{} = {}", write.file, write.value);
        match facts.values.get(&path) {
            Some(Ok(found)) if is_value(&write.value, found) => {}
            Some(Ok(found)) => all.push(Difference::new(write.field.as_str(), promised, found.as_str())),
            Some(Err(errno)) => all.push(Difference::new(write.field.as_str(), promised, errno.desc().to_lowercase())),
            None => all.push(Difference::new(write.field.as_str(), promised, "nothing")),
        }
    }
    all
}

#[cfg(test)]
mod tests;
