//! What is wrong with a profile, and where.
use std::fmt;

/// The class of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An action that no kernel knows, or none at all.
    UnknownAction,
    /// A comparison operator that is not one of `SCMP_CMP_…`.
    UnknownOperator,
    /// An architecture that is not one of `SCMP_ARCH_…`.
    UnknownArchitecture,
    /// A filter flag that is not one of `SECCOMP_FILTER_FLAG_…`.
    UnknownFlag,
    /// A flag that means nothing without another part of the profile.
    UselessFlag,
    /// A system call no architecture has; an error only with [`Options::fail_unknown_syscalls`](crate::Options).
    UnknownSyscall,
    /// A rule without names, or with an empty one.
    MissingName,
    /// An argument index above 5.
    BadArgumentIndex,
    /// An errno on an action that has none, or one the kernel cannot return.
    BadErrno,
    /// `SCMP_ACT_NOTIFY` without a `listenerPath`, or `listenerMetadata` without one.
    MissingListener,
    /// More instructions than the kernel takes.
    TooLong,
    /// A program that is no seccomp filter; see [`from_bytes`](crate::from_bytes).
    InvalidProgram,
    /// No architecture to compile for: this program's own is not one of the known.
    NoArchitecture,
}

/// A profile that cannot be compiled: the field, as a JSON pointer from the seccomp section, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    pointer: String,
    rule: Option<usize>,
    message: String,
}

impl Error {
    #[cold]
    pub(crate) fn new(kind: ErrorKind, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, pointer: pointer.into(), rule: None, message: message.into() }
    }

    /// An error in a field of rule `rule`; `field` starts with a slash.
    #[cold]
    pub(crate) fn in_rule(kind: ErrorKind, rule: usize, field: &str, message: impl Into<String>) -> Self {
        Self { kind, pointer: format!("/syscalls/{rule}{field}"), rule: Some(rule), message: message.into() }
    }

    /// What class of mistake it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The field, as a JSON pointer relative to the seccomp section: `/syscalls/3/action`.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The index of the rule in `syscalls`, when the mistake is in a rule.
    pub const fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// The reason alone, without the field.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for Error {}
