//! Manual pages, written from the table.

use std::fmt::Write;

use crate::help::synopsis;
use crate::table::{Catalogue, Command, HELP};

/// All pages: file name and text.
pub(crate) fn pages(catalogue: &Catalogue) -> Vec<(String, String)> {
    let mut pages = vec![("orlop.8".to_owned(), page(catalogue.global, catalogue))];
    for &command in &catalogue.commands {
        pages.push((format!("{}.8", title(command, catalogue)), page(command, catalogue)));
    }
    pages
}

fn title(command: Command, catalogue: &Catalogue) -> String {
    if command == catalogue.global { "orlop".to_owned() } else { format!("orlop-{}", command.name().replace(' ', "-")) }
}

fn page(command: Command, catalogue: &Catalogue) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    write_page(&mut out, command, catalogue).ok();
    out
}

fn write_page(out: &mut String, command: Command, catalogue: &Catalogue) -> std::fmt::Result {
    let title = title(command, catalogue);
    writeln!(out, ".TH {} 8 \"\" \"orlop {}\" \"Container runtime\"", title.to_uppercase(), env!("CARGO_PKG_VERSION"))?;
    writeln!(out, ".SH NAME\n{} \\- {}", escape(&title), escape(command.about()))?;
    let name = if command == catalogue.global { String::new() } else { format!(" {}", command.name()) };
    writeln!(out, ".SH SYNOPSIS\n.B orlop{}\n[FLAGS] {}", escape(&name), escape(command.operands()))?;
    if command.details().next().is_some() {
        writeln!(out, ".SH DESCRIPTION")?;
        for paragraph in command.details() {
            // A paragraph that is laid out by hand (JSON, a list) keeps its lines.
            let fixed = paragraph.lines().any(|line| line.starts_with([' ', '{', '}']));
            let (before, after) = if fixed { (".nf", ".fi\n") } else { (".PP", "") };
            writeln!(out, "{before}\n{}\n{after}", escape(paragraph))?;
        }
    }
    if command == catalogue.global {
        writeln!(out, ".SH COMMANDS")?;
        for &each in &catalogue.commands {
            writeln!(out, ".TP\n.BR {} (8)\n{}", escape(&self::title(each, catalogue)), escape(each.about()))?;
        }
    }
    writeln!(out, ".SH OPTIONS")?;
    for flag in command.flags().chain([HELP]).filter(|flag| !flag.refused) {
        writeln!(out, ".TP\n.B {}\n{}", escape(synopsis(flag).trim_start()), escape(flag.help))?;
    }
    writeln!(out, ".SH EXAMPLES\n.nf")?;
    for line in command.examples() {
        writeln!(out, "{}", escape(line))?;
    }
    writeln!(out, ".fi\n.SH SEE ALSO\n.BR orlop (8)")
}

/// `text` as roff shows it unchanged: `-` as the ASCII sign, no request at the start of a line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                other => out.push(other),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn there_is_a_page_for_every_command_with_every_flag() {
        let pages = pages(&commands::catalogue());
        assert_eq!(pages.len(), commands::all().count() + 1);
        for (command, (name, text)) in commands::all().zip(pages.iter().skip(1)) {
            assert!(text.starts_with(".TH ORLOP-"), "{name}");
            for flag in command.flags().filter(|flag| !flag.refused) {
                assert!(text.contains(&escape(&format!("--{}", flag.long))), "{name}: {}", flag.long);
            }
        }
    }

    #[test]
    fn roff_cannot_be_misled_by_text() {
        assert_eq!(escape(".SH x\n'y\\z -f"), "\\&.SH x\n\\&'y\\ez \\-f");
    }
}
