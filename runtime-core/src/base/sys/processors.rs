//! The processors that a thread may use, and its claim on them.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu};
use nix::unistd::Pid;
use orlop_init::wire::SchedAttr;

/// The processors that this thread may use besides the one that it is on; `None` where there is no other.
pub(crate) fn other_processors() -> Option<CpuSet> {
    let mut processors = sched_getaffinity(Pid::from_raw(0)).ok()?;
    processors.unset(sched_getcpu().ok()?).ok()?;
    (count(&processors) > 0).then_some(processors)
}

/// How many they are.
pub(crate) fn count(processors: &CpuSet) -> usize {
    (0..CpuSet::count()).filter(|number| processors.is_set(*number).unwrap_or(false)).count()
}

pub(super) fn this_processor() -> Option<CpuSet> {
    let mut processors = CpuSet::new();
    processors.set(sched_getcpu().ok()?).ok()?;
    Some(processors)
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
