//! What a comparison finds.

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
}
