//! The command line: one table of commands and flags, one file per command.

mod commands;
mod completion;
mod container_flags;
mod failure;
mod foreground;
mod help;
mod man;
mod output;
mod parse;
mod progress;
mod rootless;
mod session;
mod signal;
mod supervisor;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use failure::Failure;
use parse::Args;
use session::Session;
use table::Command;

/// Carries out the command line of this process.
#[allow(
    clippy::disallowed_methods,
    reason = "this program has the entry of the standard library, so its arguments are there"
)]
pub(crate) fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a program with the standard library's start")]
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let own = supervisor::dispatch(&words).or_else(|| rootless::dispatch(&words, dispatch));
    ExitCode::from(own.unwrap_or_else(|| dispatch(&words)))
}

fn dispatch(words: &[OsString]) -> u8 {
    let global = match parse::parse(commands::GLOBAL, words) {
        Ok(global) => global,
        Err(failure) => return report(None, &failure),
    };
    let rest = global.words();
    let shown = match rest.split_first() {
        _ if global.switch("version") => output::print(&commands::version_text()),
        None => output::print(&help::program()),
        Some((first, rest)) if first == "help" => topic(rest.first()),
        Some((first, _)) if global.help() => topic(Some(first)),
        Some((first, rest)) => return command(&global, first, rest),
    };
    match shown {
        Ok(()) => 0,
        Err(failure) => report(None, &failure),
    }
}

fn topic(name: Option<&OsString>) -> Result<(), Failure> {
    match name {
        None => output::print(&help::program()),
        Some(name) => find(name).and_then(|found| output::print(&help::command(found.0))),
    }
}

/// The commands that read or remove files of containers and layers: an ordinary user may do that in a user namespace only.
const IN_USER_NAMESPACE: [&str; 3] = ["commit", "diff", "prune"];

fn find(name: &OsString) -> Result<(Command, commands::Run), Failure> {
    let text = name.to_string_lossy();
    commands::find(&text).ok_or_else(|| {
        let near = parse::nearest(&text, commands::all().map(Command::name));
        let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        Failure::usage(format!("{text:?}: there is no such command{hint}"))
    })
}

fn command(global: &Args, name: &OsString, words: &[OsString]) -> u8 {
    let (command, run) = match find(name) {
        Ok(found) => found,
        Err(failure) => return report(None, &failure),
    };
    let done = parse::parse(command, words).and_then(|args| {
        if args.help() {
            return output::print(&help::command(command)).map(|()| 0);
        }
        let session = Session::new(global)?;
        global.all_read()?;
        if rootless::is_rootless() && IN_USER_NAMESPACE.contains(&command.name()) {
            return rootless::whole(&session, command.name(), words);
        }
        run(&session, &args)
    });
    done.unwrap_or_else(|failure| match report(Some(command), &failure) {
        // A status below is one that the container's command may have; Docker has the same.
        status @ (1 | 2) if command.name() == "run" => status.max(125),
        status => status,
    })
}

/// Tells why `command` failed. Exit status 1 for a failure, 2 for a command line that is wrong, 130 for one that was cancelled.
fn report(command: Option<Command>, failure: &Failure) -> u8 {
    let name = command.map(|command| format!(" {}", command.name())).unwrap_or_default();
    let hint = if failure.is_usage() { format!(" (see orlop image{name} --help)") } else { String::new() };
    if !failure.is_told() {
        output::complain(&format!("orlop image{name}: {failure}{hint}"));
    }
    failure.status()
}
