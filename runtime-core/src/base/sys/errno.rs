//! The one type for errnos in this crate.

use nix::errno::Errno;

/// An errno of rustix as one of nix.
pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}
