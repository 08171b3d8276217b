//! A template: many containers of one bundle, without doing again for each what all of them have in common.

mod networks;
mod options;

pub use options::{SpawnOptions, TemplateOptions};

use networks::Networks;

use crate::base::{ContainerId, Error, Kind, Process, Result, Runtime, Step};
use crate::parent::launch::Program;
use crate::parent::network::Network;
use crate::parent::prepare::{Bundle, Common, Wanted, read_bundle};
use crate::plan::takes_network;
use crate::verbs::create::make;
use crate::verbs::run::make_and_start;

/// A bundle whose containers are made again and again: its config is read and checked once, its seccomp profile compiled and its device
/// filter loaded once, and the program that every container begins with is kept.
///
/// Its containers are what [`run`](crate::run) makes of the bundle as it was when the template was made, and all other verbs take them
/// as such. What is of the bundle is kept, but for the files of the root and of its mounts: a config that changes, or is deleted, makes
/// no difference. So is what the host and this program could do then: rights, control groups and security modules that change
/// afterwards are those of another template.
///
/// [`SpawnOptions`] say what is one container's own: a root file system, a command, streams. A config that names a `cgroupsPath`
/// names that of all its containers; without, each has one named after its id.
///
/// Threads may make containers at once. A template has no thread and no process, and nothing of it can be reached from a container.
#[derive(Debug)]
pub struct Template {
    runtime: Runtime,
    options: TemplateOptions,
    bundle: Bundle,
    common: Common<'static>,
    program: Program,
    networks: Networks,
}

impl Template {
    /// Reads and checks the bundle, and keeps what its containers have in common.
    ///
    /// # Errors
    /// As [`create`](crate::create()) for all that is found before there is a container.
    pub fn new(runtime: Runtime, options: TemplateOptions) -> Result<Self> {
        let bundle = read_bundle(&options.of_bundle())?;
        let common = Common::decide(&runtime, &bundle, bundle.config()?, options.no_pivot)?.into_owned();
        let program = Program::new()?;
        Ok(Self { runtime, options, bundle, common, program, networks: Networks::new() })
    }

    /// Where its containers are kept.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes network namespaces ahead until `count` are ready: what takes longest of a container's making is then done before it is wanted,
    /// in an idle moment. Each is one container's and is gone with it, or with a container that could not be made. Those that are left
    /// end with the template. A container for which none is ready gets one all the same.
    ///
    /// Settings that a new network namespace has from the host's are those of this moment. What a process has prepared, one that it forks
    /// does not use.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] where the containers have the caller's network namespace, join one, or have a user namespace that theirs
    /// must belong to; otherwise, what keeps a namespace from being made. Those that were made before stay ready.
    pub fn prepare_networks(&self, count: usize) -> Result<()> {
        if !takes_network(&self.common.config) {
            return Err(Error::new(Kind::Unsupported, Step::JoinNamespace)
                .with_object("network namespaces made ahead")
                .with_field("/linux/namespaces")
                .with_reason("no container of this config can use one")
                .with_hint("they need a new network namespace and the caller's user namespace"));
        }
        self.networks.prepare(count)
    }

    /// Makes and starts the container `id`, as [`run`](crate::run) does.
    ///
    /// # Errors
    /// As there.
    pub fn spawn(&self, id: &ContainerId, options: SpawnOptions) -> Result<Process> {
        self.with(id, options, make_and_start)
    }

    /// Makes the container `id` and leaves it waiting for [`start`](crate::start), as [`create`](crate::create()) does.
    ///
    /// # Errors
    /// As there.
    pub fn create(&self, id: &ContainerId, options: SpawnOptions) -> Result<Process> {
        self.with(id, options, make)
    }

    fn with(
        &self,
        id: &ContainerId,
        options: SpawnOptions,
        make: impl FnOnce(&Wanted<'_>, Network) -> Result<Process>,
    ) -> Result<Process> {
        let (options, replaced) = options.with(&self.options)?;
        let wanted = Wanted {
            root: replaced.root.as_deref(),
            args: replaced.args.as_deref(),
            program: Some(&self.program),
            ..Wanted::new(&self.runtime, id, &self.bundle, &self.common, &options)
        };
        make(&wanted, self.networks.take(&self.common.config))
    }
}
