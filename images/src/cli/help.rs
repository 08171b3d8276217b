//! `--help`, printed from the table.

use crate::cli::commands;
use crate::cli::table::{Command, Flag};

/// Where the explanations of flags begin.
const COLUMN: usize = 31;
/// Where lines end.
const WIDTH: usize = 100;

/// Help for one command.
pub(crate) fn command(command: Command) -> String {
    let flags = if command.flags().count() > 1 { " [FLAGS]" } else { "" };
    let usage = format!("orlop image {}{flags} {}", command.name(), command.operands());
    let head =
        format!("NAME:\n   orlop image {} - {}\n\nUSAGE:\n   {}\n", command.name(), command.about(), usage.trim_end());
    head + &rest("FLAGS", command)
}

/// Help for the program: its commands and global flags.
pub(crate) fn program() -> String {
    let global = commands::GLOBAL;
    let list: String = commands::all().map(|each| format!("   {:<12} {}\n", each.name(), each.about())).collect();
    let head = format!(
        "NAME:\n   orlop image - {}\n\nUSAGE:\n   orlop image {}\n\nCOMMANDS:\n{list}",
        global.about(),
        global.operands()
    );
    head + &rest("GLOBAL FLAGS, before the command", global)
}

/// A flag as help and man pages show it: `-e, --env NAME=VALUE...`.
pub(crate) fn synopsis(flag: Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{short}--{}{value}{}", flag.long, if flag.many { "..." } else { "" })
}

fn rest(title: &str, command: Command) -> String {
    let flags: String = command.flags().map(line).collect();
    let details: String = command.details().map(|paragraph| format!("\n{paragraph}\n")).collect();
    let examples: String = command.examples().map(|line| format!("   {line}\n")).collect();
    format!("\n{title}:\n{flags}{details}\nEXAMPLES:\n{examples}")
}

fn line(flag: Flag) -> String {
    let names = synopsis(flag);
    // At least two spaces between the columns, else the explanation begins on a line of its own.
    let begin = if names.len() + 5 > COLUMN {
        format!("   {names}\n{:COLUMN$}", "")
    } else {
        format!("   {names:0$}", COLUMN - 3)
    };
    begin + &wrapped(flag.help) + "\n"
}

fn wrapped(words: &str) -> String {
    let mut text = String::new();
    let mut at = COLUMN;
    for word in words.split(' ') {
        if !text.is_empty() && at + 1 + word.len() > WIDTH {
            text.push_str(&format!("\n{:COLUMN$}", ""));
            at = COLUMN;
        } else if !text.is_empty() {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_any_help_is_too_long_and_the_program_names_every_command() {
        let whole = program();
        for each in commands::all() {
            assert!(whole.contains(&format!("\n   {} ", each.name())), "{}", each.name());
            for line in command(each).lines() {
                assert!(line.len() <= 110, "{}: {line}", each.name());
            }
        }
    }
}
