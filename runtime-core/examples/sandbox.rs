//! Runs a command of the host's root file system in a container with limits, and captures what it prints:
//! `cargo run -p orlop --example sandbox -- ls -l /` (as root).
//!
//! The container sees the host's files read-only, has no network and no capabilities, and is ended after ten seconds.
#![allow(clippy::disallowed_methods, reason = "the arguments of an example come by the standard library's entry")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop::{Container, ContainerId, CreateOptions, DeleteOptions, Runtime};
use std::os::fd::AsFd;

type Failure = Box<dyn std::error::Error>;

/// As long as the command may take.
const TIME: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let command: Vec<String> = std::env::args().skip(1).collect();
    if command.is_empty() {
        eprintln!("usage: sandbox COMMAND [ARGUMENT...]");
        return ExitCode::from(2);
    }
    match sandboxed(&command) {
        Ok((output, code)) => {
            print!("{output}");
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sandboxed(command: &[String]) -> Result<(String, u8), Failure> {
    let name = format!("sandbox-{}", std::process::id());
    let bundle = std::env::temp_dir().join(&name);
    std::fs::create_dir(&bundle)?;
    let result = std::fs::write(bundle.join("config.json"), config(command).to_string())
        .map_err(Failure::from)
        .and_then(|()| run(Container::new(Runtime::from_environment(), ContainerId::new(name)?), &bundle));
    std::fs::remove_dir_all(&bundle)?;
    result
}

fn run(container: Container, bundle: &std::path::Path) -> Result<(String, u8), Failure> {
    let (mut output, stdout) = std::io::pipe()?;
    let streams = [std::fs::File::open("/dev/null")?.into(), stdout.try_clone()?.into(), stdout.into()];
    // The options hold the write end of the pipe and are gone when this returns, so that the output comes to an end.
    let process = container.run(CreateOptions::new(bundle).stdio(streams))?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        output.read_to_end(&mut text).map(|_| text)
    });
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let in_time = poll(&mut fds, PollTimeout::try_from(TIME)?)? > 0;
    if !in_time {
        process.kill(orlop::Signal::KILL)?;
    }
    let exit = process.wait()?;
    for warning in container.delete(&DeleteOptions::default().force(true))?.warnings() {
        eprintln!("warning: {warning}");
    }
    let text = reader.join().map_err(|_| "the reader has failed")??;
    if !in_time {
        return Err(format!("not done after {} s", TIME.as_secs()).into());
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), exit.shell_code()))
}

/// 64 MiB of memory, 32 processes, half a CPU.
fn config(command: &[String]) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": "1.2.0",
        "root": { "path": "/", "readonly": true },
        "process": {
            "args": command, "cwd": "/", "noNewPrivileges": true,
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
            "resources": {
                "memory": { "limit": 64 << 20 }, "pids": { "limit": 32 }, "cpu": { "quota": 50_000, "period": 100_000 },
            },
        },
    })
}
