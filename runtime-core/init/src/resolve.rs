//! Paths inside the root filesystem: resolved once, to a descriptor, and never outside of it.

use crate::abi::{
    EEXIST, EINVAL, ELOOP, ENAMETOOLONG, ENOENT, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_WRONLY, PATH_MAX,
    RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS,
};
use crate::sys::{CStr, Errno, Fd, Result, close, mkdirat, openat2, readlinkat};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// `openat2` gives EAGAIN when a rename races with `..`; a container that renames for ever shall not hold us for ever.
const RACES: usize = 128;
const EAGAIN: i32 = 11;

/// What to make where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Directory(u32),
    File,
}

/// Opens `path` inside `root`, following links as a process in the container would.
pub(crate) fn open(root: Fd, path: CStr<'_>, flags: u64) -> Result<Fd> {
    open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens `path` inside `root`; any symbolic link on the way is ELOOP.
pub(crate) fn open_no_links(root: Fd, path: CStr<'_>, flags: u64) -> Result<Fd> {
    open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
}

fn open_resolved(root: Fd, path: CStr<'_>, flags: u64, resolve: u64) -> Result<Fd> {
    for _ in 0..RACES {
        match openat2(root, path, flags, 0, resolve) {
            Err(Errno(EAGAIN)) => {}
            other => return other,
        }
    }
    Err(Errno(EAGAIN))
}

/// A path on the stack that can be cut at any component.
struct PathBuffer {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl PathBuffer {
    fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    fn push(&mut self, part: &[u8]) -> Result<()> {
        let end = self.len.checked_add(part.len()).filter(|end| *end < PATH_MAX).ok_or(Errno(ENAMETOOLONG))?;
        self.bytes.get_mut(self.len..end).ok_or(Errno(ENAMETOOLONG))?.copy_from_slice(part);
        self.len = end;
        self.terminate(end)
    }

    fn terminate(&mut self, at: usize) -> Result<()> {
        *self.bytes.get_mut(at).ok_or(Errno(ENAMETOOLONG))? = 0;
        Ok(())
    }

    /// The component that begins at or after `from`: its start and end.
    fn component(&self, from: usize) -> Option<(usize, usize)> {
        let text = self.bytes.get(..self.len)?;
        let start = from + text.get(from..)?.iter().position(|b| *b != b'/')?;
        let length = text.get(start..)?.iter().position(|b| *b == b'/').unwrap_or(self.len - start);
        Some((start, start + length))
    }
}

/// Copies `bytes` and a NUL into `buffer`.
pub(crate) fn terminated<'a>(bytes: &[u8], buffer: &'a mut [u8; 256]) -> Result<CStr<'a>> {
    let room = buffer.get_mut(..=bytes.len()).ok_or(Errno(ENAMETOOLONG))?;
    if let [text @ .., end] = room {
        text.copy_from_slice(bytes);
        *end = 0;
    }
    Ok(CStr::new(buffer.get(..=bytes.len()).ok_or(Errno(ENAMETOOLONG))?))
}

/// Opens `path` inside `root` (O_PATH), making what is missing: directories on the way with mode 0755, and `make` at its end.
///
/// A link that dangles inside the root is followed, and its target made, as the container itself would see it.
pub(crate) fn open_or_make(root: Fd, path: CStr<'_>, make: Make) -> Result<Fd> {
    match open(root, path, O_PATH) {
        Err(Errno(ENOENT)) => {}
        other => return other,
    }
    match make_last(root, path, make) {
        Err(Errno(ENOENT | EEXIST)) => make_all(root, path, make),
        other => other,
    }
}

/// Makes one component after the other. Kept apart for the sake of the stack, as all that has room for a whole path and is seldom needed.
#[cold]
#[inline(never)]
fn make_all(root: Fd, path: CStr<'_>, make: Make) -> Result<Fd> {
    let mut buffer = PathBuffer::new();
    buffer.push(path.bytes())?;
    for _ in 0..MAX_LINKS {
        match walk(root, &mut buffer, make)? {
            Walked::There(fd) => return Ok(fd),
            Walked::Link => {}
        }
    }
    Err(Errno(ELOOP))
}

/// The usual case: only the last component is missing.
fn make_last(root: Fd, path: CStr<'_>, make: Make) -> Result<Fd> {
    let mut text = [0u8; 256];
    let bytes = path.bytes();
    let (Some(cut), Some(room)) = (bytes.iter().rposition(|byte| *byte == b'/'), text.get_mut(..bytes.len())) else {
        return Err(Errno(ENOENT));
    };
    room.copy_from_slice(bytes);
    let mut last = [0u8; 256];
    let name = terminated(bytes.get(cut + 1..).ok_or(Errno(EINVAL))?, &mut last)?;
    if name.bytes().is_empty() {
        return Err(Errno(ENOENT));
    }
    // "/name": the slash itself is the parent.
    let end = cut.max(1);
    *text.get_mut(end).ok_or(Errno(ENAMETOOLONG))? = 0;
    let dir = open(root, CStr::new(text.get(..=end).ok_or(Errno(EINVAL))?), O_PATH | O_DIRECTORY)?;
    let made = make_one(dir, name, make);
    close(dir)?;
    made
}

enum Walked {
    There(Fd),
    /// The path was rewritten by a link.
    Link,
}

fn walk(root: Fd, path: &mut PathBuffer, make: Make) -> Result<Walked> {
    let mut dir = root;
    let mut from = 0;
    while let Some((start, end)) = path.component(from) {
        let last = path.component(end).is_none();
        let next = match open_prefix(root, path, end) {
            Ok(fd) => fd,
            Err(Errno(ENOENT)) => {
                let mut name = [0u8; 256];
                let name = terminated(path.bytes.get(start..end).ok_or(Errno(EINVAL))?, &mut name)?;
                match make_one(dir, name, if last { make } else { Make::Directory(0o755) }) {
                    Ok(fd) => fd,
                    Err(Errno(EEXIST)) => {
                        follow(dir, name, path, start, end)?;
                        return Ok(Walked::Link);
                    }
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        };
        if dir != root {
            close(dir)?;
        }
        dir = next;
        from = end;
    }
    if dir == root { open(root, CStr::new(b"/\0"), O_PATH).map(Walked::There) } else { Ok(Walked::There(dir)) }
}

fn open_prefix(root: Fd, path: &mut PathBuffer, end: usize) -> Result<Fd> {
    let kept = path.bytes.get(end).copied().unwrap_or(0);
    path.terminate(end)?;
    let result = path.bytes.get(..=end).map_or(Err(Errno(EINVAL)), |prefix| open(root, CStr::new(prefix), O_PATH));
    if let Some(byte) = path.bytes.get_mut(end) {
        *byte = kept;
    }
    result
}

fn make_one(dir: Fd, name: CStr<'_>, make: Make) -> Result<Fd> {
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    match make {
        Make::Directory(mode) => {
            mkdirat(dir, name, mode)?;
            openat2(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, resolve)
        }
        Make::File => {
            let made = openat2(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o755, resolve)?;
            close(made)?;
            openat2(dir, name, O_PATH | O_NOFOLLOW, 0, resolve)
        }
    }
}

/// Replaces the component `start..end`, a dangling link in `dir`, by what it points to.
fn follow(dir: Fd, name: CStr<'_>, path: &mut PathBuffer, start: usize, end: usize) -> Result<()> {
    let mut target = [0u8; PATH_MAX];
    let length = match readlinkat(dir, name, &mut target, PATH_MAX) {
        Ok(length) => length,
        // Not a link: it appeared between the two calls, and the next walk finds it.
        Err(Errno(EINVAL)) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let target = target.get(..length).ok_or(Errno(ENAMETOOLONG))?;
    let mut next = PathBuffer::new();
    if target.first() != Some(&b'/') {
        next.push(path.bytes.get(..start).ok_or(Errno(EINVAL))?)?;
    }
    next.push(target)?;
    next.push(path.bytes.get(end..path.len).ok_or(Errno(EINVAL))?)?;
    *path = next;
    Ok(())
}

/// Whether this is the name of an entry of a directory.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
}

/// Splits a path into its parent (made if missing) and its last component.
pub(crate) fn parent<'b>(root: Fd, path: CStr<'_>, name: &'b mut [u8; 256]) -> Result<(Fd, CStr<'b>)> {
    let mut text = path.bytes();
    while let [shorter @ .., b'/'] = text
        && !shorter.is_empty()
    {
        text = shorter;
    }
    let cut = text.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
    let (directory, last) = text.split_at_checked(cut).ok_or(Errno(EINVAL))?;
    if !is_name(last) {
        return Err(Errno(EINVAL));
    }
    let name = terminated(last, name)?;
    let mut short = [0; 256];
    let directory = match directory {
        [] => make_directory(root, CStr::new(b"/\0")),
        directory if directory.len() < short.len() => make_directory(root, terminated(directory, &mut short)?),
        directory => make_long_directory(root, directory),
    };
    Ok((directory?, name))
}

fn make_directory(root: Fd, path: CStr<'_>) -> Result<Fd> {
    open_or_make(root, path, Make::Directory(0o755))
}

#[cold]
#[inline(never)]
fn make_long_directory(root: Fd, path: &[u8]) -> Result<Fd> {
    let mut buffer = PathBuffer::new();
    buffer.push(path)?;
    make_directory(root, CStr::new(buffer.bytes.get(..=buffer.len).ok_or(Errno(EINVAL))?))
}
