//! The standard streams of a command that cannot give them to its user itself.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::unistd::{Uid, fchown};

use crate::base::{Error, Result, Step};
use crate::verbs::exec::options::ExecOptions;

/// Gives the standard streams to the command's user, so that it can reopen them by /dev/stdout. It has not the right itself.
///
/// # Errors
/// [`Step::SetUpTerminal`].
pub(super) fn give(options: &ExecOptions, uid: u32) -> Result<()> {
    let failed =
        |errno: Errno| Error::os(Step::SetUpTerminal, errno as i32).with_object("standard streams").with_field("/user");
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let own = || [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    for stream in options.stdio.as_ref().map_or_else(own, |streams| streams.each_ref().map(AsFd::as_fd)) {
        let Ok(status) = fstat(stream) else { continue };
        let is_device = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
        let is_null = is_device && (major(status.st_rdev), minor(status.st_rdev)) == (1, 3);
        if is_null || status.st_uid == uid {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None) {
            // A socket, a stream of another user namespace, or a read-only file system: the stream works all the same.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS | Errno::EACCES) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}
