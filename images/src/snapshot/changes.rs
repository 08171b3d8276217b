//! What a container has changed in its root file system, and a layer made of that.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::base::{Cancel, Error, Kind as ErrorKind, Result, Step};
use crate::layer::tar::{Entry, Kind, Time, Writer};
use crate::layer::{Name, OverlayXattrs, by_descriptor, is_whiteout};
use crate::snapshot::copy::{xattr_names, xattr_value};
use crate::snapshot::merged::{Directory, Found, failed, is_opaque, names};
use crate::snapshot::settle::open_directory;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It is new.
    Added,
    /// It was there, and it or something in it is different.
    Changed,
    /// It is gone.
    Deleted,
}

impl Happened {
    /// The letter that Docker prints.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One difference between a root file system and its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub happened: Happened,
    /// To what.
    pub name: Name,
}

/// Collects changes in the order of a depth-first walk, names sorted.
struct Walk<'a> {
    changes: Vec<Change>,
    /// Where others mount, as `/etc/hosts`: what they have made for that is no change.
    mount_points: &'a [&'a str],
    /// How many of them were found.
    passed: usize,
    cancel: &'a Cancel,
}

/// What the upper directory of an overlay says about the layers below it.
pub(crate) fn of_overlay(
    upper: BorrowedFd<'_>,
    lower: &Directory,
    xattrs: OverlayXattrs,
    mount_points: &[&str],
    cancel: &Cancel,
) -> Result<Vec<Change>> {
    let mut walk = Walk { changes: Vec::new(), mount_points, passed: 0, cancel };
    walk.overlay(upper, Some(lower), &Name::default(), xattrs)?;
    Ok(walk.changes)
}

/// What the directory `now`, which began as a copy of `before`, has become.
pub(crate) fn of_copy(
    now: BorrowedFd<'_>,
    before: &Directory,
    mount_points: &[&str],
    cancel: &Cancel,
) -> Result<Vec<Change>> {
    let mut walk = Walk { changes: Vec::new(), mount_points, passed: 0, cancel };
    walk.compare(now, Some(before), &Name::default())?;
    Ok(walk.changes)
}

/// How deep a container's directories may be for a comparison, which goes down with them: no layer may have deeper ones.
const DEPTH: usize = 256;

impl Walk<'_> {
    fn may_go_on(&self, at: &Name) -> Result<()> {
        self.cancel.check(Step::Snapshot)?;
        if at.components().len() <= DEPTH {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Limit, Step::Snapshot).reason_is(format!("directories more than {DEPTH} deep")))
    }

    fn push(&mut self, happened: Happened, name: Name) {
        self.changes.push(Change { happened, name });
    }

    /// Whether `name` in `directory`, which the image has not, is an empty place that was made to mount on.
    fn is_mount_point(&mut self, directory: BorrowedFd<'_>, name: &[u8], status: &Stat, place: &Name) -> Result<bool> {
        if !self.mount_points.iter().any(|point| place.bytes() == point.trim_start_matches('/').as_bytes()) {
            return Ok(false);
        }
        let empty = match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => names(open(directory, name)?.as_fd())?.is_empty(),
            FileType::RegularFile => status.st_size == 0,
            _ => false,
        };
        self.passed += usize::from(empty);
        Ok(empty)
    }

    fn overlay(
        &mut self,
        upper: BorrowedFd<'_>,
        lower: Option<&Directory>,
        at: &Name,
        xattrs: OverlayXattrs,
    ) -> Result<()> {
        self.may_go_on(at)?;
        for name in sorted(upper)? {
            let status = status(upper, &name)?;
            let place = at.join(&name);
            let below = lower.map(|lower| lower.find(&name)).transpose()?.flatten();
            if is_whiteout(&status) {
                if below.is_some() {
                    self.push(Happened::Deleted, place);
                }
                continue;
            }
            if below.is_none() && self.is_mount_point(upper, &name, &status, &place)? {
                continue;
            }
            let (mark, passed) = (self.changes.len(), self.passed);
            self.push(if below.is_some() { Happened::Changed } else { Happened::Added }, place.clone());
            if is_directory(&status) {
                let directory = open(upper, &name)?;
                let as_before = match &below {
                    None => true,
                    Some(Found::Directory(_, before)) => !differs(&status, before),
                    Some(Found::Other(..)) => false,
                };
                let below = below.and_then(|found| match found {
                    Found::Directory(directory, _) => Some(directory),
                    Found::Other(..) => None,
                });
                let hidden = is_opaque(directory.as_fd(), xattrs)?;
                if let (true, Some(below)) = (hidden, &below) {
                    self.hidden(directory.as_fd(), below, &place)?;
                }
                self.overlay(directory.as_fd(), below.as_ref().filter(|_| !hidden), &place, xattrs)?;
                if as_before && self.passed > passed && self.changes.len() == mark + 1 {
                    // It is there for the places in it.
                    self.changes.truncate(mark);
                }
            }
        }
        Ok(())
    }

    /// What a directory that hides the lower one has not got.
    fn hidden(&mut self, upper: BorrowedFd<'_>, lower: &Directory, at: &Name) -> Result<()> {
        for name in lower.names()? {
            match rustix::fs::statat(upper, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => self.push(Happened::Deleted, at.join(&name)),
                Ok(status) if is_whiteout(&status) => self.push(Happened::Deleted, at.join(&name)),
                Ok(_) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    fn compare(&mut self, now: BorrowedFd<'_>, before: Option<&Directory>, at: &Name) -> Result<()> {
        self.may_go_on(at)?;
        let there = sorted(now)?;
        let gone = before.map(Directory::names).transpose()?.unwrap_or_default();
        let mut all: Vec<_> = there.iter().chain(&gone).cloned().collect();
        all.sort();
        all.dedup();
        for name in all {
            let place = at.join(&name);
            if there.binary_search(&name).is_err() {
                self.push(Happened::Deleted, place);
                continue;
            }
            let new = status(now, &name)?;
            let old = before.map(|before| before.find(&name)).transpose()?.flatten();
            if old.is_none() && self.is_mount_point(now, &name, &new, &place)? {
                continue;
            }
            let (mark, passed) = (self.changes.len(), self.passed);
            if is_directory(&new) {
                let below = match &old {
                    Some(Found::Directory(directory, _)) => Some(directory),
                    _ => None,
                };
                self.compare(open(now, &name)?.as_fd(), below, &place)?;
            }
            let different = match &old {
                // A directory is there for the places in it.
                None => self.passed == passed || self.changes.len() > mark,
                Some(Found::Directory(_, status)) => differs(&new, status) || self.changes.len() > mark,
                Some(Found::Other(_, status)) => differs(&new, status),
            };
            if different {
                let happened = if old.is_some() { Happened::Changed } else { Happened::Added };
                self.changes.insert(mark, Change { happened, name: place });
            }
        }
        Ok(())
    }
}

/// As Docker compares: what a change of the contents or the attributes leaves different.
fn differs(new: &Stat, old: &Stat) -> bool {
    let same = new.st_mode == old.st_mode
        && new.st_uid == old.st_uid
        && new.st_gid == old.st_gid
        && new.st_rdev == old.st_rdev
        && (is_directory(new)
            || (new.st_size == old.st_size && new.st_mtime == old.st_mtime && new.st_mtime_nsec == old.st_mtime_nsec));
    !same
}

fn sorted(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut names = names(directory)?;
    names.sort();
    Ok(names)
}

fn status(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    rustix::fs::openat(directory, name, DIRECTORY, Mode::empty()).map_err(failed)
}

fn is_directory(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

/// Writes `changes` of the tree `root` to `output` as a layer: what is there as entries, what is gone as whiteouts.
pub(crate) fn write<W: Write>(root: BorrowedFd<'_>, changes: &[Change], output: W, cancel: &Cancel) -> Result<W> {
    let mut writer = Writer::new(output);
    let mut links = HashMap::new();
    for change in changes {
        cancel.check(Step::WriteArchive)?;
        let written = match change.happened {
            Happened::Deleted => write_whiteout(&mut writer, &change.name),
            Happened::Added | Happened::Changed => write_entry(&mut writer, root, &change.name, &mut links),
        };
        written.map_err(|error| error.object_is(change.name.to_string()))?;
    }
    writer.finish().map_err(|error| Error::io(Step::WriteArchive, &error))
}

fn write_whiteout<W: Write>(writer: &mut Writer<W>, name: &Name) -> Result<()> {
    let Some((parent, last)) = name.split() else { return Ok(()) };
    let whiteout = parent.join(&[b".wh.", last].concat());
    let entry = Entry {
        path: whiteout.bytes(),
        kind: Kind::File { size: 0, pieces: None },
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        atime: None,
        xattrs: Vec::new(),
    };
    writer.entry(&entry, &mut std::io::empty()).map_err(|error| Error::io(Step::WriteArchive, &error))
}

/// The first name of each file with several.
type Links = HashMap<(u64, u64), Vec<u8>>;

fn write_entry<W: Write>(writer: &mut Writer<W>, root: BorrowedFd<'_>, name: &Name, links: &mut Links) -> Result<()> {
    let Some((parent, last)) = name.split() else { return Ok(()) };
    let gone = || failed(Errno::NOENT).hint_is("the container changes its files: pause or stop it first");
    let parent = open_directory(root, &parent)?.ok_or_else(gone)?;
    let node = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(&parent, last, node, Mode::empty()).map_err(failed)?;
    let status = rustix::fs::fstat(&node).map_err(failed)?;
    let path = name.bytes();
    if status.st_nlink > 1 && !is_directory(&status) {
        let key = (status.st_dev, status.st_ino);
        if let Some(first) = links.get(&key) {
            let entry = describe(node.as_fd(), &status, path, Kind::HardLink(first.clone()))?;
            let entry = Entry { xattrs: Vec::new(), ..entry };
            return writer.entry(&entry, &mut std::io::empty()).map_err(|error| Error::io(Step::WriteArchive, &error));
        }
        links.insert(key, path.clone());
    }
    let Some(kind) = kind(node.as_fd(), &status)? else {
        // Sockets are no part of an archive; who listened is gone with the container.
        return Ok(());
    };
    let entry = describe(node.as_fd(), &status, path, kind)?;
    if matches!(entry.kind, Kind::File { .. }) {
        let file = rustix::fs::open(by_descriptor(node.as_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mut file = std::fs::File::from(file.map_err(failed)?);
        return writer.entry(&entry, &mut file).map_err(|error| Error::io(Step::WriteArchive, &error));
    }
    writer.entry(&entry, &mut std::io::empty()).map_err(|error| Error::io(Step::WriteArchive, &error))
}

fn kind(node: BorrowedFd<'_>, status: &Stat) -> Result<Option<Kind>> {
    let device = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
    Ok(match FileType::from_raw_mode(status.st_mode) {
        #[allow(clippy::cast_sign_loss, reason = "the kernel reports no negative size")]
        FileType::RegularFile => Some(Kind::File { size: status.st_size as u64, pieces: None }),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(node, "", Vec::new()).map_err(failed)?;
            Some(Kind::Symlink(target.into_bytes()))
        }
        FileType::Fifo => Some(Kind::Fifo),
        FileType::CharacterDevice => Some(Kind::CharDevice(device.0, device.1)),
        FileType::BlockDevice => Some(Kind::BlockDevice(device.0, device.1)),
        _ => None,
    })
}

fn describe(node: BorrowedFd<'_>, status: &Stat, path: Vec<u8>, kind: Kind) -> Result<Entry> {
    let file = by_descriptor(node);
    let mut xattrs = Vec::new();
    for name in xattr_names(|list| rustix::fs::listxattr(&file, list))? {
        let value = xattr_value(|value| rustix::fs::getxattr(&file, &name[..], value))?;
        xattrs.push((name, value));
    }
    #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast, reason = "nanoseconds are below 1e9")]
    let mtime = Time { seconds: status.st_mtime, nanos: status.st_mtime_nsec as u32 };
    let (uid, gid) = (status.st_uid, status.st_gid);
    Ok(Entry { path, kind, mode: status.st_mode & 0o7777, uid, gid, mtime, atime: None, xattrs })
}
