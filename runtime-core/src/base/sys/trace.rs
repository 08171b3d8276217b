//! What ptrace(2) tells of a process that stands still, where nix has no name for it.

use nix::errno::Errno;
use nix::unistd::Pid;
use orlop_seccomp::SockFilter;

/// `PTRACE_SECCOMP_GET_FILTER` of include/uapi/linux/ptrace.h (Linux 4.4).
const GET_FILTER: libc::c_long = 0x420c;

/// The program of a traced process's seccomp filter, as it was loaded; 0 is the oldest.
///
/// # Errors
/// `EACCES` to who is not root of the host or has a filter itself; `EMEDIUMTYPE` and `EIO` where the kernel does not keep such programs;
/// `ENOENT` where there are not as many.
pub(crate) fn seccomp_filter(pid: Pid, index: u64) -> Result<Vec<SockFilter>, Errno> {
    let get = |buffer: *mut SockFilter| {
        // SAFETY: with no buffer the kernel tells the number of instructions, else it writes that many; a filter does not change.
        Errno::result(unsafe { libc::syscall(libc::SYS_ptrace, GET_FILTER, pid.as_raw(), index, buffer) })
    };
    let length = usize::try_from(get(std::ptr::null_mut())?).map_err(|_| Errno::EOVERFLOW)?;
    let mut program = vec![SockFilter { code: 0, jt: 0, jf: 0, k: 0 }; length];
    get(program.as_mut_ptr())?;
    Ok(program)
}
