//! System calls without a C library.

use core::arch::asm;

use crate::abi::{self, nr};

/// An errno, positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// A system call with up to six arguments.
///
/// # Safety
/// The arguments must be what the call numbered `n` expects: pointers valid for what it reads and writes.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) unsafe fn raw(n: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call with up to six arguments.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) unsafe fn raw(n: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the kernel changes x0 only.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a[0] as isize => result, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

/// A system call with up to six arguments.
///
/// # Safety
/// As on x86_64.
#[cfg(target_arch = "riscv64")]
#[inline]
pub(crate) unsafe fn raw(n: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the kernel changes a0 only.
    unsafe {
        asm!("ecall", in("a7") n, inlateout("a0") a[0] as isize => result, in("a1") a[1], in("a2") a[2],
            in("a3") a[3], in("a4") a[4], in("a5") a[5], options(nostack));
    }
    result
}

/// A system call whose result is a number or an errno.
///
/// # Safety
/// As for [`raw`].
pub(crate) unsafe fn call(n: usize, a: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller vouches for the arguments.
    let result = unsafe { raw(n, a) };
    if result < 0 { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// A file descriptor number. It is not closed on drop: the program runs no destructors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fd(pub(crate) i32);

impl Fd {
    /// The working directory, for calls that take a path.
    pub(crate) const CWD: Self = Self(abi::AT_FDCWD);

    pub(crate) fn arg(self) -> usize {
        self.0 as isize as usize
    }
}

/// A NUL-terminated string, in the shared block, in this file or on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CStr<'a>(&'a [u8]);

impl<'a> CStr<'a> {
    pub(crate) const EMPTY: CStr<'static> = CStr(b"\0");

    /// `bytes` must end in NUL; whatever does not is the empty string.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        match bytes {
            [.., 0] => Self(bytes),
            _ => Self(b"\0"),
        }
    }

    pub(crate) fn arg(self) -> usize {
        self.0.as_ptr() as usize
    }

    /// The text without its NUL.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self.0 {
            [text @ .., _] => text,
            [] => &[],
        }
    }
}

macro_rules! syscalls {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty => $as:expr),*) = $nr:ident;)*) => {
        $($(#[$doc])*
        #[allow(dead_code, reason = "the wrappers are one family")]
        pub(crate) fn $name($($arg: $type),*) -> Result<usize> {
            let mut args = [0usize; 6];
            let given = [$($as),*];
            for (slot, value) in args.iter_mut().zip(given) {
                *slot = value;
            }
            // SAFETY: every pointer among the arguments comes from a reference, slice or NUL-terminated string that outlives the
            // call, with its own length; the rest are numbers.
            unsafe { call(nr::$nr, args) }
        })*
    };
}

syscalls! {
    read(fd: Fd => fd.arg(), buf: &mut [u8] => buf.as_mut_ptr() as usize, n: usize => n) = READ;
    write(fd: Fd => fd.arg(), buf: &[u8] => buf.as_ptr() as usize, n: usize => n) = WRITE;
    close(fd: Fd => fd.arg()) = CLOSE;
    dup3(old: Fd => old.arg(), new: Fd => new.arg(), flags: usize => flags) = DUP3;
    fcntl(fd: Fd => fd.arg(), cmd: usize => cmd, arg: usize => arg) = FCNTL;
    close_range(first: usize => first, last: usize => last, flags: usize => flags) = CLOSE_RANGE;
    mkdirat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), mode: u32 => mode as usize) = MKDIRAT;
    mknodat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), mode: u32 => mode as usize, dev: u64 => dev as usize) = MKNODAT;
    symlinkat(target: CStr<'_> => target.arg(), dir: Fd => dir.arg(), path: CStr<'_> => path.arg()) = SYMLINKAT;
    readlinkat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), buf: &mut [u8] => buf.as_mut_ptr() as usize, n: usize => n) = READLINKAT;
    unlinkat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), flags: usize => flags) = UNLINKAT;
    fchown(fd: Fd => fd.arg(), uid: u32 => uid as usize, gid: u32 => gid as usize) = FCHOWN;
    fchownat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), uid: u32 => uid as usize, gid: u32 => gid as usize, flags: usize => flags) = FCHOWNAT;
    fchmod(fd: Fd => fd.arg(), mode: u32 => mode as usize) = FCHMOD;
    fchmodat(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), mode: u32 => mode as usize) = FCHMODAT;
    faccessat2(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), mode: usize => mode, flags: usize => flags) = FACCESSAT2;
    getdents64(fd: Fd => fd.arg(), buf: &mut [u8] => buf.as_mut_ptr() as usize, n: usize => n) = GETDENTS64;
    sendfile(out: Fd => out.arg(), from: Fd => from.arg(), offset: usize => offset, n: usize => n) = SENDFILE;
    chdir(path: CStr<'_> => path.arg()) = CHDIR;
    fchdir(fd: Fd => fd.arg()) = FCHDIR;
    chroot(path: CStr<'_> => path.arg()) = CHROOT;
    getcwd(buf: &mut [u8] => buf.as_mut_ptr() as usize, n: usize => n) = GETCWD;
    pivot_root(new: CStr<'_> => new.arg(), old: CStr<'_> => old.arg()) = PIVOT_ROOT;
    umount2(path: CStr<'_> => path.arg(), flags: usize => flags) = UMOUNT2;
    mount(source: CStr<'_> => source.arg(), target: CStr<'_> => target.arg(), fstype: CStr<'_> => fstype.arg(), flags: usize => flags, data: CStr<'_> => data.arg()) = MOUNT;
    open_tree(dir: Fd => dir.arg(), path: CStr<'_> => path.arg(), flags: usize => flags) = OPEN_TREE;
    move_mount(from: Fd => from.arg(), from_path: CStr<'_> => from_path.arg(), to: Fd => to.arg(), to_path: CStr<'_> => to_path.arg(), flags: usize => flags) = MOVE_MOUNT;
    fsopen(fstype: CStr<'_> => fstype.arg(), flags: usize => flags) = FSOPEN;
    fsmount(fd: Fd => fd.arg(), flags: usize => flags, attr: u64 => attr as usize) = FSMOUNT;
    setns(fd: Fd => fd.arg(), flags: u32 => flags as usize) = SETNS;
    unshare(flags: usize => flags) = UNSHARE;
    setsid() = SETSID;
    getpid() = GETPID;
    getppid() = GETPPID;
    sethostname(name: &[u8] => name.as_ptr() as usize, n: usize => n) = SETHOSTNAME;
    setdomainname(name: &[u8] => name.as_ptr() as usize, n: usize => n) = SETDOMAINNAME;
    prctl(option: usize => option, a: usize => a, b: usize => b) = PRCTL;
    setgroups(n: usize => n, groups: &[u32] => groups.as_ptr() as usize) = SETGROUPS;
    setresuid(r: u32 => r as usize, e: u32 => e as usize, s: u32 => s as usize) = SETRESUID;
    setresgid(r: u32 => r as usize, e: u32 => e as usize, s: u32 => s as usize) = SETRESGID;
    umask(mask: u32 => mask as usize) = UMASK;
    personality(domain: u64 => domain as usize) = PERSONALITY;
    ioprio_set(which: usize => which, who: usize => who, value: u32 => value as usize) = IOPRIO_SET;
    sched_setaffinity(pid: usize => pid, n: usize => n, mask: &[u8] => mask.as_ptr() as usize) = SCHED_SETAFFINITY;
    set_mempolicy(mode: u32 => mode as usize, mask: &[u64] => mask.as_ptr() as usize, bits: u64 => bits as usize) = SET_MEMPOLICY;
    join_session_keyring(op: usize => op, name: usize => name) = KEYCTL;
    socket(family: usize => family, kind: usize => kind, protocol: usize => protocol) = SOCKET;
    ioctl(fd: Fd => fd.arg(), request: usize => request, arg: usize => arg) = IOCTL;
}

/// `prctl(PR_CAP_AMBIENT)`: its unused arguments must be zero, which four of them are here.
pub(crate) fn prctl3(option: usize, a: usize, b: usize) -> Result<usize> {
    prctl(option, a, b)
}

/// `ioctl(2)` with a structure.
///
/// # Safety
/// `request` must read and write no more than a `T`.
pub(crate) unsafe fn ioctl_with<T>(fd: Fd, request: usize, value: &mut T) -> Result<usize> {
    ioctl(fd, request, core::ptr::from_mut(value) as usize)
}

/// `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `openat2(2)`, always close-on-exec.
pub(crate) fn openat2(dir: Fd, path: CStr<'_>, flags: u64, mode: u64, resolve: u64) -> Result<Fd> {
    let how = OpenHow { flags: flags | abi::O_CLOEXEC, mode, resolve };
    let size = size_of::<OpenHow>();
    // SAFETY: path is NUL-terminated and `how` lives through the call, with its size given.
    let fd = unsafe { call(nr::OPENAT2, [dir.arg(), path.arg(), core::ptr::from_ref(&how) as usize, size, 0, 0]) }?;
    Ok(Fd(fd as i32))
}

/// The part of `struct statx` that is looked at.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Statx {
    _mask: u32,
    _blksize: u32,
    attributes: u64,
    _nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
    _spare0: u16,
    ino: u64,
    _size: u64,
    _blocks: u64,
    _attributes_mask: u64,
    _times: [u64; 8],
    pub(crate) rdev_major: u32,
    pub(crate) rdev_minor: u32,
    dev: [u32; 2],
    mount: u64,
    _rest: [u64; 13],
}

const _: () = assert!(size_of::<Statx>() == 256);

impl Statx {
    pub(crate) fn kind(&self) -> u32 {
        u32::from(self.mode) & abi::S_IFMT
    }

    /// Whether it is the root of a mount.
    pub(crate) fn is_mount_root(&self) -> bool {
        const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
        self.attributes & STATX_ATTR_MOUNT_ROOT != 0
    }

    /// Whether both are the same file, however it was reached.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// Whether both are the same file of the same mount; before Linux 5.8, which does not number mounts here, of any mount.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.is_same_file(other) && self.mount == other.mount
    }
}

/// `statx(2)` of `path` below `dir` (an empty path: of `dir` itself), without following a final link.
pub(crate) fn statx(dir: Fd, path: CStr<'_>) -> Result<Statx> {
    const BASIC_AND_MOUNT: usize = 0x17ff;
    let mut buffer = core::mem::MaybeUninit::<Statx>::zeroed();
    let flags = abi::AT_EMPTY_PATH | abi::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the kernel writes at most 256 bytes, the size of the buffer.
    unsafe { call(nr::STATX, [dir.arg(), path.arg(), flags, BASIC_AND_MOUNT, buffer.as_mut_ptr() as usize, 0]) }?;
    // SAFETY: zeroed to begin with, and every bit pattern is a valid Statx.
    Ok(unsafe { buffer.assume_init() })
}

/// `struct statfs`, as words.
fn statfs(fd: Fd) -> Result<[u64; 16]> {
    let mut buffer = [0u64; 16];
    // SAFETY: struct statfs has 120 bytes, the buffer 128.
    unsafe { call(nr::FSTATFS, [fd.arg(), buffer.as_mut_ptr() as usize, 0, 0, 0, 0]) }?;
    Ok(buffer)
}

/// The magic number of the file system that `fd` is on.
pub(crate) fn filesystem(fd: Fd) -> Result<i64> {
    let [kind, ..] = statfs(fd)?;
    Ok(kind as i64)
}

/// The flags of the mount that `fd` is on (`ST_*` of statvfs(3)).
pub(crate) fn mount_flags(fd: Fd) -> Result<u64> {
    // f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_fsid, f_namelen, f_frsize, f_flags
    let [.., flags, _, _, _, _, _] = statfs(fd)?;
    Ok(flags)
}

/// `fsconfig(2)`; an absent value makes it a flag or a command.
pub(crate) fn fsconfig(fd: Fd, command: usize, key: Option<CStr<'_>>, value: Option<CStr<'_>>) -> Result<usize> {
    let key = key.map_or(0, CStr::arg);
    let value = value.map_or(0, CStr::arg);
    // SAFETY: both are null or NUL-terminated strings.
    unsafe { call(nr::FSCONFIG, [fd.arg(), command, key, value, 0, 0]) }
}

/// `fsetxattr(2)`, without flags.
pub(crate) fn fsetxattr(fd: Fd, name: CStr<'_>, value: &[u8]) -> Result<usize> {
    // SAFETY: name is NUL-terminated, and the value's length is given.
    unsafe { call(nr::FSETXATTR, [fd.arg(), name.arg(), value.as_ptr() as usize, value.len(), 0, 0]) }
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `mount_setattr(2)` on the mount that `fd` is the root of.
pub(crate) fn mount_setattr(
    fd: Fd,
    recursive: bool,
    set: u64,
    clear: u64,
    propagation: u64,
    userns: Option<Fd>,
) -> Result<usize> {
    let attr = MountAttr { set, clear, propagation, userns: userns.map_or(0, |fd| fd.0 as u64) };
    let flags = abi::AT_EMPTY_PATH | if recursive { abi::AT_RECURSIVE } else { 0 };
    let pointer = core::ptr::from_ref(&attr) as usize;
    let args = [fd.arg(), CStr::EMPTY.arg(), flags, pointer, size_of::<MountAttr>(), 0];
    // SAFETY: `attr` lives through the call, with its size given.
    unsafe { call(nr::MOUNT_SETATTR, args) }
}

/// `capset(2)` of this process; the masks are bits by capability number.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<usize> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0u32];
    let low = |mask: u64| mask as u32;
    let high = |mask: u64| (mask >> 32) as u32;
    let data = [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)];
    // SAFETY: version 3 reads a header of two words and six words of data.
    unsafe { call(nr::CAPSET, [header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0, 0]) }
}

/// `setrlimit(2)` of this process.
pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<usize> {
    let limit = [soft, hard];
    // SAFETY: struct rlimit64 is two 64-bit words.
    unsafe { call(nr::PRLIMIT64, [0, resource as usize, limit.as_ptr() as usize, 0, 0, 0]) }
}

/// `sched_setattr(2)` of this process.
pub(crate) fn sched_setattr(attr: &crate::wire::SchedAttr) -> Result<usize> {
    // SAFETY: the structure carries its own size.
    unsafe { call(nr::SCHED_SETATTR, [0, core::ptr::from_ref(attr) as usize, 0, 0, 0, 0]) }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const crate::wire::Bpf,
}

/// `seccomp(SECCOMP_SET_MODE_FILTER)`.
pub(crate) fn seccomp(filter: &[crate::wire::Bpf], flags: u32) -> Result<usize> {
    const SET_MODE_FILTER: usize = 1;
    let program = Program { len: filter.len() as u16, filter: filter.as_ptr() };
    // SAFETY: the program points at `filter`, which is longer-lived, and says its length.
    unsafe { call(nr::SECCOMP, [SET_MODE_FILTER, flags as usize, core::ptr::from_ref(&program) as usize, 0, 0, 0]) }
}

/// `execve(2)`; returns only when it fails.
///
/// # Safety
/// `argv` and `envp` must be null-terminated arrays of NUL-terminated strings.
pub(crate) unsafe fn execve(path: CStr<'_>, argv: *const u64, envp: *const u64) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    match unsafe { call(nr::EXECVE, [path.arg(), argv as usize, envp as usize, 0, 0, 0]) } {
        Ok(_) => Errno(0),
        Err(errno) => errno,
    }
}

/// `clone(2)` without a stack of its own: the child goes on with a copy of this process. Its number is in `pid` before it runs. Not
/// `clone3(2)`, which profiles forbid since a filter cannot read its flags.
pub(crate) fn fork(flags: u64, pid: &core::sync::atomic::AtomicI32) -> Result<usize> {
    // CLONE_PARENT takes the exit signal of the caller, and none may be given. The three first arguments are the same everywhere.
    let flags = flags | abi::CLONE_PARENT | abi::CLONE_PARENT_SETTID;
    // SAFETY: no caller's flag shares memory, so both sides own their stack; the number is written to an atomic that outlives the call.
    unsafe { call(nr::CLONE, [flags as usize, 0, pid.as_ptr() as usize, 0, 0, 0]) }
}

/// `clone(2)` of a child that this process waits for.
pub(crate) fn fork_child() -> Result<usize> {
    const SIGCHLD: usize = 17;
    // SAFETY: no flag shares memory, so both sides own their stack.
    unsafe { call(nr::CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) }
}

/// Waits until one of three descriptors can be read or is at its end, and says which.
pub(crate) fn wait_readable(fds: [Fd; 3]) -> Result<[bool; 3]> {
    #[repr(C)]
    struct PollFd {
        fd: i32,
        events: i16,
        revents: i16,
    }
    const POLLIN: i16 = 1;
    let mut polled = fds.map(|fd| PollFd { fd: fd.0, events: POLLIN, revents: 0 });
    // SAFETY: three entries, which live through the call; without a timeout and a mask.
    unsafe { call(nr::PPOLL, [polled.as_mut_ptr() as usize, polled.len(), 0, 0, 0, 0]) }?;
    Ok(polled.map(|one| one.revents != 0))
}

/// `wait4(2)` of one child: its status.
pub(crate) fn wait_child(child: usize) -> Result<i32> {
    let mut status = 0i32;
    loop {
        // SAFETY: the status is an int.
        match unsafe { call(nr::WAIT4, [child, core::ptr::from_mut(&mut status) as usize, 0, 0, 0, 0]) } {
            Err(Errno(abi::EINTR)) => {}
            other => return other.map(|_| status),
        }
    }
}

/// `socketpair(2)` of Unix sockets that keep messages apart.
pub(crate) fn socketpair() -> Result<(Fd, Fd)> {
    const AF_UNIX: usize = 1;
    const SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
    let mut ends = [0i32; 2];
    // SAFETY: the kernel writes two ints.
    unsafe { call(nr::SOCKETPAIR, [AF_UNIX, SEQPACKET_CLOEXEC, 0, ends.as_mut_ptr() as usize, 0, 0]) }?;
    let [one, other] = ends;
    Ok((Fd(one), Fd(other)))
}

/// Resets every signal's action and unblocks every signal: what the caller ignores (a shell's `trap '' INT`, and SIGPIPE in Rust
/// programs) is not the container's business, as in runc. `CLONE_CLEAR_SIGHAND` would leave ignored signals ignored.
pub(crate) fn reset_signals() {
    let default = [0u64; 4];
    for signal in 1..=abi::SIGNALS {
        // SAFETY: an all-zero sigaction is SIG_DFL; the mask is eight bytes, as said. It fails for SIGKILL and SIGSTOP alone, which
        // always have their default action.
        unsafe { raw(nr::RT_SIGACTION, [signal, default.as_ptr() as usize, 0, 8, 0, 0]) };
    }
    block_signals(0);
}

/// Blocks the signals of this mask, and no others.
pub(crate) fn block_signals(mask: u64) {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the mask is eight bytes, as said; with a valid one it cannot fail.
    unsafe { raw(nr::RT_SIGPROCMASK, [SIG_SETMASK, core::ptr::from_ref(&mask) as usize, 0, 8, 0, 0]) };
}

/// Blocks this signal alone, and gives a descriptor that can be read once it has come (signalfd(2)).
pub(crate) fn signal_fd(signal: usize) -> Result<Fd> {
    const SFD_CLOEXEC: usize = 0o2_000_000;
    let mask = 1u64 << (signal - 1);
    block_signals(mask);
    // SAFETY: the mask is eight bytes, as said.
    let fd = unsafe { call(nr::SIGNALFD4, [usize::MAX, core::ptr::from_ref(&mask) as usize, 8, SFD_CLOEXEC, 0, 0]) }?;
    Ok(Fd(fd as i32))
}

/// Lets the signals that ask a process to end do so: to the first process of a pid namespace, they mean nothing by default.
/// `execve` takes this back.
pub(crate) fn end_on_signals() {
    extern "C" fn end(signal: i32) -> ! {
        exit(128 + signal as usize)
    }
    let handler = end as extern "C" fn(i32) -> ! as usize;
    // x86-64 does not deliver a signal without SA_RESTORER, and the handler never returns to what it names.
    let (flags, restorer) = if cfg!(target_arch = "x86_64") { (0x0400_0000, handler) } else { (0, 0) };
    let action = [handler, flags, restorer, 0];
    for signal in [abi::SIGHUP, abi::SIGINT, abi::SIGQUIT, abi::SIGTERM] {
        // SAFETY: the kernel's sigaction is three or four words, of which the last is an empty mask of eight bytes; the handler only
        // makes a system call.
        unsafe { raw(nr::RT_SIGACTION, [signal, action.as_ptr() as usize, 0, 8, 0, 0]) };
    }
}

/// Maps the first `size` bytes of `fd`, shared and writable, with its pages in place.
pub(crate) fn map_shared(fd: Fd, size: usize) -> Result<core::ptr::NonNull<u8>> {
    const READ_WRITE: usize = 3;
    const SHARED_POPULATE: usize = 1 | 0x8000;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { call(nr::MMAP, [0, size, READ_WRITE, SHARED_POPULATE, fd.arg(), 0]) }?;
    core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(base)).ok_or(Errno(abi::EINVAL))
}

/// `madvise(MADV_DONTFORK)` of a mapping.
pub(crate) fn keep_from_children(base: core::ptr::NonNull<u8>, size: usize) -> Result<usize> {
    const MADV_DONTFORK: usize = 10;
    // SAFETY: changes nothing of this process's own memory.
    unsafe { call(nr::MADVISE, [base.as_ptr() as usize, size, MADV_DONTFORK, 0, 0, 0]) }
}

/// Ends the process: by a fault when a filter forbids even that, so that nobody waits for it in vain.
pub(crate) fn exit(code: usize) -> ! {
    // SAFETY: takes a number; does not return unless a seccomp filter has it fail.
    unsafe { raw(nr::EXIT_GROUP, [code, 0, 0, 0, 0, 0]) };
    trap()
}

/// An instruction that is none: the kernel answers with SIGILL or SIGTRAP, which end even the first process of a pid namespace.
fn trap() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: ends the process.
    unsafe {
        asm!("ud2", options(noreturn));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: ends the process.
    unsafe {
        asm!("udf #0", options(noreturn));
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: ends the process.
    unsafe {
        asm!("unimp", options(noreturn));
    }
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    name: usize,
    namelen: u32,
    iov: usize,
    iovlen: usize,
    control: usize,
    controllen: usize,
    flags: i32,
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;

/// Receives one byte and the fds that come with it, close-on-exec from birth; without a byte at the socket's end.
pub(crate) fn receive_fds(socket: Fd, fds: &mut [i32; crate::wire::DESCRIPTORS]) -> Result<(usize, Option<u8>)> {
    #[repr(C)]
    struct Control {
        len: usize,
        level: i32,
        kind: i32,
        fds: [i32; crate::wire::DESCRIPTORS],
    }
    const HEADER: usize = 16;
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    const MSG_CTRUNC: i32 = 8;
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [0; crate::wire::DESCRIPTORS] };
    let mut word = 0u8;
    let iov = [core::ptr::from_mut(&mut word) as usize, 1];
    let mut message = Message {
        name: 0,
        namelen: 0,
        iov: iov.as_ptr() as usize,
        iovlen: 1,
        control: core::ptr::from_mut(&mut control) as usize,
        controllen: size_of::<Control>(),
        flags: 0,
    };
    let place = core::ptr::from_mut(&mut message) as usize;
    // SAFETY: the message points at locals that live through the call, with their sizes.
    let read = unsafe { call(nr::RECVMSG, [socket.arg(), place, MSG_CMSG_CLOEXEC, 0, 0, 0]) }?;
    if message.flags & MSG_CTRUNC != 0 {
        return Err(Errno(abi::EMFILE));
    }
    let mut count = 0;
    if message.controllen >= HEADER && control.level == SOL_SOCKET && control.kind == SCM_RIGHTS {
        count = control.len.saturating_sub(HEADER) / size_of::<i32>();
        for (fd, received) in fds.iter_mut().zip(control.fds).take(count) {
            *fd = received;
        }
    }
    Ok((count, (read == 1).then_some(word)))
}

/// Sends one fd and one byte over a Unix socket.
pub(crate) fn send_fd(socket: Fd, fd: Fd, name: &[u8]) -> Result<usize> {
    #[repr(C)]
    struct Control {
        len: usize,
        level: i32,
        kind: i32,
        fd: i32,
        pad: i32,
    }
    const MSG_NOSIGNAL: usize = 0x4000;
    let control = Control { len: 20, level: SOL_SOCKET, kind: SCM_RIGHTS, fd: fd.0, pad: 0 };
    let iov = [name.as_ptr() as usize, name.len()];
    let message = Message {
        name: 0,
        namelen: 0,
        iov: iov.as_ptr() as usize,
        iovlen: 1,
        control: core::ptr::from_ref(&control) as usize,
        controllen: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: the message points at locals that live through the call, with their sizes.
    unsafe { call(nr::SENDMSG, [socket.arg(), core::ptr::from_ref(&message) as usize, MSG_NOSIGNAL, 0, 0, 0]) }
}
