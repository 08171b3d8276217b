//! Running hooks one after the other: each gets the state on its standard input, and has a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, pipe2};
use serde::Serialize;

use crate::base::sys::pidfd;
use crate::base::{Error, Exit, HostPid, Kind, Process, Result, Status, Step};
use crate::config::Hook;
use crate::state::Record;

/// How long a hook without a timeout of its own may take. The specification sets no limit; but a hook that never ends would hold
/// up its engine for ever, so there is one that no honest hook meets.
const LONGEST: Duration = Duration::from_secs(3600);

/// How much of a hook's output is kept for the message: its end, where the cause stands.
const KEPT_OUTPUT: usize = 4096;

/// How long a hook's output is waited for once it has ended: it may have left a child that keeps the pipe open.
const DRAIN: Duration = Duration::from_millis(100);

/// The kinds of hooks, by their names in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookKind {
    /// Deprecated: as createRuntime, before it.
    Prestart,
    /// In the runtime's namespaces, before the root is changed.
    CreateRuntime,
    /// In the container's namespaces, before the root is changed.
    CreateContainer,
    /// In the container, before its command is executed.
    StartContainer,
    /// In the runtime's namespaces, after the command was executed.
    Poststart,
    /// In the runtime's namespaces, after the container was deleted.
    Poststop,
}

impl HookKind {
    /// Its name in the config.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// The state a hook gets on its standard input (runtime-spec, `runtime.md`, "State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState<'a> {
    /// The version of the specification.
    pub(crate) oci_version: &'a str,
    /// The container's id.
    pub(crate) id: &'a str,
    /// Its status at this point.
    pub(crate) status: Status,
    /// The pid of its first process; absent when it has none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// The absolute path of the bundle.
    pub(crate) bundle: &'a str,
    /// The config's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

impl<'a> HookState<'a> {
    /// The state of the container of `record`.
    pub(crate) fn of(record: &'a Record, status: Status, pid: Option<HostPid>) -> Self {
        Self {
            oci_version: &record.oci_version,
            id: record.id.as_str(),
            status,
            pid: pid.map(HostPid::get),
            bundle: &record.bundle,
            annotations: &record.annotations,
        }
    }
}

/// Starts hooks where they belong.
pub(crate) trait Spawn {
    /// Starts `hook` with these standard streams as the leader of a new process group, in the environment that is given and no
    /// other, with every signal at its default and unblocked.
    fn spawn(&self, hook: &Hook<'_>, stdio: [OwnedFd; 3]) -> Result<Process>;
}

/// Runs the hooks of one kind, one after the other. The first that fails ends it; what that means for the container is for the
/// caller to say.
///
/// # Errors
/// [`Kind::Hook`]: the hook cannot be executed, has failed, or its time was over.
pub(crate) fn run(
    kind: HookKind,
    hooks: &[Hook<'_>],
    state: &HookState<'_>,
    place: &dyn Spawn,
    cancel: Option<BorrowedFd<'_>>,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_vec(state)
        .map_err(|error| Error::new(Kind::Hook, Step::RunHook).with_reason(error.to_string()))?;
    hooks.iter().enumerate().try_for_each(|(index, hook)| run_one(kind, index, hook, &json, state, place, cancel))
}

/// Runs all hooks of one kind, whatever becomes of each; tells the failures.
pub(crate) fn run_all(kind: HookKind, hooks: &[Hook<'_>], state: &HookState<'_>, place: &dyn Spawn) -> Vec<Error> {
    let json = match serde_json::to_vec(state) {
        Ok(json) => json,
        Err(error) => return vec![Error::new(Kind::Hook, Step::RunHook).with_reason(error.to_string())],
    };
    let run = |(index, hook)| run_one(kind, index, hook, &json, state, place, None).err();
    hooks.iter().enumerate().filter_map(run).collect()
}

fn run_one(
    kind: HookKind,
    index: usize,
    hook: &Hook<'_>,
    json: &[u8],
    state: &HookState<'_>,
    place: &dyn Spawn,
    cancel: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let timeout = match hook.timeout {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        None => LONGEST,
    };
    execute(hook, json, state, place, timeout, cancel).map_err(|problem| {
        // runc's words, which its users look for.
        let mut detail = format!("error running {} hook #{index}", kind.as_str());
        if let Some(said) = problem.reason() {
            detail.push_str(&format!(": {said}"));
        }
        let error = match problem.errno() {
            Some(errno) => Error::os(Step::RunHook, errno),
            None => Error::new(Kind::Hook, Step::RunHook),
        };
        let error = match problem.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        error
            .with_kind(if problem.kind() == Kind::Cancelled { Kind::Cancelled } else { Kind::Hook })
            .with_object(hook.path.as_str())
            .with_field(format!("/hooks/{}/{index}", kind.as_str()))
            .with_reason(detail)
    })
}

fn execute(
    hook: &Hook<'_>,
    json: &[u8],
    state: &HookState<'_>,
    place: &dyn Spawn,
    timeout: Duration,
    cancel: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let failed = |errno: Errno| Error::os(Step::RunHook, errno as i32);
    let (stdin, to_hook) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let mut streams = Streams::new(to_hook, json)?;
    let stdout = streams.output(state.annotations.get("run.oci.hooks.stdout"), "stdout")?;
    let stderr = streams.output(state.annotations.get("run.oci.hooks.stderr"), "stderr")?;
    let running = place.spawn(hook, [stdin, stdout, stderr])?;
    let ending = streams.pump(running.as_fd(), Instant::now() + timeout, cancel)?;
    if ending != Ending::Own {
        kill_group(&running)?;
    }
    let exit = running.wait().map_err(|error| {
        error
            .with_reason("how it ended cannot be told")
            .with_hint("the program must not reap children that it has not started")
    })?;
    streams.drain(Instant::now() + DRAIN)?;
    let problem = match exit {
        _ if ending == Ending::Cancelled => {
            return Err(Error::new(Kind::Cancelled, Step::RunHook).with_reason("cancelled by the caller"));
        }
        _ if ending == Ending::TimeOver => format!("ran past its timeout of {} s and was killed", timeout.as_secs()),
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => format!("exit status {code}"),
        Exit::Signal(libc::SIGSYS) => "bad system call: killed by the container's seccomp profile".to_owned(),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
    };
    Err(Error::new(Kind::Hook, Step::RunHook).with_reason(format!("{problem}{}", streams.said())))
}

/// Kills the hook and what it has started, and waits for the hook itself. The group is the hook's own since it leads it, and
/// cannot be another's as long as the hook is not reaped, or anything that it has started is left in it.
fn kill_group(running: &Process) -> Result<()> {
    match killpg(Pid::from_raw(running.id().get()), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(Error::os(Step::RunHook, errno as i32)),
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    match pidfd::wait_until(running.as_fd(), deadline) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Error::new(Kind::Timeout, Step::RunHook).with_reason("cannot be killed: it hangs in the kernel"))
        }
        Err(errno) => Err(Error::os(Step::RunHook, errno as i32)),
    }
}

/// Why a hook is waited for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It has ended.
    Own,
    /// Its time is over.
    TimeOver,
    /// The caller wants no more of it.
    Cancelled,
}

/// The other ends of a hook's standard streams.
struct Streams<'a> {
    input: Option<(File, &'a [u8])>,
    outputs: Vec<Output>,
}

/// One stream of a hook that is read.
struct Output {
    name: &'static str,
    pipe: Option<File>,
    /// The last bytes it printed.
    tail: VecDeque<u8>,
}

impl<'a> Streams<'a> {
    fn new(to_hook: OwnedFd, json: &'a [u8]) -> Result<Self> {
        set_nonblocking(&to_hook)?;
        Ok(Self { input: Some((File::from(to_hook), json)), outputs: Vec::new() })
    }

    /// The hook's end of an output stream: a file when one is named, else a pipe that is read here.
    fn output(&mut self, file: Option<&String>, name: &'static str) -> Result<OwnedFd> {
        if let Some(path) = file {
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            return openat(AT_FDCWD, path.as_str(), flags, mode).map_err(|errno| {
                Error::os(Step::RunHook, errno as i32)
                    .with_reason(format!("open {path} (annotation run.oci.hooks.{name})"))
            });
        }
        let (pipe, to_us) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::os(Step::RunHook, errno as i32))?;
        set_nonblocking(&pipe)?;
        self.outputs.push(Output { name, pipe: Some(File::from(pipe)), tail: VecDeque::new() });
        Ok(to_us)
    }

    /// Feeds and reads the hook until it ends, `deadline` passes, or `cancel` becomes readable.
    fn pump(&mut self, process: BorrowedFd<'_>, deadline: Instant, cancel: Option<BorrowedFd<'_>>) -> Result<Ending> {
        loop {
            // Without a second one it is the process once more.
            let mut fds = vec![
                PollFd::new(process, PollFlags::POLLIN),
                PollFd::new(cancel.unwrap_or(process), PollFlags::POLLIN),
            ];
            if let Some((file, _)) = &self.input {
                fds.push(PollFd::new(file.as_fd(), PollFlags::POLLOUT));
            }
            for file in self.outputs.iter().filter_map(|output| output.pipe.as_ref()) {
                fds.push(PollFd::new(file.as_fd(), PollFlags::POLLIN));
            }
            let ready = match poll(&mut fds, pidfd::timeout_until(deadline)) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::os(Step::RunHook, errno as i32)),
            };
            let seen = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
            // The process may end between the kernel's look at the first and at the second, where both are it.
            let (ended, cancelled) = (seen(fds.first()), cancel.is_some() && seen(fds.get(1)));
            drop(fds);
            if ended {
                return Ok(Ending::Own);
            }
            if cancelled {
                return Ok(Ending::Cancelled);
            }
            if ready == 0 && Instant::now() >= deadline {
                return Ok(Ending::TimeOver);
            }
            // All are non-blocking, so there is no need to know which are ready.
            self.feed()?;
            self.read()?;
            if ready > 0 && Instant::now() >= deadline {
                return Ok(Ending::TimeOver);
            }
        }
    }

    /// Reads what the hook had printed when it ended, until its streams are closed or `deadline` passes.
    fn drain(&mut self, deadline: Instant) -> Result<()> {
        self.input = None;
        loop {
            self.read()?;
            let mut fds: Vec<_> = self
                .outputs
                .iter()
                .filter_map(|output| output.pipe.as_ref())
                .map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN))
                .collect();
            if fds.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            match poll(&mut fds, pidfd::timeout_until(deadline)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::os(Step::RunHook, errno as i32)),
            }
        }
    }

    fn feed(&mut self) -> Result<()> {
        while let Some((file, rest)) = &mut self.input {
            match file.write(rest) {
                Ok(count) => *rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // A hook need not read its input; Rust programs ignore SIGPIPE.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => *rest = &[],
                Err(error) => return Err(Error::io(Step::RunHook, &error)),
            }
            if rest.is_empty() {
                self.input = None;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0_u8; 4096];
        for output in &mut self.outputs {
            while let Some(file) = &mut output.pipe {
                match file.read(&mut buffer) {
                    Ok(0) => output.pipe = None,
                    Ok(count) => {
                        output.tail.extend(buffer.iter().take(count));
                        let surplus = output.tail.len().saturating_sub(KEPT_OUTPUT);
                        output.tail.drain(..surplus);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Error::io(Step::RunHook, &error)),
                }
            }
        }
        Ok(())
    }

    /// What the hook printed, for a message of one line.
    fn said(&self) -> String {
        let mut text = String::new();
        for output in &self.outputs {
            let bytes: Vec<u8> = output.tail.iter().copied().collect();
            let said = String::from_utf8_lossy(&bytes).trim().replace(['\n', '\r'], " | ");
            text.push_str(&format!(", {}: {said}", output.name));
        }
        text
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    // A pipe that was just made has no other status flags to keep.
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop).map_err(|errno| Error::os(Step::RunHook, errno as i32))
}
