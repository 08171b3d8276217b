//! `gc`: takes away what killed runtimes have left.

use std::time::Instant;

use super::delete::{finish_deleted, tear_down};
use crate::base::{ContainerId, Error, Kind, Report, Result, Runtime, options};
use crate::state::{Locked, Phase, Store};

options! {
    /// What `gc` is told.
    #[derive(Debug, Clone, Default)]
    pub struct GcOptions {
        /// Only tell what would be removed.
        pub dry_run: bool,
    }
}

/// What `gc` has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// The containers whose remains were removed (or would be, in a dry run).
    pub removed: Vec<ContainerId>,
    /// What could not be removed, or not even be looked at, and failures of poststop hooks that were left to run.
    pub report: Report,
}

/// Removes what is left of containers whose `create` or `delete` was killed: their state, control groups and resctrl groups.
/// Containers that came into being are never touched, stopped or not: they are their engine's to delete; and neither is one that
/// another runtime is working on, which its lock shows.
///
/// # Errors
/// When the state root cannot be opened or read. What fails for one container is in the result.
pub fn gc(runtime: &Runtime, options: &GcOptions) -> Result<Collected> {
    let mut collected = Collected::default();
    let Some(store) = Store::open(runtime)? else {
        return Ok(collected);
    };
    for id in store.ids()? {
        let outcome = leftover(&store, &id).and_then(|locked| match locked {
            Some(locked) if !options.dry_run => remove(runtime, locked).map(Some),
            Some(_) => Ok(Some(Vec::new())),
            None => Ok(None),
        });
        note(&mut collected, id, outcome);
    }
    for id in store.deleted()? {
        let outcome = if options.dry_run { Ok(Vec::new()) } else { finish_deleted(runtime, &id) };
        note(&mut collected, id, outcome.map(Some));
    }
    Ok(collected)
}

fn note(collected: &mut Collected, id: ContainerId, outcome: Result<Option<Vec<Error>>>) {
    match outcome {
        Ok(Some(warnings)) => {
            collected.removed.push(id);
            collected.report.extend(warnings);
        }
        Ok(None) => {}
        Err(error) => collected.report.extend([error]),
    }
}

/// The lock of a container that nobody is working on and that never came into being.
fn leftover(store: &Store, id: &ContainerId) -> Result<Option<Locked>> {
    let locked = match store.lock_until(id, Instant::now()) {
        Ok(locked) => locked,
        // Somebody works on it, or has just removed it.
        Err(error) if matches!(error.kind(), Kind::Timeout | Kind::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let unfinished = match locked.record()? {
        Some(record) => record.phase != Phase::Created,
        None => !locked.is_being_claimed()?,
    };
    Ok(unfinished.then_some(locked))
}

fn remove(runtime: &Runtime, locked: Locked) -> Result<Vec<Error>> {
    match locked.record()? {
        Some(record) => tear_down(runtime, locked, &record),
        None => locked.remove().map(|()| Vec::new()),
    }
}
