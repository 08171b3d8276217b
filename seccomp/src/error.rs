//! The one error type: which step failed, in which field of the profile, and why.
//!
//! Its accessors have the names of those of the library `orlop`.
use rustix::io::Errno;
use std::fmt;

/// What a caller can do about an error, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
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
    /// A system call no architecture has: in a profile with [`Options::fail_unknown_syscalls`](crate::Options), or asked of
    /// [`report::explain`](crate::report::explain).
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
    /// A document that is not JSON, or a field of the wrong type.
    InvalidJson,
    /// A `config.json` without `linux.seccomp`, or a document with neither a default action nor rules.
    NoProfile,
    /// An argument of a call that is no number, or one too many.
    BadArgument,
    /// Loading needs CAP_SYS_ADMIN or `no_new_privs` (EACCES).
    NotPermitted,
    /// The kernel does not know a flag or takes no such program (EINVAL).
    Unsupported,
    /// A filter with a listener is loaded already (EBUSY).
    ListenerExists,
    /// With `TSYNC`: a thread has filters of its own (ESRCH). [`Error::object`] names it, where the kernel told.
    OtherThread,
    /// The kernel refused; see [`Error::errno`].
    System,
}

/// Why a profile cannot be read, compiled, explained or loaded.
///
/// The text is one line: the field as a JSON pointer from the seccomp section, where there is one, and the reason, for example
/// `/syscalls/3/action: unknown action "ALLOW"`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    step: &'static str,
    object: Option<String>,
    field: Option<String>,
    rule: Option<usize>,
    reason: Option<String>,
    hint: Option<&'static str>,
    source: Option<Source>,
}

/// What an error comes from.
enum Source {
    Errno(Errno),
    Json(serde_json::Error),
}

/// The step that most errors come from.
const COMPILE: &str = "compile the seccomp profile";

impl Error {
    #[cold]
    fn bare(kind: Kind, step: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            step,
            object: None,
            field: None,
            rule: None,
            reason: None,
            hint: None,
            source: None,
        }))
    }

    /// A mistake in the profile; `field` is empty where it is in no single one.
    #[cold]
    pub(crate) fn new(kind: Kind, field: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut error = Self::bare(kind, COMPILE).with_reason(reason);
        error.0.field = Some(field.into()).filter(|field| !field.is_empty());
        error
    }

    /// A mistake in a field of rule `rule`; `field` starts with a slash.
    #[cold]
    pub(crate) fn in_rule(kind: Kind, rule: usize, field: &str, reason: impl Into<String>) -> Self {
        let mut error = Self::new(kind, format!("/syscalls/{rule}{field}"), reason);
        error.0.rule = Some(rule);
        error
    }

    /// A mistake that is in no profile.
    #[cold]
    pub(crate) fn in_step(kind: Kind, step: &'static str, reason: impl Into<String>) -> Self {
        Self::bare(kind, step).with_reason(reason)
    }

    /// A document that cannot be read or written as JSON.
    #[cold]
    pub(crate) fn json(step: &'static str, error: serde_json::Error) -> Self {
        let mut made = Self::bare(Kind::InvalidJson, step).with_reason(error.to_string());
        made.0.source = Some(Source::Json(error));
        made
    }

    /// The kernel refused `step`.
    #[cold]
    pub(crate) fn os(kind: Kind, step: &'static str, errno: Errno) -> Self {
        let mut error = Self::bare(kind, step);
        error.0.source = Some(Source::Errno(errno));
        error
    }

    pub(crate) fn with_object(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    pub(crate) fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The step that failed, for example `compile the seccomp profile`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.0.step
    }

    /// The call, the flags or the thread that the step worked on.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The field behind it, as a JSON pointer relative to the seccomp section: `/syscalls/3/action`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The index of the rule in `syscalls`, when the mistake is in a rule.
    #[must_use]
    pub fn rule(&self) -> Option<usize> {
        self.0.rule
    }

    /// What is wrong in words, where the errno alone does not say it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The kernel's errno number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self.0.source {
            Some(Source::Errno(errno)) => Some(errno.raw_os_error()),
            _ => None,
        }
    }

    /// What would help, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(field) = &inner.field {
            write!(f, "{field}: ")?;
        }
        match (&inner.reason, &inner.source) {
            (Some(reason), _) => f.write_str(reason)?,
            (None, Some(Source::Errno(errno))) => write!(f, "{}: {errno}", inner.step)?,
            (None, _) => f.write_str(inner.step)?,
        }
        if let Some(hint) = inner.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    /// The kernel's errno or the parser's error, where that is the cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.source.as_ref()? {
            Source::Errno(errno) => Some(errno),
            Source::Json(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_source_has_the_same_accessors() {
        let wrong = Error::in_rule(Kind::UnknownAction, 3, "/action", "unknown action \"ALLOW\"");
        assert_eq!(wrong.to_string(), "/syscalls/3/action: unknown action \"ALLOW\"");
        assert_eq!((wrong.field(), wrong.rule(), wrong.errno()), (Some("/syscalls/3/action"), Some(3), None));
        assert!(std::error::Error::source(&wrong).is_none());

        let refused = Error::os(Kind::NotPermitted, "load the filter", Errno::ACCESS).with_hint("set no_new_privs");
        assert_eq!((refused.errno(), refused.hint()), (Some(libc::EACCES), Some("set no_new_privs")));
        assert!(refused.to_string().starts_with("load the filter: Permission denied"), "{refused}");
        assert!(std::error::Error::source(&refused).is_some());

        let broken = Error::json("read the profile", serde_json::from_str::<u8>("{").unwrap_err());
        assert_eq!((broken.kind(), broken.field()), (Kind::InvalidJson, None));
        assert_eq!(broken.to_string(), broken.reason().unwrap());
        assert!(std::error::Error::source(&broken).is_some());
    }
}
