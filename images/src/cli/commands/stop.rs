//! `orlop image stop`.

use std::time::{Duration, Instant};

use orlop::KillOptions;
use orlop_images::supervise::Containers;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::signal;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "stop: NAME...
ask containers to end, and kill those that do not

-t, --time SECONDS | how long to wait before it is killed (default: 10)
-s, --signal SIGNAL | what to send, in the place of the image's stop signal
--json | print a line of JSON for each

$ orlop image stop web
$ orlop image stop -t 60 db
",
);

/// How long a container may take to be gone once it was killed.
const GONE: Duration = Duration::from_secs(30);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let patience = Duration::from_secs(args.number("time")?.unwrap_or(10));
    let wanted = args.text("signal")?.map(|text| {
        signal::parse(text).ok_or_else(|| Failure::usage(format!("--signal {text:?}: there is no such signal")))
    });
    let wanted = wanted.transpose()?;
    let as_json = args.switch("json");
    let words = args.words_as_text()?;
    let containers = session.containers(&session.store()?)?;
    for name in words {
        stop(&containers, name, wanted, patience)?;
        output::name(name, as_json)?;
    }
    Ok(0)
}

/// Has a container ended, with a signal first and by force after `patience`.
pub(super) fn stop(
    containers: &Containers,
    name: &str,
    wanted: Option<i32>,
    patience: Duration,
) -> Result<(), Failure> {
    let seen = containers.get(name)?;
    if seen.record.state.is_over() {
        return Ok(());
    }
    if ended(containers, name, wanted.unwrap_or(seen.record.stop_signal), patience)? {
        return Ok(());
    }
    match ended(containers, name, libc::SIGKILL, GONE)? {
        true => Ok(()),
        false => Err(Failure::new(format!("{name} is killed, and still there after {} s", GONE.as_secs()))),
    }
}

/// Whether there was a process to send it to.
fn send(containers: &Containers, name: &str, number: i32) -> Result<bool, Failure> {
    let failed = |error: orlop::Error| Failure::new(error.to_string());
    let options = KillOptions::default().signal(orlop::Signal::new(number).map_err(failed)?);
    match containers.container(name)?.kill(&options) {
        // It has just ended by itself, or is only being made.
        Err(error) if matches!(error.kind(), orlop::Kind::NotFound | orlop::Kind::WrongStatus) => Ok(false),
        done => done.map(|_| true).map_err(failed),
    }
}

/// Sends a signal, as soon as there is a process for it. Whether the container has ended, and what belongs to it is taken away,
/// before `patience` is over.
fn ended(containers: &Containers, name: &str, signal: i32, patience: Duration) -> Result<bool, Failure> {
    let mut sent = false;
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(5);
    loop {
        sent = sent || send(containers, name, signal)?;
        // One that goes with its end is gone.
        match containers.get(name) {
            Err(error) if error.kind() == orlop_images::Kind::NotFound => return Ok(true),
            seen if seen.as_ref().is_ok_and(|seen| seen.record.state.is_over()) => return Ok(true),
            seen => seen.map(drop)?,
        }
        let now = Instant::now();
        if now >= end {
            return Ok(false);
        }
        std::thread::sleep(pause.min(end - now));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
