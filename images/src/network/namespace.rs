//! The network namespace of a container to be: it is made and connected while the container itself is made.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns, unshare};

use crate::base::{Error, Kind, Result, Step};
use crate::network::Networks;

/// A network namespace in the making. It goes with the last process in it and the last descriptor of it. Dropping this waits
/// until nothing more is made for it.
#[derive(Debug)]
pub struct Connection {
    namespace: Receiver<Arc<OwnedFd>>,
    lease: Option<SyncSender<(Networks, String)>>,
    thread: Option<JoinHandle<Result<Vec<String>>>>,
}

impl Connection {
    /// Begins to make a namespace, in which there is nothing but `lo`.
    pub fn begin() -> Result<Self> {
        let ((made, namespace), (lease, wanted)) = (sync_channel(1), sync_channel(1));
        let thread = std::thread::Builder::new().name("network".to_owned()).spawn(move || work(&made, &wanted));
        let thread = thread.map_err(|error| Error::io(Step::Network, &error).object_is("a thread"))?;
        Ok(Self { namespace, lease: Some(lease), thread: Some(thread) })
    }

    /// Begins to connect it, for the container `name`, which has a lease of `networks`.
    pub fn connect(&mut self, networks: Networks, name: &str) {
        if let Some(lease) = self.lease.take() {
            // A thread that has failed says so at the end.
            drop(lease.send((networks, name.to_owned())));
        }
    }

    /// The namespace, as soon as there is one.
    pub fn namespace(&mut self) -> Result<Arc<OwnedFd>> {
        self.namespace.recv().map_err(|_| self.wait().err().unwrap_or_else(broken))
    }

    /// Waits until it is connected, and returns what the user should know of what stands in the way.
    pub fn finish(mut self) -> Result<Vec<String>> {
        self.wait()
    }

    fn wait(&mut self) -> Result<Vec<String>> {
        // Without a lease it waits for none.
        self.lease = None;
        self.thread.take().map_or_else(|| Err(broken()), |thread| thread.join().unwrap_or_else(|_| Err(broken())))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // Whoever drops it has a failure of its own to tell.
            drop(self.wait());
        }
    }
}

fn broken() -> Error {
    Error::new(Kind::System, Step::Network).reason_is("the thread that connects a container panicked")
}

fn work(made: &SyncSender<Arc<OwnedFd>>, wanted: &Receiver<(Networks, String)>) -> Result<Vec<String>> {
    let namespaces = Namespaces::new()?;
    // Who does not wait for it has no use for it.
    drop(made.send(Arc::clone(&namespaces.container)));
    match wanted.recv() {
        Ok((networks, name)) => networks.join(&name, &namespaces),
        Err(_) => Ok(Vec::new()),
    }
}

/// The two network namespaces of a thread that connects one with the other.
#[derive(Debug)]
pub(super) struct Namespaces {
    host: OwnedFd,
    container: Arc<OwnedFd>,
}

impl Namespaces {
    /// That of the calling thread, and a new one.
    fn new() -> Result<Self> {
        let failed = |error: std::io::Error| Error::io(Step::Network, &error).object_is("a network namespace");
        let own = || File::open("/proc/thread-self/ns/net").map(OwnedFd::from);
        let host = own().map_err(failed)?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        let container = Arc::new(own().map_err(failed)?);
        setns(&host, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
        Ok(Self { host, container })
    }

    /// That of the container.
    pub(super) fn container(&self) -> &OwnedFd {
        &self.container
    }

    /// Does `work` in that of the container.
    pub(super) fn inside<T>(&self, work: impl FnOnce() -> nix::Result<T>) -> nix::Result<T> {
        setns(&*self.container, CloneFlags::CLONE_NEWNET)?;
        let done = work();
        setns(&self.host, CloneFlags::CLONE_NEWNET)?;
        done
    }
}
