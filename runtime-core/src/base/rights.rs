//! What this process may do. The kernel is asked, not the user's number: root of a user namespace is uid 0 too, but has no rights on
//! the host.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde::Serialize;

use crate::base::sys;

/// The inode of the initial user namespace (`PROC_USER_INIT_INO` of include/linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// A capability, by its number (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Capability {
    SetGid = 6,
    SetUid = 7,
    SysAdmin = 21,
    SysNice = 23,
    SysResource = 24,
    MkNod = 27,
    MacAdmin = 33,
}

/// The rights of the calling process.
///
/// ```
/// let rights = orlop::Rights::of_this_process();
/// assert!(rights.initial_user_namespace || !rights.makes_devices());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rights {
    /// It is in the user namespace that the host began with.
    pub initial_user_namespace: bool,
    /// The effective capabilities in its own user namespace, a bit each.
    pub capabilities: u64,
    /// setgroups(2) is not denied in its user namespace (`/proc/self/setgroups`, user_namespaces(7)).
    pub sets_groups: bool,
}

impl Rights {
    /// Asks the kernel.
    #[must_use]
    pub fn of_this_process() -> Self {
        // Where there is no /proc, nothing else works either, and says so.
        let initial = fs::metadata("/proc/self/ns/user").map_or(true, |found| found.ino() == INITIAL_USER_NAMESPACE);
        let denied = || fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"));
        Self {
            initial_user_namespace: initial,
            capabilities: sys::effective_capabilities(),
            sets_groups: initial || !denied(),
        }
    }

    fn has(self, capability: Capability) -> bool {
        self.capabilities & (1 << capability as u8) != 0
    }

    /// It may mount, and make other namespaces than one for users.
    #[must_use]
    pub fn mounts(self) -> bool {
        self.has(Capability::SysAdmin)
    }

    /// It may write any id map whose ids are its own namespace's.
    #[must_use]
    pub fn maps_ids(self) -> bool {
        self.has(Capability::SetUid) && self.has(Capability::SetGid)
    }

    /// It may make device nodes, which only the host's own namespace gives.
    #[must_use]
    pub fn makes_devices(self) -> bool {
        self.initial_user_namespace && self.has(Capability::MkNod)
    }

    /// It may give any process of the host another scheduling policy, which only the host's own namespace gives.
    #[must_use]
    pub fn schedules(self) -> bool {
        self.initial_user_namespace && self.has(Capability::SysNice)
    }

    /// It has root's rights over the host: control groups, device rules, CRIU.
    #[must_use]
    pub fn rules_the_host(self) -> bool {
        self.initial_user_namespace && self.has(Capability::SysAdmin)
    }

    /// It may raise hard limits, for itself and those it starts.
    #[must_use]
    pub fn raises_limits(self) -> bool {
        self.initial_user_namespace && self.has(Capability::SysResource)
    }

    /// It may change the policies of security modules.
    #[must_use]
    pub fn administers_security(self) -> bool {
        self.initial_user_namespace && self.has(Capability::MacAdmin)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |has: bool, what: &'static str| (has, what);
        let all = [
            one(self.rules_the_host(), "rules the host"),
            one(self.mounts(), "mounts"),
            one(self.maps_ids(), "maps any id"),
            one(self.makes_devices(), "makes device nodes"),
            one(self.sets_groups, "sets groups"),
        ];
        let list = |wanted: bool| {
            let words: Vec<_> = all.iter().filter(|(has, _)| *has == wanted).map(|(_, what)| *what).collect();
            words.join(", ")
        };
        let place =
            if self.initial_user_namespace { "the initial user namespace" } else { "a user namespace of its own" };
        let (can, cannot) = (list(true), list(false));
        write!(f, "in {place}; ")?;
        match (can.is_empty(), cannot.is_empty()) {
            (_, true) => f.write_str(&can),
            (true, _) => write!(f, "not: {cannot}"),
            _ => write!(f, "{can}; not: {cannot}"),
        }
    }
}
