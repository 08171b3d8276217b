//! User namespaces, what restricts them, and the programs that map ranges of ids.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Uid, User, getuid};

use super::finding::{HostFinding, Level, words};
use crate::base::{Rights, sys};

/// Whether this caller can make user namespaces, and what the host says about them.
#[derive(Debug, Clone)]
pub(super) struct UserNamespaces {
    /// A child in a new one.
    made: Result<(), Errno>,
    /// What that child may do: change its own mounts.
    useful: Result<(), Errno>,
    /// `user.max_user_namespaces`.
    most: Option<String>,
    /// `kernel.unprivileged_userns_clone` of Debian and others.
    debian: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu.
    ubuntu: Option<String>,
    /// The root directory is not that of the mount namespace.
    chroot: bool,
    /// A seccomp filter is loaded.
    filtered: bool,
}

impl UserNamespaces {
    pub(super) fn probe() -> Self {
        let setting =
            |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned());
        let (made, useful) = sys::try_user_namespace();
        Self {
            made,
            useful,
            most: setting("user/max_user_namespaces"),
            debian: setting("kernel/unprivileged_userns_clone"),
            ubuntu: setting("kernel/apparmor_restrict_unprivileged_userns"),
            chroot: is_chrooted(),
            filtered: super::confinement::status("Seccomp").is_some_and(|mode| mode != "0"),
        }
    }

    pub(super) fn judge(&self, rights: Rights) -> Vec<HostFinding> {
        const NAME: &str = "user namespaces";
        let limit =
            self.most.as_deref().map(|most| format!(" (user.max_user_namespaces = {most})")).unwrap_or_default();
        let Err(errno) = self.made.and(self.useful) else {
            return vec![HostFinding::ok(NAME, format!("can be made{limit}"))];
        };
        let (cause, remedy) = self.cause(errno);
        let (level, lacks) = if rights.mounts() {
            (Level::Limit, "configs with a user namespace fail")
        } else {
            (Level::Broken, "without root's rights a container needs one")
        };
        let what = if self.made.is_ok() { "can be made, without rights in them" } else { "cannot be made" };
        vec![HostFinding::new(level, NAME, format!("{what}: {}; {cause}", words(errno)), lacks, remedy)]
    }

    /// What is to blame, and the remedy.
    fn cause(&self, errno: Errno) -> (&'static str, &'static str) {
        let is = |setting: &Option<String>, value: &str| setting.as_deref() == Some(value);
        if errno == Errno::ENOSYS || errno == Errno::EINVAL {
            return (
                "clone3 is refused, or the kernel has none (CONFIG_USER_NS)",
                "let the outer sandbox allow clone3",
            );
        }
        if is(&self.most, "0") || matches!(errno, Errno::ENOSPC | Errno::EUSERS) {
            return (
                "user.max_user_namespaces is reached, or 32 are nested",
                "sysctl -w user.max_user_namespaces=15000",
            );
        }
        if is(&self.debian, "0") {
            return ("kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1");
        }
        if self.made.is_ok() && is(&self.ubuntu, "1") {
            return (
                "kernel.apparmor_restrict_unprivileged_userns is 1",
                "an AppArmor profile for this program with the rule \"userns,\" (apparmor_parser -r), or sysctl -w \
                 kernel.apparmor_restrict_unprivileged_userns=0",
            );
        }
        if self.chroot {
            return ("this process is in a chroot", "pivot_root(8) in place of chroot(8)");
        }
        if self.filtered {
            return (
                "a seccomp filter is around this process",
                "let the outer sandbox allow clone, clone3, unshare and setns",
            );
        }
        ("a chroot, a security module or an outer sandbox refuses them", "see dmesg(1) and the audit log")
    }
}

/// The kernel makes no user namespaces for a process whose root is not the root of its mount namespace (`current_chrooted`). That root is
/// the mount on `/` in mountinfo; in a chroot there may be none.
fn is_chrooted() -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    !text.is_empty() && !orlop_cgroups::mountinfo::mounts(&text).any(|mount| mount.point == "/")
}

/// A program that maps ids for others.
#[derive(Debug, Clone)]
struct Helper {
    name: &'static str,
    path: Option<PathBuf>,
    /// It has the right: setuid root, or a file capability.
    privileged: bool,
}

/// The programs, and what they may map for this caller.
#[derive(Debug, Clone)]
pub(super) struct Helpers {
    programs: [Helper; 2],
    user: String,
    /// How many ids /etc/subuid and /etc/subgid give the caller.
    ids: [u64; 2],
    /// How many users and groups the caller's own user namespace has.
    own: [u64; 2],
}

impl Helpers {
    pub(super) fn probe() -> Self {
        let uid = getuid();
        let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        let count = |path: &str| rows(&fs::read_to_string(path).unwrap_or_default(), &user, uid);
        Self {
            programs: ["newuidmap", "newgidmap"].map(Helper::find),
            ids: [count("/etc/subuid"), count("/etc/subgid")],
            own: ["/proc/self/uid_map", "/proc/self/gid_map"]
                .map(|path| mapped(&fs::read_to_string(path).unwrap_or_default())),
            user,
        }
    }

    pub(super) fn judge(&self, rights: Rights) -> Vec<HostFinding> {
        const NAME: &str = "ranges of ids";
        let lacks = "only one's own id can be mapped: images with files of several owners fail";
        if rights.maps_ids() {
            let [uids, gids] = self.own;
            let found = format!("all of this user namespace can be mapped: {uids} user ids, {gids} group ids");
            return vec![match uids.min(gids) {
                0..65536 => HostFinding::new(
                    Level::Limit,
                    NAME,
                    found,
                    if uids.min(gids) > 1 { "images with ids above that fail" } else { lacks },
                    "a user namespace with more ids (unshare --map-auto, podman unshare)",
                ),
                _ => HostFinding::ok(NAME, found),
            }];
        }
        let limit = |found: String, remedy: String| vec![HostFinding::new(Level::Limit, NAME, found, lacks, remedy)];
        if let Some(missing) = self.programs.iter().find(|program| program.path.is_none()) {
            return limit(
                format!("{} is not installed", missing.name),
                "apt-get install uidmap (or shadow-utils)".into(),
            );
        }
        if let Some(weak) = self.programs.iter().find(|program| !program.privileged) {
            let path = weak.path.as_deref().unwrap_or(Path::new(weak.name)).display().to_string();
            return limit(format!("{path} is neither setuid root nor has a capability"), format!("chmod u+s {path}"));
        }
        let [uids, gids] = self.ids;
        if uids == 0 || gids == 0 {
            let file = if uids == 0 { "/etc/subuid" } else { "/etc/subgid" };
            let remedy = format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}", self.user);
            return limit(format!("{} has no row in {file}", self.user), remedy);
        }
        let found = format!("{uids} user ids and {gids} group ids for {}", self.user);
        if uids < 65536 || gids < 65536 {
            let remedy = format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}", self.user);
            return vec![HostFinding::new(Level::Limit, NAME, found, "images with ids above that fail", remedy)];
        }
        vec![HostFinding::ok(NAME, found)]
    }
}

impl Helper {
    fn find(name: &'static str) -> Self {
        let path = in_path(name);
        let privileged = path.as_deref().is_some_and(|path| {
            let setuid = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o4000 != 0);
            setuid || sys::has_file_capability(path)
        });
        Self { name, path, privileged }
    }
}

/// Where PATH has a program.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()))
}

/// How many ids the lines of an id map give.
fn mapped(text: &str) -> u64 {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    text.lines().filter_map(count).fold(0, u64::saturating_add)
}

/// How many ids the rows of a user in a file as subuid(5) give: `NAME:FIRST:COUNT`.
fn rows(text: &str, user: &str, uid: Uid) -> u64 {
    let number = uid.to_string();
    let count = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        fields.next()?;
        (name == user || name == number).then(|| fields.next()?.trim().parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(count).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(initial: bool, capabilities: u64) -> Rights {
        Rights { initial_user_namespace: initial, capabilities, sets_groups: true }
    }

    fn free() -> UserNamespaces {
        UserNamespaces {
            made: Ok(()),
            useful: Ok(()),
            most: Some("1000".into()),
            debian: None,
            ubuntu: None,
            chroot: false,
            filtered: false,
        }
    }

    #[test]
    fn what_forbids_user_namespaces_is_named() {
        let refused = UserNamespaces { made: Err(Errno::EPERM), ..free() };
        let one = |value: &str| Some(value.to_owned());
        let table = [
            (UserNamespaces { made: Err(Errno::ENOSPC), ..free() }, "user.max_user_namespaces=15000"),
            (UserNamespaces { most: one("0"), ..refused.clone() }, "user.max_user_namespaces=15000"),
            (UserNamespaces { debian: one("0"), ..refused.clone() }, "kernel.unprivileged_userns_clone=1"),
            (
                UserNamespaces { useful: Err(Errno::EACCES), ubuntu: one("1"), ..free() },
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (UserNamespaces { chroot: true, ..refused.clone() }, "pivot_root"),
            (UserNamespaces { filtered: true, ..refused.clone() }, "outer sandbox"),
            (UserNamespaces { made: Err(Errno::ENOSYS), ..free() }, "clone3"),
            (refused, "audit log"),
        ];
        for (facts, remedy) in table {
            let by_user = &facts.judge(caller(true, 0))[0];
            assert_eq!(by_user.level, Level::Broken);
            assert!(by_user.remedy.contains(remedy), "{by_user:?}");
            // Root does without.
            assert_eq!(facts.judge(caller(true, u64::MAX))[0].level, Level::Limit);
        }
        assert_eq!(free().judge(caller(true, 0))[0].level, Level::Ok);
    }

    #[test]
    fn what_is_missing_for_ranges_of_ids_is_named() {
        let program = |name| Helper { name, path: Some("/usr/bin/x".into()), privileged: true };
        let all = Helpers {
            programs: ["newuidmap", "newgidmap"].map(program),
            user: "anna".into(),
            ids: [65536, 65536],
            own: [1 << 32; 2],
        };
        let of = |helpers: &Helpers| helpers.judge(caller(true, 0)).remove(0);
        assert_eq!(of(&all).level, Level::Ok);
        let mut missing = all.clone();
        missing.programs[1].path = None;
        assert!(of(&missing).found.contains("newgidmap is not installed"));
        let mut weak = all.clone();
        weak.programs[0].privileged = false;
        assert_eq!(of(&weak).remedy, "chmod u+s /usr/bin/x");
        let none = Helpers { ids: [65536, 0], ..all.clone() };
        assert!(of(&none).found.contains("anna has no row in /etc/subgid"));
        assert_eq!(of(&Helpers { ids: [10, 65536], ..all.clone() }).level, Level::Limit);
        // Who may map any id needs none of it.
        assert_eq!(none.judge(caller(true, u64::MAX)).remove(0).level, Level::Ok);
        // In a user namespace of one id there is but that one.
        let one = Helpers { own: [mapped("0 1000 1\n"), 1], ..all };
        assert_eq!(one.judge(caller(false, u64::MAX)).remove(0).level, Level::Limit);
    }

    #[test]
    fn rows_count_by_name_and_by_number() {
        let text = "bob:1:5\nanna:100000:65536\n1000:200000:10\nanna:x\n";
        assert_eq!(rows(text, "anna", Uid::from_raw(1000)), 65546);
        assert_eq!(rows(text, "carl", Uid::from_raw(7)), 0);
    }
}
