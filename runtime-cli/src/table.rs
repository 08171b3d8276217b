//! The one table of commands and flags: parsing, help, completion and man pages all read it.
//!
//! Each command is one block of text, kept beside the code that carries it out. Text instead of arrays of structs, because a
//! static position-independent program pays a relocation (and soon a page fault) for every pointer in its data each time it
//! starts, while one string costs nothing until it is read. A block is made of parts divided by an empty line:
//!
//! ```text
//! create: ID                                  name and operands
//! create a container                          what it does, in one line
//!
//! -b, --bundle DIR | the bundle directory     one line per flag
//! -e, --env KEY=VALUE... | set a variable     may be given more than once
//! --keep | do not delete the container        a switch takes no value
//! --criu PATH ! it is found in PATH           refused, and why
//!
//! Any number of paragraphs.
//!
//! $ orlop create web1                         examples come last
//! ```
//!
//! Operands in brackets are optional, `...` means any number; a command with `...` takes everything after its first operand
//! as it stands, since those words belong to another program.

use std::str::Lines;

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
    /// Help, or the reason why it is refused.
    pub(crate) help: &'static str,
    /// Known, but refused.
    pub(crate) refused: bool,
}

/// How many operands a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arity {
    /// At least this many.
    pub(crate) least: usize,
    /// At most this many; `None` when it takes all words after the first operand as they are.
    pub(crate) most: Option<usize>,
}

/// The flag that every command has.
pub(crate) const HELP: Flag =
    Flag { short: Some('h'), long: "help", value: None, many: false, help: "show this help", refused: false };

impl Command {
    fn parts(self) -> impl Iterator<Item = &'static str> {
        let mut rest = Some(self.0.trim_end());
        std::iter::from_fn(move || {
            let text = rest?;
            let (part, after) = divide(text, '\n', "\n\n").map_or((text, None), |(part, after)| (part, Some(after)));
            rest = after;
            Some(part)
        })
    }

    /// The first two lines.
    fn head(self) -> (&'static str, &'static str) {
        let (first, rest) = self.0.split_once('\n').unwrap_or((self.0, ""));
        (first, rest.split_once('\n').map_or(rest, |(second, _)| second))
    }

    /// The command's name, of one or two words.
    pub(crate) fn name(self) -> &'static str {
        self.head().0.split_once(':').map_or("", |(name, _)| name)
    }

    /// What follows the flags, as a usage line shows it.
    pub(crate) fn operands(self) -> &'static str {
        self.head().0.split_once(':').map_or("", |(_, operands)| operands.trim())
    }

    /// What it does, in one line.
    pub(crate) fn about(self) -> &'static str {
        self.head().1
    }

    /// Its flags, in the order of the help.
    pub(crate) fn flags(self) -> Flags {
        let part = self.parts().nth(1).filter(|part| part.starts_with('-')).unwrap_or_default();
        Flags(part.lines())
    }

    /// The flag with this long name.
    pub(crate) fn long(self, name: &str) -> Option<Flag> {
        self.flags().chain([HELP]).find(|flag| flag.long == name)
    }

    /// The flag with this letter.
    pub(crate) fn short(self, letter: char) -> Option<Flag> {
        self.flags().chain([HELP]).find(|flag| flag.short == Some(letter))
    }

    /// The paragraphs of explanation.
    pub(crate) fn details(self) -> impl Iterator<Item = &'static str> {
        self.parts().skip(1).filter(|part| !part.starts_with('-') && !part.starts_with("$ "))
    }

    /// The examples: lines that start with `$ ` are typed, others explain the one above.
    pub(crate) fn examples(self) -> impl Iterator<Item = &'static str> {
        self.parts().skip(1).filter(|part| part.starts_with("$ ")).flat_map(str::lines)
    }

    /// How many operands it takes.
    pub(crate) fn arity(self) -> Arity {
        let words = self.operands().split_whitespace();
        let least = words.clone().filter(|word| !word.starts_with('[')).count();
        let most = if self.operands().contains("...") { None } else { Some(words.count()) };
        Arity { least, most }
    }
}

/// The flags of a command; see [`Command::flags`].
#[derive(Debug, Clone)]
pub(crate) struct Flags(Lines<'static>);

impl Iterator for Flags {
    type Item = Flag;

    fn next(&mut self) -> Option<Flag> {
        self.0.next().map(flag)
    }
}

/// Divides a text at the first `divider`, of which `mark` is the rarest character. To look for a character and then
/// around it is a fraction of what `split_once` does for a string, and every call of the program does this for some lines.
fn divide<'a>(text: &'a str, mark: char, divider: &str) -> Option<(&'a str, &'a str)> {
    let before = divider.find(mark)?;
    text.match_indices(mark).find_map(|(at, _)| {
        let (names, rest) = text.split_at_checked(at.checked_sub(before)?)?;
        Some((names, rest.strip_prefix(divider)?))
    })
}

/// Reads one line of a flags part. The table's test proves that every line has this form.
fn flag(line: &'static str) -> Flag {
    let (names, help, refused) = match divide(line, '|', " | ") {
        Some((names, help)) => (names, help, false),
        None => divide(line, '!', " ! ").map_or((line, "", false), |(names, why)| (names, why, true)),
    };
    let (short, names) = match divide(names, ',', ", ") {
        Some((short, rest)) => (short.chars().nth(1), rest),
        None => (None, names),
    };
    let (long, value) = match names.split_once(' ') {
        Some((long, value)) => (long, Some(value)),
        None => (names, None),
    };
    let many = value.is_some_and(|value| value.ends_with("..."));
    let value = value.map(|value| value.strip_suffix("...").unwrap_or(value));
    Flag { short, long: long.trim_start_matches('-'), value, many, help, refused }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs;

    #[test]
    fn a_block_is_read_back_as_it_was_written() {
        let command = Command(
            "ps: ID [PS-OPTION...]\nshow processes\n\n-f, --format table|json | how\n--all! x\n\nText.\n\n$ orlop ps a\n",
        );
        assert_eq!(command.name(), "ps");
        assert_eq!(command.operands(), "ID [PS-OPTION...]");
        assert_eq!(command.arity(), Arity { least: 1, most: None });
        let format = command.long("format").unwrap();
        assert_eq!((format.short, format.value, format.many), (Some('f'), Some("table|json"), false));
        assert_eq!(command.details().collect::<Vec<_>>(), ["Text."]);
        assert_eq!(command.examples().collect::<Vec<_>>(), ["$ orlop ps a"]);
    }

    #[test]
    fn every_line_of_the_table_is_well_formed() {
        for command in verbs::all().chain([verbs::GLOBAL]) {
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
        for command in verbs::all() {
            let words: Vec<&str> = command.name().split(' ').collect();
            let found = verbs::find(words[0], words.get(1).copied()).unwrap();
            assert_eq!(found.command, command);
        }
    }
}
