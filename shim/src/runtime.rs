//! The runtime inside: the only file, with its statistics, that knows the crate `orlop`.

mod statistics;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop::{
    CgroupDriver, CheckpointOptions, ContainerId, CreateOptions, CriuOptions, DeleteOptions, Error, EventKind,
    ExecOptions, ExecProcess, KillOptions, Kind, Report, RestoreOptions, Signal, StartOptions, Terminal, UpdateOptions,
};

use crate::proto::Any;
use crate::sys::OpenFiles;
use crate::ttrpc::{Code, Failure};

/// The result of an operation.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What a process gets as its standard streams.
#[derive(Debug)]
pub(crate) enum Streams {
    /// Input, output and error.
    Three([OwnedFd; 3]),
    /// A terminal, whose master goes over this connected socket.
    Terminal(OwnedFd),
}

/// What `create` is told.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) bundle: PathBuf,
    pub(crate) streams: Streams,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
}

/// Where saved processes are, and CRIU's working directory.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) path: PathBuf,
    pub(crate) work: Option<PathBuf>,
}

/// What `checkpoint` is told.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) images: Images,
    pub(crate) parent: Option<PathBuf>,
    pub(crate) leave_running: bool,
    pub(crate) open_tcp: bool,
    pub(crate) external_sockets: bool,
    pub(crate) terminal: bool,
    pub(crate) file_locks: bool,
    /// `soft`, `full`, `strict`, `ignore`, or empty.
    pub(crate) cgroups_mode: String,
}

/// A process that was made; it polls readable when it has ended.
#[derive(Debug)]
pub(crate) struct Process(orlop::Process);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id().get().cast_unsigned()
    }

    /// What should be known although it was made.
    pub(crate) fn warnings(&self) -> Vec<String> {
        told(self.0.report())
    }

    /// Reaps the process and says how it ended, as a shell does. It must have ended.
    pub(crate) fn reap(&self) -> Result<u32> {
        self.0.wait().map(|exit| u32::from(exit.shell_code())).map_err(|error| failure("", &error))
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Watches a container for want of memory; polls readable when there may be something.
#[derive(Debug)]
pub(crate) struct OomWatch(orlop::Events);

impl OomWatch {
    /// How often the kernel has met want of memory since the last call.
    pub(crate) fn take(&mut self) -> Result<usize> {
        let mut count = 0;
        while let Some(event) = self.0.try_next().map_err(|error| failure("", &error))? {
            match event.kind {
                EventKind::Oom => count += 1,
                EventKind::Exit => break,
                _ => {}
            }
        }
        Ok(count)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A container by its id, with what all operations on it need.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    runtime: orlop::Runtime,
    id: ContainerId,
}

impl Container {
    /// The container `id` among those whose states are in `root`.
    pub(crate) fn new(root: PathBuf, systemd: bool, id: &str) -> Result<Self> {
        let cgroup_driver = if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
        let id = ContainerId::new(id).map_err(|error| failure("", &error))?;
        Ok(Self { runtime: orlop::Runtime::new(root).cgroup_driver(cgroup_driver), id })
    }

    /// Its processes begin with this limit of open files where the config names none.
    pub(crate) fn with_open_files(self, limit: OpenFiles) -> Self {
        Self { runtime: self.runtime.open_files((limit.soft, limit.hard)), ..self }
    }

    pub(crate) fn create(&self, create: Create) -> Result<Process> {
        let process = orlop::create(&self.runtime, &self.id, create_options(create));
        process.map(Process).map_err(|error| failure("OCI runtime create failed: ", &error))
    }

    pub(crate) fn restore(&self, create: Create, images: Images) -> Result<Process> {
        // Neither means anything to CRIU, and a client sets them for all its containers.
        let create = Create { no_pivot: false, no_new_keyring: false, ..create };
        let options = RestoreOptions::default().create(create_options(create)).criu(criu_options(images));
        let process = orlop::restore(&self.runtime, &self.id, options);
        process.map(Process).map_err(|error| failure("OCI runtime restore failed: ", &error))
    }

    pub(crate) fn start(&self) -> Result<()> {
        orlop::start(&self.runtime, &self.id, &StartOptions::default())
            .map_err(|error| failure("OCI runtime start failed: ", &error))
    }

    /// Executes a process, given as the `process` object of an OCI config.
    pub(crate) fn exec(&self, process: Vec<u8>, streams: Streams) -> Result<Process> {
        let mut options = ExecOptions::new(ExecProcess::Json(process));
        (options.stdio, options.terminal) = split(streams);
        let process = orlop::exec(&self.runtime, &self.id, options);
        process.map(Process).map_err(|error| failure("OCI runtime exec failed: ", &error))
    }

    /// Sends a signal to the first process, or to all.
    pub(crate) fn kill(&self, signal: u32, all: bool) -> Result<()> {
        let signal = i32::try_from(signal).unwrap_or(i32::MAX);
        let options = Signal::new(signal).map(|signal| KillOptions::default().signal(signal).all(all));
        options.and_then(|options| orlop::kill(&self.runtime, &self.id, &options)).map_err(|error| match error.kind() {
            Kind::WrongStatus => Failure::new(Code::NotFound, format!("process already finished: {error}")),
            _ => failure("", &error),
        })
    }

    /// Takes away what the container holds; what was deleted already is no error. The result is what else went wrong.
    pub(crate) fn delete(&self, force: bool) -> Result<Vec<String>> {
        let options = DeleteOptions::default().force(force);
        match orlop::delete(&self.runtime, &self.id, &options) {
            Ok(report) => Ok(told(&report)),
            Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failure("failed to delete task: ", &error)),
        }
    }

    pub(crate) fn pause(&self) -> Result<()> {
        orlop::pause(&self.runtime, &self.id).map_err(|error| failure("OCI runtime pause failed: ", &error))
    }

    pub(crate) fn resume(&self) -> Result<()> {
        orlop::resume(&self.runtime, &self.id).map_err(|error| failure("OCI runtime resume failed: ", &error))
    }

    /// Changes limits, given as the `linux.resources` object of an OCI config. The result is what should be known.
    pub(crate) fn update(&self, resources: Vec<u8>) -> Result<Vec<String>> {
        let options = UpdateOptions::default().resources(resources);
        let report = orlop::update(&self.runtime, &self.id, &options);
        report.map(|report| told(&report)).map_err(|error| failure("OCI runtime update failed: ", &error))
    }

    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let pids = orlop::ps(&self.runtime, &self.id).map_err(|error| failure("", &error))?;
        Ok(pids.into_iter().map(|pid| pid.get().cast_unsigned()).collect())
    }

    /// Usage and limits as a message of containerd's.
    pub(crate) fn statistics(&self) -> Result<Any> {
        let event = orlop::stats(&self.runtime, &self.id).map_err(|error| failure("", &error))?;
        match event.data {
            Some(orlop::EventData::Stats(stats)) => Ok(statistics::message(&stats)),
            _ => Err(Failure::new(Code::Unknown, "the runtime gave no statistics")),
        }
    }

    /// Starts to watch for want of memory.
    pub(crate) fn watch_oom(&self) -> Result<OomWatch> {
        let options = orlop::EventsOptions::default().interval(None);
        orlop::events(&self.runtime, &self.id, &options).map(OomWatch).map_err(|error| failure("", &error))
    }

    /// Saves the processes. The result is what else went wrong.
    pub(crate) fn checkpoint(&self, given: Checkpoint) -> Result<Vec<String>> {
        let cgroups = match given.cgroups_mode.as_str() {
            "" | "soft" => orlop::CgroupMode::Soft,
            "full" => orlop::CgroupMode::Full,
            "strict" => orlop::CgroupMode::Strict,
            "ignore" => orlop::CgroupMode::Ignore,
            other => {
                let text = format!("cgroups_mode {other:?} is not soft, full, strict or ignore");
                return Err(Failure::new(Code::InvalidArgument, text));
            }
        };
        let criu = criu_options(given.images)
            .tcp_established(given.open_tcp)
            .ext_unix_sk(given.external_sockets)
            .shell_job(given.terminal)
            .file_locks(given.file_locks)
            .cgroups(cgroups);
        let options =
            CheckpointOptions::default().criu(criu).parent_path(given.parent).leave_running(given.leave_running);
        match orlop::checkpoint(&self.runtime, &self.id, options) {
            Ok(report) => Ok(told(&report)),
            Err(error) => Err(failure("OCI runtime checkpoint failed: ", &error)),
        }
    }
}

/// What the runtime supports, as JSON.
pub(crate) fn features() -> String {
    orlop::features().to_json()
}

fn create_options(create: Create) -> CreateOptions {
    let (stdio, terminal) = split(create.streams);
    CreateOptions::new(create.bundle)
        .stdio(stdio)
        .terminal(terminal)
        .no_pivot(create.no_pivot)
        .no_new_keyring(create.no_new_keyring)
}

/// containerd hands the terminal's bytes on unseen, so line breaks keep their carriage return.
fn split(streams: Streams) -> (Option<[OwnedFd; 3]>, Terminal) {
    match streams {
        Streams::Three(three) => (Some(three), Terminal::None),
        Streams::Terminal(socket) => (None, Terminal::Connected { socket, onlcr: true }),
    }
}

/// What a report warns of, one line each.
fn told(report: &Report) -> Vec<String> {
    report.warnings().iter().map(ToString::to_string).collect()
}

fn criu_options(images: Images) -> CriuOptions {
    CriuOptions::default().image_path(images.path).work_path(images.work)
}

/// An error in the words and codes that containerd's clients look for.
fn failure(prefix: &str, error: &Error) -> Failure {
    let code = match error.kind() {
        Kind::InvalidConfig | Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::WrongStatus => Code::FailedPrecondition,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Timeout => Code::DeadlineExceeded,
        _ => Code::Unknown,
    };
    Failure::new(code, format!("{prefix}{error}"))
}

/// The state directory of a namespace's containers.
pub(crate) fn root(chosen: &str, namespace: &str) -> PathBuf {
    let root = if chosen.is_empty() { "/run/containerd/orlop" } else { chosen };
    Path::new(root).join(namespace)
}
