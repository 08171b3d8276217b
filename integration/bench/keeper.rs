//! The process that outlives the benchmarks and takes away what they leave, however they end.

use std::process::{Child, Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};

use crate::stopwatch::Bench;

/// Names the benchmarks' directory to the process that runs them.
pub(crate) const DIRECTORY: &str = "ORLOP_BENCH_DIRECTORY";

/// Runs this program once more, as the benchmarks themselves, and cleans up after it.
pub(crate) fn keep(bench: &Bench) -> ExitCode {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block().expect("block signals");
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(DIRECTORY, &bench.dir);
    // A child of std's has no signal blocked.
    let code = match command.spawn() {
        Ok(child) => follow(child, signals),
        Err(error) => {
            eprintln!("bench: cannot start itself: {error}");
            1
        }
    };
    bench.finish();
    ExitCode::from(code)
}

/// The benchmarks' exit code; or that of the signal by which they were to end.
fn follow(mut child: Child, signals: SigSet) -> u8 {
    loop {
        let signal = signals.wait().expect("sigwait");
        if signal != Signal::SIGCHLD {
            child.kill().expect("end the benchmarks");
            child.wait().expect("wait for the benchmarks");
            return 128 + u8::try_from(signal as i32).expect("a signal's number");
        }
        if let Some(status) = child.try_wait().expect("wait for the benchmarks") {
            return status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        }
    }
}
