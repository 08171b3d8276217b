//! `--help`, printed from the table.

use std::fmt::Write;

use crate::table::{Catalogue, Command, Flag, HELP};

/// Where the explanations of flags begin.
const COLUMN: usize = 31;
/// Where lines end.
const WIDTH: usize = 100;

/// Help for one command, under the headings that runc's users know.
pub(crate) fn command(command: Command) -> String {
    let mut text = String::new();
    put(&mut text, format_args!("NAME:\n   orlop {} - {}\n", command.name(), command.about()));
    put(&mut text, format_args!("\nUSAGE:\n   orlop {}{}\n", command.name(), usage(command)));
    flags(&mut text, "FLAGS", command);
    rest(&mut text, command);
    text
}

/// Help for the program: its commands and global flags.
pub(crate) fn program(catalogue: &Catalogue) -> String {
    let global = catalogue.global;
    let mut text = String::new();
    put(&mut text, format_args!("NAME:\n   orlop - Open Container Initiative runtime: {}\n", global.about()));
    put(&mut text, format_args!("\nUSAGE:\n   orlop {}\n\nCOMMANDS:\n", global.operands()));
    for command in &catalogue.commands {
        put(&mut text, format_args!("   {:<17} {}\n", command.name(), command.about()));
    }
    flags(&mut text, "GLOBAL FLAGS, before the command", global);
    rest(&mut text, global);
    text
}

fn usage(command: Command) -> String {
    let flags = if command.flags().next().is_some() { " [FLAGS]" } else { "" };
    let operands = command.operands();
    if operands.is_empty() { flags.to_owned() } else { format!("{flags} {operands}") }
}

/// A flag as help and man pages show it: `-b, --bundle DIR`.
pub(crate) fn synopsis(flag: Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{short}--{}{value}{}", flag.long, if flag.many { "..." } else { "" })
}

fn flags(text: &mut String, title: &str, command: Command) {
    put(text, format_args!("\n{title}:\n"));
    for flag in command.flags().chain([HELP]).filter(|flag| !flag.refused) {
        let names = synopsis(flag);
        // At least two spaces between the columns, else the explanation begins on a line of its own.
        if names.len() + 5 > COLUMN {
            put(text, format_args!("   {names}\n{:COLUMN$}", ""));
        } else {
            put(text, format_args!("   {names:0$}", COLUMN - 3));
        }
        wrap(text, flag.help, COLUMN);
    }
}

/// Writes `words` from the current column on, broken at [`WIDTH`] with the next lines indented to `column`.
fn wrap(text: &mut String, words: &str, column: usize) {
    let mut at = column;
    for (index, word) in words.split(' ').enumerate() {
        if index > 0 && at + 1 + word.len() > WIDTH {
            put(text, format_args!("\n{:column$}", ""));
            at = column;
        } else if index > 0 {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
    }
    text.push('\n');
}

fn rest(text: &mut String, command: Command) {
    for paragraph in command.details() {
        put(text, format_args!("\n{paragraph}\n"));
    }
    put(text, format_args!("\nEXAMPLES:\n"));
    for line in command.examples() {
        put(text, format_args!("   {line}\n"));
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    text.write_fmt(arguments).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn the_help_of_delete_reads_so() {
        let delete = commands::find("delete", None).unwrap().command;
        assert_eq!(command(delete), include_str!("../tests/data/help-delete.txt"));
    }

    #[test]
    fn no_line_of_any_help_is_too_long() {
        for each in commands::all() {
            for line in command(each).lines() {
                assert!(line.len() <= 110, "{}: {line}", each.name());
            }
        }
    }

    #[test]
    fn the_program_help_names_every_command_and_no_refused_flag() {
        let text = program(&commands::catalogue());
        for each in commands::all() {
            assert!(text.contains(&format!("\n   {} ", each.name())), "{}", each.name());
        }
        assert!(!text.contains("--criu"));
    }
}
