//! Applying the entries of an archive to a directory, as one layer for overlayfs.
//!
//! A deleted name becomes a character device 0:0 and a directory that hides lower ones an attribute, as overlayfs wants
//! them. What only lower layers can tell is written down: the attributes of directories that the archive does not describe,
//! and hard links to files that it does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::base::{Error, Kind as ErrorKind, Result, Step};
use crate::layer::ids::{Ids, Squash};
use crate::layer::limits::Limits;
use crate::layer::name::{Meaning, Name, shown};
use crate::layer::tar::{Entry, Kind, Reader, Time};
use crate::layer::tree::{Missing, OverlayXattrs, Tree, failed, is_whiteout};
use crate::layer::xattr::{self, Rule};

/// How many hard links to files of lower layers one layer may have.
const DEFERRED: usize = 65_536;
/// How many deleted names one layer may have.
const WHITEOUTS: usize = 100_000;

/// How many names of what was left out are told.
const LEFT_OUT: usize = 32;

/// What unpacking a layer has left to say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of its files as they appear.
    pub size: u64,
    /// Directories that the archive does not describe: lower layers say what they are like.
    pub implied: BTreeSet<Name>,
    /// Hard links to files that the archive does not hold, and the names of those in lower layers.
    pub deferred: BTreeMap<Name, Name>,
    /// Names that were deleted. Where the lower layers have none of it, there must be no whiteout: in a directory that is not
    /// merged with a lower one, overlayfs lists it.
    pub whiteouts: BTreeSet<Name>,
    /// Whether the archive describes the root directory itself.
    pub describes_root: bool,
    /// Whether all of the lower layers is hidden.
    pub opaque_root: bool,
    /// What was left out, by name, with how many times: extended attributes, device nodes.
    pub left_out: BTreeMap<String, u64>,
}

impl Unpacked {
    /// Counts what was left out. An archive may make up any number of names, of which only the first are told.
    fn leave_out(&mut self, name: String) {
        let known = self.left_out.len() < LEFT_OUT || self.left_out.contains_key(&name);
        *self.left_out.entry(if known { name } else { "others".to_owned() }).or_default() += 1;
    }
}

/// How to unpack.
#[derive(Debug, Clone)]
pub struct Options {
    /// What a layer may hold.
    pub limits: Limits,
    /// Which owners can be set.
    pub ids: Ids,
    /// Where overlayfs's own attributes go.
    pub xattrs: OverlayXattrs,
}

/// Unpacks the archive `input` into the empty directory `root`.
pub(super) fn unpack<R: BufRead>(input: R, root: OwnedFd, options: &Options) -> Result<Unpacked> {
    let mut reader = Reader::new(input, options.limits);
    let mut unpacker = Unpacker { tree: Tree::new(root, options.xattrs), options, result: Unpacked::default() };
    while let Some(entry) = reader.entry()? {
        let named = |error: Error| match error.object() {
            Some(_) => error,
            None => error.object_is(shown(&entry.path)),
        };
        unpacker.apply(&entry, &mut reader).map_err(named)?;
    }
    reader.finish()?;
    let Unpacker { tree, mut result, .. } = unpacker;
    result.implied = tree.finish()?;
    Ok(result)
}

struct Unpacker<'a> {
    tree: Tree,
    options: &'a Options,
    result: Unpacked,
}

impl Unpacker<'_> {
    fn apply<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        self.result.entries += 1;
        match Name::parse(&entry.path, &self.options.limits)?.meaning()? {
            Meaning::Whiteout(name) => self.whiteout(&name),
            Meaning::Opaque(directory) => self.opaque(&directory),
            Meaning::Entry(name) => match (name.split(), &entry.kind) {
                (None, Kind::Directory) => self.root(entry),
                (None, _) => Err(bad("the root of a layer that is no directory")),
                (Some((parent, last)), _) => self.entry(&parent, last, entry, reader),
            },
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        self.tree.leave_to(0)?;
        self.result.describes_root = true;
        self.describe_directory(entry, true)
    }

    fn entry<R: BufRead>(&mut self, parent: &Name, last: &[u8], entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        if let Kind::HardLink(target) = &entry.kind {
            return self.hard_link(parent, last, target);
        }
        self.tree.enter(parent, Missing::Make)?;
        self.forget_deferred(last);
        match &entry.kind {
            Kind::Directory => {
                let was_there = self.tree.enter_described(last)?;
                self.describe_directory(entry, was_there)
            }
            Kind::File { size, pieces } => self.file(last, entry, *size, pieces.as_deref(), reader),
            Kind::Symlink(target) => {
                self.make(last, |fd, last| rustix::fs::symlinkat(&target[..], fd, last))?;
                self.describe_special(last, entry)
            }
            _ => self.node(last, entry),
        }
    }

    /// Makes something at `last`; what is there already gives way.
    fn make<T>(
        &mut self,
        last: &[u8],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        self.tree.will_change();
        match make(self.tree.fd(), last) {
            Err(Errno::EXIST) => {
                self.tree.clear(last)?;
                make(self.tree.fd(), last).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    fn file<R: BufRead>(
        &mut self,
        last: &[u8],
        entry: &Entry,
        size: u64,
        pieces: Option<&[(u64, u64)]>,
        reader: &mut Reader<R>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |fd: BorrowedFd<'_>, last: &[u8]| rustix::fs::openat(fd, last, flags, Mode::from_raw_mode(0o600));
        let file = self.make(last, open)?;
        match pieces {
            None => write_all(&file, reader)?,
            Some(pieces) => write_pieces(&file, size, pieces, reader)?,
        }
        self.result.size += size;
        self.describe(&file, entry)?;
        rustix::fs::futimens(&file, &times(entry)).map_err(failed)
    }

    fn node(&mut self, last: &[u8], entry: &Entry) -> Result<()> {
        let (kind, device) = match entry.kind {
            Kind::CharDevice(0, 0) => {
                return Err(bad("a character device 0:0, which overlayfs takes for a deleted file"));
            }
            Kind::CharDevice(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Kind::BlockDevice(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        let make =
            |fd: BorrowedFd<'_>, last: &[u8]| rustix::fs::mknodat(fd, last, kind, Mode::from_raw_mode(0o600), device);
        match self.make(last, make) {
            Err(error) if error.errno() == Some(libc::EPERM) && kind != FileType::Fifo => {
                if self.options.ids.squash() == Squash::ToSelf {
                    self.result.leave_out("device nodes".to_owned());
                    return Ok(());
                }
                let hint = "only root of the host can make device nodes: unpack as root, or squash owners and devices";
                return Err(error.hint_is(hint));
            }
            result => result?,
        }
        self.describe_special(last, entry)
    }

    fn hard_link(&mut self, parent: &Name, last: &[u8], target: &[u8]) -> Result<()> {
        let target = Name::parse(target, &self.options.limits)?;
        let Some((target_parent, target_last)) = target.split() else { return Err(bad("a hard link to the root")) };
        let absent = self.tree.enter(&target_parent, Missing::Tell)?;
        let file = if absent.is_none() { self.open_for_link(target_last)? } else { None };
        // Where links led is what the lower layers know it by.
        let real = absent.unwrap_or_else(|| self.tree.name()).join(target_last);
        self.tree.enter(parent, Missing::Make)?;
        let place = self.tree.name().join(last);
        let Some(file) = file else {
            // Another link to the same file may have been put off as well.
            let lower = self.result.deferred.get(&real).cloned().unwrap_or(real);
            return self.defer(place, last, lower);
        };
        if place == real {
            return Ok(());
        }
        self.forget_deferred(last);
        self.make(last, |fd, last| link(file.as_fd(), fd, last))
    }

    /// The file at `last`, to be linked; `None` if only a lower layer can have it.
    fn open_for_link(&self, last: &[u8]) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(self.tree.fd(), last, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let status = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            return Err(bad("a hard link to a directory"));
        }
        Ok(Some(file).filter(|_| !is_whiteout(&status)))
    }

    fn defer(&mut self, place: Name, last: &[u8], lower: Name) -> Result<()> {
        if self.result.deferred.len() >= DEFERRED {
            let reason = format!("more than {DEFERRED} hard links to files that are not in the archive");
            return Err(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason));
        }
        if self.tree.find(last)?.is_some() {
            self.tree.clear(last)?;
        }
        self.tree.note(&place)?;
        self.tree.note(&lower)?;
        self.result.deferred.insert(place, lower);
        Ok(())
    }

    fn forget_deferred(&mut self, last: &[u8]) {
        if !self.result.deferred.is_empty() {
            let place = self.tree.name().join(last);
            self.result.deferred.remove(&place);
        }
    }

    /// Deletes `name` of the lower layers. What this layer itself has at that name stays.
    fn whiteout(&mut self, name: &Name) -> Result<()> {
        let Some((parent, last)) = name.split() else { return Ok(()) };
        self.tree.enter(&parent, Missing::Make)?;
        let there = self.tree.find(last)?.map(|status| FileType::from_raw_mode(status.st_mode));
        match there {
            None if self.result.deferred.contains_key(&self.tree.name().join(last)) => Ok(()),
            None => self.make_whiteout(last),
            Some(FileType::Directory) => {
                let directory = self.tree.name().join(last);
                self.tree.enter(&directory, Missing::Tell)?;
                self.tree.set_opaque()
            }
            Some(_) => Ok(()),
        }
    }

    fn make_whiteout(&mut self, last: &[u8]) -> Result<()> {
        if self.result.whiteouts.len() >= WHITEOUTS {
            let reason = format!("more than {WHITEOUTS} whiteouts");
            return Err(Error::new(ErrorKind::Limit, Step::Unpack).reason_is(reason));
        }
        self.tree.will_change();
        rustix::fs::mknodat(self.tree.fd(), last, FileType::CharacterDevice, Mode::empty(), 0).map_err(|errno| {
            failed(errno).hint_is("a whiteout is a character device 0:0; users can make it from Linux 5.8 on")
        })?;
        let name = self.tree.name().join(last);
        self.tree.note(&name)?;
        self.result.whiteouts.insert(name);
        Ok(())
    }

    fn opaque(&mut self, directory: &Name) -> Result<()> {
        self.tree.enter(directory, Missing::Make)?;
        if self.tree.name().is_root() {
            // overlayfs merges the roots of all layers whatever their attributes say.
            self.result.opaque_root = true;
            return Ok(());
        }
        self.tree.set_opaque()
    }

    fn describe_directory(&mut self, entry: &Entry, was_there: bool) -> Result<()> {
        let fd = self.tree.fd().try_clone_to_owned().map_err(|error| Error::io(Step::Unpack, &error))?;
        if was_there {
            clear_xattrs(&fd)?;
        }
        self.describe(&fd, entry)?;
        self.tree.times_are(times(entry));
        Ok(())
    }

    /// Owner, then mode, since a change of owner takes the setuid bit away; then attributes, since it takes capabilities too.
    fn describe(&mut self, file: &OwnedFd, entry: &Entry) -> Result<()> {
        let (uid, gid) = self.options.ids.owner(entry.uid, entry.gid)?;
        rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(failed)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        self.xattrs(entry, |name, value| rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()))
    }

    /// The same for what cannot be opened: links, devices, pipes.
    fn describe_special(&mut self, last: &[u8], entry: &Entry) -> Result<()> {
        let (uid, gid) = self.options.ids.owner(entry.uid, entry.gid)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(self.tree.fd(), last, flags, Mode::empty()).map_err(failed)?;
        rustix::fs::chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)?;
        // The kernel's own link leads to the node whatever it is, a symbolic link included, and no further.
        let path = by_descriptor(node.as_fd());
        if !matches!(entry.kind, Kind::Symlink(_)) {
            rustix::fs::chmod(&path, Mode::from_raw_mode(entry.mode)).map_err(failed)?;
        }
        self.xattrs(entry, |name, value| rustix::fs::setxattr(&path, name, value, XattrFlags::empty()))?;
        rustix::fs::utimensat(self.tree.fd(), last, &times(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    fn xattrs(&mut self, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> std::result::Result<(), Errno>) -> Result<()> {
        for (name, value) in &entry.xattrs {
            let left_out = match xattr::rule(name) {
                Rule::LeaveOut => true,
                Rule::Set => match set(name, value) {
                    Ok(()) => false,
                    Err(errno) if xattr::may_be_left_out(name, errno, self.options.xattrs == OverlayXattrs::User) => {
                        true
                    }
                    Err(errno) => {
                        let error = failed(errno).object_is(format!("{} of {}", shown(name), shown(&entry.path)));
                        return Err(error.hint_is("the store must lie on a file system with extended attributes"));
                    }
                },
            };
            if left_out {
                self.result.leave_out(shown(name));
            }
        }
        Ok(())
    }
}

/// Links `file` by its descriptor as `last` of `directory`.
pub(crate) fn link(file: BorrowedFd<'_>, directory: BorrowedFd<'_>, last: &[u8]) -> std::result::Result<(), Errno> {
    match rustix::fs::linkat(file, "", directory, last, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that is for CAP_DAC_READ_SEARCH of the host only; the link in /proc leads to the same file.
        Err(Errno::NOENT) => {
            let path = by_descriptor(file);
            rustix::fs::linkat(rustix::fs::CWD, path, directory, last, AtFlags::SYMLINK_FOLLOW)
        }
        result => result,
    }
}

/// The link of the kernel that leads to what a descriptor is open on.
pub(crate) fn by_descriptor(file: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn bad(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidContent, Step::Unpack).reason_is(reason)
}

/// A directory that is described twice has the attributes of the second time only.
fn clear_xattrs(directory: &OwnedFd) -> Result<()> {
    let mut list = vec![0u8; 1 << 16];
    let length = match rustix::fs::flistxattr(directory, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    for name in list.get(..length).unwrap_or_default().split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        // overlayfs's own are what this unpacker has set.
        if xattr::rule(name) == Rule::Set {
            rustix::fs::fremovexattr(directory, name).map_err(failed)?;
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let time = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) };
    Timestamps { last_access: time(entry.atime.unwrap_or(entry.mtime)), last_modification: time(entry.mtime) }
}

fn write_all<R: BufRead>(file: &OwnedFd, reader: &mut Reader<R>) -> Result<()> {
    loop {
        let chunk = reader.chunk()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, chunk)).map_err(failed)?;
        reader.consume(written);
    }
}

fn write_pieces<R: BufRead>(file: &OwnedFd, size: u64, pieces: &[(u64, u64)], reader: &mut Reader<R>) -> Result<()> {
    rustix::fs::ftruncate(file, size).map_err(failed)?;
    for &(offset, length) in pieces {
        let mut done = 0;
        while done < length {
            let chunk = reader.chunk()?;
            let left = usize::try_from(length - done).unwrap_or(usize::MAX);
            let part = chunk.get(..left).unwrap_or(chunk);
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(file, part, offset + done)).map_err(failed)?;
            reader.consume(written);
            done += written as u64;
        }
    }
    Ok(())
}
