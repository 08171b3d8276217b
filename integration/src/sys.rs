//! The few calls into the kernel that need `unsafe`, wrapped.
#![allow(unsafe_code, reason = "fork, descriptors handed to a child, and prctl have no safe form in std or nix")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid};

/// Forks; `None` in the child.
pub(crate) fn fork() -> Option<Pid> {
    // SAFETY: the runner has one thread, so the child may go on using the allocator and std.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Parent { child } => Some(child),
        ForkResult::Child => None,
    }
}

/// Ends the process at once, without destructors: the end of a forked case.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Whether this process may make such a namespace; tried in a child.
pub(crate) fn may_unshare(flags: nix::sched::CloneFlags) -> bool {
    let Some(child) = fork() else { exit_now(i32::from(nix::sched::unshare(flags).is_err())) };
    matches!(nix::sys::wait::waitpid(child, None), Ok(nix::sys::wait::WaitStatus::Exited(_, 0)))
}

/// Makes orphaned descendants children of this process instead of pid 1's.
pub(crate) fn become_subreaper() {
    // SAFETY: PR_SET_CHILD_SUBREAPER reads one integer.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(result, 0, "prctl(PR_SET_CHILD_SUBREAPER)");
}

/// Makes this process die with its parent.
pub(crate) fn die_with_parent() {
    // SAFETY: PR_SET_PDEATHSIG reads one integer.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    assert_eq!(result, 0, "prctl(PR_SET_PDEATHSIG)");
}

/// Points standard output and error at `fd`.
pub(crate) fn redirect_output(fd: BorrowedFd<'_>) {
    for target in 1..=2 {
        // SAFETY: both numbers are open descriptors; dup2 replaces the target atomically.
        let result = unsafe { libc::dup2(fd.as_raw_fd(), target) };
        assert_eq!(result, target, "dup2");
    }
}

/// Has `command` start with each of `fds` at the given number, and without close-on-exec.
pub(crate) fn hand_over(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) {
    if fds.is_empty() {
        return;
    }
    // First out of the way of all targets, then into place: a source may have the number of another's target. One alone is put there
    // directly, since a command may be limited to few descriptors.
    let place = move || {
        for (source, target) in &fds {
            let from = match fds.len() {
                1 if source.as_raw_fd() != *target => source.as_raw_fd(),
                // SAFETY: fcntl on a descriptor that the closure owns; it is async-signal-safe.
                _ => unsafe { libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 500) },
            };
            if from < 0 {
                return Err(std::io::Error::last_os_error());
            }
            // SAFETY: both are open or may be; dup2 is async-signal-safe.
            if unsafe { libc::dup2(from, *target) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe calls between fork and exec.
    unsafe { command.pre_exec(place) };
}

/// Has `command` start as leader of a session of its own.
pub(crate) fn new_session(command: &mut Command) {
    let lead = || nix::unistd::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: setsid is async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(lead) };
}

/// Has `command` start with this soft limit.
fn limit(command: &mut Command, resource: Resource, soft: u64) {
    let set = move || {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, soft, hard).map_err(std::io::Error::from)
    };
    // SAFETY: both calls are async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(set) };
}

/// Has `command` start with at most this many descriptors.
pub(crate) fn limit_descriptors(command: &mut Command, count: u64) {
    limit(command, Resource::RLIMIT_NOFILE, count);
}

/// Has `command` start with files of at most this many bytes.
pub(crate) fn limit_file_size(command: &mut Command, bytes: u64) {
    limit(command, Resource::RLIMIT_FSIZE, bytes);
}

/// Has `command` start with SIGCHLD ignored.
pub(crate) fn ignore_children(command: &mut Command) {
    let ignore = || {
        // SAFETY: an ignored signal has no handler that could be unsafe.
        match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    // SAFETY: signal is async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(ignore) };
}

/// Has `command` start without these descriptors.
pub(crate) fn close_streams(command: &mut Command, streams: Vec<RawFd>) {
    let close = move || {
        for stream in &streams {
            // SAFETY: the streams are the child's own, and nothing of it uses them between here and exec.
            unsafe { libc::close(*stream) };
        }
        Ok(())
    };
    // SAFETY: close is async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(close) };
}

/// Has `command` start under a filter that answers these calls of this architecture with `errno`.
pub(crate) fn refuse_calls(command: &mut Command, calls: &[libc::c_long], errno: i32) {
    let one =
        |code: u32, jt: u8, k: u32| libc::sock_filter { code: u16::try_from(code).expect("a code"), jt, jf: 0, k };
    // The number of the call; each refused one jumps to the last instruction.
    let mut filter = vec![one(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let far = u8::try_from(calls.len() - index).expect("few calls");
        filter.push(one(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, far, u32::try_from(*call).expect("a number")));
    }
    filter.push(one(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(one(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | u32::try_from(errno).expect("an errno")));
    let load = move || {
        let program =
            libc::sock_fprog { len: u16::try_from(filter.len()).unwrap_or(0), filter: filter.as_ptr().cast_mut() };
        // SAFETY: the program points at the filter, which the closure owns, and says its length.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: prctl is async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(load) };
}

/// Has `command` start with this file mode mask.
pub(crate) fn set_umask(command: &mut Command, mask: u32) {
    let set = move || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
        Ok(())
    };
    // SAFETY: umask is async-signal-safe, and the closure does nothing else.
    unsafe { command.pre_exec(set) };
}

/// Has `command` start under trace by the process that spawns it.
pub(crate) fn trace_from_start(command: &mut Command) {
    let ask = || nix::sys::ptrace::traceme().map_err(std::io::Error::from);
    // SAFETY: PTRACE_TRACEME is one system call, and the closure does nothing else.
    unsafe { command.pre_exec(ask) };
}

/// What a tracee did.
pub(crate) enum Tracee {
    Known(WaitStatus),
    /// It is to get a signal that nix has no name for: with those, a C library has all threads of a process change their ids.
    RealTime(Pid, i32),
}

/// Waits for any tracee.
pub(crate) fn wait_for_tracee() -> nix::Result<Tracee> {
    let mut status = 0;
    // SAFETY: writes one integer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    let pid = Pid::from_raw(nix::errno::Errno::result(pid)?);
    let signal = libc::WSTOPSIG(status);
    if libc::WIFSTOPPED(status) && (32..=64).contains(&signal) {
        return Ok(Tracee::RealTime(pid, signal));
    }
    WaitStatus::from_raw(pid, status).map(Tracee::Known)
}

/// Lets a tracee have a signal, and go on to its next system call. It may be gone.
pub(crate) fn pass_on(pid: Pid, signal: i32) {
    // SAFETY: takes numbers; none of them is an address that is read or written.
    let result = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid.as_raw(), 0, signal) };
    let outcome = nix::errno::Errno::result(result);
    assert!(matches!(outcome, Ok(_) | Err(nix::errno::Errno::ESRCH)), "ptrace {pid}: {outcome:?}");
}
