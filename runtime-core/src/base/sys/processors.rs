//! The processors that a thread may use, and its claim on them.

use nix::errno::Errno;
use nix::sched::sched_getcpu;
use orlop_init::wire::SchedAttr;

/// A set of processors: a bit for each of the first 1024, as many as a `cpu_set_t` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processors([u64; 16]);

impl Processors {
    /// Those that this thread may use besides the one that it is on; `None` where there is no other.
    pub(crate) fn others() -> Option<Self> {
        let mut all = Self([0; 16]);
        let set: *mut u64 = all.0.as_mut_ptr();
        // SAFETY: the kernel writes at most the size that it is given.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of::<Self>(), set) }).ok()?;
        let Self(here) = Self::here()?;
        for (word, here) in all.0.iter_mut().zip(here) {
            *word &= !here;
        }
        (all.count() > 0).then_some(all)
    }

    /// The one that this thread is on.
    pub(super) fn here() -> Option<Self> {
        let number = sched_getcpu().ok()?;
        let mut words = [0; 16];
        *words.get_mut(number / 64)? = 1 << (number % 64);
        Some(Self(words))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Has the process `pid` use no others (sched_setaffinity(2)).
    pub(crate) fn confine(&self, pid: i32) -> Result<(), Errno> {
        // SAFETY: reads the words, of the size that is given.
        let done = unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of::<Self>(), self.0.as_ptr()) };
        Errno::result(done).map(drop)
    }
}

/// While it lives, this thread and what it makes are scheduled as batch work (sched(7), `SCHED_BATCH`): a new process does not take the
/// processor from the thread that has just made it.
#[derive(Debug)]
pub(super) struct Batch {
    before: SchedAttr,
}

impl Batch {
    /// `None` for a thread that is not scheduled as usual, and where it may not be asked or changed.
    pub(super) fn begin() -> Option<Self> {
        let mut before = SchedAttr::default();
        let size = size_of::<SchedAttr>();
        // SAFETY: the kernel writes at most the size that it is given.
        Errno::result(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut before, size, 0) }).ok()?;
        if before.policy != libc::SCHED_OTHER.cast_unsigned() {
            return None;
        }
        set(&SchedAttr { policy: libc::SCHED_BATCH.cast_unsigned(), ..before }).ok()?;
        Some(Self { before })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Nobody is kept from this change but by a filter that came in between.
        let restored = set(&self.before);
        debug_assert!(matches!(restored, Ok(())));
    }
}

/// `sched_setattr(2)` of this thread.
fn set(attr: &SchedAttr) -> Result<(), Errno> {
    let attr: *const SchedAttr = attr;
    // SAFETY: the structure lives as long as the call, and carries its own size.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attr, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i64 {
        // SAFETY: takes a number.
        unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) }
    }

    #[test]
    fn the_other_processors_are_those_that_are_allowed_without_this_one() {
        let mut here = Processors([0; 16]);
        here.0[2] = 0b101;
        assert_eq!(here.count(), 2);
        let before = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let allowed = (0..nix::sched::CpuSet::count()).filter(|number| before.is_set(*number).unwrap()).count();
        assert_eq!(Processors::others().map_or(0, |others| others.count()), allowed - 1);
        // Confined to one, this thread has no other, whichever it is.
        Processors::here().unwrap().confine(0).unwrap();
        let alone = (Processors::others(), Processors::here().unwrap().count());
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &before).unwrap();
        assert_eq!(alone, (None, 1));
    }

    #[test]
    fn a_thread_is_scheduled_as_before_afterwards() {
        let before = policy();
        let batch = Batch::begin();
        if before == i64::from(libc::SCHED_OTHER) {
            assert!(batch.is_some());
            assert_eq!(policy(), i64::from(libc::SCHED_BATCH));
            assert!(Batch::begin().is_none(), "it is batch work already");
        } else {
            assert!(batch.is_none());
        }
        drop(batch);
        assert_eq!(policy(), before);
    }
}
