//! Messages with descriptors.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Receives one message of at most `longest` bytes, and the first descriptor with it, close-on-exec; `None` at the end.
///
/// # Errors
/// The errno of recvmsg(2); EMSGSIZE for a longer message.
pub(crate) fn receive(socket: BorrowedFd<'_>, longest: usize) -> nix::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = vec![0; longest];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut iov = [std::io::IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            // The other end went with something unread in it.
            Err(Errno::ECONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    let mut received = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            received.extend(fds.into_iter().map(own));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some((bytes, received.into_iter().next())))
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for the message that was read, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
