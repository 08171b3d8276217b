//! Why a command ended without success.

use std::fmt;

use orlop_images::{Error, Kind};

/// What is printed, and the exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
    usage: bool,
}

/// The exit status of a wrong command line.
const USAGE: u8 = 2;

impl Failure {
    /// The command line is wrong: the message points to the help.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: USAGE, usage: true }
    }

    /// The command failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), status: 1, usage: false }
    }

    /// The command failed, and what it had another process do has said why.
    pub(crate) fn told(status: u8) -> Self {
        Self { message: String::new(), status, usage: false }
    }

    /// Whether there is nothing more to say.
    pub(crate) fn is_told(&self) -> bool {
        self.message.is_empty()
    }

    /// The same with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn is_usage(&self) -> bool {
        self.usage
    }

    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = if error.kind() == Kind::Cancelled { 130 } else { 1 };
        Self { message: error.to_string(), status, usage: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
