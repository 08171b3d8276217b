//! kill(2). The wrapper crate that is used for the rest takes no real-time signals without an unsafe block either.
#![allow(unsafe_code, reason = "a system call without a safe wrapper")]

use super::SysResult;
use crate::members::Pid;
use crate::signal::Signal;

/// kill(2).
pub(crate) fn kill(pid: Pid, signal: Signal) -> SysResult<()> {
    // SAFETY: kill takes no pointers, and any two numbers are valid for it: the kernel refuses those that mean nothing.
    if unsafe { libc::kill(pid.as_raw_pid(), signal.number()) } == 0 { Ok(()) } else { Err(super::last()) }
}
