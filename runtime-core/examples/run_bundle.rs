//! Runs a bundle to its end: `cargo run -p orlop --example run_bundle -- BUNDLE`, as root or, with a config of
//! `orlop spec --rootless`, as anyone.
#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::process::ExitCode;

use orlop::{Container, ContainerId, CreateOptions, DeleteOptions, Runtime};

fn main() -> ExitCode {
    let Some(bundle) = std::env::args_os().nth(1) else {
        eprintln!("usage: run_bundle BUNDLE");
        return ExitCode::from(2);
    };
    match run(bundle.into()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // One line: the step, the object, the config field, the cause, and the remedy when there is one.
            eprintln!("run_bundle: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bundle: std::path::PathBuf) -> orlop::Result<u8> {
    let id = ContainerId::new(format!("example-{}", std::process::id()))?;
    let container = Container::new(Runtime::from_environment(), id);
    let process = container.run(CreateOptions::new(bundle))?;
    process.report().warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    println!("container {} runs as pid {}", container.id(), process.id());
    // `process` is also a file descriptor (AsFd) that polls readable when it ends, for those who wait for many.
    let exit = process.wait()?;
    container.delete(&DeleteOptions::default())?.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(exit.shell_code())
}
