//! The one error type: which step failed, on which image, blob or path, with which errno, and what helps.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::base::Digest;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an error, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// An argument is wrong: a reference, a flag, a combination of options.
    InvalidArgument,
    /// There is no such image, tag, blob, container or file.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Something else is using it.
    Busy,
    /// The registry wants credentials, or refuses those it got.
    Denied,
    /// What was received is wrong: a digest, a size, a manifest, an archive.
    InvalidContent,
    /// A limit on size, count or depth was reached.
    Limit,
    /// The registry or the network failed; trying again later may help.
    Network,
    /// A blob or file of the store is damaged.
    Damaged,
    /// This host or this build cannot do what was asked.
    Unsupported,
    /// A deadline passed.
    Timeout,
    /// The caller ended the operation.
    Cancelled,
    /// A container's command or a program that was started failed.
    Command,
    /// The kernel refused; see [`Error::errno`].
    System,
}

/// Declares the steps with the words that messages show for them.
macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident => $words:literal,)*) => {
        /// What was being done when something failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Step {
            $(#[doc = $words] $(#[doc = $doc])* $name,)*
        }

        impl Step {
            /// The step in words, as messages begin with it.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

steps! {
    ParseReference => "read reference",
    ParsePlatform => "read platform",
    ReadConfig => "read configuration",
    Credentials => "get credentials for",
    Connect => "connect to",
    Request => "request",
    Authenticate => "authenticate with",
    FetchManifest => "fetch manifest",
    ReadManifest => "read manifest",
    ReadImageConfig => "read image config",
    Download => "download",
    Upload => "upload",
    PushManifest => "push manifest",
    OpenStore => "open store",
    LockStore => "lock store",
    ReadBlob => "read blob",
    WriteBlob => "write blob",
    ReadIndex => "read index",
    WriteIndex => "write index",
    Verify => "verify",
    Prune => "prune",
    Remove => "remove",
    Tag => "tag",
    ReadArchive => "read archive",
    WriteArchive => "write archive",
    Unpack => "unpack",
    Snapshot => "make snapshot",
    Bundle => "make bundle",
    Network => "set up network",
    Supervise => "supervise",
    Run => "run",
    MapIds => "map ids for",
    Print => "print",
}

/// Why an operation failed.
///
/// The text is one line: the step and its object, the image and the blob where they say more, the cause, and the remedy when
/// it is known, for example
/// `download sha256:4f53… of docker.io/library/nginx:1.27: connection reset by peer (run the command again: it goes on where it stopped)`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    step: Step,
    object: Option<String>,
    reference: Option<String>,
    digest: Option<Digest>,
    reason: Option<String>,
    errno: Option<i32>,
    hint: Option<String>,
    source: Option<Error>,
}

impl Error {
    /// An error of `kind` in `step`; say more with the methods below.
    #[must_use]
    pub fn new(kind: Kind, step: Step) -> Self {
        Self(Box::new(Inner {
            kind,
            step,
            object: None,
            reference: None,
            digest: None,
            reason: None,
            errno: None,
            hint: None,
            source: None,
        }))
    }

    /// The kernel refused `step` with `errno` (a positive errno number).
    #[must_use]
    pub fn os(step: Step, errno: i32) -> Self {
        let mut error = Self::new(Kind::System, step);
        error.0.errno = Some(errno);
        error
    }

    /// An I/O error of the standard library in `step`.
    #[must_use]
    pub fn io(step: Step, source: &std::io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::os(step, errno),
            None => Self::new(Kind::System, step).reason_is(source.to_string()),
        }
    }

    /// Names the path or thing that the step worked on.
    #[must_use]
    pub fn object_is(mut self, object: impl Into<String>) -> Self {
        self.0.object = Some(object.into());
        self
    }

    /// Names the image, unless it is named already.
    #[must_use]
    pub fn reference_is(mut self, reference: impl fmt::Display) -> Self {
        self.0.reference.get_or_insert_with(|| reference.to_string());
        self
    }

    /// Names the blob, unless it is named already.
    #[must_use]
    pub fn digest_is(mut self, digest: &Digest) -> Self {
        self.0.digest.get_or_insert(*digest);
        self
    }

    /// Says what is wrong in words, where the errno alone does not.
    #[must_use]
    pub fn reason_is(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Says what would help.
    #[must_use]
    pub fn hint_is(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Sets the kind where it differs from what the constructor chose.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The failure behind this one.
    #[must_use]
    pub fn caused_by(mut self, source: Error) -> Self {
        self.0.source = Some(source);
        self
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

    /// The path or thing that the step worked on.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The image, as its reference is written in full.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// The blob.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.0.digest.as_ref()
    }

    /// What is wrong in words, where the errno alone does not say it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The kernel's errno number, when there is one; that of the failure behind this one included.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.errno.or_else(|| self.0.source.as_ref().and_then(Error::errno))
    }

    /// What would help, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// An errno in words, lower case at the beginning ("no such file or directory").
#[must_use]
pub fn errno_text(errno: i32) -> String {
    let text = nix::errno::Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if !second.is_ascii_uppercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// `text` as it may be printed to a terminal, on one line: what steers one, or reorders what is read, is written as an escape.
///
/// ```
/// use orlop_images::base::printable;
/// assert_eq!(printable("a\u{1b}[2Jb\nc – d"), "a\\u{1b}[2Jb\\nc – d");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// Whether a terminal takes it for something else than a character to show: controls (those of C1 too, which a terminal may
/// read as escape sequences), line breaks, and marks that turn the direction of the text.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Passes on what is printable.
struct Plain<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Plain<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&printable(text))
    }
}

/// Others' words are in it: a registry's, an image's.
impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        let mut f = Plain(formatter);
        f.write_str(inner.step.words())?;
        let digest = inner.digest.map(|digest| digest.to_string());
        let mut named = false;
        for name in [inner.object.as_deref(), digest.as_deref(), inner.reference.as_deref()].into_iter().flatten() {
            write!(f, "{} {name}", if named { " of" } else { "" })?;
            named = true;
        }
        if let Some(reason) = &inner.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(errno) = inner.errno {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &inner.hint {
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
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_what_where_why_and_what_helps() {
        let digest = Digest::of(b"");
        let error = Error::os(Step::Download, libc::ECONNRESET)
            .digest_is(&digest)
            .reference_is("docker.io/library/nginx:1.27")
            .hint_is("run the command again");
        assert_eq!(
            error.to_string(),
            format!(
                "download {digest} of docker.io/library/nginx:1.27: connection reset by peer (run the command again)"
            )
        );
        let hostile = Error::new(Kind::Network, Step::FetchManifest)
            .object_is("\u{1b}]0;x\u{7}")
            .reason_is("a\nb\u{9b}2J\u{202e}");
        assert_eq!(hostile.to_string(), "fetch manifest \\u{1b}]0;x\\u{7}: a\\nb\\u{9b}2J\\u{202e}");
        let outer = Error::new(Kind::Network, Step::FetchManifest).object_is("x").caused_by(error);
        assert_eq!(outer.errno(), Some(libc::ECONNRESET));
        assert!(std::error::Error::source(&outer).is_some());
    }
}
