//! The files of a container's directory, read and written through the directory's descriptor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::record::Record;
use crate::base::{ContainerId, Error, Kind, Result, Step};

/// The state file in a container's directory.
pub(super) const STATE_FILE: &str = "state.json";
/// Where the next state file is written before it takes its place; only the holder of the lock writes it.
pub(super) const NEXT_STATE_FILE: &str = "state.json.new";
/// The verbatim copy of the bundle's config in a container's directory.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The FIFO that a created container's init waits on. Its presence is what makes a live container `created` rather than
/// `running`: `start` removes it once the command has been executed, `run` never makes it.
pub(crate) const EXEC_FIFO: &str = "exec.fifo";

/// No file of a container's directory is larger: the config is the largest, and the kernel takes less than this of one command.
const MAX_FILE: u64 = 64 << 20;

pub(super) const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
pub(super) const PRIVATE_FILE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Whether a directory still has a name: one that was removed while it was opened or waited for has none.
pub(super) fn is_linked(dir: BorrowedFd<'_>) -> nix::Result<bool> {
    Ok(fstat(dir)?.st_nlink > 0)
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(dir: BorrowedFd<'_>, name: &str, bytes: &[u8], id: &ContainerId) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(dir, name, flags, PRIVATE_FILE)
        .map_err(|errno| Error::os(Step::WriteState, errno as i32).with_object(format!("{name} of {id}")))?;
    File::from(file)
        .write_all(bytes)
        .map_err(|error| Error::io(Step::WriteState, &error).with_object(format!("{name} of {id}")))
}

/// Reads a whole file of a container's directory; `None` when it is not there.
///
/// # Errors
/// [`Kind::State`] when it is no file that a runtime has written: a link, a directory, a device, or too large.
pub(super) fn read_file(dir: BorrowedFd<'_>, name: &str, id: &ContainerId) -> Result<Option<Vec<u8>>> {
    let failed = |error: &std::io::Error| {
        let failed = Error::io(Step::ReadState, error).with_object(format!("{name} of {id}"));
        match error.raw_os_error() {
            Some(libc::ELOOP) => failed.with_kind(Kind::State).with_reason("a symbolic link is there instead"),
            Some(libc::EISDIR | libc::ENXIO | libc::EAGAIN) => {
                failed.with_kind(Kind::State).with_reason("it is no regular file")
            }
            Some(libc::EFBIG) => {
                failed.with_kind(Kind::State).with_reason(format!("larger than {} MiB", MAX_FILE >> 20))
            }
            _ => failed,
        }
    };
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(failed(&errno.into())),
    };
    let mut bytes = Vec::new();
    let length = read_into(&mut file.into(), &mut bytes).map_err(|error| failed(&error))?.len();
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// Reads all of a regular file, with `buffer` for it.
///
/// # Errors
/// EFBIG for one that is larger than any that is written here.
pub(super) fn read_into<'r>(file: &mut File, buffer: &'r mut Vec<u8>) -> std::io::Result<&'r [u8]> {
    // Enough for nearly every state file, so that one read finds its end: no fstat needed.
    const USUAL: usize = 8192;
    if buffer.len() < USUAL {
        buffer.resize(USUAL, 0);
    }
    let mut length = 0;
    loop {
        let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) else {
            if file.metadata()?.len() > MAX_FILE {
                return Err(std::io::Error::from_raw_os_error(libc::EFBIG));
            }
            buffer.resize(length * 2, 0);
            continue;
        };
        let (asked, got) = (rest.len(), file.read(rest));
        match got {
            // A regular file gives all it has.
            Ok(count) if count < asked => return Ok(buffer.get(..length + count).unwrap_or_default()),
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn read_record(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Option<Record>> {
    let bytes = read_file(dir, STATE_FILE, id)?.unwrap_or_default();
    // A create that died before it wrote its intent has not come to the config; one that died later has an intent.
    if bytes.is_empty() && !has_file(dir, CONFIG_FILE, id)? {
        return Ok(None);
    }
    Record::from_json(&bytes, id).map(Some)
}

pub(super) fn read_config(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<Vec<u8>> {
    read_file(dir, CONFIG_FILE, id)?.ok_or_else(|| {
        Error::os(Step::ReadState, libc::ENOENT).with_object(format!("{CONFIG_FILE} of {id}")).with_kind(Kind::State)
    })
}

pub(super) fn has_fifo(dir: BorrowedFd<'_>, id: &ContainerId) -> Result<bool> {
    has_file(dir, EXEC_FIFO, id)
}

pub(super) fn has_file(dir: BorrowedFd<'_>, name: &str, id: &ContainerId) -> Result<bool> {
    match nix::unistd::faccessat(dir, name, nix::unistd::AccessFlags::F_OK, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(Error::os(Step::ReadState, errno as i32).with_object(format!("{name} of {id}"))),
    }
}

/// How deep the directories in a state directory may be nested; the runtime itself makes one level.
pub(super) const MAX_DEPTH: u32 = 16;

/// Removes everything in a directory, following no link.
pub(super) fn remove_contents(dir: BorrowedFd<'_>, depth: u32) -> nix::Result<()> {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let readable = openat(dir, ".", DIRECTORY, Mode::empty())?;
    let mut directory = nix::dir::Dir::from_fd(readable)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let name = entry?.file_name().to_owned();
        if name.to_bytes() != b"." && name.to_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        let name = name.as_c_str();
        match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() => {
                let child = openat(dir, name, DIRECTORY, Mode::empty())?;
                remove_contents(child.as_fd(), depth + 1)?;
                ignore_missing(unlinkat(dir, name, UnlinkatFlags::RemoveDir))?;
            }
            Ok(_) => ignore_missing(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir))?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn ignore_missing(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
