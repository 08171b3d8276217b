//! What a template and its containers are told.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::base::{Error, Kind, Result, Step, options};
use crate::config::ConsoleSize;
use crate::parent::options::{CreateOptions, Terminal};

options! {
    /// What all containers of a [`Template`](crate::Template) have in common, besides the bundle's config.
    #[derive(Debug, Default)]
    pub struct TemplateOptions {
        /// As [`CreateOptions::bundle`].
        pub bundle: PathBuf,
        /// As [`CreateOptions::config`].
        pub config: Option<PathBuf>,
        /// As [`CreateOptions::no_pivot`].
        pub no_pivot: bool,
        /// As [`CreateOptions::no_new_keyring`].
        pub no_new_keyring: bool,
        /// As [`CreateOptions::verify`].
        pub verify: bool,
    }
}

impl TemplateOptions {
    /// Those for the bundle in this directory.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self { bundle: bundle.into(), ..Self::default() }
    }

    /// As those of a container.
    pub(super) fn of_bundle(&self) -> CreateOptions {
        CreateOptions { bundle: self.bundle.clone(), config: self.config.clone(), ..CreateOptions::default() }
    }
}

options! {
    /// What is one container's own, of those that a [`Template`](crate::Template) makes.
    #[derive(Debug, Default)]
    pub struct SpawnOptions {
        /// The root file system in place of the config's, absolute or relative to the bundle: what the caller has mounted for this
        /// container, an overlay for example. Hooks that look for it in the bundle's config.json find the config's there.
        pub root: Option<PathBuf>,
        /// The command and its arguments in place of `process.args`.
        pub args: Option<Vec<String>>,
        /// As [`CreateOptions::stdio`].
        pub stdio: Option<[OwnedFd; 3]>,
        /// As [`CreateOptions::terminal`].
        pub terminal: Terminal,
        /// As [`CreateOptions::terminal_size`].
        pub terminal_size: Option<ConsoleSize>,
        /// As [`CreateOptions::pidfd_socket`].
        pub pidfd_socket: Option<PathBuf>,
        /// As [`CreateOptions::pid_file`].
        pub pid_file: Option<PathBuf>,
        /// As [`CreateOptions::listen_fds`].
        pub listen_fds: u32,
        /// As [`CreateOptions::preserve_fds`].
        pub preserve_fds: u32,
        /// As [`CreateOptions::notify_socket`].
        pub notify_socket: bool,
        /// As [`CreateOptions::cancel`].
        pub cancel: Option<OwnedFd>,
    }
}

/// What one container has in place of what the config says.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) root: Option<PathBuf>,
    pub(super) args: Option<Vec<String>>,
}

impl SpawnOptions {
    /// The options of a container of a template with the options `common`, and what it has in place of what the config says.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for what no config could say either.
    pub(super) fn with(self, common: &TemplateOptions) -> Result<(CreateOptions, Replaced)> {
        self.root.as_deref().map_or(Ok(()), check_root)?;
        self.args.as_deref().map_or(Ok(()), check_args)?;
        let Self {
            root,
            args,
            stdio,
            terminal,
            terminal_size,
            pidfd_socket,
            pid_file,
            listen_fds,
            preserve_fds,
            notify_socket,
            cancel,
        } = self;
        let options = CreateOptions {
            // They name the config, which is read.
            bundle: PathBuf::new(),
            config: None,
            terminal,
            terminal_size,
            pidfd_socket,
            pid_file,
            no_pivot: common.no_pivot,
            no_new_keyring: common.no_new_keyring,
            listen_fds,
            preserve_fds,
            notify_socket,
            stdio,
            verify: common.verify,
            cancel,
        };
        Ok((options, Replaced { root, args }))
    }
}

fn refused(object: String, reason: &str) -> Error {
    Error::new(Kind::InvalidArgument, Step::CheckArguments).with_object(object).with_reason(reason)
}

fn check_root(root: &Path) -> Result<()> {
    let reason = match root.to_str() {
        None => "the path of a root file system is UTF-8, as it is in a config",
        Some("") => "a root file system has a path",
        Some(text) if text.contains('\0') => "has a NUL byte",
        Some(_) => return Ok(()),
    };
    Err(refused(format!("root {root:?}"), reason))
}

fn check_args(args: &[String]) -> Result<()> {
    if args.is_empty() {
        return Err(refused("args".into(), "is empty: there is nothing to execute"));
    }
    match args.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(refused(format!("args {index}"), "has a NUL byte")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn what_no_config_could_say_is_refused() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        for (options, message) in [
            (SpawnOptions::default().root(PathBuf::new()), "check arguments root \"\": a root file system has a path"),
            (SpawnOptions::default().root(PathBuf::from("a\0b")), "check arguments root \"a\\0b\": has a NUL byte"),
            (
                SpawnOptions::default().root(PathBuf::from(OsStr::from_bytes(b"\xff"))),
                "check arguments root \"\\xFF\": the path of a root file system is UTF-8, as it is in a config",
            ),
            (SpawnOptions::default().args(words(&[])), "check arguments args: is empty: there is nothing to execute"),
            (SpawnOptions::default().args(words(&["a", "b\0"])), "check arguments args 1: has a NUL byte"),
        ] {
            let error = options.with(&TemplateOptions::default()).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.kind()), (message, Kind::InvalidArgument));
        }
        assert!(SpawnOptions::default().root(PathBuf::from("r")).with(&TemplateOptions::default()).is_ok());
    }
}
