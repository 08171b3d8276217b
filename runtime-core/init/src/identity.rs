//! Who the container's command is and what it may do.

use core::sync::atomic::Ordering;

use crate::abi::{
    AT_EACCESS, EACCES, EINVAL, ENOENT, ENOTDIR, EPERM, ERANGE, EROFS, O_PATH, PATH_MAX, PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_SET_KEEPCAPS, S_IFCHR, S_IFDIR,
};
use crate::executor::Executor;
use crate::failure::Failure;
use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::{List, Rlimit, Str, detail};

impl Executor<'_> {
    /// The user namespace's own root: without it nothing can be mounted in its name.
    pub(crate) fn become_root(&self, set_groups: bool) -> Result<(), Failure> {
        if set_groups {
            sys::setgroups(0, &[])?;
        }
        sys::setresgid(0, 0, 0)?;
        sys::setresuid(0, 0, 0)?;
        self.stay_hidden()?;
        // A change of ids unties this process from its parent's life.
        self.die_with_parent()
    }

    pub(crate) fn user(
        &self,
        uid: u32,
        gid: u32,
        groups: List<u32>,
        set_groups: bool,
        umask: u32,
    ) -> Result<(), Failure> {
        // Capabilities are wanted after the change of user, to be cut to measure then.
        sys::prctl(PR_SET_KEEPCAPS, 1, 0)?;
        if set_groups {
            let groups = self.block.list(groups);
            sys::setgroups(groups.len(), groups)?;
        }
        sys::setresgid(gid, gid, gid)?;
        sys::setresuid(uid, uid, uid)?;
        // All capabilities are still there: until they go, only who has as many could trace this process.
        self.stay_hidden()?;
        sys::prctl(PR_SET_KEEPCAPS, 0, 0)?;
        sys::umask(umask)?;
        self.die_with_parent()
    }

    pub(crate) fn chdir(&mut self, path: CStr<'_>) -> Result<(), Failure> {
        const DONE: u8 = 2;
        if self.cwd_tries == DONE {
            return Ok(());
        }
        let tries = core::mem::replace(&mut self.cwd_tries, DONE);
        match (tries, sys::chdir(path)) {
            (_, Ok(_)) => {}
            (0, Err(Errno(EACCES | EPERM))) => {
                self.cwd_tries = 1;
                return Ok(());
            }
            (_, Err(errno)) => return Err(errno.into()),
        }
        // CVE-2024-21626: a directory reached through a leaked descriptor lies outside the root, and its name does not begin
        // with a slash then.
        let mut name = [0u8; 64];
        let begins = match sys::getcwd(&mut name, 64) {
            Ok(_) => name.first().copied(),
            Err(Errno(ERANGE)) => begin_of_long_cwd()?,
            Err(errno) => return Err(errno.into()),
        };
        if begins == Some(b'/') { Ok(()) } else { Err(Failure::new(Errno(ENOENT), detail::OUTSIDE)) }
    }

    /// Finds the command among the candidates, as execvp(3) would, before anything is irrevocable.
    pub(crate) fn find_program(&self) -> Result<(), Failure> {
        const X_OK: usize = 1;
        let header = self.block.header();
        let mut refused = None;
        for (index, candidate) in self.block.list(header.programs).iter().enumerate() {
            let path = self.block.str(*candidate);
            match sys::faccessat2(Fd::CWD, path, X_OK, AT_EACCESS) {
                Ok(_) => {
                    // A directory passes for executable, and is never meant.
                    let file = sys::openat2(Fd::CWD, path, O_PATH, 0, 0)?;
                    let kind = sys::statx(file, CStr::EMPTY)?.kind();
                    sys::close(file)?;
                    if kind == S_IFDIR {
                        refused = Some(Errno(crate::abi::EISDIR));
                        continue;
                    }
                    header.program.store(index as u32, Ordering::Relaxed);
                    return Ok(());
                }
                Err(Errno(ENOENT | ENOTDIR)) => {}
                Err(errno) => refused = Some(errno),
            }
        }
        match refused {
            Some(errno) => Err(errno.into()),
            None => Err(Failure::new(Errno(ENOENT), detail::NOT_FOUND)),
        }
    }

    /// Writes this process's pid, as its own namespace numbers it, over the digits that wait for it in `LISTEN_PID=`.
    pub(crate) fn listen_pid(&self, at: Str) -> Result<(), Failure> {
        let mut pid = sys::getpid()?;
        let place = self.cells(at);
        let mut digits = [0u8; 20];
        let mut count = 0;
        while let Some(digit) = digits.get_mut(count) {
            *digit = b'0' + (pid % 10) as u8;
            count += 1;
            pid /= 10;
            if pid == 0 {
                break;
            }
        }
        let number = digits.get(..count).unwrap_or(&[]);
        for (slot, digit) in place.iter().zip(number.iter().rev().chain(core::iter::repeat(&0))) {
            slot.store(*digit, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Kept apart for the sake of the stack, as all that has room for a whole path and is seldom needed.
#[cold]
#[inline(never)]
fn begin_of_long_cwd() -> sys::Result<Option<u8>> {
    let mut name = [0u8; PATH_MAX];
    sys::getcwd(&mut name, PATH_MAX)?;
    Ok(name.first().copied())
}

pub(crate) fn rlimits(limits: &[Rlimit]) -> Result<(), Failure> {
    for limit in limits {
        sys::setrlimit(limit.resource, limit.soft, limit.hard)?;
    }
    Ok(())
}

/// Drops from the bounding set what is not kept.
pub(crate) fn cap_bounding(keep: u64, held: u64) -> Result<(), Failure> {
    /// The newest capability of the oldest supported kernel (CAP_CHECKPOINT_RESTORE, 5.9).
    const SURE: u32 = 40;
    for capability in (0..u64::BITS).filter(|capability| held & !keep & (1 << capability) != 0) {
        match sys::prctl(PR_CAPBSET_DROP, capability as usize, 0) {
            Ok(_) => {}
            // The kernel's last one was passed.
            Err(Errno(EINVAL)) if capability > SURE => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sets four of the five sets; the bounding set went before.
pub(crate) fn capabilities(effective: u64, permitted: u64, inheritable: u64, ambient: u64) -> Result<(), Failure> {
    sys::capset(effective, permitted, inheritable)?;
    // The ambient set may hold what became ambient only to survive the execution of this program.
    sys::prctl3(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for capability in (0..64usize).filter(|capability| ambient & (1 << capability) != 0) {
        sys::prctl3(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// Gives the standard streams to the container's user, so that it can reopen them by /dev/stdout.
pub(crate) fn own_stdio(uid: u32, must: bool) -> Result<(), Failure> {
    const KEEP: u32 = u32::MAX;
    /// What is nobody's in this user namespace, nobody in it may give away (user_namespaces(7), "Unmapped user and group IDs").
    const NOBODY: u32 = 65534;
    for fd in [Fd(0), Fd(1), Fd(2)] {
        let Ok(status) = sys::statx(fd, CStr::EMPTY) else { continue };
        let null = status.kind() == S_IFCHR && (status.rdev_major, status.rdev_minor) == (1, 3);
        if null || status.uid == uid {
            continue;
        }
        match sys::fchown(fd, uid, KEEP) {
            Err(errno @ Errno(EPERM)) if must && status.uid != NOBODY && status.gid != NOBODY => {
                return Err(errno.into());
            }
            // A socket, a stream of another user namespace, or a read-only file system: the stream works all the same.
            Ok(_) | Err(Errno(EINVAL | EPERM | EROFS | EACCES)) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
