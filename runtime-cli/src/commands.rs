//! The registry: which commands there are, and the code behind each.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{self, Session};
use crate::table::{Catalogue, Command};
use crate::verbs;

/// Carries out a command; the number is the process's exit status.
type Run = fn(&Session<'_>, &Args<'_>) -> Result<u8, Failure>;

/// A command and the code behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    /// Its block of the table.
    pub(crate) command: Command,
    /// What carries it out.
    pub(crate) run: Run,
}

/// All commands in the order of the help; those that are not in this build are passed over.
const NAMES: &str = "create start run exec kill delete state list ps pause resume update events spec features \
                     try plan validate doctor gc seccomp.dump seccomp.explain checkpoint restore image completion man version";

/// All commands, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = Command> {
    NAMES
        .split_whitespace()
        .filter_map(|name| match name.split_once('.') {
            Some((first, second)) => find(first, Some(second)),
            None => find(name, None),
        })
        .map(|verb| verb.command)
}

/// What help, manual pages and completion are written from.
pub(crate) fn catalogue() -> Catalogue {
    Catalogue { global: session::COMMAND, commands: all().collect() }
}

/// The command called `first`, or `first second` for those of two words.
pub(crate) fn find(first: &str, second: Option<&str>) -> Option<Verb> {
    let (command, run): (Command, Run) = match (first, second) {
        ("create", _) => (verbs::create::COMMAND, verbs::create::run),
        ("start", _) => (verbs::start::COMMAND, verbs::start::run),
        ("run", _) => (verbs::run::COMMAND, verbs::run::run),
        ("exec", _) => (verbs::exec::COMMAND, verbs::exec::run),
        ("kill", _) => (verbs::kill::COMMAND, verbs::kill::run),
        ("delete", _) => (verbs::delete::COMMAND, verbs::delete::run),
        ("state", _) => (verbs::state::COMMAND, verbs::state::run),
        ("list", _) => (verbs::list::COMMAND, verbs::list::run),
        ("ps", _) => (verbs::ps::COMMAND, verbs::ps::run),
        ("pause", _) => (verbs::pause::COMMAND, verbs::pause::run),
        ("resume", _) => (verbs::resume::COMMAND, verbs::resume::run),
        ("update", _) => (verbs::update::COMMAND, verbs::update::run),
        ("events", _) => (verbs::events::COMMAND, verbs::events::run),
        ("spec", _) => (verbs::spec::COMMAND, verbs::spec::run),
        ("features", _) => (verbs::features::COMMAND, verbs::features::run),
        ("try", _) => (verbs::try_::COMMAND, verbs::try_::run),
        ("plan", _) => (verbs::plan::COMMAND, verbs::plan::run),
        ("validate", _) => (verbs::validate::COMMAND, verbs::validate::run),
        ("doctor", _) => (verbs::doctor::COMMAND, verbs::doctor::run),
        ("gc", _) => (verbs::gc::COMMAND, verbs::gc::run),
        ("seccomp", Some("dump")) => (verbs::seccomp_dump::COMMAND, verbs::seccomp_dump::run),
        ("seccomp", Some("explain")) => (verbs::seccomp_explain::COMMAND, verbs::seccomp_explain::run),
        #[cfg(feature = "criu")]
        ("checkpoint", _) => (verbs::checkpoint::COMMAND, verbs::checkpoint::run),
        #[cfg(feature = "criu")]
        ("restore", _) => (verbs::restore::COMMAND, verbs::restore::run),
        ("completion", _) => (verbs::completion::COMMAND, verbs::completion::run),
        ("image", _) => (verbs::image::COMMAND, verbs::image::run),
        ("man", _) => (verbs::man::COMMAND, verbs::man::run),
        ("version", _) => (verbs::version::COMMAND, verbs::version::run),
        _ => return None,
    };
    Some(Verb { command, run })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::log::Log;
    use crate::parse::parse;
    use crate::table::{Flag, HELP};

    fn sample(flag: Flag) -> Option<&'static str> {
        flag.value.map(|value| match value {
            "DURATION" => "1s",
            "NAMESPACE" => "network",
            "KEY=VALUE" => "A=b",
            "CAPABILITY" => "CAP_KILL",
            "ADDRESS:PORT" => "127.0.0.1:1",
            "TYPE:NAME" => "selinux:x",
            choice if choice.contains('|') => choice.split('|').next().unwrap(),
            _ => "1",
        })
    }

    /// Runs each command with each of its flags and a wrong number of operands, so that nothing is carried out: a flag that the
    /// command does not read is reported before the operands are.
    #[test]
    fn every_flag_of_the_table_is_read_by_its_command() {
        let log = Log::default();
        let global = parse(session::COMMAND, &[]).unwrap();
        let session = Session::new(&global, &log, catalogue).unwrap();
        let mut checked = 0;
        for command in all() {
            let words: Vec<&str> = command.name().split(' ').collect();
            let verb = find(words[0], words.get(1).copied()).unwrap();
            let arity = command.arity();
            let operands = match (arity.least, arity.most) {
                (0, Some(most)) => most + 1,
                (0, None) => continue,
                _ => 0,
            };
            for flag in command.flags().filter(|flag| !flag.refused) {
                let name = format!("--{}", flag.long);
                let mut line: Vec<&OsStr> = vec![name.as_ref()];
                line.extend(sample(flag).map(OsStr::new));
                line.extend(std::iter::repeat_n(OsStr::new("x"), operands));
                let failure = (verb.run)(&session, &parse(command, &line).unwrap()).unwrap_err().to_string();
                assert!(failure.contains("argument(s), got"), "{} {line:?}: {failure}", command.name());
                checked += 1;
            }
        }
        assert!(checked > 70, "only {checked} flags were checked");
    }

    #[test]
    fn every_global_flag_is_read() {
        let flags =
            session::COMMAND.flags().filter(|flag| !flag.refused && flag.long != "version" && flag.long != "log");
        for flag in flags {
            let name = format!("--{}", flag.long);
            let mut line: Vec<&OsStr> = vec![name.as_ref()];
            line.extend(sample(flag).map(OsStr::new));
            let global = parse(session::COMMAND, &line).unwrap();
            let log = Session::open_log(&global).unwrap();
            assert!(Session::new(&global, &log, catalogue).is_ok(), "{name}");
            assert!(global.all_read().is_ok(), "{name}");
        }
    }

    #[test]
    fn every_line_of_the_table_is_well_formed() {
        for command in all().chain([session::COMMAND]) {
            let name = command.name();
            assert!(!name.is_empty() && !command.about().is_empty(), "{:?}", command.0);
            assert!(command.about().len() <= 80, "{name}: the one-line description is too long");
            assert!(command.examples().next().is_some(), "{name} has no example");
            let mut seen = vec![HELP];
            for flag in command.flags() {
                assert!(!flag.long.is_empty() && !flag.help.is_empty(), "{name}: {flag:?}");
                assert!(
                    flag.long.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                    "{name}: {flag:?}"
                );
                for other in &seen {
                    assert_ne!(flag.long, other.long, "{name}");
                    assert!(flag.short.is_none() || flag.short != other.short, "{name}: -{:?} twice", flag.short);
                }
                seen.push(flag);
            }
            for line in command.0.lines() {
                assert!(line.starts_with('-') || line.len() <= 110, "{name}: line too long: {line}");
            }
        }
    }

    #[test]
    fn every_command_of_the_table_is_found_by_its_name() {
        for command in all() {
            let words: Vec<&str> = command.name().split(' ').collect();
            let found = find(words[0], words.get(1).copied()).unwrap();
            assert_eq!(found.command, command);
        }
    }
}
