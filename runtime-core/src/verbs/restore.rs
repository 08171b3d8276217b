//! `restore`: makes a container from what `checkpoint` has saved, by CRIU.

use crate::CreateOptions;
use crate::base::{Container, ContainerId, Error, Kind, Result, Runtime, Step};
use crate::criu::CriuOptions;

/// What `restore` is told.
#[derive(Debug, Default)]
pub struct RestoreOptions {
    /// The bundle, and what the caller gets besides the container.
    pub create: CreateOptions,
    /// What it has in common with `checkpoint`.
    pub criu: CriuOptions,
    /// Another security label for the processes, `apparmor:NAME` or `selinux:LABEL`.
    pub lsm_profile: Option<String>,
    /// Another SELinux context for mounts that have one.
    pub lsm_mount_context: Option<String>,
}

/// Makes the container `id` from images and a bundle: its processes run on. Of the hooks, prestart and createRuntime are run, as
/// runc does.
///
/// # Errors
/// [`Kind::AlreadyExists`] when there is such a container; [`Kind::Unsupported`] without CRIU, and for what CRIU cannot restore;
/// [`Kind::InvalidArgument`] for images that are none; [`Kind::Timeout`]. Nothing is left behind then.
pub fn restore(runtime: &Runtime, id: &ContainerId, options: RestoreOptions) -> Result<Container> {
    let unused = [
        (options.create.no_pivot, "CRIU changes the root by pivot_root(2) in any case"),
        (options.create.no_new_keyring, "keyrings are not saved"),
        (
            options.create.preserve_fds > 0 || options.create.listen_fds > 0,
            "the saved processes have their own descriptors",
        ),
        (options.create.notify_socket, "the saved processes know of no service manager here"),
        (options.create.pidfd_socket.is_some(), "the pidfd is in the container that is returned"),
    ];
    match unused.into_iter().find(|(given, _)| *given) {
        Some((_, reason)) => Err(Error::new(Kind::InvalidArgument, Step::CheckArguments)
            .object("an option of `create`")
            .detail(format!("it would do nothing in a restore: {reason}"))),
        None => crate::creation::restore(runtime, id, &options),
    }
}
