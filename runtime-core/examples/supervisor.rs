//! A hundred containers from one bundle, watched by one thread: `cargo run -p orlop --example supervisor -- BUNDLE`.
//!
//! A process is a descriptor that polls readable when it ends, so there is no thread for each, and nobody asks in turns.
#![allow(clippy::disallowed_methods, reason = "the arguments of an example come by the standard library's entry")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use orlop::{Container, ContainerId, CreateOptions, DeleteOptions, Process, Runtime};

const CONTAINERS: usize = 100;

fn main() -> ExitCode {
    let Some(bundle) = std::env::args_os().nth(1) else {
        eprintln!("usage: supervisor BUNDLE");
        return ExitCode::from(2);
    };
    let mut running = Vec::new();
    for number in 0..CONTAINERS {
        match started(number, bundle.as_ref()) {
            Ok(one) => running.push(one),
            Err(error) => eprintln!("container {number}: {error}"),
        }
    }
    let (count, mut failures) = (running.len(), CONTAINERS - running.len());
    while !running.is_empty() {
        match ended(&mut running) {
            Ok(codes) => failures += codes.into_iter().filter(|code| *code != 0).count(),
            Err(error) => {
                eprintln!("supervisor: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} of {CONTAINERS} containers ran, {failures} failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn started(number: usize, bundle: &std::path::Path) -> orlop::Result<(Container, Process)> {
    let id = ContainerId::new(format!("supervised-{}-{number}", std::process::id()))?;
    let container = Container::new(Runtime::from_environment(), id);
    let process = container.run(CreateOptions::new(bundle))?;
    Ok((container, process))
}

/// Waits until one of them has ended, or more; deletes these, and tells their exit codes.
fn ended(running: &mut Vec<(Container, Process)>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut fds: Vec<_> = running.iter().map(|(_, process)| PollFd::new(process.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    drop(fds);
    let mut codes = Vec::new();
    let mut rest = Vec::new();
    for (container, process) in running.drain(..) {
        match process.try_wait()? {
            Some(exit) => {
                codes.push(exit.shell_code());
                for warning in container.delete(&DeleteOptions::default())?.warnings() {
                    eprintln!("{}: {warning}", container.id());
                }
            }
            None => rest.push((container, process)),
        }
    }
    *running = rest;
    Ok(codes)
}
