//! The protocol of registries: OCI distribution 1.1 and what Docker's registry did before it.
//!
//! A [`Registry`] holds what is shared by all requests: connections, tokens, settings of this machine. A [`Repository`] is
//! one place that has, or may get, an image. Nothing is kept here: bodies are handed on while they come.

mod auth;
mod base64;
mod challenge;
mod credentials;
mod hosts;
mod http;
mod proxy;
mod pull;
mod push;
mod repository;
mod retry;
mod tls;
mod url;
mod wire;

use std::time::Duration;

pub use challenge::Challenge;
pub use credentials::{Credentials, Keyring};
pub use hosts::Hosts;
pub use pull::{Found, Incoming};
pub use push::Upload;
pub use repository::Repository;
pub use retry::Patience;
pub(crate) use retry::{Attempt, Attempts};

use crate::base::{Cancel, Result};
use crate::model::Limits;
use crate::reference::Reference;

/// How registries are talked to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Mirrors, certificates, hosts without TLS.
    pub hosts: Hosts,
    /// Where credentials are looked up.
    pub keyring: Keyring,
    /// Bounds on what is taken.
    pub limits: Limits,
    /// How often a failed request is tried again.
    pub patience: Patience,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long a connection may be silent before it counts as stalled.
    pub idle: Duration,
    /// Ends everything early.
    pub cancel: Cancel,
}

impl Options {
    /// The settings of this machine and user.
    pub fn of_environment() -> Result<Self> {
        Ok(Self { hosts: Hosts::of_environment()?, keyring: Keyring::of_environment(), ..Self::default() })
    }
}

impl Default for Options {
    /// No mirrors, no credentials.
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            keyring: Keyring::default(),
            limits: Limits::default(),
            patience: Patience::default(),
            connect: Duration::from_secs(15),
            idle: Duration::from_secs(30),
            cancel: Cancel::new(),
        }
    }
}

/// Connections to registries, and what was learnt from them.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    client: http::Client,
    auth: auth::Auth,
    origins: std::sync::Mutex<std::collections::HashMap<(String, bool), url::Origin>>,
}

impl Registry {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let client = http::Client::new(options.connect, options.idle, options.cancel.clone());
        Self { auth: auth::Auth::default(), client, options, origins: std::sync::Mutex::default() }
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The places to pull `reference` from, in the order in which they are to be tried.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Repository<'_>>> {
        let endpoints = self.options.hosts.to_pull(reference)?;
        Ok(endpoints.into_iter().map(|endpoint| Repository::new(self, endpoint)).collect())
    }

    /// The place to push `reference` to.
    pub fn destination(&self, reference: &Reference) -> Result<Repository<'_>> {
        self.options.hosts.to_push(reference).map(|endpoint| Repository::new(self, endpoint))
    }
}
