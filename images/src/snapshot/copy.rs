//! Copies of files with all that belongs to them: by reflink where the file system can, else by the kernel, holes kept.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::base::{Cancel, Error, Kind, Result, Step};
use crate::layer::{belongs_to_the_file, by_descriptor, link};
use crate::snapshot::merged::{Directory, Found, failed};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NODE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies the merged tree `from` into the empty directory `to`.
pub(crate) fn tree(from: &Directory, to: BorrowedFd<'_>, cancel: &Cancel) -> Result<()> {
    let mut links = HashMap::new();
    directory(from, to, &mut links, cancel)
}

/// Files with several names: what was made of them so far, by device and inode.
type Links = HashMap<(u64, u64), OwnedFd>;

fn directory(from: &Directory, to: BorrowedFd<'_>, links: &mut Links, cancel: &Cancel) -> Result<()> {
    cancel.check(Step::Snapshot)?;
    for name in from.names()? {
        match from.find(&name)? {
            Some(Found::Directory(below, _)) => {
                rustix::fs::mkdirat(to, &name[..], Mode::from_raw_mode(0o700)).map_err(failed)?;
                let made = rustix::fs::openat(to, &name[..], DIRECTORY, Mode::empty()).map_err(failed)?;
                directory(&below, made.as_fd(), links, cancel)?;
            }
            Some(Found::Other(part, status)) => {
                let Some(parent) = from.part(part) else { continue };
                file(parent, &name, &status, to, links)?;
            }
            None => {}
        }
    }
    match from.top() {
        Some(top) => attributes(top, to, &rustix::fs::fstat(top).map_err(failed)?),
        None => Ok(()),
    }
}

fn file(parent: BorrowedFd<'_>, name: &[u8], status: &Stat, to: BorrowedFd<'_>, links: &mut Links) -> Result<()> {
    let key = (status.st_dev, status.st_ino);
    if let Some(made) = links.get(&key) {
        return link(made.as_fd(), to, name).map_err(failed);
    }
    let source = rustix::fs::openat(parent, name, NODE, Mode::empty()).map_err(failed)?;
    node(source.as_fd(), to, name)?;
    if status.st_nlink > 1 {
        if links.len() >= 512 {
            // Descriptors are few. What is dropped here becomes a file of its own if it comes again.
            links.clear();
        }
        links.insert(key, rustix::fs::openat(to, name, NODE, Mode::empty()).map_err(failed)?);
    }
    Ok(())
}

/// Copies what `source` (opened with `O_PATH`) is, if it is no directory, to the new name `name` of `to`.
pub(crate) fn node(source: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let status = rustix::fs::fstat(source).map_err(failed)?;
    let kind = FileType::from_raw_mode(status.st_mode);
    match kind {
        FileType::RegularFile => {
            // The link of the kernel opens what the descriptor is on, whatever its name leads to by now.
            let from = rustix::fs::open(by_descriptor(source), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let from = from.map_err(failed)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
            #[allow(clippy::cast_sign_loss, reason = "the kernel reports no negative size")]
            contents(from.as_fd(), made.as_fd(), status.st_size as u64)?;
            return attributes(from.as_fd(), made.as_fd(), &status);
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(source, "", Vec::new()).map_err(failed)?;
            rustix::fs::symlinkat(target, to, name).map_err(failed)?;
        }
        FileType::Directory => {
            return Err(
                Error::new(Kind::InvalidContent, Step::Snapshot).reason_is("a directory in the place of a file")
            );
        }
        _ => {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(to, name, kind, mode, status.st_rdev).map_err(failed)?;
        }
    }
    let made = rustix::fs::openat(to, name, NODE, Mode::empty()).map_err(failed)?;
    special(source, made.as_fd(), &status)?;
    rustix::fs::utimensat(to, name, &times(&status), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

fn contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => return Ok(()),
        // Another file system, or one that shares no blocks.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS | Errno::PERM) => {}
        Err(errno) => return Err(failed(errno)),
    }
    rustix::fs::ftruncate(to, size).map_err(failed)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        at = rustix::fs::seek(from, SeekFrom::Hole(data)).map_err(failed)?;
        range(from, to, data, at)?;
    }
    Ok(())
}

fn range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, begin: u64, end: u64) -> Result<()> {
    let (mut read, mut written) = (begin, begin);
    while read < end {
        let length = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
        let copied = rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length);
        match copied {
            // The file became shorter meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => return by_hand(from, to, read, end),
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

fn by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, begin: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0u8; 128 << 10];
    let mut at = begin;
    while at < end {
        let length = rustix::io::pread(from, &mut buffer[..], at).map_err(failed)?;
        let left = usize::try_from(end - at).unwrap_or(usize::MAX).min(length);
        let mut part = buffer.get(..left).unwrap_or_default();
        if part.is_empty() {
            return Ok(());
        }
        while !part.is_empty() {
            let written = rustix::io::pwrite(to, part, at).map_err(failed)?;
            at += written as u64;
            part = part.get(written..).unwrap_or_default();
        }
    }
    Ok(())
}

/// Gives `to` the owner, mode, extended attributes and times of `from`; both are open, `status` is that of `from`.
pub(crate) fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, status: &Stat) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(status.st_uid), rustix::fs::Gid::from_raw(status.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid)).map_err(failed)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(status.st_mode & 0o7777)).map_err(failed)?;
    for name in xattr_names(|list| rustix::fs::flistxattr(from, list))? {
        let value = xattr_value(|value| rustix::fs::fgetxattr(from, &name[..], value))?;
        rustix::fs::fsetxattr(to, &name[..], &value, XattrFlags::empty()).map_err(failed)?;
    }
    rustix::fs::futimens(to, &times(status)).map_err(failed)
}

/// The same, without the times, for what can be opened with `O_PATH` only.
fn special(from: BorrowedFd<'_>, to: BorrowedFd<'_>, status: &Stat) -> Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(status.st_uid), rustix::fs::Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)?;
    let (from, to) = (by_descriptor(from), by_descriptor(to));
    if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
        rustix::fs::chmod(&to, Mode::from_raw_mode(status.st_mode & 0o7777)).map_err(failed)?;
    }
    for name in xattr_names(|list| rustix::fs::listxattr(&from, list))? {
        let value = xattr_value(|value| rustix::fs::getxattr(&from, &name[..], value))?;
        rustix::fs::setxattr(&to, &name[..], &value, XattrFlags::empty()).map_err(failed)?;
    }
    Ok(())
}

/// The names of extended attributes that belong to the file and not to overlayfs or the host's policy.
pub(crate) fn xattr_names(list: impl Fn(&mut [u8]) -> std::result::Result<usize, Errno>) -> Result<Vec<Vec<u8>>> {
    let names = match filled(list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let names = names.split(|&byte| byte == 0);
    Ok(names.filter(|name| !name.is_empty() && belongs_to_the_file(name)).map(<[u8]>::to_vec).collect())
}

/// The value of an extended attribute.
pub(crate) fn xattr_value(get: impl Fn(&mut [u8]) -> std::result::Result<usize, Errno>) -> Result<Vec<u8>> {
    filled(get).map_err(failed)
}

/// What `fill` gives, with a buffer that is mostly large enough, and then with one that always is (xattr(7)).
fn filled(fill: impl Fn(&mut [u8]) -> std::result::Result<usize, Errno>) -> std::result::Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    let length = match fill(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.resize(1 << 16, 0);
            fill(&mut buffer)?
        }
        result => result?,
    };
    buffer.truncate(length);
    Ok(buffer)
}

fn times(status: &Stat) -> Timestamps {
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "the field's type differs by architecture")]
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: nanos as i64 };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}
