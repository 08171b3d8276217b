//! What every making of a container is told, by `create`, `run` or `restore`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What `create` is told besides the bundle's config.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// The bundle directory; empty: the current one.
    pub bundle: PathBuf,
    /// Another file than `config.json` in the bundle (relative to it) or anywhere (absolute).
    pub config: Option<PathBuf>,
    /// A Unix socket to which the terminal's master fd is sent; needed when `process.terminal` is set.
    pub console_socket: Option<PathBuf>,
    /// An already connected Unix socket to which the terminal's master fd is sent instead; closed unused without a terminal.
    /// Its line breaks then carry no carriage return (no ONLCR): the caller shows them on a terminal that adds it, or stores them.
    pub console: Option<OwnedFd>,
    /// With `console`: line breaks keep their carriage return (ONLCR), for a caller that hands the bytes on unseen.
    pub onlcr: bool,
    /// The terminal's size, instead of `process.consoleSize`: that of the terminal it is shown on.
    pub terminal_size: Option<crate::config::ConsoleSize>,
    /// A Unix socket to which the pidfd of the container's init is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// A file that gets the pid of the container's init.
    pub pid_file: Option<PathBuf>,
    /// Use MS_MOVE and chroot instead of pivot_root, for a root file system that cannot be pivoted (an initramfs).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many sockets, 3 and up, the command inherits as its own LISTEN_FDS (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// How many further fds the command inherits, after those of `listen_fds`.
    pub preserve_fds: u32,
    /// Make the directory `notify` in the container's state directory and show it to the container as `/run/notify`, with
    /// NOTIFY_SOCKET in its environment; the caller binds `notify/notify.sock` there before `start` (sd_notify(3)).
    pub notify_socket: bool,
    /// The command's standard input, output and error; `None`: the caller's own.
    pub stdio: Option<[OwnedFd; 3]>,
}
