//! The one error type: which step failed, on which object, because of which config field, with which errno, and what helps.

use std::fmt;

use nix::errno::Errno;

use crate::base::step::Step;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an error, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The bundle's config.json (or a process or resources file) is wrong.
    InvalidConfig,
    /// An argument of the call is wrong: an id, a signal, a combination of options.
    InvalidArgument,
    /// There is no such container.
    NotFound,
    /// A container with this id is already there.
    AlreadyExists,
    /// The container's status does not allow the operation.
    WrongStatus,
    /// This host or this build cannot do what was asked.
    Unsupported,
    /// The container's command cannot be executed.
    Command,
    /// A hook failed or ran out of time.
    Hook,
    /// The state file cannot be read, written or understood.
    State,
    /// A deadline passed.
    Timeout,
    /// The caller has cancelled it; see [`crate::CreateOptions::cancel`].
    Cancelled,
    /// The kernel refused; see [`Error::errno`].
    System,
}

/// Why an operation failed.
///
/// The text is one line: step and object, the config field as a JSON pointer (RFC 6901), the cause, and the remedy when it is
/// known, for example
/// `bind mount /srv/data on /data (config /mounts/3/source): no such file or directory`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    step: Step,
    object: Option<String>,
    field: Option<String>,
    reason: Option<String>,
    source: Option<Errno>,
    hint: Option<String>,
    also: Vec<Error>,
    warnings: Vec<String>,
}

impl Error {
    /// An error of `kind` in `step`; say more with the methods below.
    #[must_use]
    pub(crate) fn new(kind: Kind, step: Step) -> Self {
        Self(Box::new(Inner {
            kind,
            step,
            object: None,
            field: None,
            reason: None,
            source: None,
            hint: None,
            also: Vec::new(),
            warnings: Vec::new(),
        }))
    }

    /// The kernel refused `step` with `errno` (a positive errno number).
    #[must_use]
    pub(crate) fn os(step: Step, errno: i32) -> Self {
        let mut error = Self::new(Kind::System, step);
        error.0.source = Some(Errno::from_raw(errno));
        error
    }

    /// An I/O error of the standard library in `step`.
    #[must_use]
    pub(crate) fn io(step: Step, source: &std::io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::os(step, errno),
            None => Self::new(Kind::System, step).with_reason(source.to_string()),
        }
    }

    /// The config field at the JSON pointer `field` is wrong in the way `reason` says.
    #[must_use]
    pub(crate) fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::InvalidConfig, Step::CheckConfig).with_field(field).with_reason(reason)
    }

    /// Names the path or thing the step worked on.
    #[must_use]
    pub(crate) fn with_object(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    /// Names the config field as a JSON pointer.
    #[must_use]
    pub(crate) fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what is wrong in words, where the errno alone does not.
    #[must_use]
    pub(crate) fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Says what would help.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the kind where it differs from what the constructor chose.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds a further failure met while cleaning up after this one.
    #[must_use]
    pub(crate) fn and(mut self, further: Error) -> Self {
        self.0.also.push(further);
        self
    }

    /// Adds what the operation would have warned of had it succeeded, before what is known already.
    #[must_use]
    pub(crate) fn after(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.0.warnings.splice(0..0, warnings);
        self
    }

    /// What the caller should know besides, and before, why the operation failed: the warnings that a success would have come with,
    /// one line each. They are not part of the error's text.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.0.step
    }

    /// The path or thing the step worked on.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The config field behind it, as a JSON pointer such as `/mounts/3/source`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The kernel's errno number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.source.map(|errno| errno as i32)
    }

    /// What is wrong in words, where the errno alone does not say it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// What else failed, while cleaning up after this.
    #[must_use]
    pub fn also(&self) -> &[Error] {
        &self.0.also
    }

    /// What would help, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// An errno in words, lower case as engines match it ("no such file or directory").
fn errno_text(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Only a plain word is lowered: "RFS specific error" and the like keep their capitals.
        (Some(first), Some(second)) if !second.is_ascii_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str(inner.step.words())?;
        if let Some(object) = &inner.object {
            write!(f, " {object}")?;
        }
        if let Some(field) = &inner.field {
            write!(f, " (config {field})")?;
        }
        if let Some(reason) = &inner.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(errno) = inner.source {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, " ({hint})")?;
        }
        for further in &inner.also {
            write!(f, "; then {further}")?;
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
    /// The kernel's word, where the cause is one.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|errno| errno as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_step_object_field_cause_and_remedy() {
        let error = Error::os(Step::BindMount, libc::ENOENT)
            .with_object("/srv/data on /data")
            .with_field("/mounts/3/source")
            .with_hint("create it on the host first");
        assert_eq!(
            error.to_string(),
            "bind mount /srv/data on /data (config /mounts/3/source): no such file or directory (create it on the host first)"
        );
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(error.field(), Some("/mounts/3/source"));
    }
}
