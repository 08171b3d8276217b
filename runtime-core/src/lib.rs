//! Orlop: a low-level OCI container runtime as a library.
//!
//! It makes Linux containers from bundles and keeps track of them, as `runc` does, and does so in the caller's process: there is no
//! daemon, and the library starts no thread. The program `orlop` is a thin layer above it.
//!
//! # Terms
//! - A *bundle* is a directory with a `config.json` (OCI runtime specification) and a root file system. [`config`] reads and checks it.
//! - A [`Runtime`] says where containers are kept, and who makes their control groups.
//! - A [`Container`] is a runtime and an id. Its methods are the *verbs* of the specification and of runc; each is a function too,
//!   [`create`] or [`kill`] for example, in case that reads better.
//! - A [`Process`] is what was started in a container: a pid, and a pidfd that polls readable when the process ends.
//! - A [`Report`] says what is to be known of an operation that succeeded; an [`Error`] which [`Step`] failed, on which object,
//!   because of which field of the config, with which errno, and what helps.
//!
//! ```text
//!  create ──► created ──► start ──► running ◄──► paused (pause, resume)
//!    │                                 │
//!    └── run: both in one              ▼
//!                     delete ◄──── stopped (its first process has ended, or was killed)
//! ```
//!
//! Functions that take over descriptors ([`create()`], [`run()`], [`exec()`], [`restore`], [`checkpoint`], [`Template::spawn`]) take
//! their options by value, others by reference. All options have public fields, a `Default` or `new`, and a setter for each field.
//!
//! # Run a bundle
//! ```no_run
//! use orlop::{Container, ContainerId, CreateOptions, DeleteOptions, Runtime};
//!
//! # fn main() -> orlop::Result<()> {
//! let container = Container::new(Runtime::from_environment(), ContainerId::new("web1")?);
//! let process = container.run(CreateOptions::new("/srv/web"))?;
//! let exit = process.wait()?;
//! for warning in container.delete(&DeleteOptions::default())?.warnings() {
//!     eprintln!("{warning}");
//! }
//! println!("it ended with {}", exit.shell_code());
//! # Ok(())
//! # }
//! ```
//!
//! # Execute a command and read what it prints
//! ```no_run
//! use std::io::Read;
//!
//! use orlop::{Container, ContainerId, ExecOptions, ExecProcess, Runtime, User};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let container = Container::new(Runtime::from_environment(), ContainerId::new("web1")?);
//! let (mut output, stdout) = std::io::pipe()?;
//! let stderr = stdout.try_clone()?;
//! let stdin = std::fs::File::open("/dev/null")?;
//! let command = ExecProcess::Args(vec!["ls".into(), "-l".into(), "/srv".into()]);
//! let options = ExecOptions::new(command)
//!     .user("1000:1000".parse::<User>()?)
//!     .stdio([stdin.into(), stdout.into(), stderr.into()]);
//! let process = container.exec(options)?;
//! let mut text = String::new();
//! output.read_to_string(&mut text)?;
//! println!("{text}{:?}", process.wait()?);
//! # Ok(())
//! # }
//! ```
//!
//! # Many commands in one container
//! An [`ExecServer`] does once what all commands of a container have in common, and starts each in a fraction of the time;
//! `examples/agent_sandbox.rs` is a sandbox for commands with captured output, a deadline, and what each has used.
//!
//! ```no_run
//! use orlop::{Container, ContainerId, ExecOptions, ExecProcess, Runtime};
//!
//! # fn main() -> orlop::Result<()> {
//! let container = Container::new(Runtime::from_environment(), ContainerId::new("web1")?);
//! let server = container.exec_server()?;
//! for script in ["make", "make test"] {
//!     let command = ExecProcess::Args(vec!["sh".into(), "-c".into(), script.into()]);
//!     println!("{:?}", server.exec(ExecOptions::new(command))?.wait()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Many containers of one bundle
//! A [`Template`] reads and checks a bundle, compiles its seccomp profile and looks at the host once; each container begins where all that
//! is done. A container has its own root, command and streams. What takes longest, the network namespace, can be made before the
//! container is wanted.
//!
//! ```no_run
//! use orlop::{ContainerId, Runtime, SpawnOptions, Template, TemplateOptions};
//!
//! # fn main() -> orlop::Result<()> {
//! let template = Template::new(Runtime::from_environment(), TemplateOptions::new("/srv/judge"))?;
//! template.prepare_networks(2)?;
//! for (name, script) in [("first", "make test"), ("second", "make lint")] {
//!     // An overlay that the caller has mounted for it.
//!     let root = std::path::Path::new("/srv/roots").join(name);
//!     let command = vec!["sh".to_owned(), "-c".into(), script.into()];
//!     let process = template.spawn(&ContainerId::new(name)?, SpawnOptions::default().root(root).args(command))?;
//!     println!("{name} runs as {}", process.id());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Wait for many containers
//! A process is a descriptor, so one thread can wait for any number of them, by poll(2) or in an asynchronous program:
//! `examples/supervisor.rs` polls a hundred, `examples/fifty_containers.rs` uses tokio.
//!
//! ```no_run
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//! use std::os::fd::AsFd;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let processes: Vec<orlop::Process> = Vec::new();
//! let mut fds: Vec<_> = processes.iter().map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)).collect();
//! poll(&mut fds, PollTimeout::NONE)?;
//! for process in &processes {
//!     if let Some(exit) = process.try_wait()? {
//!         println!("{} ended: {exit:?}", process.id());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! `criu` (checkpoint and restore) and `systemd` (scopes made by systemd) are on by default. Without `criu` its verbs and options are
//! not there; without `systemd` a cgroup of its kind is refused by name. `oci-spec`, which is off, adds conversions from the types of
//! the crate of that name.

mod base;
pub mod config;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod parent;
mod plan;
mod state;
mod verbs;

/// The seccomp crate, whose `Profile` the config model holds.
pub use orlop_seccomp as seccomp;

pub use base::{
    CgroupDriver, ContainerId, Error, Exit, HostPid, Kind, Process, Report, Result, Rights, Runtime, Signal, Status,
    Step, Usage, Warning,
};
pub use config::Capability;
#[cfg(feature = "criu")]
pub use parent::criu::{CgroupMode, CriuOptions, NetworkLock};
pub use parent::options::{CreateOptions, Terminal};
pub use parent::resctrl::IntelRdtStats;
pub use state::rfc3339;
#[cfg(feature = "criu")]
pub use verbs::checkpoint::{CheckpointOptions, PageServer, checkpoint};
pub use verbs::container::Container;
pub use verbs::create::create;
pub use verbs::delete::{DeleteOptions, delete};
pub use verbs::doctor::{Examination, HostFinding, Level, doctor};
pub use verbs::events::{Event, EventData, EventKind, Events, EventsOptions, Stats, events, stats};
pub use verbs::exec::{ExecOptions, ExecProcess, ExecServer, SubCgroup, User, exec, exec_server};
pub use verbs::features::{
    CgroupFeatures, Enabled, Features, IntelRdtFeatures, LinuxFeatures, MemoryPolicyFeatures, MountExtensions,
    SeccompFeatures, features,
};
pub use verbs::gc::{Collected, GcOptions, gc};
pub use verbs::kill::{KillOptions, kill};
pub use verbs::list::{Listing, list};
pub use verbs::pause::{pause, resume};
pub use verbs::plan::{Operation, Planned, plan};
pub use verbs::ps::ps;
#[cfg(feature = "criu")]
pub use verbs::restore::{RestoreOptions, restore};
pub use verbs::run::run;
pub use verbs::spec::{SpecOptions, spec};
pub use verbs::start::{StartOptions, start};
pub use verbs::state::{ContainerState, state};
pub use verbs::template::{SpawnOptions, Template, TemplateOptions};
pub use verbs::update::{UpdateOptions, update};
pub use verbs::validate::{Finding, Severity, ValidateOptions, validate, validate_config};
