//! A new network namespace: made by the init, or ahead of it by a process of the runtime's.

use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use crate::abi::{AF_UNIX, CLONE_NEWNET, DGRAM_CLOEXEC, IFF_UP, SIOCGIFFLAGS, SIOCGSKNS, SIOCSIFFLAGS};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{self, Fd, close};

impl Executor<'_> {
    /// Enters the network namespace that was handed over, or makes one.
    pub(crate) fn network(&self) -> Result<(), Failure> {
        let made = self.block.header().network.load(Ordering::Relaxed);
        if made > 0 {
            let made = Fd(made - 1);
            sys::setns(made, CLONE_NEWNET as u32)?;
            close(made)?;
            return self.stay_hidden();
        }
        sys::unshare(CLONE_NEWNET)?;
        self.stay_hidden()?;
        loopback()
    }
}

/// Brings `lo` up in a new network namespace, which starts with it down.
pub(crate) fn loopback() -> Result<(), Failure> {
    let socket = Fd(sys::socket(AF_UNIX, DGRAM_CLOEXEC, 0)? as i32);
    bring_up(socket)?;
    close(socket)?;
    Ok(())
}

/// Brings `lo` up in the network namespace of a socket.
fn bring_up(socket: Fd) -> sys::Result<()> {
    #[repr(C)]
    struct IfReq {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    let mut request = IfReq { name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0", flags: 0, rest: [0; 22] };
    // SAFETY: both requests take a struct ifreq of 40 bytes.
    unsafe { sys::ioctl_with(socket, SIOCGIFFLAGS, &mut request) }?;
    request.flags |= IFF_UP;
    // SAFETY: as above.
    unsafe { sys::ioctl_with(socket, SIOCSIFFLAGS, &mut request) }?;
    Ok(())
}

/// A network namespace in the making, by a process that shares this memory and its descriptors with the one that wants it.
#[derive(Debug, Default)]
pub struct NewNetwork {
    state: AtomicU32,
    /// The namespace's number in the table of descriptors, or an errno, negative.
    made: AtomicI32,
}

/// Nobody has begun.
const WANTED: u32 = 0;
const BEGUN: u32 = 1;
const CALLED_OFF: u32 = 2;

impl NewNetwork {
    /// Has it not be made, unless that has begun; says whether it will not be.
    #[must_use]
    pub fn call_off(&self) -> bool {
        self.state.compare_exchange(WANTED, CALLED_OFF, Ordering::AcqRel, Ordering::Acquire) != Err(BEGUN)
    }

    /// Whether it can no longer be called off.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.state.load(Ordering::Acquire) == BEGUN
    }

    /// Once the process has ended: the namespace's descriptor, which is close-on-exec and the caller's, or an errno. 0 where there is
    /// neither, since it was called off or the process was killed.
    #[must_use]
    pub fn made(&self) -> i32 {
        self.made.load(Ordering::Acquire)
    }

    /// Makes it, with `lo` up, and ends the process: by system calls alone, since the memory is another's.
    pub fn make(&self) -> ! {
        if self.state.compare_exchange(WANTED, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let made = make().unwrap_or_else(|errno| -errno.0);
            self.made.store(made, Ordering::Release);
        }
        sys::exit(0)
    }
}

fn make() -> sys::Result<i32> {
    sys::unshare(CLONE_NEWNET)?;
    let socket = Fd(sys::socket(AF_UNIX, DGRAM_CLOEXEC, 0)? as i32);
    let namespace = bring_up(socket).and_then(|()| sys::ioctl(socket, SIOCGSKNS, 0));
    // The table is the runtime's, too: what is left open here stays open there.
    close(socket)?;
    namespace.map(|number| number as i32)
}
