//! System calls that need `unsafe`, and nothing else that does.
#![allow(unsafe_code, reason = "system calls that no safe wrapper exists for")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::unistd::{Pid, getpid, getppid};

/// A limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Which process goes on after [`fork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Parent,
    Child,
}

/// Has all threads take memory from one place. With glibc each has a place of its own, which stays when the thread has ended.
pub(crate) fn share_memory_of_threads() {
    // SAFETY: takes numbers; the program has one thread at this point. What it returns is whether the parameter is known.
    #[cfg(target_env = "gnu")]
    let _is_known = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// fork(2).
///
/// # Errors
/// The errno of the call.
pub(crate) fn fork() -> nix::Result<Side> {
    // SAFETY: the program has one thread at this point, so the child has all that there is and may do anything.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { .. } => Ok(Side::Parent),
        nix::unistd::ForkResult::Child => Ok(Side::Child),
    }
}

/// Makes a descriptor that was inherited by its number into one that is owned; `None` when there is none.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes numbers; a number that is no descriptor is answered with EBADF.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open, as just seen, and only the caller knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes what this program was given besides its three streams: a shim lives for long, and would keep it open.
///
/// # Errors
/// The errno of close_range(2), Linux 5.9.
pub(crate) fn close_inherited() -> nix::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: takes numbers, and nothing of this program has a descriptor yet.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) }).map(drop)
}

/// prctl(PR_SET_CHILD_SUBREAPER): orphans among the descendants become children of this process.
///
/// # Errors
/// The errno of the call.
pub(crate) fn become_subreaper() -> nix::Result<()> {
    // SAFETY: takes numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// prctl(PR_SCHED_CORE): this process shares a core with its own process group only (core scheduling, Linux 5.14).
///
/// # Errors
/// The errno of the call; EINVAL and ENODEV where the kernel or the processor has no such thing.
pub(crate) fn create_core_cookie() -> nix::Result<()> {
    const PR_SCHED_CORE: libc::c_int = 62;
    const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
    const SCOPE_PROCESS_GROUP: libc::c_ulong = 2;
    // SAFETY: with CREATE the last argument is not used.
    Errno::result(unsafe { libc::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, SCOPE_PROCESS_GROUP, 0) }).map(drop)
}

/// pidfd_open(2), Linux 5.3.
///
/// # Errors
/// ESRCH when there is no such process.
pub(crate) fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// ESRCH when the process has ended, EINVAL for a signal that does not exist.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without siginfo the kernel fills one in itself.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) }).map(drop)
}

/// Gives back the pages of the program's file that this process has mapped and never writes to: a page that is used again is taken
/// from the file's cache, which all shims share.
pub(crate) fn release_program() {
    // SAFETY: takes numbers.
    let [headers, count] = [libc::AT_PHDR, libc::AT_PHNUM].map(|kind| unsafe { libc::getauxval(kind) });
    // SAFETY: takes a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    if headers == 0 || page == 0 {
        return;
    }
    let (start, count) = (headers as *const libc::Elf64_Phdr, usize::try_from(count).unwrap_or(0));
    // SAFETY: the kernel says that the program has so many headers there, and they are never written.
    let segments = unsafe { std::slice::from_raw_parts(start, count) };
    let Some(own) = segments.iter().find(|segment| segment.p_type == libc::PT_PHDR) else { return };
    let moved = headers.wrapping_sub(own.p_vaddr);
    for segment in
        segments.iter().filter(|segment| segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0)
    {
        let from = moved.wrapping_add(segment.p_vaddr);
        let first = from - from % page;
        let length = usize::try_from(from + segment.p_memsz - first).unwrap_or(0);
        // SAFETY: the pages are a private mapping of the program's file that is never written to, this code among them: the
        // kernel reads what it finds missing from the file again, which it keeps from being written to.
        let _stays_mapped = unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
}

/// A process in a user namespace of its own, without maps, that waits until it is killed; its pid and pidfd.
///
/// # Errors
/// The errno of clone(2).
pub(crate) fn spawn_in_user_namespace() -> nix::Result<(Pid, OwnedFd)> {
    let parent = getpid();
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_PIDFD | libc::SIGCHLD;
    let place = &raw mut pidfd;
    // SAFETY: without CLONE_VM the child has a copy of the memory, as after fork(2), and makes system calls only. The kernel
    // writes the pidfd into the parent's variable, which lives on.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, place, 0, 0) })?;
    if pid == 0 {
        wait_to_be_killed(parent);
    }
    let pid = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    // SAFETY: the call has just made this descriptor.
    Ok((Pid::from_raw(pid), unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Ends with the parent, should that come first.
fn wait_to_be_killed(parent: Pid) -> ! {
    // SAFETY: takes numbers.
    let with_parent = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    while with_parent == 0 && getppid() == parent {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
    // SAFETY: takes a number, and runs nothing of the parent's at the end.
    unsafe { libc::_exit(1) }
}

/// open_tree(2), Linux 5.2: a detached copy of the mount that `path` is on, from there on.
///
/// # Errors
/// The errno of the call.
pub(crate) fn clone_mount(path: &Path, recursive: bool) -> nix::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let recursive = if recursive { libc::AT_RECURSIVE.cast_unsigned() } else { 0 };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | recursive;
    let fd = path.with_nix_path(|path| {
        // SAFETY: the path is a string that lives as long as the call.
        Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
    })??;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// mount_setattr(2), Linux 5.12: has a detached mount show its files' owners through the maps of a user namespace.
///
/// # Errors
/// The errno of the call.
pub(crate) fn map_ids(
    tree: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
    read_only: bool,
) -> nix::Result<()> {
    const READ_ONLY: u64 = 1;
    const ID_MAP: u64 = 0x0010_0000;
    let set = ID_MAP | if read_only { READ_ONLY } else { 0 };
    let namespace = u64::try_from(namespace.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    // What is set, what is cleared, the propagation, and the user namespace.
    let attributes: [u64; 4] = [set, 0, 0, namespace];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (tree, size) = (tree.as_raw_fd(), size_of_val(&attributes));
    // SAFETY: the kernel reads an empty string and `size` bytes, both of which live as long as the call.
    let done = unsafe { libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), flags, attributes.as_ptr(), size) };
    Errno::result(done).map(drop)
}

/// move_mount(2), Linux 5.2: puts a detached mount in its place.
///
/// # Errors
/// The errno of the call.
pub(crate) fn attach_mount(tree: BorrowedFd<'_>, target: &Path) -> nix::Result<()> {
    const FROM_EMPTY_PATH: libc::c_uint = 4;
    let (tree, empty) = (tree.as_raw_fd(), c"".as_ptr());
    target.with_nix_path(|target| {
        let (here, target) = (libc::AT_FDCWD, target.as_ptr());
        // SAFETY: both paths are strings that live as long as the call.
        Errno::result(unsafe { libc::syscall(libc::SYS_move_mount, tree, empty, here, target, FROM_EMPTY_PATH) })
    })??;
    Ok(())
}

nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);

/// Sets the size of the terminal behind a master.
///
/// # Errors
/// The errno of ioctl(2).
pub(crate) fn set_terminal_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize, which lives as long as the call.
    unsafe { tiocswinsz(master.as_raw_fd(), &raw const size) }.map(drop)
}

/// Opens the other end of a terminal by its master (TIOCGPTPEER, Linux 4.13), whatever /dev/pts is mounted where.
///
/// # Errors
/// The errno of ioctl(2).
pub(crate) fn open_peer(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: takes numbers.
    let fd = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the call has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the program of `command` begin with this limit of open files: the shim's own is for itself alone.
pub(crate) fn limit_open_files(command: &mut std::process::Command, limit: OpenFiles) {
    use std::os::unix::process::CommandExt as _;
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the limit is the closure's own.
    let set = move || Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop);
    // SAFETY: between fork and exec the closure makes one system call, and allocates nothing.
    unsafe { command.pre_exec(move || Ok(set()?)) };
}

/// Has `command` put each of `fds` under the number 3, 4, … of the new program.
///
/// # Errors
/// When there is no room for copies of them.
pub(crate) fn pass_fds(command: &mut std::process::Command, fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    use std::os::unix::process::CommandExt as _;
    const FIRST: RawFd = 3;
    // Copied out of the way: a descriptor may have the number that another one is to get.
    const ASIDE: RawFd = 64;
    let mut aside = Vec::new();
    for fd in fds {
        // SAFETY: takes numbers.
        let copy = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ASIDE) })?;
        // SAFETY: the call has just made this descriptor.
        aside.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    let place = move || {
        for (copy, target) in aside.iter().zip(FIRST..ASIDE) {
            // SAFETY: takes numbers; the copy has no close-on-exec.
            Errno::result(unsafe { libc::dup2(copy.as_raw_fd(), target) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls on numbers only, and allocates nothing.
    unsafe { command.pre_exec(place) };
    Ok(())
}
