//! Typed identifiers.

use std::fmt;

use rustix::process::Pid;
use serde::Serialize;

use crate::base::error::{Error, Kind, Result};
use crate::base::step::Step;

/// The longest container id, in bytes: it names a directory (NAME_MAX is 255) and, with a prefix, a cgroup or a systemd scope.
const MAX_ID: usize = 200;

/// A container's id: 1 to 200 of `A-Z a-z 0-9 _ + - .`, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks `id`.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] when it is empty, too long, `.` or `..`, or has a character other than those above.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let wrong = |detail: String| Err(Error::new(Kind::InvalidArgument, Step::CheckArguments).with_reason(detail));
        if id.is_empty() {
            return wrong("container id cannot be empty".into());
        }
        if id.len() > MAX_ID {
            return wrong(format!("container id has {} bytes, at most {MAX_ID} are allowed", id.len()));
        }
        if id == "." || id == ".." {
            return wrong(format!("invalid id format: {id:?}"));
        }
        if let Some(bad) = id.chars().find(|c| !(c.is_ascii_alphanumeric() || "_+-.".contains(*c))) {
            return wrong(format!("invalid id format: {id:?}: {bad:?} is not one of A-Z a-z 0-9 _ + - ."));
        }
        Ok(Self(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A process id as the caller's pid namespace numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostPid(Pid);

impl HostPid {
    /// A pid; `None` unless it is positive, so that it can never mean a process group or "any child".
    #[must_use]
    pub fn new(pid: i32) -> Option<Self> {
        if pid > 0 { Pid::from_raw(pid).map(Self) } else { None }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i32 {
        self.0.as_raw_pid()
    }

    /// As control groups name it.
    pub(crate) fn of_member(pid: Pid) -> Self {
        Self(pid)
    }

    /// As system calls and control groups take it.
    pub(crate) fn as_pid(self) -> Pid {
        self.0
    }
}

impl PartialOrd for HostPid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostPid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.get().cmp(&other.get())
    }
}

impl fmt::Display for HostPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\0b", &"x".repeat(201)] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "web-1", "a.b_c+d", "...", &"x".repeat(200)] {
            assert!(ContainerId::new(good).is_ok(), "{good:?}");
        }
    }
}
