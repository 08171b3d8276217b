//! A sandbox that is made once and then runs one command after another, as an agent, a judge or a notebook does:
//! `cargo run --release -p orlop --example agent_sandbox -- 1000 /usr/bin/true` (as root).
//!
//! The commands are started by an exec server; with `--plain` before the count, each by an `exec` of its own.
//!
//! Each command has captured output and a deadline. The sandbox sees the host's files read-only and has no network and no capabilities;
//! its memory and processes are limited. At the end it tells what the last command used, and how long a command took, in the middle and at
//! the worst.
#![allow(clippy::disallowed_methods, reason = "the arguments of an example come by the standard library's entry")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop::{
    Container, ContainerId, CreateOptions, DeleteOptions, ExecOptions, ExecProcess, ExecServer, Exit, Process, Runtime,
    Signal, Usage,
};

type Failure = Box<dyn std::error::Error>;

/// As long as one command may take, and as much as it may print.
const TIME: Duration = Duration::from_secs(10);
const OUTPUT: u64 = 1 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let plain = arguments.next_if_eq("--plain").is_some();
    let (count, command) = (arguments.next().and_then(|text| text.parse().ok()), arguments.collect::<Vec<_>>());
    let (Some(count @ 1..), false) = (count, command.is_empty()) else {
        eprintln!("usage: agent_sandbox [--plain] COUNT COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    };
    match measured(plain, count, &command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent_sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(plain: bool, count: usize, command: &[String]) -> Result<(), Failure> {
    let sandbox = Sandbox::new(plain)?;
    let mut times = Vec::with_capacity(count);
    let mut last = None;
    for _ in 0..count {
        let begun = Instant::now();
        last = Some(sandbox.command(command)?);
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().unwrap_or_default();
    if let Some(outcome) = last {
        print!("{}", String::from_utf8_lossy(&outcome.output));
        println!(
            "exit {}, {:?} of the processors, {} KiB at most; {count} commands: half within {:?}, 99 of 100 within {:?}",
            outcome.exit.shell_code(),
            outcome.usage.user + outcome.usage.system,
            outcome.usage.peak_memory >> 10,
            at(50),
            at(99)
        );
    }
    Ok(())
}

/// What a command did.
struct Outcome {
    output: Vec<u8>,
    exit: Exit,
    usage: Usage,
}

/// A running container, ended and removed with this value.
struct Sandbox {
    container: Container,
    bundle: PathBuf,
    // Started with the sandbox, and gone before it.
    server: Option<ExecServer>,
    // What keeps the container alive: a command that reads what nobody writes.
    _init: Process,
    _input: std::io::PipeWriter,
}

impl Sandbox {
    fn new(plain: bool) -> Result<Self, Failure> {
        let name = format!("agent-sandbox-{}", std::process::id());
        let bundle = std::env::temp_dir().join(&name);
        std::fs::create_dir(&bundle)?;
        std::fs::write(bundle.join("config.json"), config().to_string())?;
        let container = Container::new(Runtime::from_environment(), ContainerId::new(name)?);
        let (stdin, input) = std::io::pipe()?;
        let null = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
        let started = container.run(CreateOptions::new(&bundle).stdio([stdin.into(), null()?, null()?]));
        if started.is_err() {
            std::fs::remove_dir_all(&bundle)?;
        }
        let mut sandbox = Self { container, bundle, server: None, _init: started?, _input: input };
        if !plain {
            sandbox.server = Some(sandbox.container.exec_server()?);
        }
        Ok(sandbox)
    }

    fn command(&self, words: &[String]) -> Result<Outcome, Failure> {
        let (output, stdout) = std::io::pipe()?;
        let streams = [File::open("/dev/null")?.into(), stdout.try_clone()?.into(), stdout.into()];
        // The options hold the write end of the pipe and are gone when this returns, so that the output comes to an end.
        let options = ExecOptions::new(ExecProcess::Args(words.to_vec())).stdio(streams);
        let process = match &self.server {
            Some(server) => server.exec(options)?,
            None => self.container.exec(options)?,
        };
        let output = captured(output, &process)?;
        let (exit, usage) = process.wait_with_usage()?;
        Ok(Outcome { output, exit, usage })
    }
}

/// All output until the last writer is gone; the command is killed when its time is up.
fn captured(mut output: PipeReader, process: &Process) -> Result<Vec<u8>, Failure> {
    let end = Instant::now() + TIME;
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(left)?)? == 0 || text.len() as u64 > OUTPUT {
            process.kill(Signal::KILL)?;
            return Err("the command took too long or printed too much".into());
        }
        match output.read(&mut part)? {
            0 => return Ok(text),
            count => text.extend_from_slice(part.get(..count).unwrap_or_default()),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Err(error) = self.container.delete(&DeleteOptions::default().force(true)) {
            eprintln!("agent_sandbox: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.bundle) {
            eprintln!("agent_sandbox: {}: {error}", self.bundle.display());
        }
    }
}

/// 64 MiB of memory, 32 processes.
fn config() -> serde_json::Value {
    serde_json::json!({
        "ociVersion": "1.2.0",
        "root": { "path": "/", "readonly": true },
        "process": {
            "args": ["cat"], "cwd": "/", "noNewPrivileges": true,
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "user": { "uid": 65534, "gid": 65534 },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=16m"] },
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
            ],
            "resources": { "memory": { "limit": 64 << 20 }, "pids": { "limit": 32 } },
        },
    })
}
