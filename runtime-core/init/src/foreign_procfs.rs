//! Procfs of a pid namespace that other processes are in already.
//!
//! The kernel takes the namespace that a new procfs shows from the process that asks for it, which so must be in that namespace, and have
//! CAP_SYS_ADMIN. Its processes could trace that process there if they have the right to trace everything. So it is one that has nothing to
//! be taken: no descriptor but a socket, an empty root, no other capability, and a filter under which it can only ask for a file system and
//! send it. The rest, which makes the file system of what was sent, is done outside.

use core::mem::offset_of;

use crate::abi::{self, EINTR, EPERM, ESRCH};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::mounts::empty_directory;
use crate::sys::{self, CStr, Errno, Fd, close};
use crate::wire::{Bpf, Slot};

const CLONE_NEWPID: u32 = 0x2000_0000;
const CAP_SYS_ADMIN: u64 = 1 << 21;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const AUDIT_ARCH: u32 = 0xC000_00F3;

/// `struct seccomp_data`.
#[repr(C)]
struct Data {
    number: u32,
    arch: u32,
}

const fn load(offset: usize) -> Bpf {
    Bpf { code: 0x20, jt: 0, jf: 0, k: offset as u32 }
}

/// Goes on if the word is `k`, and else skips `jf` instructions.
const fn equal(k: u32, jt: u8, jf: u8) -> Bpf {
    Bpf { code: 0x15, jt, jf, k }
}

const fn answer(k: u32) -> Bpf {
    Bpf { code: 0x06, jt: 0, jf: 0, k }
}

const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;

/// What is called once the filter is there.
static FILTER: [Bpf; 10] = [
    load(offset_of!(Data, arch)),
    equal(AUDIT_ARCH, 0, 6),
    load(offset_of!(Data, number)),
    equal(abi::nr::FSOPEN as u32, 5, 0),
    equal(abi::nr::SENDMSG as u32, 4, 0),
    equal(abi::nr::CLONE as u32, 3, 0),
    equal(abi::nr::WAIT4 as u32, 2, 0),
    equal(abi::nr::EXIT_GROUP as u32, 1, 0),
    answer(KILL_PROCESS),
    answer(ALLOW),
];

impl Executor<'_> {
    /// Gets file system contexts for so many procfs mounts that show the pid namespace behind `namespace`.
    pub(crate) fn open_foreign_procfs(&mut self, namespace: Slot, count: u32) -> Result<(), Failure> {
        let namespace = self.slot(namespace);
        let (ours, theirs) = sys::socketpair()?;
        let child = sys::fork_child()?;
        if child == 0 {
            end(confine(namespace, theirs).and_then(|socket| ask(socket, count)));
        }
        close(theirs)?;
        let mut received = 0;
        for context in self.foreign_procfs.iter_mut().take(count as usize) {
            let mut numbers = [0i32; crate::wire::DESCRIPTORS];
            let got = loop {
                match sys::receive_fds(ours, &mut numbers) {
                    Err(Errno(EINTR)) => {}
                    other => break other?,
                }
            };
            if got.0 != 1 {
                break;
            }
            *context = numbers.first().map(|number| Fd(*number));
            received += 1;
        }
        close(ours)?;
        ended_well(child)?;
        if received == count { Ok(()) } else { Err(Errno(ESRCH).into()) }
    }

    /// A context for a new procfs, where it cannot be asked for from here.
    pub(crate) fn take_foreign_procfs(&mut self, fstype: CStr<'_>) -> Option<Fd> {
        if fstype.bytes() != b"proc" {
            return None;
        }
        self.foreign_procfs.iter_mut().find_map(Option::take)
    }
}

/// Gives everything up but what is needed, and only then enters the namespace, for the children to come. Returns the socket.
fn confine(namespace: Fd, socket: Fd) -> sys::Result<Fd> {
    // The two that are kept go to the front, and all others are closed.
    let namespace = Fd(sys::fcntl(namespace, F_DUPFD_CLOEXEC, 3)? as i32);
    let socket = Fd(sys::fcntl(socket, F_DUPFD_CLOEXEC, 3)? as i32);
    sys::dup3(namespace, Fd(0), O_CLOEXEC)?;
    sys::dup3(socket, Fd(1), O_CLOEXEC)?;
    sys::close_range(2, u32::MAX as usize, 0)?;
    // What is its root and its working directory can be reached through /proc/PID; where there is nothing, nothing can.
    let empty = empty_directory()?;
    sys::fchdir(empty)?;
    sys::chroot(CStr::new(b".\0"))?;
    close(empty)?;
    sys::capset(CAP_SYS_ADMIN, CAP_SYS_ADMIN, 0)?;
    sys::setns(Fd(0), CLONE_NEWPID)?;
    close(Fd(0))?;
    sys::seccomp(&FILTER, 0)?;
    Ok(Fd(1))
}

const F_DUPFD_CLOEXEC: usize = 1030;
const O_CLOEXEC: usize = 0o2_000_000;

/// In the namespace: asks for the contexts and sends them.
fn ask(socket: Fd, count: u32) -> sys::Result<()> {
    let child = sys::fork_child()?;
    if child != 0 {
        return ended_well(child);
    }
    end((0..count).try_for_each(|_| {
        let context = Fd(sys::fsopen(CStr::new(b"proc\0"), abi::FSOPEN_CLOEXEC)? as i32);
        sys::send_fd(socket, context, b"\0").map(drop)
    }))
}

/// Waits for a child of this file.
fn ended_well(child: usize) -> sys::Result<()> {
    let status = sys::wait_child(child)?;
    match (status & 0x7f, status >> 8 & 0xff) {
        (0, 0) => Ok(()),
        (0, errno) => Err(Errno(errno)),
        // Killed: by a process of that namespace, or by the filter.
        _ => Err(Errno(EPERM)),
    }
}

fn end(result: sys::Result<()>) -> ! {
    sys::exit(match result {
        Ok(()) => 0,
        Err(errno) => errno.0 as usize,
    })
}
