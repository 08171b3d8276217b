//! Why a command ended without success.

use std::fmt;

/// What is printed, and what the caller sees.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    kind: Kind,
    warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The command line itself is wrong.
    Usage,
    /// The command was understood and failed.
    Failed,
    /// A signal came before the container's command was executed.
    Cancelled,
}

impl Failure {
    /// The command line is wrong: the message points to the help.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Usage, warnings: Vec::new() }
    }

    /// The command failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Failed, warnings: Vec::new() }
    }

    /// The operating system refused `what`.
    pub(crate) fn os(what: impl fmt::Display, errno: nix::errno::Errno) -> Self {
        Self::new(format!("{what}: {}", lower(errno.desc())))
    }

    /// The standard library refused `what`.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(what, nix::errno::Errno::from_raw(errno)),
            None => Self::new(format!("{what}: {error}")),
        }
    }

    /// What there is to be said before it.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether a signal was at fault.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.kind == Kind::Cancelled
    }

    /// Whether the command line was at fault.
    pub(crate) fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }
}

/// Engines match errno texts in lower case ("no such file or directory").
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

impl From<orlop::Error> for Failure {
    fn from(error: orlop::Error) -> Self {
        let kind = if error.kind() == orlop::Kind::Cancelled { Kind::Cancelled } else { Kind::Failed };
        Self { warnings: error.warnings().to_vec(), kind, message: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
