//! Network namespaces that a template's containers get, made before there is a container.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::sys::NetworkMaker;
use crate::base::{Error, Result, Step};
use crate::config::Config;
use crate::parent::launch::namespace_hint;
use crate::parent::network::Network;

/// Network namespaces that are ready for containers to come, each for one.
#[derive(Debug)]
pub(super) struct Networks(Mutex<Ready>);

#[derive(Debug)]
struct Ready {
    /// The process that has made them: one that it forks has the same descriptors, and no right to what they lead to.
    owner: u32,
    namespaces: Vec<OwnedFd>,
}

impl Networks {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Ready { owner: std::process::id(), namespaces: Vec::new() }))
    }

    /// Makes some until there are `count`.
    ///
    /// # Errors
    /// [`Step::JoinNamespace`]; those that were made stay ready.
    pub(super) fn prepare(&self, count: usize) -> Result<()> {
        while self.ready().namespaces.len() < count {
            // Whoever wants a container meanwhile does not wait for it.
            let made = NetworkMaker::make().map_err(|errno| {
                let error = Error::os(Step::JoinNamespace, errno as i32).with_object("network namespace");
                namespace_hint(error, errno as i32)
            })?;
            let mut ready = self.ready();
            if ready.namespaces.len() < count {
                ready.namespaces.push(made);
            }
        }
        Ok(())
    }

    /// One that is ready; else begins to make one, as [`Network::begin`] does.
    pub(super) fn take(&self, config: &Config<'_>) -> Network {
        let ready = self.ready().namespaces.pop();
        ready.map_or_else(|| Network::begin(config), Network::made)
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        // A thread that panicked while it held the lock has left nothing half-done.
        let mut ready = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.owner != std::process::id() {
            *ready = Ready { owner: std::process::id(), namespaces: Vec::new() };
        }
        ready
    }
}
