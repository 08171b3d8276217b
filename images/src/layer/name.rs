//! Names in a layer: relative, bounded, without `..`; and what those that begin with `.wh.` mean.

use crate::base::{Error, Kind, Result, Step};
use crate::layer::limits::Limits;

/// A path below the root of a layer, as components that are neither empty, `.` nor `..`. The root itself has none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Vec<Vec<u8>>);

/// What an entry is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The entry is a file of the layer.
    Entry(Name),
    /// What lower layers have at this name is deleted (`.wh.NAME`).
    Whiteout(Name),
    /// What lower layers have in this directory is deleted (`.wh..wh..opq`).
    Opaque(Name),
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Name {
    /// Reads the name of an entry, or the target of a hard link. A leading `/` means the root of the layer.
    pub fn parse(path: &[u8], limits: &Limits) -> Result<Self> {
        let wrong = |kind, reason: &str| {
            let error = Error::new(kind, Step::Unpack).object_is(shown(path));
            Err(error.reason_is(reason))
        };
        if path.is_empty() {
            return wrong(Kind::InvalidContent, "an entry without a name");
        }
        if path.contains(&0) {
            return wrong(Kind::InvalidContent, "a name with a zero byte in it");
        }
        if path.len() > limits.path {
            return wrong(Kind::Limit, &format!("a name of {} bytes; {} are allowed", path.len(), limits.path));
        }
        let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        let components: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        if components.iter().any(|part| part == b"..") {
            return wrong(Kind::InvalidContent, "a name with `..` in it");
        }
        if components.iter().any(|part| part.len() > 255) {
            return wrong(Kind::Limit, "a name with a component of more than 255 bytes");
        }
        if components.len() > limits.depth {
            return wrong(
                Kind::Limit,
                &format!("a name of {} components; {} are allowed", components.len(), limits.depth),
            );
        }
        Ok(Self(components))
    }

    /// A name of components that the caller has checked.
    pub(crate) fn of(components: Vec<Vec<u8>>) -> Self {
        Self(components)
    }

    /// The directory and the last component; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &[u8])> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }

    /// The components.
    #[must_use]
    pub fn components(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Whether it is the root of the layer.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry `last` in the directory of this name.
    #[must_use]
    pub fn join(&self, last: &[u8]) -> Self {
        let mut components = self.0.clone();
        components.push(last.to_vec());
        Self(components)
    }

    /// As bytes, without a leading slash.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.join(&b'/')
    }

    /// What the entry with this name is for. Names that only other tools' bookkeeping has are refused.
    pub fn meaning(self) -> Result<Meaning> {
        let refuse = |reason: &str| {
            let error = Error::new(Kind::InvalidContent, Step::Unpack).object_is(shown(&self.bytes()));
            Err(error.reason_is(reason))
        };
        let Some((directory, last)) = self.split() else { return Ok(Meaning::Entry(self)) };
        if directory.0.iter().any(|part| part.starts_with(WHITEOUT)) {
            return refuse("an entry below a whiteout");
        }
        let Some(hidden) = last.strip_prefix(WHITEOUT) else { return Ok(Meaning::Entry(self)) };
        if last == OPAQUE {
            return Ok(Meaning::Opaque(directory));
        }
        match hidden {
            b"" | b"." | b".." => refuse("a whiteout of no name"),
            hidden if hidden.starts_with(WHITEOUT) => refuse("bookkeeping of aufs, which is no part of a layer"),
            hidden => Ok(Meaning::Whiteout(directory.join(hidden))),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_root() { "/" } else { "" })?;
        f.write_str(&shown(&self.bytes()))
    }
}

/// A path from an archive as it may be printed: on one line, without control characters, not longer than a line or two.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    let head = path.get(..200).unwrap_or(path);
    let text: String = String::from_utf8_lossy(head).chars().flat_map(char::escape_debug).collect();
    if head.len() < path.len() { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Name {
        Name::parse(path.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn names_are_relative_to_the_root() {
        for (path, clean) in
            [("a/b", "a/b"), ("./a//b/", "a/b"), ("/etc/./x", "etc/x"), ("./", ""), ("/", ""), (".", "")]
        {
            assert_eq!(name(path).bytes(), clean.as_bytes(), "{path}");
        }
    }

    #[test]
    fn names_that_lead_out_or_are_too_long_are_refused() {
        let long = "a/".repeat(2100);
        let deep = "a/".repeat(400);
        let wide = "a".repeat(256);
        for path in ["", "..", "../x", "a/../b", "a/..", "/..", "a\0b", &long, &deep, &wide] {
            assert!(Name::parse(path.as_bytes(), &Limits::default()).is_err(), "{path:?}");
        }
    }

    #[test]
    fn whiteouts() {
        assert_eq!(name("a/.wh.b").meaning().unwrap(), Meaning::Whiteout(name("a/b")));
        assert_eq!(name(".wh.b").meaning().unwrap(), Meaning::Whiteout(name("b")));
        assert_eq!(name("a/.wh..wh..opq").meaning().unwrap(), Meaning::Opaque(name("a")));
        assert_eq!(name(".wh..wh..opq").meaning().unwrap(), Meaning::Opaque(Name::default()));
        assert_eq!(name("a/.whb").meaning().unwrap(), Meaning::Entry(name("a/.whb")));
        assert_eq!(name("/").meaning().unwrap(), Meaning::Entry(Name::default()));
        for path in ["a/.wh.", "a/.wh..", "a/.wh...", "a/.wh..wh.plnk", ".wh.a/b", ".wh..wh..opq/x"] {
            assert!(name(path).meaning().is_err(), "{path}");
        }
    }
}
