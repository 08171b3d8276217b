//! Why an operation failed, by number.

use crate::sys::{self, Errno};
use crate::wire::detail;

/// The errno, and what within the operation it befell (see [`detail`]).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) reason: u32,
}

impl Failure {
    pub(crate) fn new(errno: Errno, reason: u32) -> Self {
        Self { errno, reason }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, reason: detail::CALL }
    }
}

/// Says what within an operation a system call was for.
pub(crate) trait WithReason<T> {
    fn with_reason(self, reason: u32) -> Result<T, Failure>;
}

impl<T> WithReason<T> for sys::Result<T> {
    fn with_reason(self, reason: u32) -> Result<T, Failure> {
        self.map_err(|errno| Failure { errno, reason })
    }
}
