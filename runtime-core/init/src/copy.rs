//! `tmpcopyup`: what the target directory holds, copied into the file system that is about to cover it.

use crate::abi::{
    AT_SYMLINK_NOFOLLOW, EINVAL, ENAMETOOLONG, ESTALE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_WRONLY,
    PATH_MAX, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, S_IFDIR, S_IFLNK, S_IFREG,
};
use crate::executor::Executor;
use crate::failure::{Failure, WithReason};
use crate::sys::{self, CStr, Errno, Fd, Statx};
use crate::wire::detail;

/// Directories within directories that are followed; deeper trees are refused rather than cut short.
const MAX_DEPTH: usize = 64;

impl Executor<'_> {
    /// Copies the tree at `from` into the still detached mount `to`, with owners and modes.
    pub(crate) fn copy_up(&self, from: Fd, to: Fd) -> Result<(), Failure> {
        let source =
            sys::openat2(from, CStr::new(b".\0"), O_DIRECTORY, 0, RESOLVE_BENEATH).with_reason(detail::COPY)?;
        let status = sys::statx(source, CStr::EMPTY).with_reason(detail::COPY)?;
        sys::fchownat(to, CStr::EMPTY, status.uid, status.gid, crate::abi::AT_EMPTY_PATH).with_reason(detail::COPY)?;
        let target = sys::openat2(to, CStr::new(b".\0"), O_DIRECTORY, 0, RESOLVE_BENEATH).with_reason(detail::COPY)?;
        sys::fchmod(target, u32::from(status.mode) & 0o7777).with_reason(detail::COPY)?;
        copy_directory(source, target, 0).with_reason(detail::COPY)?;
        sys::close(target)?;
        sys::close(source)?;
        Ok(())
    }
}

/// The entries of `from`, one after the other, by name.
fn copy_directory(from: Fd, to: Fd, depth: usize) -> sys::Result<()> {
    if depth == MAX_DEPTH {
        return Err(Errno(ENAMETOOLONG));
    }
    let mut buffer = [0u8; 2048];
    loop {
        let length = sys::getdents64(from, &mut buffer, 2048)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..length).ok_or(Errno(EINVAL))?;
        // struct linux_dirent64: d_ino 8, d_off 8, d_reclen 2, d_type 1, d_name.
        while let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, low, high, ..] = rest {
            let entry = usize::from(u16::from_ne_bytes([*low, *high]));
            let name = rest.get(19..entry).ok_or(Errno(EINVAL))?;
            let end = name.iter().position(|b| *b == 0).ok_or(Errno(EINVAL))?;
            let name = CStr::new(name.get(..=end).ok_or(Errno(EINVAL))?);
            if name.bytes() != b"." && name.bytes() != b".." {
                copy_entry(from, to, name, depth)?;
            }
            rest = rest.get(entry..).ok_or(Errno(EINVAL))?;
        }
    }
}

fn copy_entry(from: Fd, to: Fd, name: CStr<'_>, depth: usize) -> sys::Result<()> {
    let status = sys::statx(from, name)?;
    let mode = u32::from(status.mode) & 0o7777;
    match status.kind() {
        S_IFDIR => {
            sys::mkdirat(to, name, 0o700)?;
            let source = open_entry(from, name, O_DIRECTORY | O_NOFOLLOW, 0)?;
            let target = open_entry(to, name, O_DIRECTORY | O_NOFOLLOW, 0)?;
            copy_directory(source, target, depth + 1)?;
            sys::close(source)?;
            sys::close(target)?;
        }
        S_IFREG => copy_file(from, to, name)?,
        S_IFLNK => {
            let mut text = [0u8; PATH_MAX];
            let length = sys::readlinkat(from, name, &mut text, PATH_MAX - 1)?;
            sys::symlinkat(CStr::new(text.get(..=length).ok_or(Errno(EINVAL))?), to, name)?;
        }
        _ => {
            sys::mknodat(to, name, u32::from(status.mode), device_number(&status))?;
        }
    }
    sys::fchownat(to, name, status.uid, status.gid, AT_SYMLINK_NOFOLLOW)?;
    // After the owner: a change of owner clears set-user-id bits.
    if status.kind() != S_IFLNK {
        sys::fchmodat(to, name, mode)?;
    }
    Ok(())
}

fn device_number(status: &Statx) -> u64 {
    let (major, minor) = (status.rdev_major, status.rdev_minor);
    u64::from(minor & 0xff) | u64::from(major & 0xfff) << 8 | u64::from(minor & !0xff) << 12
}

fn open_entry(dir: Fd, name: CStr<'_>, flags: u64, mode: u64) -> sys::Result<Fd> {
    sys::openat2(dir, name, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
}

fn copy_file(from: Fd, to: Fd, name: CStr<'_>) -> sys::Result<()> {
    // What was a file a moment ago may be a FIFO, which would not open, or a device by now.
    let source = open_entry(from, name, O_NOFOLLOW | O_NONBLOCK, 0)?;
    if sys::statx(source, CStr::EMPTY)?.kind() != S_IFREG {
        sys::close(source)?;
        return Err(Errno(ESTALE));
    }
    let target = open_entry(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)?;
    while sys::sendfile(target, source, 0, 1 << 30)? != 0 {}
    sys::close(source)?;
    sys::close(target)?;
    Ok(())
}
