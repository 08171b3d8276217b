//! The network namespace of a container, made before the container's first process needs it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use crate::base::sys::NetworkMaker;
use crate::config::Config;
use crate::plan::takes_network;

/// A network namespace for one container, or none: then the container's first process makes what it needs.
#[derive(Debug)]
pub(crate) struct Network(RefCell<Begun>);

#[derive(Debug)]
enum Begun {
    Nothing,
    Making(NetworkMaker),
    Made(OwnedFd),
}

impl Network {
    /// Begins to make it, if the container is to have one that can be made ahead.
    pub(crate) fn begin(config: &Config<'_>) -> Self {
        let maker = if takes_network(config) { NetworkMaker::start() } else { None };
        Self(RefCell::new(maker.map_or(Begun::Nothing, Begun::Making)))
    }

    /// One that is there.
    pub(crate) fn made(namespace: OwnedFd) -> Self {
        Self(RefCell::new(Begun::Made(namespace)))
    }

    /// How many tasks are making it now.
    pub(crate) fn tasks(&self) -> usize {
        usize::from(matches!(&*self.0.borrow(), Begun::Making(maker) if maker.works()))
    }

    /// The namespace, once, if it is there or in the making.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        let mut begun = self.0.borrow_mut();
        // A process that was called off ends some time later, and is waited for only at the end.
        if let Begun::Making(maker) = &mut *begun {
            return maker.take();
        }
        match std::mem::replace(&mut *begun, Begun::Nothing) {
            Begun::Made(namespace) => Some(namespace),
            _ => None,
        }
    }
}
