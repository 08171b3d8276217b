//! `--verify`: what the kernel says of a container that is ready to execute its command, against what its config promises.
//!
//! The facts are read by the runtime, from outside: of the init below the runtime's own /proc, and of its file system below
//! `/proc/PID/root`, where every path is resolved inside that root. Nothing that the init says is believed.

mod difference;
mod facts;
mod inside;
mod mounts;
mod subject;
mod verdict;

use crate::base::{Error, Kind, Result, Step};

pub(crate) use subject::Subject;

/// Compares; the error names every difference.
///
/// # Errors
/// [`Step::Verify`]: a difference, or a fact that cannot be read, which is as bad.
pub(crate) fn check(subject: &Subject<'_>) -> Result<()> {
    let facts = facts::read(subject)?;
    let errors = verdict::differences(subject, &facts).into_iter().map(|difference| {
        Error::new(Kind::System, Step::Verify)
            .with_field(difference.field)
            .with_reason(format!("promised {}, found {}", difference.promised, difference.found))
    });
    match errors.reduce(Error::and) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}
