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
//! A command writes its block with [`command!`], which also makes a constant of each flag's name. The code asks for flags by these
//! constants alone: a flag that is not declared does not compile, and one that nobody asks for is dead code.
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

/// The name of a flag that some command declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(&'static str);

impl Name {
    /// The name in a line of a flags part, found when the program is compiled.
    #[expect(clippy::indexing_slicing, reason = "a line without a name does not compile")]
    pub(crate) const fn of(line: &'static str) -> Self {
        let bytes = line.as_bytes();
        let mut start = 0;
        while bytes[start] != b'-' || bytes[start + 1] != b'-' {
            start += 1;
        }
        let mut end = start;
        while bytes[end] != b' ' {
            end += 1;
        }
        let (before, _) = line.split_at(end);
        Self(before.split_at(start + 2).1)
    }

    /// The name, without dashes.
    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}

/// As the user writes it: `--name`.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}", self.0)
    }
}

/// Declares a command: its first two lines, a group of flags that it shares (`..group`), flags of its own as `CONSTANT = "line"`, and
/// the rest of its block. A refused flag needs no constant: `_ = "line"`.
macro_rules! command {
    ($head:literal, $tail:literal) => {
        pub(crate) const COMMAND: $crate::table::Command = $crate::table::Command(concat!($head, $tail));
    };
    ($head:literal, $(..$group:ident,)? [$($name:tt = $line:literal,)*], $tail:literal) => {
        pub(crate) const COMMAND: $crate::table::Command =
            $crate::table::Command(concat!($head, "\n", $($group!(),)? $($line, "\n",)* $tail));
        $($crate::table::flag_name!($name = $line);)*
    };
}
pub(crate) use command;

/// Declares flags that several commands share: a macro of this name, for [`command!`], and the constants.
macro_rules! flag_group {
    ($group:ident $($name:tt = $line:literal,)*) => {
        macro_rules! $group {
            () => { concat!($($line, "\n"),*) };
        }
        pub(crate) use $group;
        $($crate::table::flag_name!($name = $line);)*
    };
}
pub(crate) use flag_group;

/// The constant of one flag, if it has one.
macro_rules! flag_name {
    (_ = $line:literal) => {};
    ($name:ident = $line:literal) => {
        const $name: $crate::table::Name = $crate::table::Name::of($line);
    };
}
pub(crate) use flag_name;

/// What help, manual pages and completion are written from.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// The program itself, with the flags that come before the command.
    pub(crate) global: Command,
    /// All commands, in the order of the help.
    pub(crate) commands: Vec<Command>,
}

/// How many operands a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arity {
    /// At least this many.
    pub(crate) least: usize,
    /// At most this many; `None` when it takes all words after the first operand as they are.
    pub(crate) most: Option<usize>,
}

/// The name of [`HELP`].
pub(crate) const HELP_NAME: Name = Name("help");

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
    fn a_flag_s_name_is_found_in_its_line() {
        for (line, name) in [("-b, --bundle DIR | x", "bundle"), ("--keep | y", "keep"), ("--criu PATH ! z", "criu")] {
            assert_eq!(Name::of(line).as_str(), name);
        }
        assert_eq!(Name::of("--no-pivot | x").to_string(), "--no-pivot");
    }
}
