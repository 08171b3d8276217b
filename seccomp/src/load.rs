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
use crate::error::{Error, Kind};
use crate::{Action, Filter, Flags, SockFilter, sys};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

const STEP: &str = "load the seccomp filter";

/// Loads `filter` for this thread (all threads with `TSYNC`); the listener, if it has one, is close-on-exec.
///
/// From here on the calling thread is subject to it: a profile may well not allow what the caller does next.
///
/// # Errors
/// [`Kind::NotPermitted`], [`Kind::Unsupported`], [`Kind::ListenerExists`], [`Kind::OtherThread`] and [`Kind::System`]; nothing has
/// changed then.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>, Error> {
    install(&filter.instructions, filter.flags)
}

/// Loads any program. The kernel checks it; a flag it does not know is an error.
///
/// # Errors
/// As for [`load`].
pub fn install(program: &[SockFilter], flags: Flags) -> Result<Option<OwnedFd>, Error> {
    match sys::set_filter(program, flags.bits()) {
        Ok(fd) if flags.contains(Flags::NEW_LISTENER) => Ok(Some(sys::own(fd))),
        Ok(0) => Ok(None),
        Ok(thread) => Err(refused(Errno::SRCH, flags).with_object(format!("thread {thread}"))),
        Err(errno) => Err(refused(errno, flags)),
    }
}

/// What the kernel's errno means for seccomp(2).
fn refused(errno: Errno, flags: Flags) -> Error {
    let error = |kind| Error::os(kind, STEP, errno);
    match errno {
        Errno::ACCESS => error(Kind::NotPermitted)
            .with_reason("loading a seccomp filter needs CAP_SYS_ADMIN or no_new_privs")
            .with_hint("see set_no_new_privileges"),
        Errno::INVAL => error(Kind::Unsupported)
            .with_reason(format!("the kernel takes no such seccomp filter (flags {flags})"))
            .with_object(format!("flags {flags}")),
        Errno::BUSY => error(Kind::ListenerExists).with_reason("a seccomp filter with a listener is loaded already"),
        Errno::SRCH => error(Kind::OtherThread).with_reason("a thread has seccomp filters of its own"),
        _ => error(Kind::System),
    }
}

/// Gives up gaining privileges by execve(2), for good: what unprivileged callers must do before [`load`].
///
/// # Errors
/// The kernel's, which has none on Linux 3.5 and later.
pub fn set_no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
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
