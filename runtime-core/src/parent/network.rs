//! The network namespace of a container, made before the container's first process needs it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use crate::base::sys::NetworkMaker;
use crate::config::Config;
use crate::plan::takes_network;

/// A network namespace for one container, or none: then the container's first process makes what it needs.
#[derive(Debug)]
pub(crate) struct Network(RefCell<Option<NetworkMaker>>);

impl Network {
    /// Begins to make it, if the container is to have one that can be made ahead.
    pub(crate) fn begin(config: &Config<'_>) -> Self {
        Self(RefCell::new(if takes_network(config) { NetworkMaker::start() } else { None }))
    }

    /// The namespace, once, if it is there or in the making.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.borrow_mut().as_mut()?.take()
    }
}
