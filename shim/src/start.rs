//! `start`: a new shim, or the address of the one that has the pod already.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getppid, setpgid};

use crate::arguments::Arguments;
use crate::bootstrap::{Bootstrap, Environment};
use crate::bundle::{Summary, write_file};
use crate::log::Log;
use crate::options;
use crate::publish::{Publisher, Way};
use crate::shim::Shim;
use crate::socket::{Bound, Socket};
use crate::sys::{self, OpenFiles, Side};

/// More than any options have.
const MOST_INPUT: u64 = 10 << 20;
/// The file in the bundle by which containerd up to 1.6 finds the shim again, and `delete` its socket.
pub(crate) const ADDRESS_FILE: &str = "address";

/// Starts a shim in the bundle that is the working directory, and answers where it is.
///
/// # Errors
/// In one line, for containerd.
pub(crate) fn start(given: &Arguments) -> Result<ExitCode, String> {
    match sys::close_inherited() {
        // Before Linux 5.9 they stay; containerd passes none on.
        Ok(()) | Err(nix::errno::Errno::ENOSYS) => {}
        Err(errno) => return Err(format!("close inherited descriptors: {errno}")),
    }
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(MOST_INPUT).read_to_end(&mut input);
    read.map_err(|error| format!("read standard input: {error}"))?;
    let bootstrap = Bootstrap::read(given, Environment::of_process(), &input)?;
    let bundle = std::env::current_dir().map_err(|error| format!("the bundle: {error}"))?;
    let summary = Summary::read(&bundle).map_err(|error| error.to_string())?;
    let group = summary.group().unwrap_or(&given.id);
    let address = &bootstrap.grpc_address;
    let socket =
        Socket::of_group(&bootstrap.socket_dir, address, &given.namespace, group).map_err(|error| error.to_string())?;
    // Options that the call `Create` would refuse are refused before there is a shim.
    let options = options::read(bootstrap.options.as_ref()).map_err(|failure| failure.message)?;
    write_file(&bundle.join(ADDRESS_FILE), socket.address().as_bytes())?;
    let listener = match socket.bind().map_err(|error| error.to_string())? {
        Bound::Served => return answer(&bootstrap, &socket),
        Bound::New(listener) => listener,
    };
    // Before the fork, so that a failure is answered; the shim inherits both.
    let prepared = join_cgroup(&options.shim_cgroup).and_then(|()| raise_oom_score());
    let forked = prepared.and_then(|()| sys::fork().map_err(|errno| format!("fork: {errno}")));
    match forked {
        Ok(Side::Parent) => answer(&bootstrap, &socket),
        Ok(Side::Child) => Ok(serve(given, &bootstrap, &bundle, socket, listener)),
        Err(error) => {
            drop(listener);
            match socket.remove_if_unserved() {
                Ok(()) => Err(error),
                Err(second) => Err(format!("{error}; then {second}")),
            }
        }
    }
}

fn answer(bootstrap: &Bootstrap, socket: &Socket) -> Result<ExitCode, String> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&bootstrap.answer(&socket.address())).and_then(|()| out.flush());
    written.map(|()| ExitCode::SUCCESS).map_err(|error| format!("write the answer: {error}"))
}

/// The shim itself, from here on without the streams that containerd reads to their end.
fn serve(given: &Arguments, bootstrap: &Bootstrap, bundle: &Path, socket: Socket, listener: OwnedFd) -> ExitCode {
    sys::share_memory_of_threads();
    let log = Log::open(bundle, &given.namespace, bootstrap.debug);
    let way = Way::choose(&bootstrap.ttrpc_address, &bootstrap.publish_binary, &bootstrap.grpc_address);
    let served = detach(&log).and_then(|()| raise_open_files()).and_then(|open_files| {
        let publisher = Publisher::new(way, &given.namespace, open_files);
        let shim = Shim::new(&given.namespace, log, publisher, socket.clone(), listener, open_files);
        shim.and_then(|mut shim| {
            shim.log.debug(format_args!("the shim of {} begins", given.id));
            shim.run()
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log was handed over; standard error goes to the same place.
            let _nobody_may_read = writeln!(std::io::stderr(), "containerd-shim-orlop-v2: {error}");
            let _left_for_delete = socket.remove_if_unserved();
            ExitCode::FAILURE
        }
    }
}

fn detach(log: &Log) -> std::io::Result<()> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    match log.file() {
        // The text of a panic is worth a line.
        Some(file) => dup2_stderr(file)?,
        None => dup2_stderr(&null)?,
    }
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    if std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()) {
        sys::create_core_cookie()?;
    }
    sys::become_subreaper()?;
    Ok(())
}

/// Allows this process as many descriptors as it may have: a pod's shim holds a dozen for each container with streams. What the limit
/// was is the result, for the containers and for programs.
fn raise_open_files() -> std::io::Result<OpenFiles> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(OpenFiles { soft, hard })
}

/// The kernel prefers a shim to its containerd: one more than containerd's own score.
fn raise_oom_score() -> Result<(), String> {
    const HIGHEST: i32 = 1000;
    const OWN: &str = "/proc/self/oom_score_adj";
    let parents = format!("/proc/{}/oom_score_adj", getppid());
    let text = std::fs::read_to_string(&parents).map_err(|error| format!("read {parents}: {error}"))?;
    let score = text.trim().parse::<i32>().map_err(|error| format!("read {parents}: {error}"))?;
    let own = (score + 1).min(HIGHEST);
    std::fs::write(OWN, own.to_string()).map_err(|error| format!("write {own} to {OWN}: {error}"))
}

/// Moves this process, and so the shim, into a cgroup that exists (option ShimCgroup).
fn join_cgroup(path: &str) -> Result<(), String> {
    const MOUNT: &str = "/sys/fs/cgroup";
    if path.is_empty() {
        return Ok(());
    }
    let relative = Path::new(path).components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(Ok(name)),
        std::path::Component::RootDir | std::path::Component::CurDir => None,
        _ => Some(Err(format!("option ShimCgroup: {path} leaves the cgroup file system"))),
    });
    let relative = relative.collect::<Result<std::path::PathBuf, String>>()?;
    let mut joined = false;
    for hierarchy in hierarchies(Path::new(MOUNT)) {
        let file = hierarchy.join(&relative).join("cgroup.procs");
        match std::fs::OpenOptions::new().write(true).open(&file) {
            Ok(mut file) => {
                file.write_all(b"0").map_err(|error| format!("option ShimCgroup: join {path}: {error}"))?;
                joined = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("option ShimCgroup: open {}: {error}", file.display())),
        }
    }
    if joined { Ok(()) } else { Err(format!("option ShimCgroup: there is no cgroup {path}")) }
}

/// The one tree of v2, or each of v1's.
fn hierarchies(mount: &Path) -> Vec<std::path::PathBuf> {
    use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
    if statfs(mount).is_ok_and(|facts| facts.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return vec![mount.to_owned()];
    }
    let entries = std::fs::read_dir(mount).into_iter().flatten().filter_map(Result::ok);
    // Links are other names for hierarchies that are there themselves.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
