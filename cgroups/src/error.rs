//! The one error type: which step failed, on which file, with which value, because of which field, and what helps.
//!
//! Its accessors have the names of those of the library `orlop`.

use std::fmt;

use crate::sys::Errno;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an error, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A field of the resources object has a value that can never be applied.
    InvalidResources,
    /// `cgroupsPath`, a sub-cgroup path, a slice or a unit name is malformed.
    InvalidPath,
    /// This host or this cgroup layout cannot do what was asked: a controller or a file is missing.
    Unsupported,
    /// The cgroup, or a controller in it, is not delegated to this user.
    NotDelegated,
    /// The cgroup is already used by other processes, or cannot be removed because it is still used.
    Busy,
    /// The cgroup or one of its ancestors is frozen: a process put into it would never run.
    Frozen,
    /// A freeze came to nothing: another caller thawed the cgroup meanwhile, or its processes have ended.
    NotFrozen,
    /// The cgroup or one of its ancestors is threaded: no process with domain controllers can live in it.
    Threaded,
    /// A new limit is below what is used already, and the update asked to be refused in that case.
    BelowUsage,
    /// The cgroup is gone.
    NotFound,
    /// A deadline passed.
    Timeout,
    /// No bus answers, or systemd refused the request.
    Bus,
    /// The kernel refused; see [`Error::errno`].
    System,
}

/// Why an operation on a cgroup failed.
///
/// The text is one line, for example
/// `write "1048576" to /sys/fs/cgroup/web/memory.max (/memory/limit): device or resource busy`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    step: &'static str,
    object: Option<String>,
    value: Option<String>,
    field: Option<String>,
    reason: Option<String>,
    source: Option<Errno>,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: Kind, step: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            step,
            object: None,
            value: None,
            field: None,
            reason: None,
            source: None,
            hint: None,
        }))
    }

    /// The kernel refused `step`.
    pub(crate) fn os(step: &'static str, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOENT | Errno::NODEV => Kind::NotFound,
            Errno::BUSY => Kind::Busy,
            _ => Kind::System,
        };
        let mut error = Self::new(kind, step);
        error.0.source = Some(errno);
        error
    }

    /// The field at `field` of the resources is wrong in the way `reason` says.
    pub(crate) fn resources(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(Kind::InvalidResources, "check the resources").with_field(field).with_reason(reason)
    }

    pub(crate) fn with_object(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    pub(crate) fn with_value(mut self, value: impl Into<String>) -> Self {
        self.0.value = Some(value.into());
        self
    }

    pub(crate) fn with_field(mut self, field: impl Into<String>) -> Self {
        let field = field.into();
        if !field.is_empty() {
            self.0.field = Some(field);
        }
        self
    }

    pub(crate) fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The errno, for another error about the same failure.
    pub(crate) fn cause(&self) -> Option<Errno> {
        self.0.source
    }

    pub(crate) fn has_errno(&self, errno: Errno) -> bool {
        self.0.source == Some(errno)
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The step that failed, for example `write` or `create the cgroup`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.0.step
    }

    /// The file, directory or unit that the step worked on.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The value that was written.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.0.value.as_deref()
    }

    /// The field behind it, as a JSON pointer relative to `linux.resources`, for example `/memory/limit`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The kernel's errno number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.source.map(Errno::raw_os_error)
    }

    /// What is wrong in words, where the errno alone does not say it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// What would help, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// Texts of the errno values that cgroup files, mounts and sockets give, lower case as engines match them. The C library's own differ
/// between libraries.
const TEXTS: [(i32, &str); 36] = [
    (libc::EPERM, "operation not permitted"),
    (libc::ENOENT, "no such file or directory"),
    (libc::ESRCH, "no such process"),
    (libc::EINTR, "interrupted system call"),
    (libc::EIO, "input/output error"),
    (libc::ENXIO, "no such device or address"),
    (libc::E2BIG, "argument list too long"),
    (libc::EBADF, "bad file descriptor"),
    (libc::EAGAIN, "resource temporarily unavailable"),
    (libc::ENOMEM, "cannot allocate memory"),
    (libc::EACCES, "permission denied"),
    (libc::EFAULT, "bad address"),
    (libc::EBUSY, "device or resource busy"),
    (libc::EEXIST, "file exists"),
    (libc::ENODEV, "no such device"),
    (libc::ENOTDIR, "not a directory"),
    (libc::EISDIR, "is a directory"),
    (libc::EINVAL, "invalid argument"),
    (libc::ENFILE, "too many open files in system"),
    (libc::EMFILE, "too many open files"),
    (libc::ENOSPC, "no space left on device"),
    (libc::EROFS, "read-only file system"),
    (libc::EPIPE, "broken pipe"),
    (libc::ERANGE, "numerical result out of range"),
    (libc::EDEADLK, "resource deadlock avoided"),
    (libc::ENAMETOOLONG, "file name too long"),
    (libc::ENOSYS, "function not implemented"),
    (libc::ENOTEMPTY, "directory not empty"),
    (libc::ELOOP, "too many levels of symbolic links"),
    (libc::EOVERFLOW, "value too large for defined data type"),
    (libc::EILSEQ, "invalid or incomplete multibyte or wide character"),
    (libc::EOPNOTSUPP, "operation not supported"),
    (libc::ECONNRESET, "connection reset by peer"),
    (libc::ECONNREFUSED, "connection refused"),
    (libc::ETIMEDOUT, "connection timed out"),
    // ENOTSUPP, which the kernel keeps to itself but for a few cgroup files.
    (524, "operation not supported"),
];

pub(crate) fn errno_text(errno: Errno) -> String {
    let errno = errno.raw_os_error();
    let known = TEXTS.iter().find(|(number, _)| *number == errno);
    known.map_or_else(|| format!("errno {errno}"), |(_, text)| (*text).to_owned())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str(inner.step)?;
        if let Some(value) = &inner.value {
            write!(f, " {value:?} to")?;
        }
        if let Some(object) = &inner.object {
            write!(f, " {object}")?;
        }
        if let Some(field) = &inner.field {
            write!(f, " ({field})")?;
        }
        if let Some(reason) = &inner.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(errno) = inner.source {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {hint}")?;
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
    /// The kernel's errno, where it is the cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|errno| errno as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_step_value_file_field_errno_and_hint() {
        let error = Error::os("write", Errno::BUSY)
            .with_value("4096")
            .with_object("/sys/fs/cgroup/c/memory.max")
            .with_field("/memory/limit")
            .with_hint("raise it");
        assert_eq!(
            error.to_string(),
            "write \"4096\" to /sys/fs/cgroup/c/memory.max (/memory/limit): device or resource busy; raise it"
        );
        assert_eq!(error.kind(), Kind::Busy);
        assert_eq!((error.step(), error.object()), ("write", Some("/sys/fs/cgroup/c/memory.max")));
        assert_eq!((error.field(), error.hint()), (Some("/memory/limit"), Some("raise it")));
        assert_eq!(error.errno(), Some(libc::EBUSY));
        assert!(std::error::Error::source(&error).is_some());
    }
}
