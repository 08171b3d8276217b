//! `containerd-shim-orlop-v2`: a containerd shim with the runtime inside. One process for a pod, with one thread: a loop over
//! ttrpc connections, pidfds, FIFOs, terminals and cgroup events.
//!
//! From the top: `start`, `delete` and `info` are what containerd calls the program for; `shim` is the loop, `calls`, `lifecycle`,
//! `streams` and `oom` the task service on it; `task` what is known; `stdio`, `copy`, `driver`, `rootfs`, `idmap`, `publish`, `jobs` the means; `runtime` all that
//! is known of the library; `proto` and `ttrpc` the protocol; `socket`, `poller`, `connection`, `log`, `sys` the base.

#[macro_use]
mod proto;
mod arguments;
mod bootstrap;
mod bundle;
mod calls;
mod connection;
mod copy;
mod delete;
mod driver;
mod idmap;
mod info;
mod jobs;
mod lifecycle;
mod log;
mod oom;
mod options;
mod poller;
mod publish;
mod rootfs;
mod runtime;
mod sha256;
mod shim;
mod socket;
mod start;
mod stdio;
mod streams;
mod sys;
mod task;
mod ttrpc;

use std::io::Write;
use std::process::ExitCode;

use arguments::Action;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a program with the standard library's start")]
    let done = arguments::parse(std::env::args_os().skip(1)).and_then(|given| match given.action {
        Action::Start => start::start(&given),
        Action::Delete => delete::delete(&given),
        Action::Info => info::info(),
        Action::Version => info::version(),
    });
    done.unwrap_or_else(|error| {
        // containerd reads both streams together, and shows this line.
        let _nobody_may_read = writeln!(std::io::stderr(), "containerd-shim-orlop-v2: {error}");
        ExitCode::FAILURE
    })
}
