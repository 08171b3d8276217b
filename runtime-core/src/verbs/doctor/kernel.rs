//! What the kernel has, found out by calling it: versions say little of kernels that distributions have changed.

use nix::errno::Errno;
use nix::sys::utsname::uname;

use super::finding::{HostFinding, Level, words};
use crate::base::sys;

/// System calls without which no container is made.
#[derive(Debug)]
pub(super) struct Calls {
    /// The kernel's release.
    release: String,
    /// Those that are answered by an error that says nothing of their arguments: `ENOSYS` of an old kernel, or that or `EPERM` of a filter.
    refused: Vec<(&'static str, Errno)>,
    /// A seccomp filter is loaded.
    filtered: bool,
}

impl Calls {
    pub(super) fn probe() -> Self {
        let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
        let mut refused = Vec::new();
        for errno in [Errno::ENOSYS, Errno::EPERM] {
            refused.extend(sys::refused_mount_calls(errno as i32).map(|name| (name, errno)));
        }
        refused.extend(sys::refused_process_calls());
        Self { release, refused, filtered: super::confinement::status("Seccomp").is_some_and(|mode| mode != "0") }
    }

    pub(super) fn judge(&self) -> Vec<HostFinding> {
        const NAME: &str = "system calls";
        const NEEDED: &str = "open_tree, move_mount, fsopen, fsconfig, fsmount, mount_setattr, openat2, clone3, pidfd_open, \
                              pidfd_send_signal, pidfd_getfd";
        let kernel = HostFinding::ok("kernel", format!("Linux {}", self.release));
        if self.refused.is_empty() {
            return vec![kernel, HostFinding::ok(NAME, format!("all that are needed answer: {NEEDED}"))];
        }
        let list: Vec<_> = self.refused.iter().map(|(name, errno)| format!("{name} ({})", words(*errno))).collect();
        // pidfd_getfd serves single fields, and mount_setattr is done without where nothing asks for it; the others serve all.
        let only_some = self.refused.iter().all(|(name, _)| *name == "pidfd_getfd");
        let remedy = if self.filtered {
            format!("a seccomp filter around this process refuses them: let the outer sandbox allow {NEEDED}")
        } else {
            "a kernel from Linux 5.12 on".to_owned()
        };
        let consequence = if only_some {
            "seccomp listeners and id-mapped mounts inside user namespaces fail"
        } else {
            "no container can be made"
        };
        let level = if only_some { Level::Limit } else { Level::Broken };
        vec![kernel, HostFinding::new(level, NAME, format!("refused: {}", list.join(", ")), consequence, remedy)]
    }
}

/// What some configs ask for.
#[derive(Debug)]
pub(super) struct Features {
    clone_into_cgroup: bool,
    time_namespaces: bool,
    seccomp_notify: bool,
}

impl Features {
    pub(super) fn probe() -> Self {
        Self {
            clone_into_cgroup: sys::clones_into_cgroups(),
            time_namespaces: std::fs::symlink_metadata("/proc/self/ns/time").is_ok(),
            seccomp_notify: orlop_seccomp::load::is_supported(orlop_seccomp::Action::Notify),
        }
    }

    pub(super) fn judge(&self) -> Vec<HostFinding> {
        let one = |has: bool, name, found: &str, lacks: &str, since: &str| {
            if has {
                HostFinding::ok(name, found)
            } else {
                HostFinding::new(
                    Level::Limit,
                    name,
                    "is missing",
                    lacks,
                    format!("Linux {since}, without a filter that hides it"),
                )
            }
        };
        vec![
            one(
                self.clone_into_cgroup,
                "birth in a cgroup",
                "clone3 takes CLONE_INTO_CGROUP",
                "containers with cgroup v2 cannot be made",
                "5.7",
            ),
            one(
                self.time_namespaces,
                "time namespaces",
                "can be made",
                "configs with a time namespace are refused",
                "5.6 with CONFIG_TIME_NS",
            ),
            one(
                self.seccomp_notify,
                "seccomp notify",
                "SCMP_ACT_NOTIFY can be used",
                "profiles with SCMP_ACT_NOTIFY are refused",
                "5.0",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_call_is_named_with_the_one_who_refuses() {
        let of = |refused: &[(&'static str, Errno)], filtered| {
            let calls = Calls { release: "6.1".into(), refused: refused.to_vec(), filtered };
            calls.judge().pop().unwrap()
        };
        assert_eq!(of(&[], true).level, Level::Ok);
        let by_filter = of(&[("fsopen", Errno::ENOSYS)], true);
        assert_eq!(by_filter.level, Level::Broken);
        assert!(by_filter.found.contains("fsopen (function not implemented)"), "{by_filter:?}");
        assert!(by_filter.remedy.contains("seccomp filter"), "{by_filter:?}");
        let by_kernel = of(&[("mount_setattr", Errno::ENOSYS)], false);
        assert!(by_kernel.remedy.contains("Linux 5.12"), "{by_kernel:?}");
        assert_eq!(of(&[("pidfd_getfd", Errno::EPERM)], true).level, Level::Limit);
    }

    #[test]
    fn what_is_missing_says_who_needs_it() {
        let all = Features { clone_into_cgroup: false, time_namespaces: false, seccomp_notify: false }.judge();
        assert!(
            all.iter().all(|one| one.level == Level::Limit && !one.consequence.is_empty() && !one.remedy.is_empty())
        );
        let none = Features { clone_into_cgroup: true, time_namespaces: true, seccomp_notify: true }.judge();
        assert!(none.iter().all(|one| one.level == Level::Ok));
    }
}
