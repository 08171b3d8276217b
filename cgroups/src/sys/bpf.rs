//! bpf(2), the five commands a device filter needs: no wrapper crate that is used here has it.
#![allow(unsafe_code, reason = "a system call whose argument holds pointers")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, SysResult};
use crate::devices::program::Insn;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// The kernel allows this many programs on one cgroup.
const MOST_PROGRAMS: usize = 64;

/// The fields of `union bpf_attr` for a command; the kernel takes those behind it as zero.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    // Kernels from 6.17 write `revision` whatever size they are told, so the room has to be there.
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// bpf(2). The caller vouches that all pointers inside `attr` are valid for what `command` does with them.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> SysResult<libc::c_long> {
    let attr: *mut T = attr;
    // SAFETY: `attr` points to a whole T, as the size says; what it points to in turn is the caller's duty.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    if result < 0 {
        return Err(super::last());
    }
    Ok(result)
}

/// Takes ownership of a descriptor the kernel has just made.
fn owned(fd: libc::c_long) -> SysResult<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: callers pass what bpf(2) has returned for a command that makes a new descriptor, and nothing else has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a device filter; again a few times when a signal interrupts the verifier.
pub(crate) fn load(code: &[Insn], log: &mut [u8]) -> SysResult<OwnedFd> {
    let mut tries = 0;
    loop {
        let mut attr = Load {
            prog_type: PROG_TYPE_CGROUP_DEVICE,
            insn_cnt: u32::try_from(code.len()).map_err(|_| Errno::TOOBIG)?,
            insns: code.as_ptr() as u64,
            license: c"Apache-2.0".as_ptr() as u64,
            log_level: u32::from(!log.is_empty()),
            log_size: u32::try_from(log.len()).map_err(|_| Errno::TOOBIG)?,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        };
        // SAFETY: `insns` points to `insn_cnt` instructions, `license` to a NUL-terminated string and `log_buf` to `log_size`
        // writable bytes or nothing; all outlive the call.
        match unsafe { bpf(PROG_LOAD, &mut attr) } {
            Ok(fd) => return owned(fd),
            Err(Errno::AGAIN) if tries < 10 => tries += 1,
            Err(errno) => return Err(errno),
        }
    }
}

/// Attaches `program` to a cgroup; with `replace`, in place of that program and in one step.
pub(crate) fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> SysResult<()> {
    let mut attr = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, raw),
    };
    // SAFETY: the attributes hold no pointers.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches `program` from a cgroup.
pub(crate) fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> SysResult<()> {
    let mut attr = Attach {
        target_fd: raw(cgroup),
        attach_bpf_fd: raw(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: the attributes hold no pointers.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The ids of the device filters attached to this cgroup itself.
pub(crate) fn attached(cgroup: BorrowedFd<'_>) -> SysResult<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attr = Query {
        target_fd: raw(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: `prog_ids` has room for the `prog_cnt` ids the kernel may write, and outlives the call; the other pointers are null.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    let count = usize::try_from(attr.prog_cnt).unwrap_or(0);
    Ok(ids.iter().take(count).copied().collect())
}

/// Opens an attached program by its id.
pub(crate) fn by_id(id: u32) -> SysResult<OwnedFd> {
    let mut attr = [id];
    // SAFETY: the attributes hold no pointers.
    owned(unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?)
}
