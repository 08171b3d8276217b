//! What a layer could not know without the lower ones.
//!
//! - A directory that the archive does not describe has the attributes of the lower one. Where the lower layers have a link
//!   to a directory, what lies in it moves to where the link leads, as it would have been unpacked there.
//! - A whiteout of what the lower layers have not is taken away, and a directory that was only made for such.
//! - A hard link to a file of a lower layer gets a copy of it, and all such links to one file the same copy.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::base::{Error, Kind, Result, Step};
use crate::layer::{Name, Unpacked, is_whiteout, link};
use crate::snapshot::copy;
use crate::snapshot::merged::{Directory, Found, failed, is_link, is_opaque, names};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether a layer is the same whatever lies below it.
pub(crate) fn is_complete(unpacked: &Unpacked) -> bool {
    unpacked.implied.is_empty() && unpacked.deferred.is_empty() && unpacked.whiteouts.is_empty()
}

/// Completes the layer in `root`, which lies on `lower`.
pub(crate) fn settle(root: BorrowedFd<'_>, unpacked: &Unpacked, lower: &Directory) -> Result<()> {
    // The deepest first: what moves with a directory above it is settled by then.
    for name in unpacked.implied.iter().rev() {
        settle_directory(root, name, lower, Links::Follow).map_err(|error| error.object_is(name.to_string()))?;
    }
    let mut copies: BTreeMap<&Name, &Name> = BTreeMap::new();
    for (place, target) in &unpacked.deferred {
        settle_link(root, place, target, lower, &mut copies).map_err(|error| error.object_is(place.to_string()))?;
    }
    for name in &unpacked.whiteouts {
        settle_whiteout(root, name, lower).map_err(|error| error.object_is(name.to_string()))?;
    }
    for name in unpacked.implied.iter().rev() {
        remove_if_pointless(root, name, lower).map_err(|error| error.object_is(name.to_string()))?;
    }
    // What was moved, linked and removed has changed times.
    for name in &unpacked.implied {
        settle_directory(root, name, lower, Links::Leave).map_err(|error| error.object_is(name.to_string()))?;
    }
    Ok(())
}

/// What becomes of a directory where the lower layers have a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Follow,
    Leave,
}

fn settle_directory(root: BorrowedFd<'_>, name: &Name, lower: &Directory, links: Links) -> Result<()> {
    // A directory above it may have moved.
    let Some(directory) = open_directory(root, name)? else { return Ok(()) };
    let Some(resolved) = lower.resolve(name)? else { return Ok(()) };
    match resolved.found {
        Found::Directory(found, status) => match found.top() {
            Some(top) => copy::attributes(top, directory.as_fd(), &status),
            None => Ok(()),
        },
        Found::Other(_, status) if is_link(&status) && links == Links::Follow => {
            follow(root, name, directory.as_fd(), lower)
        }
        Found::Other(..) => Ok(()),
    }
}

/// Whether the lower layers have `name`, and nothing of this layer hides it.
fn is_visible(root: BorrowedFd<'_>, name: &Name, lower: &Directory) -> Result<bool> {
    let Some((parent, _)) = name.split() else { return Ok(true) };
    for length in 1..=parent.components().len() {
        let above = Name::of(parent.components().get(..length).unwrap_or_default().to_vec());
        if let Some(directory) = open_directory(root, &above)?
            && is_opaque(directory.as_fd(), lower.xattrs())?
        {
            return Ok(false);
        }
    }
    Ok(lower.resolve(name)?.is_some())
}

fn settle_whiteout(root: BorrowedFd<'_>, name: &Name, lower: &Directory) -> Result<()> {
    let Some((parent, last)) = name.split() else { return Ok(()) };
    let Some(directory) = open_directory(root, &parent)? else { return Ok(()) };
    let status = match rustix::fs::statat(&directory, last, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    if !is_whiteout(&status) || is_visible(root, name, lower)? {
        return Ok(());
    }
    rustix::fs::unlinkat(&directory, last, AtFlags::empty()).map_err(failed)
}

/// Removes a directory that nothing is left in, and that the lower layers have not.
fn remove_if_pointless(root: BorrowedFd<'_>, name: &Name, lower: &Directory) -> Result<()> {
    let Some((parent, last)) = name.split() else { return Ok(()) };
    let Some(directory) = open_directory(root, &parent)? else { return Ok(()) };
    if is_visible(root, name, lower)? {
        return Ok(());
    }
    match rustix::fs::unlinkat(&directory, last, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Moves what lies in the directory `name` to where the link of that name in the lower layers leads.
fn follow(root: BorrowedFd<'_>, name: &Name, directory: BorrowedFd<'_>, lower: &Directory) -> Result<()> {
    let Some(chain) = lower.directory(name)? else { return Ok(()) };
    let mut place = root.try_clone_to_owned().map_err(|error| Error::io(Step::Snapshot, &error))?;
    for below in &chain {
        place = open_like(place, below)?;
    }
    merge(directory, place.as_fd())?;
    let Some((parent, last)) = name.split() else { return Ok(()) };
    let Some(parent) = open_directory(root, &parent)? else { return Ok(()) };
    crate::layer::remove_directory(parent.as_fd(), last)
}

/// The directory of the layer for the lower directory `below`; made like it if it is not there.
pub(crate) fn open_like(parent: OwnedFd, below: &Directory) -> Result<OwnedFd> {
    let Some(top) = below.top() else { return Ok(parent) };
    let name = below.name();
    match rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
            let made = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty()).map_err(failed)?;
            let status = rustix::fs::fstat(top).map_err(failed)?;
            copy::attributes(top, made.as_fd(), &status)?;
            Ok(made)
        }
        result => result.map_err(failed),
    }
}

/// Moves all of `from` into `to`. What both have as a directory is merged; of other things, what is there already stays,
/// since the archive put it there by its real name.
fn merge(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for name in names(from)? {
        match rustix::fs::renameat_with(from, &name[..], to, &name[..], RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let both = (
                    rustix::fs::openat(from, &name[..], DIRECTORY, Mode::empty()),
                    rustix::fs::openat(to, &name[..], DIRECTORY, Mode::empty()),
                );
                if let (Ok(from), Ok(to)) = both {
                    merge(from.as_fd(), to.as_fd())?;
                }
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

fn settle_link<'a>(
    root: BorrowedFd<'_>,
    place: &'a Name,
    target: &'a Name,
    lower: &Directory,
    copies: &mut BTreeMap<&'a Name, &'a Name>,
) -> Result<()> {
    let Some((parent, last)) = place.split() else { return Ok(()) };
    let Some(parent) = open_directory(root, &parent)? else { return Ok(()) };
    let open = |directory: &OwnedFd, name: &[u8]| {
        rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed)
    };
    // The copy is found by its name: open files are fewer than links may be.
    if let Some((first, name)) = copies.get(target).and_then(|first| first.split())
        && let Some(directory) = open_directory(root, &first)?
    {
        return link(open(&directory, name)?.as_fd(), parent.as_fd(), last).map_err(failed);
    }
    let missing = || {
        let reason = format!("a hard link to {target}, which neither this layer nor a lower one has");
        Error::new(Kind::InvalidContent, Step::Unpack).reason_is(reason)
    };
    let resolved = lower.resolve(target)?.ok_or_else(missing)?;
    let source = resolved.open(lower, OFlags::PATH)?.ok_or_else(missing)?;
    copy::node(source.as_fd(), parent.as_fd(), last)?;
    let made = open(&parent, last)?;
    // In the lower layer the file keeps its name: overlayfs would show two files. It is copied up under that name too, if
    // this layer has nothing there.
    let mut directory = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
    for below in resolved.directories() {
        directory = open_like(directory, below)?;
    }
    match link(made.as_fd(), directory.as_fd(), resolved.name()) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    copies.insert(target, place);
    Ok(())
}

/// Opens a directory of the layer, component by component, over no link.
pub(crate) fn open_directory(root: BorrowedFd<'_>, name: &Name) -> Result<Option<OwnedFd>> {
    let mut directory = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty()).map_err(failed)?;
    for component in name.components() {
        directory = match rustix::fs::openat(&directory, &component[..], DIRECTORY, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
    }
    Ok(Some(directory))
}
