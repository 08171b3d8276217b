//! The container that is to be entered.

use std::os::fd::OwnedFd;

use super::options::ExecOptions;
use crate::base::{Error, Kind, Result, Status, Step};
use crate::config::{Config, Namespace, NamespaceType};
use crate::parent::liveness::{facts, not_running};
use crate::state::{Entry, Record};

/// A restored container has a time namespace that its config does not know of.
pub(super) fn join_time_of_restore(record: &Record, config: &mut Config<'_>) {
    let is_time = |kind: NamespaceType| kind == NamespaceType::Time;
    if let Some(linux) = &mut config.linux
        && record.namespaces.iter().any(|namespace| namespace.kind == NamespaceType::Time.name())
        && !linux.namespaces.iter().any(|namespace| is_time(namespace.kind))
    {
        linux.namespaces.push(Namespace { kind: NamespaceType::Time, path: None });
    }
}

/// The container's init, and whether the container is paused.
pub(super) fn init_of(entry: &Entry, options: &ExecOptions) -> Result<(OwnedFd, bool)> {
    let facts = facts(entry)?;
    let paused = match facts.status {
        Status::Running | Status::Created => false,
        Status::Paused if options.ignore_paused => true,
        other => return Err(wrong_status(&entry.record, other)),
    };
    Ok((facts.init.ok_or_else(|| not_running(&entry.record))?, paused))
}

/// The error of an exec in a container that can have none now.
pub(super) fn wrong_status(record: &Record, status: Status) -> Error {
    let error = Error::new(Kind::WrongStatus, Step::FindContainer).with_object(record.id.as_str());
    match status {
        Status::Paused => error
            .with_reason("cannot exec in a paused container")
            .with_hint("--ignore-paused waits until it is resumed"),
        Status::Creating => {
            error.with_reason("cannot exec in a container that is being created: container not running")
        }
        _ => error.with_reason("cannot exec in a stopped container: container not running"),
    }
}
