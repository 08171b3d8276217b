//! The process beside a container in the background. `run` starts it with a line that is not in the table; it makes the
//! container, reports, and executes itself anew, so that what making took is given back and little stays.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use orlop::Runtime;
use orlop_images::base::Dir;
use orlop_images::network::Forwarder;
use orlop_images::supervise::{self, Claim, Console, Containers, Seen, Streams, keep_standard_streams_only, watch};
use orlop_images::{Error, Result, Step};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::{foreground, rootless};

/// The word that the line begins with.
const WORD: &str = "supervise";
/// What it ends with where another supervisor was killed.
const RENEW: &str = "renew";

/// What is said to `run`.
pub(crate) struct Report {
    pub(crate) error: Option<String>,
    pub(crate) status: u8,
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Reads what a supervisor has said; none if it died before it was through.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text.strip_suffix('\n')?).ok()?;
        let notes =
            value.get("notes")?.as_array()?.iter().filter_map(|note| note.as_str().map(str::to_owned)).collect();
        let status = u8::try_from(value.get("status")?.as_u64()?).ok()?;
        Some(Self { error: value.get("error")?.as_str().map(str::to_owned), status, notes })
    }
}

/// Starts the supervisor of a container, and waits for what it says; none if it died before it was through.
pub(crate) fn start(containers: &Containers, claim: Claim) -> std::result::Result<Option<Report>, Failure> {
    let words = words(containers, claim.name());
    spawn(&words, claim, Stdio::inherit())
}

/// Has another supervisor go on with a container whose own was killed. Whether there is one now that was not there before.
pub(crate) fn renew(containers: &Containers, seen: &Seen) -> std::result::Result<bool, Failure> {
    // Another command may be at it already.
    let Ok(Some(claim)) = containers.take_over(&seen.record.name, Duration::ZERO) else { return Ok(false) };
    let mut words = words(containers, claim.name());
    words.push(RENEW.into());
    // Whoever reads what this command says must not wait for the end of the container.
    match spawn(&words, claim, Stdio::null())?.map(|report| report.error) {
        Some(None) => Ok(true),
        Some(Some(error)) => Err(Failure::new(error)),
        None => Ok(false),
    }
}

fn spawn(words: &[OsString], claim: Claim, errors: Stdio) -> std::result::Result<Option<Report>, Failure> {
    let failed = |what: &str, error: &std::io::Error| Failure::new(format!("{what}: {error}"));
    let lock: OwnedFd = claim.hand_over()?.into();
    let mut program = Program::new("/proc/self/exe");
    program.args(words).stdin(Stdio::from(lock)).stdout(Stdio::piped()).stderr(errors);
    let mut child = program.spawn().map_err(|error| failed("start the supervisor", &error))?;
    // The lock is the supervisor's alone: `program` holds a copy.
    drop(program);
    let mut said = String::new();
    if let Some(out) = &mut child.stdout {
        out.read_to_string(&mut said).map_err(|error| failed("read from the supervisor", &error))?;
    }
    let report = Report::read(&said);
    if report.as_ref().is_none_or(|report| report.error.is_some()) {
        // It ends by itself.
        drop(child.wait());
    }
    Ok(report)
}

/// The line that starts the supervisor of the container `name`. Its standard input is the lock.
fn words(containers: &Containers, name: &str) -> Vec<OsString> {
    let state =
        containers.log(name).parent().and_then(std::path::Path::parent).unwrap_or(std::path::Path::new("/")).to_owned();
    vec![WORD.into(), state.into(), containers.runtime_root().into(), name.into()]
}

/// Carries out the line, if it is one.
pub(crate) fn dispatch(words: &[OsString]) -> Option<u8> {
    let (first, rest) = words.split_first()?;
    if first != WORD {
        return None;
    }
    let [state, root, name, rest @ ..] = rest else { return Some(2) };
    let name = name.to_string_lossy();
    let opened = Dir::open(Step::Supervise, state.as_ref())
        .and_then(|dir| Containers::open(&dir, Runtime::new(root)).map(rootless::with_remover));
    let done = opened.and_then(|containers| match rest {
        [] => begin(&containers, &name, words),
        [word] if word == RENEW => renewed(&containers, &name),
        [pid, sockets @ ..] => go_on(&containers, &name, pid.to_string_lossy().parse().unwrap_or(0), sockets),
    });
    // Whoever could be told is gone; the next command on the container finds what was left.
    Some(done.unwrap_or(1))
}

/// Starts the container, and stays.
fn begin(containers: &Containers, name: &str, words: &[OsString]) -> Result<u8> {
    // Away from the terminal and its signals. That it leads a session already is no harm.
    nix::unistd::setsid().ok();
    keep_standard_streams_only();
    let claim = Claim::inherited(containers, name)?;
    let mut record = containers.record(name)?;
    let (streams, ends) = if record.terminal { terminal()? } else { pipes(record.interactive)? };
    if let Ends::Pipes(out, err) = &ends {
        let inode = |fd: &OwnedFd| File::from(fd.try_clone()?).metadata().map(|status| status.ino());
        let both = inode(out).and_then(|out| Ok([out, inode(err)?]));
        record.pipes = Some(both.map_err(|error| Error::io(Step::Supervise, &error))?);
        containers.update(&claim, &record)?;
    }
    let (process, mut notes) = match containers.launch(&claim, streams, None) {
        Ok(launched) => launched,
        Err((error, status)) => {
            return report(&json!({ "error": error.to_string(), "status": status, "notes": [] })).map(|()| 1);
        }
    };
    let console = ends.console()?;
    std::env::set_current_dir("/").map_err(|error| Error::io(Step::Supervise, &error))?;
    let forwarder = containers.forwarder(name).unwrap_or_else(|error| {
        notes.push(error.to_string());
        None
    });
    report(&json!({ "error": null, "status": 0, "notes": notes }))?;
    let pid = process.id().get();
    let sockets = forwarder.as_ref().map_or_else(|| Ok(Vec::new()), Forwarder::keep_through_execution)?;
    let copy = |file: &File| file.try_clone().map_err(|error| Error::io(Step::Supervise, &error));
    let mut again = Program::new("/proc/self/exe");
    again
        .args(words)
        .arg(pid.to_string())
        .args(sockets.iter().map(ToString::to_string))
        .env_clear()
        .stdout(Stdio::from(copy(&console.out)?));
    again.stderr(console.err.as_ref().map(copy).transpose()?.map_or_else(Stdio::null, Stdio::from));
    // It returns only if it fails; then all goes on here, with more memory.
    drop(again.exec());
    std::io::stdout().flush().ok();
    end(containers, &claim, pid, console, forwarder)
}

/// The second half, after the execution: standard output is where the container's comes from, standard error likewise.
/// `sockets` are those of the published ports on `::1`.
fn go_on(containers: &Containers, name: &str, pid: i32, sockets: &[OsString]) -> Result<u8> {
    let sockets: Vec<i32> = sockets.iter().filter_map(|number| number.to_string_lossy().parse().ok()).collect();
    let forwarder = if sockets.is_empty() { None } else { containers.inherited_forwarder(name, &sockets)? };
    let claim = Claim::inherited(containers, name)?;
    let own = |fd: std::os::fd::BorrowedFd<'_>| {
        fd.try_clone_to_owned().map(File::from).map_err(|error| Error::io(Step::Supervise, &error))
    };
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let err = if containers.record(name)?.terminal { None } else { Some(own(err.as_fd())?) };
    end(containers, &claim, pid, Console { out: own(out.as_fd())?, err }, forwarder)
}

/// Goes on where a supervisor was killed.
fn renewed(containers: &Containers, name: &str) -> Result<u8> {
    nix::unistd::setsid().ok();
    keep_standard_streams_only();
    let claim = Claim::inherited(containers, name)?;
    let pid = containers.get(name)?.pid;
    let opened = supervise::process(pid);
    let seen = containers.get(name)?;
    // With the descriptor open, the number is that process's, or it has ended.
    let Some(pidfd) = opened.ok().filter(|_| seen.status.is_some() && seen.pid == pid) else {
        report(&json!({ "error": null, "status": 0, "notes": [] }))?;
        return containers.finish(&claim, None).map(|()| 0);
    };
    let console = supervise::output_of(pid, &seen.record)?;
    std::env::set_current_dir("/").map_err(|error| Error::io(Step::Supervise, &error))?;
    // Another program may have the port by now; all else goes on.
    let forwarder = containers.forwarder(name).unwrap_or_default();
    report(&json!({ "error": null, "status": 0, "notes": [] }))?;
    let code = watch(claim.dir().path(), pid, &pidfd, console, forwarder)?;
    containers.finish(&claim, code).map(|()| 0)
}

fn end(containers: &Containers, claim: &Claim, pid: i32, console: Console, forwarder: Option<Forwarder>) -> Result<u8> {
    // A child of this process: the number is its until it is waited for.
    let code = watch(claim.dir().path(), pid, &supervise::process(pid)?, console, forwarder)?;
    containers.finish(claim, code).map(|()| 0)
}

fn report(value: &Value) -> Result<()> {
    // `run` reads to the end, so this program lets go of the pipe.
    let mut out = std::io::stdout();
    out.write_all(format!("{value}\n").as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::io(Step::Supervise, &error))?;
    let null = Streams::null()?;
    nix::unistd::dup2_stdout(&null).map_err(|errno| Error::os(Step::Supervise, errno as i32))
}

/// The ends of the container's streams that stay here.
enum Ends {
    Pipes(OwnedFd, OwnedFd),
    /// The socket that the terminal comes by.
    Terminal(OwnedFd),
}

impl Ends {
    fn console(self) -> Result<Console> {
        match self {
            Self::Pipes(out, err) => Ok(Console { out: out.into(), err: Some(err.into()) }),
            Self::Terminal(socket) => {
                let master =
                    foreground::receive_terminal(&socket).ok_or_else(|| Error::os(Step::Supervise, libc::EBADF))?;
                Ok(Console { out: master.into(), err: None })
            }
        }
    }
}

fn pipes(interactive: bool) -> Result<(Streams, Ends)> {
    let failed = |errno: nix::errno::Errno| Error::os(Step::Supervise, errno as i32);
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed);
    // What the container writes goes to an end that reads as well: it never finds that nobody reads any more.
    let lasting = |(read, _): (OwnedFd, OwnedFd)| Ok::<_, Error>((both_ways(&read)?, read));
    let ((out_in, out), (err_in, err)) = (lasting(pipe()?)?, lasting(pipe()?)?);
    let input = if interactive { open_input()? } else { Streams::null()? };
    Ok((Streams::Plain([input, out_in, err_in]), Ends::Pipes(out, err)))
}

/// A pipe that never ends: whoever reads it can also write to it.
fn open_input() -> Result<OwnedFd> {
    let pipe = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
    let (read, _write) = pipe.map_err(|errno| Error::os(Step::Supervise, errno as i32))?;
    both_ways(&read)
}

/// An end of the pipe of `end` that reads and writes.
fn both_ways(end: &OwnedFd) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", end.as_raw_fd());
    let opened = File::options().read(true).write(true).open(path);
    opened.map(OwnedFd::from).map_err(|error| Error::io(Step::Supervise, &error))
}

fn terminal() -> Result<(Streams, Ends)> {
    let (here, there) = foreground::socket_pair().map_err(|errno| Error::os(Step::Supervise, errno as i32))?;
    Ok((Streams::Terminal { socket: there, onlcr: false, size: None }, Ends::Terminal(here)))
}
