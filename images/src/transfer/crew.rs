//! Several blobs at once: a few threads, the first failure of which ends all.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::base::{Error, Result};

/// Asks the others to stop once one has failed.
#[derive(Debug, Default)]
pub(super) struct Stop(AtomicBool);

impl Stop {
    /// Whether another thread has failed.
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Does `work` for each of `items`, on up to `threads` threads, in their order. Returns the first failure.
pub(super) fn each<T: Sync>(items: &[T], threads: usize, work: impl Fn(&T, &Stop) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let stop = Stop::default();
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.asked() {
                return;
            }
            if let Err(error) = work(item, &stop) {
                stop.0.store(true, Ordering::Relaxed);
                if let Ok(mut failure) = failure.lock() {
                    failure.get_or_insert(error);
                }
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // This thread is one of them.
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner() {
        Ok(Some(error)) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Kind, Step};

    #[test]
    fn all_are_done_or_the_first_failure_is_told() {
        let sum = AtomicUsize::new(0);
        let items: Vec<usize> = (0..100).collect();
        each(&items, 4, |item, _| {
            sum.fetch_add(*item, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 4950);
        let error = each(&items, 4, |item, stop| {
            while *item != 3 && !stop.asked() {
                std::thread::yield_now();
            }
            Err(Error::new(Kind::Limit, Step::Download).object_is(item.to_string()))
        });
        assert_eq!(error.unwrap_err().object(), Some("3"));
    }
}
