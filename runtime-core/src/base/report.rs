//! Warnings and notes of an operation that succeeded.

use std::fmt;

use super::error::Error;

/// What is to be said of an operation that succeeded: warnings for whoever asked for it, notes for a log.
#[derive(Debug, Default)]
#[must_use = "an operation that succeeded may have warnings"]
pub struct Report {
    warnings: Vec<Warning>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(warnings: Vec<Warning>, notes: Vec<String>) -> Self {
        Self { warnings, notes }
    }

    /// What was not done as asked, or works today only: one line each.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What was decided, for a debug log: one line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds what another operation has to say.
    pub fn append(&mut self, mut other: Self) {
        self.warnings.append(&mut other.warnings);
        self.notes.append(&mut other.notes);
    }

    /// The failures behind the warnings.
    pub(crate) fn into_errors(self) -> impl Iterator<Item = Error> {
        self.warnings.into_iter().filter_map(|warning| match warning.0 {
            Cause::Error(error) => Some(error),
            Cause::Text(_) => None,
        })
    }

    /// Whether there are no warnings.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.warnings.is_empty()
    }
}

/// Something that was left undone, or that the config or the caller did not mean.
#[derive(Debug)]
pub struct Warning(Cause);

#[derive(Debug)]
enum Cause {
    Text(String),
    Error(Error),
}

impl Warning {
    /// The failure behind it, where there was one.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match &self.0 {
            Cause::Text(_) => None,
            Cause::Error(error) => Some(error),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Text(text) => f.write_str(text),
            Cause::Error(error) => error.fmt(f),
        }
    }
}

impl From<String> for Warning {
    fn from(text: String) -> Self {
        Self(Cause::Text(text))
    }
}

impl From<Error> for Warning {
    fn from(error: Error) -> Self {
        Self(Cause::Error(error))
    }
}

impl Extend<Error> for Report {
    fn extend<I: IntoIterator<Item = Error>>(&mut self, errors: I) {
        self.warnings.extend(errors.into_iter().map(Warning::from));
    }
}

impl FromIterator<Error> for Report {
    fn from_iter<I: IntoIterator<Item = Error>>(errors: I) -> Self {
        Self { warnings: errors.into_iter().map(Warning::from).collect(), notes: Vec::new() }
    }
}

impl FromIterator<String> for Report {
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        Self { warnings: texts.into_iter().map(Warning::from).collect(), notes: Vec::new() }
    }
}
