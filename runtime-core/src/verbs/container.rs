//! A container as a value: the verbs as methods.

use std::sync::Arc;

use crate::base::{ContainerId, HostPid, Process, Report, Result, Runtime};
use crate::parent::options::CreateOptions;
#[cfg(feature = "criu")]
use crate::verbs::checkpoint::{CheckpointOptions, checkpoint};
use crate::verbs::create::create;
use crate::verbs::delete::{DeleteOptions, delete};
use crate::verbs::events::{Event, Events, EventsOptions, events, stats};
use crate::verbs::exec::{ExecOptions, ExecServer, Kept, exec_again, exec_server};
use crate::verbs::kill::{KillOptions, kill};
use crate::verbs::pause::{pause, resume};
use crate::verbs::ps::ps;
#[cfg(feature = "criu")]
use crate::verbs::restore::{RestoreOptions, restore};
use crate::verbs::run::run;
use crate::verbs::start::{StartOptions, start};
use crate::verbs::state::{ContainerState, state};
use crate::verbs::update::{UpdateOptions, update};

/// A container, or the place for one: a [`Runtime`] and an id. It says nothing of whether the container is there; each method is the
/// function of the same name.
///
/// It holds nothing open, until [`Self::exec`] is called: what that finds out of the container is kept for the next call, in this value and
/// its clones, with two descriptors and about 50 KiB of memory, as long as the container runs. Two values are equal if runtime and id are.
#[derive(Debug, Clone)]
pub struct Container {
    runtime: Runtime,
    id: ContainerId,
    kept: Arc<Kept>,
}

impl PartialEq for Container {
    fn eq(&self, other: &Self) -> bool {
        (&self.runtime, &self.id) == (&other.runtime, &other.id)
    }
}

impl Eq for Container {}

impl Container {
    /// The container `id` of `runtime`.
    #[must_use]
    pub fn new(runtime: Runtime, id: ContainerId) -> Self {
        Self { runtime, id, kept: Arc::default() }
    }

    /// Where it is kept.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// [`crate::create`]: makes it, and leaves it waiting for [`Self::start`].
    ///
    /// # Errors
    /// As the function.
    pub fn create(&self, options: CreateOptions) -> Result<Process> {
        create(&self.runtime, &self.id, options)
    }

    /// [`crate::run`]: makes and starts it.
    ///
    /// # Errors
    /// As the function.
    pub fn run(&self, options: CreateOptions) -> Result<Process> {
        run(&self.runtime, &self.id, options)
    }

    /// [`crate::restore`]: makes it from saved processes.
    ///
    /// # Errors
    /// As the function.
    #[cfg(feature = "criu")]
    pub fn restore(&self, options: RestoreOptions) -> Result<Process> {
        restore(&self.runtime, &self.id, options)
    }

    /// [`crate::start`]: lets its command be executed.
    ///
    /// # Errors
    /// As the function.
    pub fn start(&self, options: &StartOptions) -> Result<()> {
        start(&self.runtime, &self.id, options)
    }

    /// [`crate::exec`]: executes a further process in it. From the second call on it takes less time than the function.
    ///
    /// # Errors
    /// As the function.
    pub fn exec(&self, options: ExecOptions) -> Result<Process> {
        exec_again(&self.runtime, &self.id, &options, &self.kept)
    }

    /// [`crate::exec_server`]: prepares for many commands in it.
    ///
    /// # Errors
    /// As the function.
    pub fn exec_server(&self) -> Result<ExecServer> {
        exec_server(&self.runtime, &self.id)
    }

    /// [`crate::kill`]: sends a signal.
    ///
    /// # Errors
    /// As the function.
    pub fn kill(&self, options: &KillOptions) -> Result<()> {
        kill(&self.runtime, &self.id, options)
    }

    /// [`crate::pause`]: freezes its processes.
    ///
    /// # Errors
    /// As the function.
    pub fn pause(&self) -> Result<()> {
        pause(&self.runtime, &self.id)
    }

    /// [`crate::resume`]: lets them run on.
    ///
    /// # Errors
    /// As the function.
    pub fn resume(&self) -> Result<()> {
        resume(&self.runtime, &self.id)
    }

    /// [`crate::update`]: changes its limits.
    ///
    /// # Errors
    /// As the function.
    pub fn update(&self, options: &UpdateOptions) -> Result<Report> {
        update(&self.runtime, &self.id, options)
    }

    /// [`crate::state()`]: tells what it is and what it is doing.
    ///
    /// # Errors
    /// As the function.
    pub fn state(&self) -> Result<ContainerState> {
        state(&self.runtime, &self.id)
    }

    /// [`crate::ps`]: lists its processes.
    ///
    /// # Errors
    /// As the function.
    pub fn ps(&self) -> Result<Vec<HostPid>> {
        ps(&self.runtime, &self.id)
    }

    /// [`crate::stats`]: tells what it uses.
    ///
    /// # Errors
    /// As the function.
    pub fn stats(&self) -> Result<Event> {
        stats(&self.runtime, &self.id)
    }

    /// [`crate::events`]: tells what happens to it.
    ///
    /// # Errors
    /// As the function.
    pub fn events(&self, options: &EventsOptions) -> Result<Events> {
        events(&self.runtime, &self.id, options)
    }

    /// [`crate::checkpoint`]: saves its processes.
    ///
    /// # Errors
    /// As the function.
    #[cfg(feature = "criu")]
    pub fn checkpoint(&self, options: CheckpointOptions) -> Result<Report> {
        checkpoint(&self.runtime, &self.id, options)
    }

    /// [`crate::delete`]: takes away all it holds.
    ///
    /// # Errors
    /// As the function.
    pub fn delete(&self, options: &DeleteOptions) -> Result<Report> {
        delete(&self.runtime, &self.id, options)
    }
}
