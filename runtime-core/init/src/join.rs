//! Control groups, namespaces, and the talk with the runtime.

use core::sync::atomic::Ordering;

use crate::abi::{
    CLONE_NEWTIME, CLONE_VFORK, ECONNRESET, EINTR, EPROTO, O_DIRECTORY, O_PATH, O_WRONLY, PR_SET_PDEATHSIG,
    PROC_SUPER_MAGIC, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, SIGKILL,
};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{self, CStr, Errno, Fd, close};
use crate::wire::{self, Phase, Str, detail};

impl Executor<'_> {
    /// Takes what the runtime has opened; each place keeps a number plus 1.
    pub(crate) fn receive(&self) -> Result<(), Failure> {
        let header = self.block.header();
        let mut places = self.slots.iter().chain(self.block.list(header.tasks));
        self.receive_each(|number, word| {
            let place = if word == wire::NETWORK { &header.network } else { places.next().ok_or(Errno(EPROTO))? };
            place.store(number + 1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn receive_each(&self, mut take: impl FnMut(i32, u8) -> sys::Result<()>) -> Result<(), Failure> {
        let socket = self.runtime;
        loop {
            let mut numbers = [0i32; wire::DESCRIPTORS];
            let (count, word) = match sys::receive_fds(socket, &mut numbers) {
                Err(Errno(EINTR)) => continue,
                other => other?,
            };
            // Without a word the runtime has given up or is gone.
            let word = word.ok_or(Errno(ECONNRESET))?;
            for number in numbers.iter().take(count) {
                take(*number, word)?;
            }
            if word == wire::LAST {
                return Ok(());
            }
        }
    }

    pub(crate) fn join_late(&self) -> Result<(), Failure> {
        self.receive_each(|number, _| {
            sys::write(Fd(number), b"0", 1)?;
            close(Fd(number))?;
            Ok(())
        })
    }

    pub(crate) fn join_cgroups(&self) -> Result<(), Failure> {
        for place in self.block.list(self.block.header().tasks) {
            let number = place.load(Ordering::Relaxed);
            if number > 0 {
                sys::write(Fd(number - 1), b"0", 1)?;
            }
        }
        Ok(())
    }

    /// Goes on as a sibling of this process: a pid namespace that was joined holds children only.
    pub(crate) fn fork(&self, flags: u64) -> Result<(), Failure> {
        let waits = if flags == 0 && self.block.header().vforks == 1 { CLONE_VFORK } else { 0 };
        // The runtime learns the number before the new process can do anything: it might execute the command, and end, at once.
        if sys::fork(flags | waits, self.forked)? == 0 {
            // The tie to the runtime's life is not inherited.
            return self.die_with_parent();
        }
        sys::exit(0)
    }

    /// Dies when the runtime dies before the container is handed over: nothing is left of a `create` that is killed half-way.
    pub(crate) fn die_with_parent(&self) -> Result<(), Failure> {
        if self.block.header().die_with_parent == 1 {
            sys::prctl(PR_SET_PDEATHSIG, SIGKILL, 0)?;
        }
        Ok(())
    }

    pub(crate) fn time_offsets(&self, proc: Fd, lines: Str) -> Result<(), Failure> {
        // clone3 with CLONE_NEWTIME would leave offsets that can no longer be written.
        sys::unshare(CLONE_NEWTIME)?;
        write_proc(proc, CStr::new(b"self/timens_offsets\0"), self.block.str(lines).bytes())?;
        // The namespace itself is a magic link, which a confined lookup rightly refuses: only its directory is looked up so.
        let links =
            sys::openat2(proc, CStr::new(b"self/ns\0"), O_PATH | O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_XDEV)?;
        let namespace = sys::openat2(links, CStr::new(b"time_for_children\0"), 0, 0, 0)?;
        sys::setns(namespace, CLONE_NEWTIME as u32)?;
        close(namespace)?;
        close(links)?;
        Ok(())
    }

    /// Says `phase` and waits for the runtime's answer.
    pub(crate) fn sync(&self, phase: Phase) -> Result<(), Failure> {
        let socket = self.runtime;
        if phase == Phase::Ready {
            // From here on the socket's end tells of the runtime's death. The tie must be gone before the answer can come: the runtime
            // may end right after it.
            sys::prctl(PR_SET_PDEATHSIG, 0, 0)?;
        }
        sys::write(socket, &[phase as u8], 1)?;
        let mut answer = [0u8; 1];
        loop {
            match sys::read(socket, &mut answer, 1) {
                Ok(1) => break,
                Err(Errno(EINTR)) => {}
                // The runtime has given up or is gone.
                Ok(_) => return Err(Errno(ECONNRESET).into()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Writes `data` to `path` below the procfs handle, in one write, and only if it really is on procfs.
pub(crate) fn write_proc(proc: Fd, path: CStr<'_>, data: &[u8]) -> Result<(), Failure> {
    // `self` is a link of procfs itself; a directory handle of procfs cannot hold any other.
    let resolve = if path.bytes().starts_with(b"self/") {
        RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS
    } else {
        RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS
    };
    let file = sys::openat2(proc, path, O_WRONLY, 0, resolve).map_err(|errno| Failure::new(errno, detail::TARGET))?;
    if sys::filesystem(file)? != PROC_SUPER_MAGIC {
        return Err(Failure::new(Errno(crate::abi::EPERM), detail::NOT_PROCFS));
    }
    sys::write(file, data, data.len())?;
    close(file)?;
    Ok(())
}
