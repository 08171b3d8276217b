//! The directory that a layer is unpacked into, seen as a stack of open directories.
//!
//! Every step goes from one open directory to an entry of it, never along a path. Symbolic links of the layer are followed
//! by reading them, within the root: an absolute target begins there, and `..` ends there.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::base::{Error, Kind, Result, Step};
use crate::layer::name::Name;

/// As many links as the kernel follows in one path.
const LINKS: usize = 40;
/// How many directories of one layer may be there only because something lies in them.
const IMPLIED: usize = 65_536;
/// How many bytes the names may have that are kept until the lower layers are known, and what a component takes beside its own.
const NOTED: usize = 64 << 20;
const NOTE: usize = 40;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Which attributes overlayfs keeps its own in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`, which needs root of the host.
    Trusted,
    /// `user.overlay.*`, for mounts with the option `userxattr`, within user namespaces.
    User,
}

impl OverlayXattrs {
    /// The attribute of a directory that hides what lower layers have in it.
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// An open directory on the way to where the next entry goes.
struct Open {
    component: Vec<u8>,
    fd: OwnedFd,
    /// What its times are to be when it is left, since what is made in it changes them.
    times: Option<Timestamps>,
    changed: bool,
}

/// A tree that is being made.
pub(super) struct Tree {
    root: Open,
    stack: Vec<Open>,
    xattrs: OverlayXattrs,
    implied: BTreeSet<Name>,
    noted: usize,
}

/// The name of what lies beyond `here`: `component`, then `left`, the last of which comes next.
fn beyond(here: Name, component: Vec<u8>, left: Vec<Vec<u8>>) -> Name {
    let mut components = here.components().to_vec();
    for part in std::iter::once(component).chain(left.into_iter().rev()) {
        if part == b".." {
            components.pop();
        } else {
            components.push(part);
        }
    }
    Name::of(components)
}

/// Where one component led.
enum Stepped {
    Entered,
    Link(Vec<u8>),
    Absent,
}

/// Whether directories on the way are made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Tell,
}

impl Tree {
    /// An empty tree in the directory `root`.
    pub(super) fn new(root: OwnedFd, xattrs: OverlayXattrs) -> Self {
        let root = Open { component: Vec::new(), fd: root, times: None, changed: false };
        Self { root, stack: Vec::new(), xattrs, implied: BTreeSet::new(), noted: 0 }
    }

    /// The directory that was entered last.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stack.last().unwrap_or(&self.root).fd.as_fd()
    }

    /// Its name, without links.
    pub(super) fn name(&self) -> Name {
        Name::of(self.stack.iter().map(|open| open.component.clone()).collect())
    }

    /// Goes to the directory `name`, over links. If it is not there and is not to be made, the result is the name that it
    /// would have, as far as the links of this layer lead.
    pub(super) fn enter(&mut self, name: &Name, missing: Missing) -> Result<Option<Name>> {
        let components = name.components();
        let same = self.stack.iter().zip(components).take_while(|(open, component)| open.component == **component);
        let same = same.count();
        self.leave_to(same)?;
        let mut left: Vec<Vec<u8>> = components.iter().skip(same).rev().cloned().collect();
        let mut links = 0;
        while let Some(component) = left.pop() {
            if component == b".." {
                self.leave_to(self.stack.len().saturating_sub(1))?;
                continue;
            }
            match self.step(&component, missing)? {
                Stepped::Entered => {}
                Stepped::Absent => return Ok(Some(beyond(self.name(), component, left))),
                Stepped::Link(target) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Error::os(Step::Unpack, Errno::LOOP.raw_os_error()));
                    }
                    if target.starts_with(b"/") {
                        self.leave_to(0)?;
                    }
                    let parts = target.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
                    left.extend(parts.rev().map(<[u8]>::to_vec));
                }
            }
            if self.stack.len() + left.len() > 1024 {
                return Err(Error::new(Kind::Limit, Step::Unpack).reason_is("links lead too deep"));
            }
        }
        Ok(None)
    }

    fn step(&mut self, component: &[u8], missing: Missing) -> Result<Stepped> {
        match rustix::fs::openat(self.fd(), component, DIRECTORY, Mode::empty()) {
            Ok(fd) => {
                let status = rustix::fs::fstat(&fd).map_err(failed)?;
                self.push(component, fd, Some(times_of(&status)));
                Ok(Stepped::Entered)
            }
            Err(Errno::NOENT) if missing == Missing::Tell => Ok(Stepped::Absent),
            Err(Errno::NOENT) => self.imply(component),
            Err(Errno::LOOP | Errno::NOTDIR) => self.step_over(component, missing),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// What is no directory may be a link, or a whiteout that a directory takes the place of.
    fn step_over(&mut self, component: &[u8], missing: Missing) -> Result<Stepped> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = rustix::fs::openat(self.fd(), component, flags, Mode::empty()).map_err(failed)?;
        let status = rustix::fs::fstat(&there).map_err(failed)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&there, "", Vec::new()).map_err(failed)?;
                Ok(Stepped::Link(target.into_bytes()))
            }
            _ if is_whiteout(&status) && missing == Missing::Tell => Ok(Stepped::Absent),
            _ if is_whiteout(&status) => {
                self.will_change();
                rustix::fs::unlinkat(self.fd(), component, AtFlags::empty()).map_err(failed)?;
                let fd = self.make(component)?;
                self.push(component, fd, None);
                self.set_opaque()?;
                Ok(Stepped::Entered)
            }
            _ => {
                let error = Error::os(Step::Unpack, Errno::NOTDIR.raw_os_error());
                Err(error.object_is(self.name().join(component).to_string()))
            }
        }
    }

    /// Makes a directory that the archive does not describe, at least not yet.
    fn imply(&mut self, component: &[u8]) -> Result<Stepped> {
        let name = self.name().join(component);
        if self.implied.len() >= IMPLIED {
            let reason = format!("more than {IMPLIED} directories that the archive does not describe");
            return Err(Error::new(Kind::Limit, Step::Unpack).reason_is(reason));
        }
        self.note(&name)?;
        self.will_change();
        let fd = self.make(component)?;
        self.implied.insert(name);
        self.push(component, fd, None);
        Ok(Stepped::Entered)
    }

    /// Counts a name that is kept until the lower layers are known.
    pub(super) fn note(&mut self, name: &Name) -> Result<()> {
        self.noted += name.components().iter().map(|component| component.len() + NOTE).sum::<usize>();
        if self.noted <= NOTED {
            return Ok(());
        }
        let reason = "more and longer names than are kept for what depends on lower layers";
        Err(Error::new(Kind::Limit, Step::Unpack).reason_is(format!("{reason} ({} MiB)", NOTED >> 20)))
    }

    fn make(&self, component: &[u8]) -> Result<OwnedFd> {
        rustix::fs::mkdirat(self.fd(), component, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let fd = rustix::fs::openat(self.fd(), component, DIRECTORY, Mode::empty()).map_err(failed)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(failed)?;
        Ok(fd)
    }

    fn push(&mut self, component: &[u8], fd: OwnedFd, times: Option<Timestamps>) {
        self.stack.push(Open { component: component.to_vec(), fd, times, changed: false });
    }

    /// Leaves directories until `depth` are open.
    pub(super) fn leave_to(&mut self, depth: usize) -> Result<()> {
        while self.stack.len() > depth {
            let Some(open) = self.stack.pop() else { break };
            settle_times(&open)?;
        }
        Ok(())
    }

    /// To be called before something is made or removed in the directory that was entered last.
    pub(super) fn will_change(&mut self) {
        self.stack.last_mut().unwrap_or(&mut self.root).changed = true;
    }

    /// Enters the directory `component`, which the archive describes; makes it if it is not there, and tells whether it was.
    pub(super) fn enter_described(&mut self, component: &[u8]) -> Result<bool> {
        self.will_change();
        let made = match rustix::fs::mkdirat(self.fd(), component, Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                if self.clear_for_directory(component)? == Cleared::Replaced {
                    rustix::fs::mkdirat(self.fd(), component, Mode::from_raw_mode(0o700)).map_err(failed)?;
                    let fd = rustix::fs::openat(self.fd(), component, DIRECTORY, Mode::empty()).map_err(failed)?;
                    self.push(component, fd, None);
                    // What a lower layer has there was gone once something else took its place.
                    return self.set_opaque().map(|()| false);
                }
                false
            }
            Err(errno) => return Err(failed(errno)),
        };
        let fd = rustix::fs::openat(self.fd(), component, DIRECTORY, Mode::empty()).map_err(failed)?;
        self.push(component, fd, None);
        let name = self.name();
        self.implied.remove(&name);
        Ok(!made)
    }

    /// Sets what the times of the present directory are to be.
    pub(super) fn times_are(&mut self, times: Timestamps) {
        let open = self.stack.last_mut().unwrap_or(&mut self.root);
        open.times = Some(times);
        open.changed = true;
    }

    fn clear_for_directory(&mut self, component: &[u8]) -> Result<Cleared> {
        let status = self.status(component)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            return Ok(Cleared::Directory);
        }
        rustix::fs::unlinkat(self.fd(), component, AtFlags::empty()).map_err(failed)?;
        Ok(Cleared::Replaced)
    }

    /// Removes what is at `component`, so that another entry can take its place.
    pub(super) fn clear(&mut self, component: &[u8]) -> Result<()> {
        self.will_change();
        let status = self.status(component)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            let gone = self.name().join(component);
            // What lies below it follows it in the order of names.
            let below = self.implied.range(&gone..).take_while(|name| name.components().starts_with(gone.components()));
            for name in below.cloned().collect::<Vec<_>>() {
                self.implied.remove(&name);
            }
            remove_directory(self.fd(), component)
        } else {
            rustix::fs::unlinkat(self.fd(), component, AtFlags::empty()).map_err(failed)
        }
    }

    /// What is at `component`, which need not be there.
    pub(super) fn find(&self, component: &[u8]) -> Result<Option<Stat>> {
        match rustix::fs::statat(self.fd(), component, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn status(&self, component: &[u8]) -> Result<Stat> {
        rustix::fs::statat(self.fd(), component, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Marks the present directory: nothing of lower layers is seen in it.
    pub(super) fn set_opaque(&self) -> Result<()> {
        let name = self.xattrs.opaque();
        rustix::fs::fsetxattr(self.fd(), name, b"y", XattrFlags::empty()).map_err(|errno| {
            failed(errno).object_is(name).hint_is("overlayfs needs a file system with extended attributes")
        })
    }

    /// Leaves all directories, and tells those that the archive does not describe.
    pub(super) fn finish(mut self) -> Result<BTreeSet<Name>> {
        self.leave_to(0)?;
        settle_times(&self.root)?;
        Ok(self.implied)
    }
}

#[derive(PartialEq, Eq)]
enum Cleared {
    Directory,
    Replaced,
}

fn settle_times(open: &Open) -> Result<()> {
    match &open.times {
        Some(times) if open.changed => rustix::fs::futimens(&open.fd, times).map_err(failed),
        _ => Ok(()),
    }
}

fn times_of(status: &Stat) -> Timestamps {
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "the field's type differs by architecture")]
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}

/// A character device numbered 0:0 is what overlayfs takes for "deleted here".
pub(crate) fn is_whiteout(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == 0
}

/// A directory on the way down, while a tree is removed.
struct Way {
    name: Vec<u8>,
    /// The directory that it lies in, by device and inode.
    above: (u64, u64),
    /// The directories beside it that are still there.
    beside: Vec<Vec<u8>>,
}

/// Removes the directory `name` of `parent` and all that is in it. It follows no link.
///
/// Containers and layers decide how deep a tree is, so neither the stack nor the number of open files depends on that: the way
/// back is `..`, which is checked.
pub(crate) fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let mut here = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut way: Vec<Way> = Vec::new();
    let mut inside = remove_files(&here)?;
    loop {
        if let Some(name) = inside.pop() {
            let above = identity(&here)?;
            here = rustix::fs::openat(&here, &name[..], DIRECTORY, Mode::empty()).map_err(failed)?;
            way.push(Way { name, above, beside: inside });
            inside = remove_files(&here)?;
            continue;
        }
        let Some(Way { name, above, beside }) = way.pop() else { break };
        here = rustix::fs::openat(&here, "..", DIRECTORY, Mode::empty()).map_err(failed)?;
        if identity(&here)? != above {
            let error = Error::new(Kind::Busy, Step::Remove).object_is(crate::layer::shown(&name));
            return Err(error.reason_is("the directory was moved while it was removed"));
        }
        rustix::fs::unlinkat(&here, &name[..], AtFlags::REMOVEDIR).map_err(failed)?;
        inside = beside;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed)
}

/// Removes what is in a directory and is none itself; returns the directories.
fn remove_files(directory: &OwnedFd) -> Result<Vec<Vec<u8>>> {
    let mut directories = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => directories.push(name.to_vec()),
            result => result.map_err(failed)?,
        }
    }
    Ok(directories)
}

fn identity(directory: &OwnedFd) -> Result<(u64, u64)> {
    let status = rustix::fs::fstat(directory).map_err(failed)?;
    Ok((status.st_dev, status.st_ino))
}

/// A system call of the unpacker failed.
pub(crate) fn failed(errno: Errno) -> Error {
    Error::os(Step::Unpack, errno.raw_os_error())
}
