//! A new process, made so that a program with many threads may do it: like posix_spawn, the child borrows
//! the caller's memory and a stack of its own, calls nothing but the kernel, and the calling thread waits until it has executed.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// What the new process is to be.
#[derive(Debug)]
pub(crate) struct Spawn<'s> {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// The cgroup to be born into (cgroup v2, Linux 5.7).
    pub(crate) cgroup: Option<BorrowedFd<'s>>,
    /// The program.
    pub(crate) program: Program<'s>,
    /// Its arguments.
    pub(crate) argv: &'s [&'s CStr],
    /// Its environment.
    pub(crate) environment: &'s [&'s CStr],
    /// What the new process does before it executes the program, in this order.
    pub(crate) before: &'s [Before<'s>],
    /// Descriptors that it inherits under their own numbers.
    pub(crate) inherit: &'s [RawFd],
    /// Its standard streams; `None`: the caller's.
    pub(crate) stdio: Option<[BorrowedFd<'s>; 3]>,
}

/// Where a program is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program<'s> {
    /// In an open file.
    File(BorrowedFd<'s>),
    /// At a path; it may then be a script, too.
    Path(&'s CStr),
}

/// One thing that a new process does to itself, by system calls alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before<'s> {
    /// Block no signal, whatever the caller blocks.
    UnblockSignals,
    /// Ignore no signal, whatever the caller ignores. (What the caller handles is at its default anyway.)
    DefaultSignals,
    /// Become the leader of a new process group.
    LeadProcessGroup,
    /// Enter this directory.
    ChangeDirectory(&'s CStr),
    /// Have no more files open than that.
    LimitOpenFiles { soft: u64, hard: u64 },
    /// Enter the cgroup of this v1 `tasks` file.
    #[cfg(feature = "criu")]
    JoinTasks(BorrowedFd<'s>),
    /// Let nothing that is mounted in the namespace reach others, though what others mount may reach it: what is bound has the same
    /// master then as in the caller's namespace. The namespace must be its own.
    #[cfg(feature = "criu")]
    SlaveMounts,
    /// Bind the tree at one path on another.
    #[cfg(feature = "criu")]
    Bind(&'s CStr, &'s CStr),
}

/// Why there is no new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSpawned {
    /// The errno of clone3(2), or of what the child did before and in execve(2).
    pub(crate) errno: Errno,
    /// Which of [`Spawn::before`] failed.
    pub(crate) before: Option<usize>,
}

/// `struct clone_args` of clone3(2), as of Linux 5.7.
#[repr(C, align(8))]
#[derive(Debug, Default)]
pub(super) struct CloneArgs {
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

impl CloneArgs {
    /// A child that borrows this process's memory, and this stack, and signals its end to nobody.
    pub(super) fn sharing_memory(flags: libc::c_int, pidfd: &mut RawFd, stack: *mut Stack) -> Self {
        Self {
            flags: u64::from((libc::CLONE_VM | libc::CLONE_PIDFD | flags).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
            pidfd: std::ptr::from_mut(pidfd) as u64,
            stack: stack as u64,
            stack_size: STACK as u64,
            ..Self::default()
        }
    }

    /// A child with memory of its own in these new namespaces, whose pidfd is put there.
    pub(super) fn of_own_memory(namespaces: libc::c_int, pidfd: &mut RawFd) -> Self {
        Self {
            flags: u64::from((libc::CLONE_PIDFD | namespaces).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
            pidfd: std::ptr::from_mut(pidfd) as u64,
            exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
            ..Self::default()
        }
    }
}

/// All that the child reads, and the words it writes.
struct Context<'c> {
    spawn: &'c Spawn<'c>,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    errno: i32,
    /// How many of `spawn.before` it has done.
    done: usize,
}

const STACK: usize = 16 * 1024;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;

/// Starts the process; returns its pid and pidfd once it executes the program.
///
/// # Errors
/// The errno, and what met it.
pub(crate) fn spawn(spawn: &Spawn<'_>) -> Result<(i32, OwnedFd), NotSpawned> {
    let (argv, environment) = (pointers(spawn.argv), pointers(spawn.environment));
    let mut context = Context { spawn, argv: argv.as_ptr(), environment: environment.as_ptr(), errno: 0, done: 0 };
    let mut stack = Stack::new();
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs::sharing_memory(libc::CLONE_VFORK, &mut pidfd, &raw mut *stack);
    args.flags |= spawn.namespaces;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(cgroup) = spawn.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` and what it points at outlive the call, since CLONE_VFORK holds this thread until the child has executed or
    // ended; the child runs `child` on its own stack and never returns from it.
    let result = unsafe { clone3(&raw const args, (&raw mut context).cast(), child) };
    if result < 0 {
        let errno = Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EINVAL));
        return Err(NotSpawned { errno, before: None });
    }
    // SAFETY: CLONE_PIDFD has put a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(result).unwrap_or(-1);
    // SAFETY: the child may have written it; it no longer shares our memory.
    let errno = unsafe { std::ptr::read_volatile(&raw const context.errno) };
    if errno != 0 {
        // SAFETY: waits for our own child, which has ended or is about to.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        // SAFETY: as for the errno.
        let done = unsafe { std::ptr::read_volatile(&raw const context.done) };
        let before = (done < spawn.before.len()).then_some(done);
        return Err(NotSpawned { errno: Errno::from_raw(errno), before });
    }
    Ok((pid, pidfd))
}

/// A list of strings as execve(2) takes it; the strings must outlive it.
fn pointers(strings: &[&CStr]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

#[repr(C, align(16))]
#[derive(Debug)]
pub(super) struct Stack([u8; STACK]);

impl Stack {
    pub(super) fn new() -> Box<Self> {
        // SAFETY: an array of bytes is valid whatever its bytes are.
        unsafe { Box::<Self>::new_uninit().assume_init() }
    }
}

/// What a child begins with.
pub(super) type Entry = extern "C" fn(*mut libc::c_void) -> !;

/// clone3(2) with a child that calls `child` on the new stack.
///
/// # Safety
/// `args` must name a stack; both pointers and the stack must stay valid until the child has executed or ended.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone3(args: *const CloneArgs, context: *mut libc::c_void, child: Entry) -> isize {
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
            in("r13") child,
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
pub(super) unsafe fn clone3(args: *const CloneArgs, context: *mut libc::c_void, child: Entry) -> isize {
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
            in("x21") child,
        );
    }
    result
}

/// As on x86_64.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "riscv64")]
pub(super) unsafe fn clone3(args: *const CloneArgs, context: *mut libc::c_void, child: Entry) -> isize {
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
            in("s3") child,
        );
    }
    result
}

/// The child: in the caller's memory, so it may neither allocate, lock nor unwind.
extern "C" fn child(context: *mut libc::c_void) -> ! {
    // SAFETY: the parent's thread, which owns the context, is suspended.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    context.errno = execute(context);
    // SAFETY: ends this process only; runs no handlers.
    unsafe { libc::_exit(127) }
}

/// Executes the program; returns only with an errno.
fn execute(context: &mut Context<'_>) -> i32 {
    let spawn = context.spawn;
    for step in spawn.before {
        let failed = prepare(*step);
        if failed != 0 {
            return failed;
        }
        context.done += 1;
    }
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
    let (directory, path, flags) = match spawn.program {
        Program::File(file) => (file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH),
        Program::Path(path) => (libc::AT_FDCWD, path.as_ptr(), 0),
    };
    // SAFETY: the path ends with NUL; both lists were built by the parent and end with a null pointer.
    unsafe { libc::syscall(libc::SYS_execveat, directory, path, context.argv, context.environment, flags) };
    errno()
}

/// Does one thing of [`Before`]; returns its errno, or 0.
fn prepare(step: Before<'_>) -> i32 {
    #[cfg(feature = "criu")]
    let none = std::ptr::null::<libc::c_char>();
    let result = match step {
        Before::UnblockSignals => {
            let nothing = 0u64;
            let (set, how, size) = (&raw const nothing, libc::SIG_SETMASK, size_of::<u64>());
            // SAFETY: reads one kernel signal set, of the size that is given.
            unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, std::ptr::null::<u64>(), size) }
        }
        Before::DefaultSignals => return default_signals(),
        // SAFETY: takes numbers.
        Before::LeadProcessGroup => unsafe { libc::syscall(libc::SYS_setpgid, 0, 0) },
        // SAFETY: the path ends with NUL.
        Before::ChangeDirectory(path) => unsafe { libc::syscall(libc::SYS_chdir, path.as_ptr()) },
        Before::LimitOpenFiles { soft, hard } => {
            let limit = [soft, hard];
            let (resource, none) = (libc::RLIMIT_NOFILE, std::ptr::null_mut::<u64>());
            // SAFETY: reads one `struct rlimit64`, two numbers, and writes none.
            unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), none) }
        }
        // SAFETY: writes one byte of a constant.
        #[cfg(feature = "criu")]
        Before::JoinTasks(tasks) => unsafe { libc::syscall(libc::SYS_write, tasks.as_raw_fd(), c"0".as_ptr(), 1) },
        #[cfg(feature = "criu")]
        Before::SlaveMounts => {
            let flags = libc::MS_REC | libc::MS_SLAVE;
            // SAFETY: the target is a constant; the other strings may be null when a mount is only changed.
            unsafe { libc::syscall(libc::SYS_mount, none, c"/".as_ptr(), none, flags, none) }
        }
        #[cfg(feature = "criu")]
        Before::Bind(source, target) => {
            let flags = libc::MS_REC | libc::MS_BIND;
            // SAFETY: both paths end with NUL; type and data may be null for a bind mount.
            unsafe { libc::syscall(libc::SYS_mount, source.as_ptr(), target.as_ptr(), none, flags, none) }
        }
    };
    if result < 0 { errno() } else { 0 }
}

/// Sets every signal to its default, by the kernel's own call: the C library keeps some from its callers.
fn default_signals() -> i32 {
    // SIG_DFL without flags is all zeros, in the layout of every architecture.
    let default = [0u64; 4];
    for signal in 1..=64 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        let (action, none) = (default.as_ptr(), std::ptr::null_mut::<u64>());
        // SAFETY: reads one kernel sigaction, which has at most the size of the array; the last number is the size of its mask.
        if unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action, none, size_of::<u64>()) } < 0 {
            return errno();
        }
    }
    0
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
    let args = CloneArgs::of_own_memory(namespaces, &mut pidfd);
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

/// A routing netlink socket that belongs to another network namespace.
///
/// It is opened by a process that shares nothing with this one but its descriptors, and that ends in the namespace it has entered: a
/// thread that enters one itself may not be let back, and could then neither go on nor clean up.
///
/// # Errors
/// The errno of the call that failed; ECHILD when the process was killed.
pub(crate) fn netlink_socket_in(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // The place of the socket, which the process puts there.
    let place = nix::fcntl::fcntl(namespace, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: F_DUPFD_CLOEXEC gave a new descriptor.
    let place = unsafe { OwnedFd::from_raw_fd(place) };
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: u64::from((libc::CLONE_PIDFD | libc::CLONE_FILES).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has a copy of this thread's stack, and calls nothing but the kernel.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        let status = open_netlink(namespace.as_raw_fd(), place.as_raw_fd());
        // SAFETY: `_exit` has no precondition.
        unsafe { libc::_exit(status) };
    }
    Errno::result(pid)?;
    // SAFETY: CLONE_PIDFD has put a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    match wait_for_clone(pidfd.as_fd())? {
        0 => Ok(place),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// In the process with the shared descriptors: enters the namespace and puts the socket in its place. 0, or an errno.
fn open_netlink(namespace: RawFd, place: RawFd) -> i32 {
    // SAFETY: takes numbers.
    if unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } < 0 {
        return errno();
    }
    // SAFETY: takes numbers.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    if socket < 0 {
        return errno();
    }
    // SAFETY: both are open, and nobody else uses the first.
    let placed = if unsafe { libc::dup3(socket, place, libc::O_CLOEXEC) } < 0 { errno() } else { 0 };
    // SAFETY: the descriptor is this function's.
    unsafe { libc::close(socket) };
    placed
}

/// The exit status of a process that signals no end: such ones are waited for with `__WALL`, whatever is done about SIGCHLD.
pub(super) fn wait_for_clone(pidfd: BorrowedFd<'_>) -> Result<i32, Errno> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    loop {
        match waitid(Id::PIDFd(pidfd), WaitPidFlag::WEXITED | WaitPidFlag::__WALL) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(status),
            Ok(WaitStatus::Signaled(..)) => return Err(Errno::ECHILD),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
