//! `orlop`: a runc-compatible OCI container runtime.
//!
//! This program turns a command line into a call of the `orlop` library, and the result into text and an exit status. What
//! is accepted is declared once, in the table ([`table`]); each command has one file in [`verbs`], and [`commands`] lists them.

#![cfg_attr(not(test), no_main)]

mod allocator;
mod commands;
mod completion;
mod copy_on_write;
mod failure;
mod foreground;
mod help;
mod log;
mod man;
mod notify;
mod parse;
mod pattern;
mod session;
mod signals;
#[cfg(not(test))]
mod start;
mod sys;
mod table;
mod tabular;
mod terminal;
mod units;
mod verbs;

use std::ffi::OsStr;

use crate::commands::Verb;
use crate::failure::Failure;
use crate::log::Log;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

// Not for the unit tests, whose harness has threads.
#[cfg_attr(not(test), global_allocator)]
#[cfg_attr(test, allow(dead_code, reason = "the tests of the allocator make their own"))]
static ALLOCATOR: allocator::Allocator = allocator::Allocator::new();

/// Carries out one command line and returns the exit status.
#[cfg_attr(test, allow(dead_code, reason = "the test harness has its own entry point"))]
fn dispatch(words: &[&OsStr]) -> u8 {
    let log = match parse::parse(session::COMMAND, words).and_then(|global| Ok((Session::open_log(&global)?, global))) {
        Ok((log, global)) => return with_log(&global, &log),
        Err(failure) => (Log::default(), failure),
    };
    report(&log.0, None, None, &log.1)
}

fn with_log(global: &Args<'_>, log: &Log) -> u8 {
    let words = global.words();
    let shown = match words.split_first() {
        _ if session::asks_for_version(global) => verbs::print(&verbs::version::text()),
        None => verbs::print(&help::program(&commands::catalogue())),
        Some((first, rest)) if *first == "help" || *first == "h" => topic(rest),
        Some(_) if global.help() => topic(words),
        Some(_) => return verb(global, words, log),
    };
    shown.unwrap_or_else(|failure| report(log, None, None, &failure))
}

/// `orlop help [COMMAND]`.
fn topic(words: &[&OsStr]) -> Result<u8, Failure> {
    match words.first() {
        None => verbs::print(&help::program(&commands::catalogue())),
        Some(_) => verbs::print(&help::command(lookup(words)?.0.command)),
    }
}

/// The command that `words` begin with, and the words after its name.
fn lookup<'w, 'a>(words: &'w [&'a OsStr]) -> Result<(Verb, &'w [&'a OsStr]), Failure> {
    let text = |index: usize| words.get(index).and_then(|word| word.to_str());
    let first = text(0).unwrap_or_default();
    if let Some(verb) = commands::find(first, text(1)) {
        let count = verb.command.name().split(' ').count();
        return Ok((verb, words.get(count..).unwrap_or_default()));
    }
    if !cfg!(feature = "criu") && matches!(first, "checkpoint" | "restore") {
        return Err(Failure::usage(format!("{first}: this orlop was built without the feature criu")));
    }
    let followers: Vec<&str> =
        commands::all().filter_map(|c| c.name().strip_prefix(first)?.strip_prefix(' ')).collect();
    if !followers.is_empty() {
        return Err(Failure::usage(format!("{first} what? one of {}", followers.join(", "))));
    }
    let near = parse::nearest(first, commands::all().map(Command::name));
    let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
    let word = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    Err(Failure::usage(format!("No help topic for '{word}': there is no such command{hint}")))
}

fn verb(global: &Args<'_>, words: &[&OsStr], log: &Log) -> u8 {
    let (verb, rest) = match lookup(words) {
        Ok(found) => found,
        Err(failure) => return report(log, None, None, &failure),
    };
    let command = verb.command;
    let args = match parse::parse(command, rest) {
        Ok(args) => args,
        Err(failure) => return report(log, Some(command), None, &failure),
    };
    let done = if args.help() {
        verbs::print(&help::command(command))
    } else {
        Session::new(global, log, commands::catalogue).and_then(|session| {
            global.all_read()?;
            let begin = log.debugs().then(std::time::Instant::now);
            session.debug(|| format!("{} begins, state in {}", what(command, &args), session.runtime.root.display()));
            let done = (verb.run)(&session, &args);
            session.debug(|| {
                format!(
                    "{} ends after {:?}",
                    what(command, &args),
                    begin.map(|begin| begin.elapsed()).unwrap_or_default()
                )
            });
            done
        })
    };
    done.unwrap_or_else(|failure| report(log, Some(command), args.object(), &failure))
}

fn what(command: Command, args: &Args<'_>) -> String {
    let object = args.object().unwrap_or_default().to_string_lossy();
    format!("{} {object}", command.name()).trim_end().to_owned()
}

/// Tells why `command` failed, and returns the exit status: 255 for `exec` (as runc has it, so that 1 can be the command's
/// own), 128 + N when signal N cancelled it, 1 for all else and for wrong usage.
fn report(log: &Log, command: Option<Command>, object: Option<&OsStr>, failure: &Failure) -> u8 {
    for warning in failure.warnings() {
        log.write(log::Level::Warning, warning);
    }
    let name = command.map_or("", Command::name);
    let mut message = String::new();
    if !name.is_empty() {
        message.push_str(name);
        if let Some(object) = object.filter(|_| !failure.is_usage()) {
            message.push(' ');
            message.push_str(&object.to_string_lossy());
        }
        message.push_str(": ");
    }
    message.push_str(&failure.to_string());
    if failure.is_usage() {
        message.push_str(&format!(
            " (see orlop {}--help)",
            if name.is_empty() { String::new() } else { format!("{name} ") }
        ));
    }
    let signal = signals::came().filter(|_| failure.is_cancelled());
    if let Some(signal) = signal {
        message.push_str(&format!(" (signal {signal} came before the container's command was executed)"));
    }
    log.fail(&message);
    if let Some(signal) = signal {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    if name == "exec" && !failure.is_usage() { u8::MAX } else { 1 }
}
