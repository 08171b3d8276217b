//! `--verify`: what the kernel says of a container that is ready to execute its command, against what its config promises.
//!
//! The facts are read by the runtime, from outside: of the init below the runtime's own /proc, and of its file system below
//! `/proc/PID/root`, where every path is resolved inside that root. Nothing that the init says is believed.

mod difference;
mod execution;
mod facts;
mod inside;
mod mounts;
mod subject;
mod verdict;

use crate::base::{Error, Result};

pub(crate) use execution::{Execution, PAUSE};
pub(crate) use facts::own_filters;
pub(crate) use subject::Subject;

/// Compares; the error names every difference.
///
/// # Errors
/// [`crate::Step::Verify`]: a difference, or a fact that cannot be read, which is as bad.
pub(crate) fn check(subject: &Subject<'_>) -> Result<()> {
    let facts = facts::read(subject)?;
    let errors = verdict::differences(subject, &facts).into_iter().map(difference::Difference::into_error);
    match errors.reduce(Error::and) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
