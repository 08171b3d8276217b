//! Extended attributes: which of an archive are set, which are left out, which are refused.
//!
//! | attribute | rule |
//! |---|---|
//! | `user.*`, `security.capability`, `system.posix_acl_*`, other `security.*` and `trusted.*` | set |
//! | `security.selinux`, `security.ima`, `security.evm`, `security.apparmor` and `security.SMACK64*` | left out: they are the host's policy |
//! | `user.overlay.*`, `trusted.overlay.*` | left out: they say what overlayfs did on the machine that made the image |
//! | what the kernel allows to root of the host only, when unpacking in a user namespace | left out |
//! | what the file system cannot store | an error |
//!
//! What was left out is counted by name in the result.

use rustix::io::Errno;

/// What to do with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Set,
    LeaveOut,
}

pub(super) fn rule(name: &[u8]) -> Rule {
    const HOSTS: [&[u8]; 4] = [b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor"];
    let overlay = name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.");
    if overlay || HOSTS.contains(&name) || name.starts_with(b"security.SMACK64") { Rule::LeaveOut } else { Rule::Set }
}

/// Whether an attribute goes with the file into a copy or a new layer.
pub(crate) fn belongs_to_the_file(name: &[u8]) -> bool {
    rule(name) == Rule::Set
}

/// Whether the kernel's refusal means that only root of the host may set it.
pub(super) fn may_be_left_out(name: &[u8], errno: Errno, in_user_namespace: bool) -> bool {
    let privileged = name.starts_with(b"trusted.") || name.starts_with(b"security.");
    in_user_namespace && privileged && errno == Errno::PERM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_policy_and_overlays_own_are_left_out() {
        for name in ["security.selinux", "security.SMACK64EXEC", "trusted.overlay.redirect", "user.overlay.opaque"] {
            assert_eq!(rule(name.as_bytes()), Rule::LeaveOut, "{name}");
        }
        for name in ["user.x", "security.capability", "system.posix_acl_access", "trusted.x", "user.overlay"] {
            assert_eq!(rule(name.as_bytes()), Rule::Set, "{name}");
        }
    }

    #[test]
    fn only_a_user_namespace_excuses() {
        assert!(may_be_left_out(b"trusted.x", Errno::PERM, true));
        assert!(!may_be_left_out(b"trusted.x", Errno::PERM, false));
        assert!(!may_be_left_out(b"user.x", Errno::PERM, true));
        assert!(!may_be_left_out(b"security.capability", Errno::OPNOTSUPP, true));
    }
}
