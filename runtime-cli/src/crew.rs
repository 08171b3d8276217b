//! Threads for the one thing that is worth them: looking at very many containers.
//!
//! The library starts none, since its callers have their own; this program has a processor that idles.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, scope};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use orlop::{Containers, Listing};

/// Fewer containers are looked at sooner than a thread is started.
const ALONE: usize = 128;
/// How many are taken at a time: few enough that nobody waits long for the last one.
const HANDFUL: usize = 16;
/// The rest of a large machine has other work.
const MOST: usize = 4;
/// Far more than a look needs; a page that is not touched costs nothing.
const STACK: usize = 256 * 1024;

/// Looks at all containers that were found.
pub(crate) fn describe(found: &Containers) -> Listing {
    let count = found.len();
    let crew = if count < ALONE { 1 } else { processors().min(MOST) };
    if crew == 1 {
        return found.describe(0..count);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let handful = next.fetch_add(1, Ordering::Relaxed);
            let start = handful * HANDFUL;
            if start >= count {
                return done;
            }
            done.push((handful, found.describe(start..start + HANDFUL)));
        }
    };
    let here = sched_getcpu();
    let elsewhere = || {
        leave(here);
        work()
    };
    let mut parts: Vec<Listing> = (0..count).step_by(HANDFUL).map(|_| Listing::default()).collect();
    scope(|scope| {
        // Where no thread may be started, the work is done all the same, by those there are.
        let start = |_| Builder::new().stack_size(STACK).spawn_scoped(scope, elsewhere).ok();
        let others: Vec<_> = (1..crew).map_while(start).collect();
        let own = std::iter::once(work());
        // A panic ends the program where it happens.
        for (handful, part) in own.chain(others.into_iter().filter_map(|other| other.join().ok())).flatten() {
            if let Some(slot) = parts.get_mut(handful) {
                *slot = part;
            }
        }
    });
    parts.into_iter().fold(Listing::default(), |mut whole, part| {
        whole.containers.extend(part.containers);
        whole.failures.extend(part.failures);
        whole
    })
}

/// Moves the calling thread away from the processor that its parent runs on. The kernel does so by itself, but where no processor
/// idles just then it takes the third of the time that all the work takes. Afterwards the thread may run anywhere again.
fn leave(here: nix::Result<usize>) {
    let this_thread = Pid::from_raw(0);
    let (Ok(here), Ok(all)) = (here, sched_getaffinity(this_thread)) else { return };
    let mut others = all;
    if others.unset(here).and_then(|()| sched_setaffinity(this_thread, &others)).is_ok() {
        // It was allowed before; and if it should not be now, the thread works on where it is.
        sched_setaffinity(this_thread, &all).ok();
    }
}

/// How many processors this process may run on. Not `available_parallelism`, which reads half a dozen files for quotas; the work is
/// the same with one thread or four.
fn processors() -> usize {
    sched_getaffinity(Pid::from_raw(0))
        .map_or(1, |set| (0..CpuSet::count()).filter(|&processor| set.is_set(processor) == Ok(true)).count())
}
