//! What the commands share: the state directory, the store, registries, the end of all by a signal.

use std::path::PathBuf;

use nix::sys::signal::{SigSet, Signal};
use orlop::Runtime;
use orlop_images::registry::{Hosts, Keyring, Options, Registry};
use orlop_images::store::Store;
use orlop_images::supervise::Containers;
use orlop_images::{Cancel, Error};

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::progress::Shown;
use crate::cli::rootless;

/// One run of the program.
pub(crate) struct Session {
    /// The state directory.
    pub(crate) state: PathBuf,
    /// Where the runtime keeps what runs.
    pub(crate) runtime: Runtime,
    /// Set by SIGINT and SIGTERM once [`Session::cancellable`] was called.
    pub(crate) cancel: Cancel,
}

impl Session {
    pub(crate) fn new(global: &Args) -> Result<Self, Failure> {
        let state = global.path("root").unwrap_or_else(Store::usual_place);
        let absolute = |path: PathBuf| {
            let absolute = std::path::absolute(path);
            absolute.map_err(|error| Failure::new(format!("find the working directory: {error}")))
        };
        let runtime = match global.path("runtime-root") {
            Some(root) => Runtime::new(absolute(root)?),
            None => Runtime::from_environment(),
        };
        Ok(Self { state: absolute(state)?, runtime, cancel: Cancel::new() })
    }

    /// Opens the store.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.state, &self.cancel)?)
    }

    /// The containers of the store's images.
    pub(crate) fn containers(&self, store: &Store) -> Result<Containers, Failure> {
        Ok(rootless::with_remover(Containers::open(store.state(), self.runtime.clone())?))
    }

    /// From now on SIGINT and SIGTERM end what is under way in good order; the second one ends the process.
    pub(crate) fn cancellable(&self) -> Result<(), Failure> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("wait for signals: {error}"));
        signals.thread_block().map_err(|error| failed(&error))?;
        let cancel = self.cancel.clone();
        let waiter = move || {
            if signals.wait().is_ok() {
                cancel.cancel();
                // With the signals unblocked in this thread, the next one has its usual effect.
                signals.thread_unblock().ok();
                loop {
                    std::thread::park();
                }
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(waiter).map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Registries, with the flags `plain-http` and `authfile` of the command.
    pub(crate) fn registry(&self, args: &Args) -> Result<Registry, Failure> {
        Ok(self.registry_when_wanted(args)?()?)
    }

    /// The same, for a command that may do without: the host's settings are read when they are wanted.
    pub(crate) fn registry_when_wanted<'a>(
        &'a self,
        args: &'a Args,
    ) -> Result<impl Fn() -> orlop_images::Result<Registry> + 'a, Failure> {
        let (plain, authfile) = (args.texts("plain-http")?, args.path("authfile"));
        Ok(move || {
            let mut hosts = Hosts::of_environment()?;
            for host in &plain {
                hosts = hosts.with_plain_http(host);
            }
            let keyring = authfile.clone().map_or_else(Keyring::of_environment, Keyring::of_file);
            Ok(Registry::new(Options { hosts, keyring, cancel: self.cancel.clone(), ..Options::default() }))
        })
    }

    /// Progress, with the flag `quiet` of the command.
    pub(crate) fn progress(&self, args: &Args) -> Shown {
        Shown::new(args.switch("quiet"))
    }
}

/// How many blobs at once: the flag `jobs`.
pub(crate) fn jobs(args: &Args) -> Result<usize, Failure> {
    match args.number::<usize>("jobs")? {
        Some(jobs) if !(1..=64).contains(&jobs) => Err(Failure::usage(format!("--jobs {jobs}: from 1 to 64"))),
        jobs => Ok(jobs.unwrap_or(4)),
    }
}

/// A platform: the flag `platform`.
pub(crate) fn platform(args: &Args) -> Result<Option<orlop_images::Platform>, Failure> {
    args.text("platform")?.map(str::parse).transpose().map_err(|error: Error| Failure::usage(error.to_string()))
}
