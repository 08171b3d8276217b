//! The options that `create`, `run` and `restore` have in common.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::base::options;
use crate::config::ConsoleSize;

options! {
    /// What `create` is told besides the bundle's config.
    #[derive(Debug, Default)]
    pub struct CreateOptions {
        /// The bundle directory; empty: the current one.
        pub bundle: PathBuf,
        /// Another file than `config.json` in the bundle (relative to it) or anywhere (absolute).
        pub config: Option<PathBuf>,
        /// Where the terminal goes; needed when `process.terminal` is set.
        pub terminal: Terminal,
        /// The terminal's size, instead of `process.consoleSize`: that of the terminal it is shown on.
        pub terminal_size: Option<ConsoleSize>,
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
        /// Compare what the kernel says of the container with what the config promises before the command starts; a difference stops it.
        pub verify: bool,
        /// A descriptor that polls readable as soon as the caller wants no more of this (an eventfd, a timerfd, the end of a pipe):
        /// what has been made is taken back then, and the error is of [`crate::Kind::Cancelled`].
        pub cancel: Option<OwnedFd>,
    }
}

impl CreateOptions {
    /// Those for the bundle in this directory.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self { bundle: bundle.into(), ..Self::default() }
    }
}

/// Where the master of a process's terminal goes.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Terminal {
    /// Nowhere: the process has no terminal.
    #[default]
    None,
    /// To the Unix socket at this path.
    Socket(PathBuf),
    /// To this connected Unix socket, which is closed unused where the process has no terminal.
    Connected {
        /// The socket.
        socket: OwnedFd,
        /// Whether line breaks get a carriage return (ONLCR). Without, the caller shows them on a terminal that adds it, or stores
        /// them.
        onlcr: bool,
    },
}

impl Terminal {
    /// A connected socket, whose line breaks get no carriage return.
    #[must_use]
    pub fn connected(socket: impl Into<OwnedFd>) -> Self {
        Self::Connected { socket: socket.into(), onlcr: false }
    }

    /// Whether the terminal's line breaks reach its master as they are.
    pub(crate) fn has_plain_lines(&self) -> bool {
        matches!(self, Self::Connected { onlcr: false, .. })
    }
}
