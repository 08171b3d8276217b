//! Starting a hook in the runtime's own namespaces.
//!
//! `std::process::Command` leaves the caller's signal mask to the child, and a caller that waits for signals by a signalfd has all of
//! them blocked: a hook must not start so. `posix_spawn` sets what a hook shall have, and is safe in a program with threads.
#![allow(unsafe_code, reason = "posix_spawn, which nix does not have for a working directory")]

use std::ffi::{CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::run::{Running, Spawn};
use crate::base::sys::pidfd;
use crate::base::{Error, Exit, HostPid, Kind, Result, Step};
use crate::config::Hook;

/// The runtime's own namespaces, with this working directory.
#[derive(Debug)]
pub(crate) struct InRuntime<'a> {
    /// The working directory; runc's is the bundle.
    pub(crate) cwd: &'a Path,
}

impl Spawn for InRuntime<'_> {
    fn spawn(&self, hook: &Hook<'_>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Running>> {
        let (path, argv, envp) = c_strings(hook)?;
        let cwd = CString::new(self.cwd.as_os_str().as_bytes())
            .map_err(|_| Error::new(Kind::Hook, Step::RunHook).detail("a NUL byte in the bundle's path"))?;
        let stdio = above_the_standard_streams(stdio)?;
        let pid = spawn(&path, &argv, &envp, &cwd, &stdio).map_err(|errno| Error::os(Step::RunHook, errno as i32))?;
        // Not reaped, so the pid is still the hook's.
        let pidfd = pidfd::open(pid).map_err(|errno| Error::os(Step::RunHook, errno as i32))?;
        Ok(Box::new(Child { pid, pidfd }))
    }
}

struct Child {
    pid: HostPid,
    pidfd: OwnedFd,
}

impl Running for Child {
    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn pid(&self) -> HostPid {
        self.pid
    }

    fn reap(&mut self) -> Result<Exit> {
        loop {
            match waitpid(Pid::from_raw(self.pid.get()), None::<WaitPidFlag>) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Exit::Signal(signal as i32)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::os(Step::RunHook, errno as i32)
                        .detail("how it ended cannot be told")
                        .hint("the program must not reap children that it has not started"));
                }
            }
        }
    }
}

/// The hook's strings as `execve` takes them.
fn c_strings(hook: &Hook<'_>) -> Result<(CString, Vec<CString>, Vec<CString>)> {
    let convert = |text: &str| {
        CString::new(text)
            .map_err(|_| Error::new(Kind::Hook, Step::RunHook).detail("a NUL byte in a string of the hook"))
    };
    let path = convert(hook.path.as_str())?;
    let mut argv: Vec<CString> = hook.args.iter().map(|text| convert(text.as_str())).collect::<Result<_>>()?;
    if argv.is_empty() {
        argv.push(path.clone());
    }
    let envp = match hook.env.as_slice() {
        // Such hooks are installed for many runtimes, and look things up in PATH: they get the runtime's environment, as with runc.
        [] => std::env::vars_os().filter_map(|(name, value)| variable(&name, &value)).collect(),
        env => env.iter().map(|text| convert(text.as_str())).collect::<Result<_>>()?,
    };
    Ok((path, argv, envp))
}

fn variable(name: &OsStr, value: &OsStr) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

/// Fds that putting them in the place of 0, 1 and 2 cannot overwrite.
fn above_the_standard_streams(stdio: [OwnedFd; 3]) -> Result<[OwnedFd; 3]> {
    let raise = |fd: OwnedFd| {
        if fd.as_raw_fd() > 2 {
            return Ok(fd);
        }
        let raised =
            fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(|errno| Error::os(Step::RunHook, errno as i32))?;
        // SAFETY: the kernel has just made this fd for us and nobody else knows it.
        Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(raised) })
    };
    let [stdin, stdout, stderr] = stdio;
    Ok([raise(stdin)?, raise(stdout)?, raise(stderr)?])
}

/// What `posix_spawn` is told besides the strings; freed when dropped.
struct Attributes {
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
}

impl Attributes {
    fn new() -> nix::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is pointed to, and says so by 0.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: as above. (Should it fail, the actions leak; both C libraries only set fields here.)
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialized by the first call.
        let actions = unsafe { actions.assume_init() };
        // SAFETY: initialized by the second call.
        let attributes = unsafe { attributes.assume_init() };
        Ok(Self { actions, attributes })
    }

    /// The leader of a new process group, no signal blocked, every signal at its default.
    fn prepare(&mut self) -> nix::Result<()> {
        let mut none = MaybeUninit::uninit();
        // SAFETY: the call fills the set it is pointed to.
        check(unsafe { libc::sigemptyset(none.as_mut_ptr()) })?;
        let mut all = MaybeUninit::uninit();
        // SAFETY: the call fills the set it is pointed to.
        check(unsafe { libc::sigfillset(all.as_mut_ptr()) })?;
        // SAFETY: the attributes are initialized, the set was filled above.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut self.attributes, none.as_ptr()) })?;
        // SAFETY: the attributes are initialized, the set was filled above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut self.attributes, all.as_ptr()) })?;
        // SAFETY: the attributes are initialized.
        check(unsafe { libc::posix_spawnattr_setpgroup(&raw mut self.attributes, 0) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETPGROUP;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the attributes are initialized.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut self.attributes, flags) })
    }

    fn enter(&mut self, cwd: &CString) -> nix::Result<()> {
        // SAFETY: the actions are initialized; both C libraries copy the string.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.actions, cwd.as_ptr()) })
    }

    fn place(&mut self, fd: &OwnedFd, at: libc::c_int) -> nix::Result<()> {
        // SAFETY: the actions are initialized; the fds are numbers here, used by the child while `fd` is borrowed by `spawn`.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.actions, fd.as_raw_fd(), at) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized by `new`, and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.actions) };
        // SAFETY: initialized by `new`, and not used after this.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.attributes) };
    }
}

fn spawn(
    path: &CString,
    argv: &[CString],
    envp: &[CString],
    cwd: &CString,
    stdio: &[OwnedFd; 3],
) -> nix::Result<HostPid> {
    let mut attributes = Attributes::new()?;
    attributes.prepare()?;
    attributes.enter(cwd)?;
    for (fd, at) in stdio.iter().zip(0..) {
        attributes.place(fd, at)?;
    }
    let (argv, envp) = (pointers(argv), pointers(envp));
    let mut pid = 0;
    // SAFETY: all strings end with NUL and both lists with a null pointer; they, and the fds named in the actions, outlive the
    // call, after which nobody holds them.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const attributes.actions,
            &raw const attributes.attributes,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    })?;
    HostPid::new(pid).ok_or(Errno::ESRCH)
}

/// A list of strings as `execve` takes it; the strings must outlive it.
fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    strings.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

/// These functions return an errno instead of setting it.
fn check(result: libc::c_int) -> nix::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(Errno::last()),
        errno => Err(Errno::from_raw(errno)),
    }
}
