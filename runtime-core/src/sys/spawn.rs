//! A new process that executes the init, made so that a program with many threads may do it: like posix_spawn, the child borrows
//! the caller's memory and a stack of its own, calls nothing but the kernel, and the calling thread waits until it has executed.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// What the new process is to be.
#[derive(Debug)]
pub(crate) struct Spawn<'s> {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// The cgroup to be born into (cgroup v2, Linux 5.7).
    pub(crate) cgroup: Option<BorrowedFd<'s>>,
    /// The program.
    pub(crate) program: BorrowedFd<'s>,
    /// Its arguments.
    pub(crate) argv: &'s [&'s CStr],
    /// Descriptors that it inherits under their own numbers.
    pub(crate) inherit: &'s [RawFd],
    /// Its standard streams; `None`: the caller's.
    pub(crate) stdio: Option<[BorrowedFd<'s>; 3]>,
}

/// `struct clone_args` of clone3(2), as of Linux 5.7.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// All that the child reads, and the one word it writes.
struct Context<'c> {
    spawn: &'c Spawn<'c>,
    argv: *const *const libc::c_char,
    errno: i32,
}

const STACK: usize = 16 * 1024;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;

/// Starts the process; returns its pid and pidfd once it executes the program.
///
/// # Errors
/// The errno of clone3(2), or of what the child did before and in execveat(2).
pub(crate) fn spawn(spawn: &Spawn<'_>) -> Result<(i32, OwnedFd), Errno> {
    let mut argv: Vec<*const libc::c_char> = spawn.argv.iter().map(|argument| argument.as_ptr()).collect();
    argv.push(std::ptr::null());
    let mut context = Context { spawn, argv: argv.as_ptr(), errno: 0 };
    let mut stack = Stack::new();
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let mut args = CloneArgs {
        flags: u64::from(flags.cast_unsigned()) | CLONE_CLEAR_SIGHAND | spawn.namespaces,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: stack.0.as_mut_ptr() as u64,
        stack_size: STACK as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = spawn.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` and what it points at outlive the call, since CLONE_VFORK holds this thread until the child has executed or
    // ended; the child runs `child` on its own stack and never returns from it.
    let result = unsafe { clone3(&raw const args, &raw mut context) };
    if result < 0 {
        return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    // SAFETY: CLONE_PIDFD has put a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(result).unwrap_or(-1);
    // SAFETY: the child may have written it; it no longer shares our memory.
    let errno = unsafe { std::ptr::read_volatile(&raw const context.errno) };
    if errno != 0 {
        // SAFETY: waits for our own child, which has ended or is about to.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        return Err(Errno::from_raw(errno));
    }
    Ok((pid, pidfd))
}

#[repr(C, align(16))]
struct Stack([u8; STACK]);

impl Stack {
    fn new() -> Box<Self> {
        // SAFETY: an array of bytes is valid whatever its bytes are.
        unsafe { Box::<Self>::new_uninit().assume_init() }
    }
}

/// clone3(2) with a child that calls [`child`] on the new stack.
///
/// # Safety
/// `args` must name a stack and CLONE_VFORK; both pointers must stay valid until the child has executed.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: *const CloneArgs, context: *mut Context<'_>) -> isize {
    let result: isize;
    // SAFETY: rcx and r11 are the kernel's; the child finds its argument in r12 and never comes back here.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") context,
            in("r13") child as extern "C" fn(*mut Context<'_>) -> !,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As on x86_64.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: *const CloneArgs, context: *mut Context<'_>) -> isize {
    let result: isize;
    // SAFETY: the kernel changes x0 only; the child finds its argument in x20 and never comes back here.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, #0",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") context,
            in("x21") child as extern "C" fn(*mut Context<'_>) -> !,
        );
    }
    result
}

/// As on x86_64.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "riscv64")]
unsafe fn clone3(args: *const CloneArgs, context: *mut Context<'_>) -> isize {
    let result: isize;
    // SAFETY: the kernel changes a0 only; the child finds its argument in s2 and never comes back here.
    unsafe {
        std::arch::asm!(
            "ecall",
            "bnez a0, 2f",
            "mv a0, s2",
            "jalr s3",
            "ebreak",
            "2:",
            in("a7") libc::SYS_clone3,
            inlateout("a0") args => result,
            in("a1") size_of::<CloneArgs>(),
            in("s2") context,
            in("s3") child as extern "C" fn(*mut Context<'_>) -> !,
        );
    }
    result
}

/// The child: in the caller's memory, so it may neither allocate, lock nor unwind.
extern "C" fn child(context: *mut Context<'_>) -> ! {
    // SAFETY: the parent's thread, which owns the context, is suspended.
    let context = unsafe { &mut *context };
    let errno = execute(context.spawn, context.argv);
    context.errno = errno;
    // SAFETY: ends this process only; runs no handlers.
    unsafe { libc::_exit(127) }
}

/// Executes the program; returns only with an errno.
fn execute(spawn: &Spawn<'_>, argv: *const *const libc::c_char) -> i32 {
    if let Some(streams) = spawn.stdio {
        for (number, stream) in (0..).zip(&streams) {
            // SAFETY: takes two descriptor numbers of this process's own table.
            if unsafe { libc::dup2(stream.as_raw_fd(), number) } < 0 {
                return errno();
            }
        }
    }
    for fd in spawn.inherit {
        // SAFETY: clears close-on-exec in this process's own table.
        if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
            return errno();
        }
    }
    if spawn.namespaces & CLONE_NEWUSER != 0 {
        let failed = keep_capabilities();
        if failed != 0 {
            return failed;
        }
    }
    let environment: *const libc::c_char = std::ptr::null();
    let (program, empty) = (spawn.program.as_raw_fd(), c"".as_ptr());
    // SAFETY: argv was built by the parent, null-terminated; the environment is empty.
    unsafe { libc::syscall(libc::SYS_execveat, program, empty, argv, &raw const environment, libc::AT_EMPTY_PATH) };
    errno()
}

/// A process whose ids are not mapped yet is not root for execve, which would take its capabilities: ambient ones stay.
fn keep_capabilities() -> i32 {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // Effective, permitted and inheritable, low words and high words: all that the bounding set of a new user namespace holds.
    let mut data = [0u32; 6];
    // SAFETY: version 3 writes six words.
    if unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) } < 0 {
        return errno();
    }
    data[2] = data[1];
    data[5] = data[4];
    // SAFETY: version 3 reads six words.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } < 0 {
        return errno();
    }
    for capability in 0..64 {
        // SAFETY: takes numbers. One that the kernel does not know is refused, and not needed.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) };
    }
    0
}

fn errno() -> i32 {
    Errno::last_raw()
}

/// A process in new namespaces that does nothing until it is killed, and dies with the calling thread. It has its own memory.
///
/// # Errors
/// The errno of clone3(2).
pub(crate) fn spawn_sleeper(namespaces: libc::c_int) -> Result<(i32, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: u64::from((libc::CLONE_PIDFD | namespaces).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has a copy of this thread's stack, and calls nothing but the kernel.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        // SAFETY: takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    let pid = Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD has put a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((i32::try_from(pid).unwrap_or(-1), pidfd))
}
