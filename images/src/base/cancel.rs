//! Cancellation: one flag that every wait and every loop over bytes looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Error, Kind, Result, Step};

/// A flag that ends an operation early. Clones share it, so one may be kept by a signal handler or another thread.
///
/// ```
/// use orlop_images::{Cancel, Kind, Step};
/// let cancel = Cancel::new();
/// let other = cancel.clone();
/// other.cancel();
/// assert_eq!(cancel.check(Step::Download).unwrap_err().kind(), Kind::Cancelled);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end. What is under way stops at its next look, within a second.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error of kind [`Kind::Cancelled`] once the end was asked for.
    pub fn check(&self, step: Step) -> Result<()> {
        if self.is_cancelled() { Err(Error::new(Kind::Cancelled, step).reason_is("cancelled")) } else { Ok(()) }
    }
}
