//! Whether it gains anything to do two things at once.

use crate::base::procfs::Procfs;
use crate::base::sys::Processors;

/// Whether a processor is idle that this thread may use besides its own. On one that is busy, what is given to it waits for its turn. `own`
/// tasks that can run now do not count: they are this program's and soon end.
pub(crate) fn another_is_idle(procfs: &Procfs, own: usize) -> bool {
    let Some(others) = Processors::others() else { return false };
    procfs.runnable().is_ok_and(|tasks| tasks.saturating_sub(own) <= others.count())
}
