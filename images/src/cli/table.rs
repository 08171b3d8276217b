//! The one table of commands and flags: parsing, help, completion and man pages all read it.
//!
//! Each command is one block of text, kept beside the code that carries it out, in the form of the runtime's own table. A
//! block is made of parts divided by an empty line:
//!
//! ```text
//! pull: REFERENCE                             name and operands
//! fetch an image from a registry              what it does, in one line
//!
//! -q, --quiet | print the digest only         one line per flag
//! -e, --env NAME=VALUE... | set a variable    may be given more than once
//! --json | print JSON                         a switch takes no value
//!
//! Any number of paragraphs.
//!
//! $ orlop image pull nginx                    examples come last
//! ```
//!
//! Operands in brackets are optional, `...` after the last allows any number of it. A command whose operands end in
//! `[ARGUMENT...]` takes everything after its first operand as it stands, since those words belong to another program.

/// One command of the table, or the program itself with its global flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) &'static str);

/// One flag of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The letter of the short form.
    pub(crate) short: Option<char>,
    /// The name of the long form, without dashes.
    pub(crate) long: &'static str,
    /// What its value is called; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// Whether it may be given several times, each adding to the others.
    pub(crate) many: bool,
    /// Help.
    pub(crate) help: &'static str,
}

/// The flag that every command has.
pub(crate) const HELP: Flag = Flag { short: Some('h'), long: "help", value: None, many: false, help: "show this help" };

impl Command {
    fn parts(self) -> impl Iterator<Item = &'static str> {
        self.0.trim_end().split("\n\n")
    }

    /// The command's name.
    pub(crate) fn name(self) -> &'static str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// What follows the flags, as a usage line shows it.
    pub(crate) fn operands(self) -> &'static str {
        let first = self.0.lines().next().unwrap_or_default();
        first.split_once(':').map_or("", |(_, operands)| operands.trim())
    }

    /// What it does, in one line.
    pub(crate) fn about(self) -> &'static str {
        self.0.lines().nth(1).unwrap_or_default()
    }

    /// Its flags, in the order of the help, `--help` last.
    pub(crate) fn flags(self) -> impl Iterator<Item = Flag> {
        let part = self.parts().nth(1).filter(|part| part.starts_with('-')).unwrap_or_default();
        // Where a flag of Docker has its letter, help has none.
        let taken = part.lines().map(flag).any(|flag| flag.short == HELP.short);
        part.lines().map(flag).chain([Flag { short: HELP.short.filter(|_| !taken), ..HELP }])
    }

    /// The paragraphs of explanation.
    pub(crate) fn details(self) -> impl Iterator<Item = &'static str> {
        self.parts().skip(1).filter(|part| !part.starts_with('-') && !part.starts_with("$ "))
    }

    /// The examples: lines that start with `$ ` are typed, others explain the one above.
    pub(crate) fn examples(self) -> impl Iterator<Item = &'static str> {
        self.parts().skip(1).filter(|part| part.starts_with("$ ")).flat_map(str::lines)
    }

    /// The least and the most operands; `None` for any number.
    pub(crate) fn arity(self) -> (usize, Option<usize>) {
        let words = self.operands().split_whitespace();
        let least = words.clone().filter(|word| !word.starts_with('[')).count();
        (least, if self.operands().contains("...") { None } else { Some(words.count()) })
    }

    /// Whether everything after the first operand belongs to another program.
    pub(crate) fn ends_at_operand(self) -> bool {
        self.operands().ends_with("[ARGUMENT...]")
    }
}

/// Reads one line of a flags part. The table's test proves that every line has this form.
fn flag(line: &'static str) -> Flag {
    let (names, help) = line.split_once(" | ").unwrap_or((line, ""));
    let (short, names) = match names.split_once(", ") {
        Some((short, rest)) => (short.chars().nth(1), rest),
        None => (None, names),
    };
    let (long, value) = names.split_once(' ').map_or((names, None), |(long, value)| (long, Some(value)));
    let many = value.is_some_and(|value| value.ends_with("..."));
    let value = value.map(|value| value.strip_suffix("...").unwrap_or(value));
    Flag { short, long: long.trim_start_matches('-'), value, many, help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands;

    #[test]
    fn every_line_of_the_table_is_well_formed() {
        for command in commands::all().chain([commands::GLOBAL]) {
            let name = command.name();
            assert!(!name.is_empty() && !command.about().is_empty() && command.about().len() <= 80, "{:?}", command.0);
            assert!(command.examples().next().is_some(), "{name} has no example");
            let mut seen: Vec<Flag> = Vec::new();
            for flag in command.flags() {
                assert!(!flag.long.is_empty() && !flag.help.is_empty(), "{name}: {flag:?}");
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(flag.long.chars().all(plain), "{name}: {flag:?}");
                for other in &seen {
                    assert_ne!(flag.long, other.long, "{name}");
                    assert!(flag.short.is_none() || flag.short != other.short, "{name}: {flag:?} twice");
                }
                seen.push(flag);
            }
            for line in command.0.lines() {
                assert!(line.starts_with('-') || line.len() <= 110, "{name}: line too long: {line}");
            }
            assert_eq!(commands::find(name).map(|found| found.0), (command != commands::GLOBAL).then_some(command));
        }
    }
}
