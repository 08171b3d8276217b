//! What mount(2) does and the newer calls do not: attributes before Linux 5.12, longer options, trees that cannot be moved. It takes
//! paths: those are of descriptors.

use crate::abi::{
    EINVAL, ENOSYS, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MS_BIND, MS_REC,
    MS_REMOUNT,
};
use crate::sys::{self, CStr, Errno, Fd};
use crate::wire::{Attr, Slot};

/// An attribute, and the flag of mount(2) that it was.
const FLAGS: [(u64, usize); 8] = [
    (MOUNT_ATTR_RDONLY, 1),
    (MOUNT_ATTR_NOSUID, 2),
    (MOUNT_ATTR_NODEV, 4),
    (MOUNT_ATTR_NOEXEC, 8),
    (0x20_0000, 256),
    (0x10, 1024),
    (0x80, 2048),
    (0x20, 1 << 24),
];

pub(crate) fn flags(attributes: u64) -> usize {
    FLAGS.iter().filter(|(attribute, _)| attributes & attribute != 0).fold(0, |all, (_, flag)| all | flag)
}

/// The path of a descriptor, for the calls that take no descriptor. Only the runtime's own /proc is reached by it: the root has
/// not been changed yet.
fn path_of(fd: Fd, buffer: &mut [u8; 32]) -> sys::Result<CStr<'_>> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = [0u8; 12];
    let mut count = 0;
    let mut rest = fd.0;
    while let Some(digit) = digits.get_mut(count) {
        *digit = b'0' + (rest % 10) as u8;
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let number = digits.get(..count).ok_or(Errno(EINVAL))?.iter().rev();
    for (place, byte) in buffer.iter_mut().zip(PREFIX.iter().chain(number)) {
        *place = *byte;
    }
    Ok(CStr::new(buffer.get(..=PREFIX.len() + count).ok_or(Errno(EINVAL))?))
}

/// A new file system on `target`, with its options in one string.
pub(crate) fn mount(
    source: CStr<'_>,
    target: Fd,
    fstype: CStr<'_>,
    attributes: u64,
    data: CStr<'_>,
) -> sys::Result<()> {
    let mut buffer = [0u8; 32];
    sys::mount(source, path_of(target, &mut buffer)?, fstype, flags(attributes), data)?;
    Ok(())
}

/// `source`, with all that is mounted below it, on `target`; both are of this mount namespace.
pub(crate) fn bind(source: Fd, target: Fd, recursive: bool) -> sys::Result<()> {
    let (mut from, mut to) = ([0u8; 32], [0u8; 32]);
    let flags = MS_BIND | if recursive { MS_REC } else { 0 };
    sys::mount(path_of(source, &mut from)?, path_of(target, &mut to)?, CStr::EMPTY, flags, CStr::EMPTY)?;
    Ok(())
}

/// What one `mount_setattr` would have done to the attached mount `mount`.
pub(crate) fn set_attr(mount: Fd, attr: &Attr) -> sys::Result<()> {
    if attr.userns != Slot::NONE || (attr.recursive == 1 && (attr.set | attr.clear) != 0) {
        // Neither ids nor whole trees could be changed in those days.
        return Err(Errno(ENOSYS));
    }
    let mut buffer = [0u8; 32];
    let path = path_of(mount, &mut buffer)?;
    if attr.propagation != 0 {
        let recursive = if attr.recursive == 1 { MS_REC } else { 0 };
        sys::mount(CStr::EMPTY, path, CStr::EMPTY, attr.propagation as usize | recursive, CStr::EMPTY)?;
    }
    if attr.set | attr.clear != 0 {
        remount(mount, path, attr)?;
    }
    Ok(())
}

/// Makes an attached mount read-only.
pub(crate) fn set_readonly(mount: Fd) -> sys::Result<()> {
    set_attr(mount, &Attr { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns: Slot::NONE, recursive: 0 })
}

/// A remount sets all flags anew: those that the mount has are given again.
fn remount(mount: Fd, path: CStr<'_>, attr: &Attr) -> sys::Result<()> {
    /// Read-only, nosuid, nodev, noexec, noatime, nodiratime: where statfs(2) and mount(2) number alike.
    const ALIKE: usize = 1 | 2 | 4 | 8 | 1024 | 2048;
    let has = sys::mount_flags(mount)? as usize & ALIKE;
    let wanted = (has & !flags(attr.clear)) | flags(attr.set);
    sys::mount(CStr::EMPTY, path, CStr::EMPTY, MS_BIND | MS_REMOUNT | wanted, CStr::EMPTY)?;
    Ok(())
}
