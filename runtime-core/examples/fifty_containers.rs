//! Fifty containers from one program with many threads: `cargo run -p orlop --example fifty_containers -- BUNDLE`.
//!
//! Creating a container blocks for a few milliseconds, so it belongs on tokio's blocking threads; waiting for its end is a
//! matter of a descriptor that becomes readable, and needs no thread at all.
#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]
#![allow(unsafe_code, reason = "tokio asks for a promise about the descriptor it is given")]

use std::path::PathBuf;
use std::process::ExitCode;

use orlop::{Container, ContainerId, CreateOptions, DeleteOptions, Process, Runtime};
use tokio::io::unix::AsyncFd;

const CONTAINERS: usize = 50;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let Some(bundle) = std::env::args_os().nth(1) else {
        eprintln!("usage: fifty_containers BUNDLE");
        return ExitCode::from(2);
    };
    let bundle = PathBuf::from(bundle);
    let started = std::time::Instant::now();
    let tasks: Vec<_> = (0..CONTAINERS).map(|number| tokio::spawn(one(bundle.clone(), number))).collect();
    let mut failures = 0;
    for task in tasks {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                eprintln!("fifty_containers: {error}");
                failures += 1;
            }
            Err(error) => {
                eprintln!("fifty_containers: {error}");
                failures += 1;
            }
        }
    }
    println!("{} of {CONTAINERS} containers ran and are gone, in {:?}", CONTAINERS - failures, started.elapsed());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn one(bundle: PathBuf, number: usize) -> Result<(), Failure> {
    let id = ContainerId::new(format!("fifty-{}-{number}", std::process::id()))?;
    let container = Container::new(Runtime::from_environment(), id);
    let process = start(bundle, container.clone()).await?;
    // A process is its pidfd, which polls readable when it has ended.
    // SAFETY: a Process keeps its descriptor open, and the same, for as long as it lives.
    let process = unsafe { AsyncFd::register(process) }?;
    drop(process.readable().await?);
    let exit = process.get_ref().wait()?;
    let report = tokio::task::spawn_blocking(move || container.delete(&DeleteOptions::default())).await??;
    report.warnings().iter().for_each(|warning| eprintln!("fifty_containers: {warning}"));
    if exit.shell_code() == 0 { Ok(()) } else { Err(format!("container {number} ended with {exit:?}").into()) }
}

async fn start(bundle: PathBuf, container: Container) -> Result<Process, Failure> {
    Ok(tokio::task::spawn_blocking(move || container.run(CreateOptions::new(bundle))).await??)
}
