//! The flags that `create` and `run` share.

use std::ffi::OsStr;
use std::path::PathBuf;

use orlop::{CreateOptions, Terminal};

use crate::failure::Failure;
use crate::parse::Args;
use crate::table::flag_group;

flag_group! {
    launch_flags
    BUNDLE = "-b, --bundle DIR | the bundle directory (default: the current directory)",
    CONFIG = "-f, --config FILE | another file than config.json, relative to the bundle",
    CONSOLE_SOCKET = "--console-socket SOCKET | send the terminal's master to this Unix socket",
    PIDFD_SOCKET = "--pidfd-socket SOCKET | send a pidfd of the container's init to this Unix socket",
    PID_FILE = "--pid-file FILE | write the pid of the container's init to this file",
    NO_PIVOT = "--no-pivot | use MS_MOVE and chroot instead of pivot_root, for a root file system on an initramfs",
    NO_NEW_KEYRING = "--no-new-keyring | keep the caller's session keyring",
    VERIFY = "--verify | compare the container with its config before the command starts; a difference stops it",
    PRESERVE_FDS = "--preserve-fds N | let the command inherit N further file descriptors, after those of LISTEN_FDS",
}

/// What the shared flags and the environment say.
pub(super) fn options(args: &Args<'_>) -> Result<CreateOptions, Failure> {
    Ok(inherited(args.path(BUNDLE).unwrap_or_else(|| ".".into()))
        .config(args.path(CONFIG))
        .terminal(args.path(CONSOLE_SOCKET).map_or(Terminal::None, Terminal::Socket))
        .pidfd_socket(args.path(PIDFD_SOCKET))
        .pid_file(args.path(PID_FILE))
        .no_pivot(args.switch(NO_PIVOT))
        .no_new_keyring(args.switch(NO_NEW_KEYRING))
        .verify(args.switch(VERIFY))
        .preserve_fds(args.number(PRESERVE_FDS)?.unwrap_or(0_u32)))
}

/// What the environment alone says: the service manager's sockets.
pub(super) fn inherited(bundle: PathBuf) -> CreateOptions {
    CreateOptions::new(bundle).listen_fds(listen_fds(std::process::id())).notify_socket(notify_socket().is_some())
}

/// The service manager's socket, when this program was started by one (sd_notify(3)).
pub(super) fn notify_socket() -> Option<std::ffi::OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// How many sockets the service manager passed to this process (sd_listen_fds(3)): none if they were meant for another.
fn listen_fds(pid: u32) -> u32 {
    let number =
        |name: &str| std::env::var_os(name).as_deref().and_then(OsStr::to_str).and_then(|text| text.parse().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(meant), Some(count)) if meant == pid => count,
        _ => 0,
    }
}
