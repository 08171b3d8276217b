//! What a comparison finds.

use crate::base::{Error, Kind, Step};

/// A promise that is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) promised: String,
    pub(super) found: String,
}

impl Difference {
    pub(super) fn new(field: impl Into<String>, promised: impl Into<String>, found: impl Into<String>) -> Self {
        Self { field: field.into(), promised: promised.into(), found: found.into() }
    }

    pub(super) fn into_error(self) -> Error {
        Error::new(Kind::System, Step::Verify)
            .with_field(self.field)
            .with_reason(format!("promised {}, found {}", self.promised, self.found))
    }
}
