//! Security modules that confine processes.

use std::fs;

use super::finding::{HostFinding, Level};
use crate::base::Rights;
use crate::parent::facts;

/// What is enabled, and what of it is ours.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    apparmor: bool,
    /// The profile around this process, and its mode.
    profile: Option<String>,
    /// The right to load profiles.
    loads: bool,
    selinux: bool,
    enforcing: bool,
}

impl Labels {
    pub(super) fn probe(rights: Rights) -> Self {
        let read =
            |path: &str| fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\n', '\0']).to_owned());
        Self {
            apparmor: facts::apparmor(),
            profile: facts::apparmor_profile(),
            loads: rights.administers_security() && fs::symlink_metadata("/sys/kernel/security/apparmor/.load").is_ok(),
            selinux: facts::selinux(),
            enforcing: read("/sys/fs/selinux/enforce").is_some_and(|text| text == "1"),
        }
    }

    pub(super) fn judge(&self) -> Vec<HostFinding> {
        vec![self.apparmor(), self.selinux()]
    }

    fn apparmor(&self) -> HostFinding {
        const NAME: &str = "AppArmor";
        if !self.apparmor {
            return HostFinding {
                consequence: "configs with apparmorProfile are refused".into(),
                ..HostFinding::note(NAME, "not enabled")
            };
        }
        let around = self.profile.as_deref().unwrap_or("unknown");
        let loading = if self.loads { "profiles can be loaded" } else { "profiles cannot be loaded by this caller" };
        let found = format!("enabled; this process is {around}; {loading}");
        if around == "unconfined" || around == "unknown" {
            return HostFinding::ok(NAME, found);
        }
        HostFinding::new(
            Level::Limit,
            NAME,
            found,
            "another profile can be entered only if this one's rules allow change_profile; a rule that denies /sys may deny \
             sysctls, too, for AppArmor takes the container's procfs for the root while it is mounted nowhere",
            "start unconfined (docker: --security-opt apparmor=unconfined; lxc.apparmor.profile = unconfined)",
        )
    }

    fn selinux(&self) -> HostFinding {
        const NAME: &str = "SELinux";
        match (self.selinux, self.enforcing) {
            (false, _) => HostFinding {
                consequence: "configs with selinuxLabel or mountLabel are refused".into(),
                ..HostFinding::note(NAME, "not enabled")
            },
            (true, true) => HostFinding::ok(NAME, "enforcing"),
            (true, false) => HostFinding::note(NAME, "permissive: labels are set and confine nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_the_profile_around_us_are_told() {
        let none = Labels { apparmor: false, profile: None, loads: false, selinux: false, enforcing: false };
        assert!(none.judge().iter().all(|one| one.level == Level::Note && one.consequence.contains("refused")));
        let free =
            Labels { apparmor: true, profile: Some("unconfined".into()), selinux: true, enforcing: true, ..none };
        assert!(free.judge().iter().all(|one| one.level == Level::Ok));
        let inside = Labels { profile: Some("docker-default (enforce)".into()), enforcing: false, ..free };
        let levels: Vec<_> = inside.judge().iter().map(|one| one.level).collect();
        assert_eq!(levels, [Level::Limit, Level::Note]);
    }
}
