//! What `exec` is told.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::config::ConsoleSize;

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

/// What `exec` is told. `None` and empty mean: as in the container's config.
#[derive(Debug)]
pub struct ExecOptions {
    /// The process.
    pub process: ExecProcess,
    /// Its working directory in the container.
    pub cwd: Option<String>,
    /// `KEY=VALUE` pairs added to its environment.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Numeric `uid[:gid]`.
    pub user: Option<String>,
    /// Additional group ids.
    pub additional_gids: Vec<u32>,
    /// Capabilities added to its bounding, effective and permitted sets.
    pub capabilities: Vec<String>,
    /// Sets no_new_privs.
    pub no_new_privs: bool,
    /// The SELinux label.
    pub process_label: Option<String>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// Sub-cgroups relative to the container's: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH` on v1.
    pub cgroup: Vec<String>,
    /// Execute even while the container is paused (the process then waits until it is resumed).
    pub ignore_paused: bool,
    /// A Unix socket to which the terminal's master fd is sent.
    pub console_socket: Option<PathBuf>,
    /// An already connected Unix socket to which the terminal's master fd is sent instead; closed unused without a terminal.
    /// Its line breaks then carry no carriage return (no ONLCR): the caller shows them on a terminal that adds it, or stores them.
    pub console: Option<OwnedFd>,
    /// With `console`: line breaks keep their carriage return (ONLCR), for a caller that hands the bytes on unseen.
    pub onlcr: bool,
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
            cgroup: Vec::new(),
            ignore_paused: false,
            console_socket: None,
            console: None,
            onlcr: false,
            terminal_size: None,
            pidfd_socket: None,
            pid_file: None,
            preserve_fds: 0,
            stdio: None,
        }
    }
}
