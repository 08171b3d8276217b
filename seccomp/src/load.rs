//! Loading a filter into this process.
//!
//! The kernel wants either CAP_SYS_ADMIN in the user namespace or `no_new_privs`; neither is forced here. Loading cannot
//! be undone, and every later `execve` and child keeps the filter.
//!
//! # Older kernels
//! | what | since | before that |
//! |---|---|---|
//! | seccomp(2), `TSYNC` | 3.17 | none: loading fails |
//! | `LOG`, `SCMP_ACT_LOG`, `SCMP_ACT_KILL_PROCESS` | 4.14 | loading fails; leave the flag out with [`Flags::without`] |
//! | `SPEC_ALLOW` | 4.17 | leave it out: there is no mitigation to avoid |
//! | `NEW_LISTENER`, `SCMP_ACT_NOTIFY` | 5.0 | none |
//! | `TSYNC` with `NEW_LISTENER` (`TSYNC_ESRCH`) | 5.7 | none |
//! | calls allowed without running the filter | 5.11 | every call runs it |
//! | `WAIT_KILLABLE_RECV` | 5.19 | leave it out: calls may then be interrupted while the agent handles them |
//!
//! [`supported_flags`] asks the kernel, once for all flags.
use crate::{Action, Filter, Flags, SockFilter, sys};
use std::io;
use std::os::fd::OwnedFd;

/// Why a filter was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Neither CAP_SYS_ADMIN nor `no_new_privs` (EACCES).
    #[error("loading a seccomp filter needs CAP_SYS_ADMIN or no_new_privs")]
    NotPermitted,
    /// The kernel does not know a flag or takes no such program (EINVAL).
    #[error("the kernel takes no such seccomp filter (flags {0})")]
    Invalid(Flags),
    /// A filter with a listener is already loaded (EBUSY).
    #[error("a seccomp filter with a listener is loaded already")]
    ListenerExists,
    /// With `TSYNC`: a thread has filters of its own. Its id if the kernel told.
    #[error("a thread has seccomp filters of its own")]
    OtherThread(Option<u32>),
    /// Another errno.
    #[error("seccomp: {0}")]
    System(#[source] io::Error),
}

/// Loads `filter` for this thread (all threads with `TSYNC`); the listener, if it has one, is close-on-exec.
///
/// From here on the calling thread is subject to it: a profile may well not allow what the caller does next.
///
/// # Errors
/// See [`LoadError`]; nothing has changed then.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>, LoadError> {
    install(&filter.instructions, filter.flags)
}

/// Loads any program. The kernel checks it; a flag it does not know is an error.
///
/// # Errors
/// See [`LoadError`].
pub fn install(program: &[SockFilter], flags: Flags) -> Result<Option<OwnedFd>, LoadError> {
    match sys::set_filter(program, flags.bits()) {
        Ok(fd) if flags.contains(Flags::NEW_LISTENER) => Ok(Some(sys::own(fd))),
        Ok(0) => Ok(None),
        Ok(thread) => Err(LoadError::OtherThread(u32::try_from(thread).ok())),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::EACCES) => LoadError::NotPermitted,
            Some(libc::EINVAL) => LoadError::Invalid(flags),
            Some(libc::EBUSY) => LoadError::ListenerExists,
            Some(libc::ESRCH) => LoadError::OtherThread(None),
            _ => LoadError::System(error),
        }),
    }
}

/// Gives up gaining privileges by execve(2), for good: what unprivileged callers must do before [`load`].
///
/// # Errors
/// The kernel's, which has none on Linux 3.5 and later.
pub fn set_no_new_privileges() -> io::Result<()> {
    sys::set_no_new_privileges()
}

/// The flags the running kernel knows.
pub fn supported_flags() -> Flags {
    let all = [
        // Each with what it may not go without.
        (Flags::TSYNC, Flags::TSYNC),
        (Flags::LOG, Flags::LOG),
        (Flags::SPEC_ALLOW, Flags::SPEC_ALLOW),
        (Flags::NEW_LISTENER, Flags::NEW_LISTENER),
        (Flags::TSYNC_ESRCH, Flags::TSYNC_ESRCH),
        (Flags::WAIT_KILLABLE_RECV, Flags::WAIT_KILLABLE_RECV | Flags::NEW_LISTENER),
    ];
    let known = all.into_iter().filter(|(_, probe)| sys::knows_flags(probe.bits()));
    known.fold(Flags::NONE, |known, (flag, _)| known | flag)
}

/// Whether the running kernel knows an action.
pub fn is_supported(action: Action) -> bool {
    sys::knows_action(action.to_raw() & 0xffff_0000)
}
