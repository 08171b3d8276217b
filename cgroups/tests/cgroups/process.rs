//! Processes that enter a cgroup as a container's first process does.
#![allow(unsafe_code, reason = "clone3 and execve have no safe wrapper")]

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use orlop_cgroups::{Join, Pid};

/// A child process, killed and reaped when dropped.
pub(crate) struct Child {
    pid: Pid,
    status: Option<i32>,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// The parent goes on when the child has executed its program, so it has joined by then.
const CLONE_VFORK: u64 = 0x4000;

/// Runs `script` by /bin/sh in the cgroup: cloned into the v2 cgroup, or joining v1 ones by writing to their `tasks`.
pub(crate) fn shell(join: &Join<'_>, script: &str) -> Child {
    let words: Vec<CString> = ["/bin/sh", "-c", script].iter().map(|text| CString::new(*text).unwrap()).collect();
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let environment = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ptr(), std::ptr::null()];
    let tasks: Vec<i32> = join.tasks.iter().map(AsRawFd::as_raw_fd).collect();
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
    let mut arguments = [0_u64; 11];
    arguments[0] = CLONE_VFORK;
    arguments[4] = u64::try_from(libc::SIGCHLD).unwrap();
    if let Some(fd) = &join.clone_into {
        arguments[0] |= CLONE_INTO_CGROUP;
        arguments[10] = u64::try_from(fd.as_raw_fd()).unwrap();
    }
    // SAFETY: the child shares no memory with the parent, and does nothing but system calls before it executes another program.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
    if pid == 0 {
        for fd in tasks {
            // SAFETY: one byte of a constant is written.
            if unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) } != 1 {
                // SAFETY: ends this process only.
                unsafe { libc::_exit(126) };
            }
        }
        // SAFETY: both lists end with a null pointer and hold NUL-terminated strings made before the clone.
        unsafe { libc::execve(pointers[0], pointers.as_ptr(), environment.as_ptr()) };
        // SAFETY: ends this process only.
        unsafe { libc::_exit(127) };
    }
    Child { pid: Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), status: None }
}

impl Child {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// The exit code, or 128 and the signal's number; none while it runs.
    fn poll(&mut self) -> Option<i32> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: `status` is one int that outlives the call.
            if unsafe { libc::waitpid(self.pid.as_raw_pid(), &raw mut status, libc::WNOHANG) } == self.pid.as_raw_pid()
            {
                self.status = Some(if libc::WIFSIGNALED(status) {
                    128 + libc::WTERMSIG(status)
                } else {
                    libc::WEXITSTATUS(status)
                });
            }
        }
        self.status
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits for the end, at most a minute.
    pub(crate) fn wait(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.poll() {
                return status;
            }
            assert!(Instant::now() < end, "process {} does not end", self.pid);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_running() {
            // SAFETY: takes no pointers; the process is ours and not reaped, so the id is still its own.
            unsafe { libc::kill(self.pid.as_raw_pid(), libc::SIGKILL) };
            let end = Instant::now() + Duration::from_secs(10);
            while self.is_running() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Waits until `done`, at most `seconds`.
pub(crate) fn until(seconds: u64, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
