//! A network namespace, made by a process beside this one: it takes longer to make than all other namespaces together.

use std::os::fd::{AsFd as _, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::unistd::Pid;
use orlop_init::NewNetwork;

use super::pidfd;
use super::processors::{Batch, Processors};
use super::spawn::{CloneArgs, Stack, clone3, wait_for_clone};

/// How long a network namespace may take: half a millisecond on an idle machine, and longer where the kernel's lock for devices is held.
const DEADLINE: Duration = Duration::from_secs(60);

/// The process that makes it. It shares this one's memory and descriptors, calls nothing but the kernel, and ends by itself; nobody but
/// this handle can wait for it.
#[derive(Debug)]
pub(crate) struct NetworkMaker {
    work: Arc<NewNetwork>,
    /// Until it has ended.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    stack: NonNull<Stack>,
}

// SAFETY: the stack is the process's own and is only freed here.
unsafe impl Send for Running {}

impl Running {
    /// Has it run on these processors.
    fn move_to(&self, processors: &Processors) {
        // It may have ended, and nobody else reaps it: the number is its own.
        let moved = processors.confine(self.pid.as_raw());
        debug_assert!(matches!(moved, Ok(()) | Err(_)));
    }
}

impl NetworkMaker {
    /// Starts it, where there is a processor for it besides this thread's; `None` too where no process can be made.
    pub(crate) fn start() -> Option<Self> {
        let processors = Processors::others()?;
        Self::begin(Some(&processors)).ok()
    }

    /// Has one made, and waits for it.
    ///
    /// # Errors
    /// The errno of what failed; ECHILD where the process was killed.
    pub(crate) fn make() -> Result<OwnedFd, Errno> {
        Self::begin(None)?.wait()
    }

    fn begin(processors: Option<&Processors>) -> Result<Self, Errno> {
        // A signal in the middle of its work would leave what it has opened in the table that both share.
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let started = Self::clone(processors);
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        started
    }

    fn clone(processors: Option<&Processors>) -> Result<Self, Errno> {
        let work = Arc::new(NewNetwork::default());
        let stack = Box::into_raw(Stack::new());
        let mut pidfd: RawFd = -1;
        let args = CloneArgs::sharing_memory(libc::CLONE_FILES, &mut pidfd, stack);
        // Until it is on a processor of its own.
        let _batch = processors.and_then(|_| Batch::begin());
        // SAFETY: the stack is freed and the reference given back only once the process has ended; it runs `make` and never returns.
        let result = unsafe { clone3(&raw const args, Arc::as_ptr(&work).cast_mut().cast(), make) };
        let stack = NonNull::new(stack).ok_or(Errno::ENOMEM)?;
        if result < 0 {
            // SAFETY: there is no process, so it is still this function's alone.
            drop(unsafe { Box::from_raw(stack.as_ptr()) });
            return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EINVAL)));
        }
        // SAFETY: CLONE_PIDFD has put a new descriptor there.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let running = Running { pid: Pid::from_raw(i32::try_from(result).unwrap_or(-1)), pidfd, stack };
        if let Some(processors) = processors {
            // Where the scheduler has it wait for this thread instead, nothing is gained by it.
            running.move_to(processors);
        }
        Ok(Self { work, running: Some(running) })
    }

    /// Whether it is at work.
    pub(crate) fn works(&self) -> bool {
        self.running.is_some() && self.work.has_begun() && self.work.made() == 0
    }

    /// The namespace, once it is made. `None` where that has not even begun, as on a machine without an idle processor, and where it
    /// failed: whoever makes it instead finds out why.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        let called_off = self.work.call_off();
        // On a processor that is busy it may have to wait for its turn. Here it goes on as soon as this thread sleeps.
        if self.work.made() == 0
            && let (Some(running), Some(here)) = (&self.running, Processors::here())
        {
            running.move_to(&here);
        }
        if called_off { None } else { self.wait().ok() }
    }

    /// The end of the process, and what it has left.
    fn wait(&mut self) -> Result<OwnedFd, Errno> {
        let Running { pidfd, stack, .. } = self.running.take().ok_or(Errno::ECHILD)?;
        // Whoever may stop this process may stop that one; it then ends without a word.
        if !matches!(pidfd::wait_until(pidfd.as_fd(), Instant::now() + DEADLINE), Ok(true)) {
            let killed = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
            debug_assert!(matches!(killed, Ok(()) | Err(Errno::ESRCH)));
        }
        match wait_for_clone(pidfd.as_fd()) {
            // SAFETY: the process has ended, and nothing else uses its stack.
            Ok(_) | Err(Errno::ECHILD) => drop(unsafe { Box::from_raw(stack.as_ptr()) }),
            // It may still run: its memory stays.
            Err(errno) => {
                std::mem::forget(Arc::clone(&self.work));
                return Err(errno);
            }
        }
        match self.work.made() {
            // SAFETY: the process has opened it in the table that it shared with this one, for whoever waits for its end, which is done
            // once.
            made @ 1.. => Ok(unsafe { OwnedFd::from_raw_fd(made) }),
            0 => Err(Errno::ECHILD),
            errno => Err(Errno::from_raw(-errno)),
        }
    }
}

impl Drop for NetworkMaker {
    fn drop(&mut self) {
        drop(self.take());
        drop(self.wait());
    }
}

/// In the process.
extern "C" fn make(work: *mut libc::c_void) -> ! {
    // SAFETY: the handle keeps it until this process has ended, and all in it is atomic.
    unsafe { &*work.cast::<NewNetwork>() }.make()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd as _};

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::stat::fstat;

    use super::{NetworkMaker, wait_for_clone};
    use crate::base::sys::{in_child, namespace_type, setns};

    const NETWORK: u64 = libc::CLONE_NEWNET.cast_unsigned() as u64;

    fn identity(fd: impl AsFd) -> (u64, u64) {
        let status = fstat(fd).unwrap();
        (status.st_dev, status.st_ino)
    }

    fn own() -> (u64, u64) {
        identity(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// One that has begun, which nobody can call off. `None`, with a word about it, where none can be made.
    fn begun() -> Option<NetworkMaker> {
        let maker = nix::unistd::geteuid().is_root().then(NetworkMaker::start).flatten();
        match &maker {
            Some(maker) => {
                while !maker.work.has_begun() {
                    std::thread::yield_now();
                }
            }
            None => println!("SKIP: this needs root and two processors"),
        }
        maker
    }

    /// Whether `lo` is up in a namespace.
    fn has_loopback(namespace: &impl AsFd) -> bool {
        let look = || {
            setns(namespace.as_fd(), NETWORK)?;
            let mut request = [0u8; 40];
            request[..2].copy_from_slice(b"lo");
            // SAFETY: takes numbers.
            let socket =
                Errno::result(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
            // SAFETY: the request takes a struct ifreq of 40 bytes.
            Errno::result(unsafe { libc::ioctl(socket, libc::SIOCGIFFLAGS as libc::Ioctl, request.as_mut_ptr()) })?;
            if request[16] & 1 == 1 { Ok(()) } else { Err(Errno::ENETDOWN) }
        };
        in_child(0, &look) == Ok(Ok(()))
    }

    #[test]
    fn a_network_namespace_is_made_beside_this_process() {
        let before = own();
        let Some(mut maker) = begun() else { return };
        let made = maker.take().unwrap();
        assert_eq!(namespace_type(made.as_fd()), Ok(NETWORK));
        assert_ne!(identity(&made), before);
        assert!(has_loopback(&made));
        let flags = FdFlag::from_bits_retain(fcntl(&made, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        assert!(maker.take().is_none(), "it is there once");
        assert_eq!(own(), before);
    }

    #[test]
    fn what_is_not_taken_is_closed_and_its_maker_reaped() {
        let Some(maker) = begun() else { return };
        let pidfd = maker.running.as_ref().unwrap().pidfd.try_clone().unwrap();
        let work = std::sync::Arc::clone(&maker.work);
        drop(maker);
        assert_eq!(wait_for_clone(pidfd.as_fd()), Err(Errno::ECHILD));
        let closed = std::fs::read_link(format!("/proc/self/fd/{}", work.made()));
        assert!(!closed.is_ok_and(|link| link.to_string_lossy().starts_with("net:")), "{pidfd:?}");
        assert!(pidfd.as_raw_fd() >= 0);
    }
}
