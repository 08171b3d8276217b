//! What a stack of layers looks like once overlayfs has merged it, without mounting it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::base::{Error, Result, Step};
use crate::layer::{Name, OverlayXattrs, is_whiteout};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A directory as it is merged out of layers: its parts, the uppermost first.
#[derive(Debug)]
pub(crate) struct Directory {
    name: Vec<u8>,
    parts: Vec<OwnedFd>,
    xattrs: OverlayXattrs,
}

/// What a name in a merged directory leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// A directory of several parts; the status is that of the uppermost.
    Directory(Directory, Box<Stat>),
    /// Anything else: the directory that has it, among the parts of the one that was asked, and its status.
    Other(usize, Box<Stat>),
}

impl Directory {
    /// The merged root of layers, the uppermost first.
    pub(crate) fn new(layers: Vec<OwnedFd>, xattrs: OverlayXattrs) -> Self {
        Self { name: Vec::new(), parts: layers, xattrs }
    }

    /// Where overlayfs's own attributes are in it.
    pub(crate) fn xattrs(&self) -> OverlayXattrs {
        self.xattrs
    }

    /// Its name in the directory above; none for the root.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The part `index`.
    pub(crate) fn part(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.parts.get(index).map(AsFd::as_fd)
    }

    /// The uppermost part, whose attributes are those of the directory.
    pub(crate) fn top(&self) -> Option<BorrowedFd<'_>> {
        self.part(0)
    }

    /// The entry `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>> {
        let mut found: Option<(Directory, Box<Stat>)> = None;
        for (index, part) in self.parts.iter().enumerate() {
            let status = match rustix::fs::statat(part, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(status) => status,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
                if found.is_none() && !is_whiteout(&status) {
                    return Ok(Some(Found::Other(index, Box::new(status))));
                }
                break;
            }
            let fd = rustix::fs::openat(part, name, DIRECTORY, Mode::empty()).map_err(failed)?;
            let opaque = is_opaque(fd.as_fd(), self.xattrs)?;
            let (directory, _) = found.get_or_insert_with(|| {
                (Self { name: name.to_vec(), parts: Vec::new(), xattrs: self.xattrs }, Box::new(status))
            });
            directory.parts.push(fd);
            if opaque {
                break;
            }
        }
        Ok(found.map(|(directory, status)| Found::Directory(directory, status)))
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut seen: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for part in &self.parts {
            for name in names(part.as_fd())? {
                if let Entry::Vacant(place) = seen.entry(name) {
                    let status = rustix::fs::statat(part, &place.key()[..], AtFlags::SYMLINK_NOFOLLOW);
                    place.insert(!is_whiteout(&status.map_err(failed)?));
                }
            }
        }
        Ok(seen.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
    }

    /// What `name` leads to from the root that this is, over links on the way but not at the end.
    pub(crate) fn resolve(&self, name: &Name) -> Result<Option<Resolved>> {
        let Some((parent, last)) = name.split() else { return Ok(None) };
        let Some(parent) = self.directory(&parent)? else { return Ok(None) };
        let directory = parent.last().unwrap_or(self);
        let found = directory.find(last)?;
        Ok(found.map(|found| Resolved { chain: parent, name: last.to_vec(), found }))
    }

    /// The directories from below the root down to `name`, over links; `None` if it is not there or none.
    pub(crate) fn directory(&self, name: &Name) -> Result<Option<Vec<Directory>>> {
        let mut chain: Vec<Directory> = Vec::new();
        let mut left: Vec<Vec<u8>> = name.components().iter().rev().cloned().collect();
        let mut links = 0;
        while let Some(component) = left.pop() {
            if component == b".." {
                chain.pop();
                continue;
            }
            let here = chain.last().unwrap_or(self);
            match here.find(&component)? {
                Some(Found::Directory(directory, _)) => chain.push(directory),
                Some(Found::Other(part, status)) if is_link(&status) => {
                    links += 1;
                    let fd = here.part(part).ok_or_else(|| failed(Errno::NOENT))?;
                    let target = rustix::fs::readlinkat(fd, &component[..], Vec::new()).map_err(failed)?.into_bytes();
                    if target.starts_with(b"/") {
                        chain.clear();
                    }
                    let parts = target.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
                    left.extend(parts.rev().map(<[u8]>::to_vec));
                    if links > 40 || left.len() > 4096 {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(chain))
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) struct Resolved {
    chain: Vec<Directory>,
    name: Vec<u8>,
    /// What is there.
    pub(crate) found: Found,
}

impl Resolved {
    /// The directories from below the root down to what has it.
    pub(crate) fn directories(&self) -> &[Directory] {
        &self.chain
    }

    /// The name under which that has it.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Where the link that is there leads, from the root; `None` for what is no link.
    pub(crate) fn target(&self, root: &Directory) -> Result<Option<Name>> {
        let Found::Other(part, _) = self.found else { return Ok(None) };
        let directory = self.chain.last().unwrap_or(root);
        let Some(fd) = directory.part(part) else { return Ok(None) };
        let target = rustix::fs::readlinkat(fd, &self.name[..], Vec::new()).map_err(failed)?.into_bytes();
        let mut components: Vec<Vec<u8>> = self.chain.iter().map(|below| below.name.clone()).collect();
        if target.starts_with(b"/") {
            components.clear();
        }
        for part in target.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if part == b".." {
                // Only right where no link stands before it, which images' links do not have; else nothing is found.
                components.pop();
            } else {
                components.push(part.to_vec());
            }
        }
        Ok(Some(Name::of(components)))
    }

    /// Opens what is there, if it is not a directory, by its name in the part that has it.
    pub(crate) fn open(&self, root: &Directory, flags: OFlags) -> Result<Option<OwnedFd>> {
        let Found::Other(part, _) = self.found else { return Ok(None) };
        let directory = self.chain.last().unwrap_or(root);
        let Some(fd) = directory.part(part) else { return Ok(None) };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(fd, &self.name[..], flags, Mode::empty()).map(Some).map_err(failed)
    }
}

pub(crate) fn is_link(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Symlink
}

/// Whether a directory hides what lower layers have at its name.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>, xattrs: OverlayXattrs) -> Result<bool> {
    let mut value = [0u8; 8];
    match rustix::fs::fgetxattr(directory, xattrs.opaque(), &mut value[..]) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(failed(errno)),
    }
}

/// The names in one directory, unsorted.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let listing = rustix::fs::Dir::read_from(directory).map_err(failed)?;
    let names = listing.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()).map_err(failed));
    let names = names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b"..")));
    names.collect()
}

/// A system call of the snapshots failed.
pub(crate) fn failed(errno: Errno) -> Error {
    Error::os(Step::Snapshot, errno.raw_os_error())
}
