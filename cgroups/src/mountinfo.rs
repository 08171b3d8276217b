//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), as far as runtimes ask it.

use std::borrow::Cow;
use std::os::fd::AsFd;

use crate::error::{Error, Result};
use crate::sys::{self, At, OFlags};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount<'m> {
    /// The directory of its file system that it shows.
    pub root: Cow<'m, str>,
    /// Where it is, as the process sees it.
    pub point: Cow<'m, str>,
    /// The type of its file system.
    pub filesystem: &'m str,
    /// The options of the file system, separated by commas.
    pub options: &'m str,
}

/// The text of this process's own file.
pub(crate) fn of_self() -> Result<String> {
    const FILE: &str = "/proc/self/mountinfo";
    let fail = |errno| Error::os("read", errno).with_object(FILE);
    let fd = sys::open(At::Absolute, FILE, OFlags::RDONLY).map_err(fail)?;
    let bytes = sys::read_all(fd.as_fd()).map_err(fail)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The mounts in the text of a mountinfo file. Lines that are none are passed over.
pub fn mounts(text: &str) -> impl Iterator<Item = Mount<'_>> {
    text.lines().filter_map(parse)
}

fn parse(line: &str) -> Option<Mount<'_>> {
    // Between the mount's options and the dash there may be any number of fields.
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let mut filesystem = filesystem.split(' ');
    let (root, point) = (unescape(mount.next()?), unescape(mount.next()?));
    let (kind, _source) = (filesystem.next()?, filesystem.next());
    Some(Mount { root, point, filesystem: kind, options: filesystem.next().unwrap_or_default() })
}

/// The kernel writes blanks, line ends and backslashes as three octal digits.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..]) => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => plain.push(*first),
        }
    }
    Cow::Owned(String::from_utf8(plain).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_made_plain() {
        let text = "25 1 0:22 / /cg\\0402 rw,nosuid shared:1 master:2 - cgroup2 cgroup rw,nsdelegate\n\
            26 1 0:23 /a\\134b /tmp\\011\\012 rw - tmpfs tmpfs\n27 1 0:24 / /x rw\nnonsense\n";
        let found: Vec<_> = mounts(text).collect();
        assert_eq!(found.len(), 2);
        let first = &found[0];
        assert_eq!((&*first.root, &*first.point), ("/", "/cg 2"));
        assert_eq!((first.filesystem, first.options), ("cgroup2", "rw,nsdelegate"));
        assert_eq!((&*found[1].root, &*found[1].point, found[1].options), ("/a\\b", "/tmp\t\n", ""));
    }

    #[test]
    fn only_what_is_octal_is_taken_for_it() {
        for (text, plain) in [
            ("/a", "/a"),
            ("\\", "\\"),
            ("a\\04", "a\\04"),
            ("\\089", "\\089"),
            ("\\+40", "\\+40"),
            ("\\400", "\\400"),
            ("\\303\\274", "ü"),
            ("ü\\040", "ü "),
            ("\\377", "\u{fffd}"),
        ] {
            assert_eq!(unescape(text), plain, "{text}");
        }
    }
}
