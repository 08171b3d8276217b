//! The options of `exec`.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::{Error, Kind, Result, Step, options};
use crate::config::{Capability, ConsoleSize};
use crate::parent::options::Terminal;

/// The process to execute.
#[derive(Debug, Clone)]
pub enum ExecProcess {
    /// A file that holds the `process` object of the OCI config (`-` is not special here).
    File(PathBuf),
    /// The `process` object itself, as JSON text.
    Json(Vec<u8>),
    /// The container's own `process` with these arguments, and what [`ExecOptions`] overrides.
    Args(Vec<String>),
}

options! {
    /// What `exec` is told. `None` and empty mean: as in the container's config.
    #[derive(Debug)]
    pub struct ExecOptions {
        /// The process.
        pub process: ExecProcess,
        /// Its working directory in the container.
        pub cwd: Option<String>,
        /// Variables added to its environment: names and values.
        pub env: Vec<(String, String)>,
        /// Whether it gets a terminal.
        pub tty: bool,
        /// Its user, and its group.
        pub user: Option<User>,
        /// Additional group ids.
        pub additional_gids: Vec<u32>,
        /// Capabilities added to its bounding, effective and permitted sets.
        pub capabilities: Vec<Capability>,
        /// Sets no_new_privs.
        pub no_new_privs: bool,
        /// The SELinux label.
        pub process_label: Option<String>,
        /// The AppArmor profile.
        pub apparmor: Option<String>,
        /// The sub-cgroups of the container's that it is put into.
        pub sub_cgroups: Vec<SubCgroup>,
        /// Execute even while the container is paused (the process then waits until it is resumed).
        pub ignore_paused: bool,
        /// Where its terminal goes.
        pub terminal: Terminal,
        /// The terminal's size, instead of the process's `consoleSize`: that of the terminal it is shown on.
        pub terminal_size: Option<ConsoleSize>,
        /// A Unix socket to which the pidfd of the process is sent.
        pub pidfd_socket: Option<PathBuf>,
        /// A file that gets the pid of the process.
        pub pid_file: Option<PathBuf>,
        /// How many further fds, 3 and up, the process inherits.
        pub preserve_fds: u32,
        /// Its standard input, output and error; `None`: the caller's own.
        pub stdio: Option<[OwnedFd; 3]>,
        /// A descriptor that polls readable as soon as the caller wants no more of this (an eventfd, a timerfd, the end of a pipe):
        /// what has been made is taken back then, and the error is of [`crate::Kind::Cancelled`].
        pub cancel: Option<OwnedFd>,
    }
}

impl ExecOptions {
    /// Options that change nothing but the process.
    #[must_use]
    pub fn new(process: ExecProcess) -> Self {
        Self {
            process,
            cwd: None,
            env: Vec::new(),
            tty: false,
            user: None,
            additional_gids: Vec::new(),
            capabilities: Vec::new(),
            no_new_privs: false,
            process_label: None,
            apparmor: None,
            sub_cgroups: Vec::new(),
            ignore_paused: false,
            terminal: Terminal::None,
            terminal_size: None,
            pidfd_socket: None,
            pid_file: None,
            preserve_fds: 0,
            stdio: None,
            cancel: None,
        }
    }
}

/// A user, and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group; `None`: that of the container's process.
    pub gid: Option<u32>,
}

impl FromStr for User {
    type Err = Error;

    /// Reads `UID` or `UID:GID`, in decimal and nothing else: a name or a number out of range must never end as user 0
    /// (CVE-2026-30892).
    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            // (uid_t) -1 means "no change" to the kernel.
            part.parse::<u32>().ok().filter(|id| plain && *id != u32::MAX).ok_or_else(|| {
                Error::new(Kind::InvalidArgument, Step::CheckArguments)
                    .with_object(format!("user {text:?}"))
                    .with_reason(format!("{part:?} is not a number from 0 to {}", u32::MAX - 1))
            })
        };
        match text.split_once(':') {
            Some((uid, gid)) => Ok(Self { uid: number(uid)?, gid: Some(number(gid)?) }),
            None => Ok(Self { uid: number(text)?, gid: None }),
        }
    }
}

/// A control group below the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubCgroup {
    /// The controllers of v1 whose hierarchies it is in; empty: all, and v2.
    pub controllers: Vec<String>,
    /// Its path, relative to the container's.
    pub path: String,
}

impl FromStr for SubCgroup {
    type Err = Error;

    /// Reads `PATH` or `CONTROLLER[,CONTROLLER]:PATH`. Whether there is such a cgroup is seen when it is used.
    fn from_str(text: &str) -> Result<Self> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => {
                let named = controllers.split(',').filter(|name| !name.is_empty());
                (named.map(str::to_owned).collect(), path)
            }
            None => (Vec::new(), text),
        };
        Ok(Self { controllers, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        for (text, user) in [
            ("0", Some((0, None))),
            ("1", Some((1, None))),
            ("1:2", Some((1, Some(2)))),
            ("4294967294", Some((4_294_967_294, None))),
            ("4294967295", None),
            ("4294967296", None),
            ("", None),
            ("1:", None),
            (":1", None),
            ("-1", None),
            ("+1", None),
            ("0x0", None),
            ("1 ", None),
            (" 1", None),
            ("root", None),
            ("1:2:3", None),
        ] {
            assert_eq!(text.parse::<User>().ok().map(|user| (user.uid, user.gid)), user, "{text:?}");
        }
    }
}
