//! `create`: everything up to, but not including, the container's own command.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::{Container, ContainerId, Result, Runtime};

/// What `create` is told besides the bundle's config.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// The bundle directory.
    pub bundle: PathBuf,
    /// Another file than `config.json` in the bundle (relative to it) or anywhere (absolute).
    pub config: Option<PathBuf>,
    /// A Unix socket to which the terminal's master fd is sent; needed when `process.terminal` is set.
    pub console_socket: Option<PathBuf>,
    /// A Unix socket to which the pidfd of the container's init is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that gets the pid of the container's init.
    pub pid_file: Option<PathBuf>,
    /// Use MS_MOVE and chroot instead of pivot_root, for a root file system that cannot be pivoted (an initramfs).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many further fds, 3 and up, the command inherits (after those of LISTEN_FDS).
    pub preserve_fds: u32,
    /// The command's standard input, output and error; `None`: the caller's own.
    pub stdio: Option<[OwnedFd; 3]>,
}

/// Makes the container `id` from a bundle and leaves it waiting for [`crate::start`].
///
/// # Errors
/// Any step may fail; nothing is left behind then.
pub fn create(_runtime: &Runtime, _id: &ContainerId, _options: CreateOptions) -> Result<Container> {
    todo!()
}
