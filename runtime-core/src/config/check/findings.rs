//! The input of the checks, and their findings.

use std::fmt;

use crate::base::{Error, Result};
use crate::config::schema::push_token;

/// What the checks have to know besides the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// The caller is not root, or root of a user namespace only.
    pub rootless: bool,
    /// The root is changed without pivot_root(2).
    pub no_pivot: bool,
}

/// Something that works, but not as the config says, or that works today only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The config field, as a JSON pointer.
    pub pointer: String,
    /// What about it.
    pub detail: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config {}: {}", self.pointer, self.detail)
    }
}

/// What the checks found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Error>,
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    /// The first error, or the warnings.
    pub(super) fn verdict(self) -> Result<Vec<Warning>> {
        match self.errors.into_iter().next() {
            Some(error) => Err(error.after(self.warnings.iter().map(ToString::to_string))),
            None => Ok(self.warnings),
        }
    }

    #[cold]
    pub(super) fn error(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(Error::config(pointer, detail));
    }

    #[cold]
    pub(super) fn error_with_hint(
        &mut self,
        pointer: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.errors.push(Error::config(pointer, detail).with_hint(hint));
    }

    #[cold]
    pub(super) fn warn(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.warnings.push(Warning { pointer: pointer.into(), detail: detail.into() });
    }
}

/// The JSON pointer of `key` below `parent`.
pub(super) fn below(parent: &str, key: &str) -> String {
    let mut pointer = parent.to_owned();
    push_token(&mut pointer, key);
    pointer
}

/// Reports a NUL byte, which no string that goes to the kernel can hold.
pub(super) fn check_no_nul(text: &str, findings: &mut Findings, pointer: impl FnOnce() -> String) {
    if text.as_bytes().contains(&0) {
        findings.error(pointer(), "contains a NUL byte");
    }
}
