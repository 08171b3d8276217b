//! Commands that act on all containers whose id matches an expression.

use std::ffi::OsStr;

use orlop::{ContainerId, Status};

use crate::failure::Failure;
use crate::pattern::Pattern;
use crate::session::Session;

/// Which of the matching containers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    Any,
    /// Those whose init has not ended.
    Alive,
}

/// Does `act` to each container that matches; goes on after failures, and tells them all. None that matches is no failure.
pub(super) fn each(
    session: &Session<'_>,
    expression: &OsStr,
    wanted: Wanted,
    act: impl Fn(&ContainerId) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let text = expression.to_string_lossy();
    let pattern = Pattern::new(&text).map_err(|why| Failure::usage(format!("regular expression {text:?}: {why}")))?;
    let mut failures = Vec::new();
    for found in orlop::list(&session.runtime)?.containers {
        let ended = found.status == Status::Stopped;
        if (wanted == Wanted::Alive && ended) || !pattern.is_match(found.id.as_str()) {
            continue;
        }
        if let Err(failure) = act(&found.id) {
            failures.push(format!("{}: {failure}", found.id));
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(Failure::new(failures.join("; then "))) }
}
