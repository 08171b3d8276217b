//! Manual pages, written from the table.

use crate::cli::commands;
use crate::cli::help::synopsis;
use crate::cli::table::Command;

/// All pages: file name and text.
pub(crate) fn pages() -> Vec<(String, String)> {
    let all = std::iter::once(commands::GLOBAL).chain(commands::all());
    all.map(|command| (format!("{}.8", title(command)), page(command))).collect()
}

fn title(command: Command) -> String {
    if command == commands::GLOBAL { "orlop-image".to_owned() } else { format!("orlop-image-{}", command.name()) }
}

fn page(command: Command) -> String {
    let title = title(command);
    let mut out = format!(
        ".TH {} 8 \"\" \"orlop {}\" \"Container images\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B orlop image{}\n[FLAGS] {}\n",
        title.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        escape(&title),
        escape(command.about()),
        if command == commands::GLOBAL { String::new() } else { format!(" {}", command.name()) },
        escape(command.operands()),
    );
    let details: String = command.details().map(paragraph).collect();
    if !details.is_empty() {
        out += &format!(".SH DESCRIPTION\n{details}");
    }
    if command == commands::GLOBAL {
        out += ".SH COMMANDS\n";
        for each in commands::all() {
            out += &format!(".TP\n.BR {} (8)\n{}\n", escape(&self::title(each)), escape(each.about()));
        }
    }
    out += ".SH OPTIONS\n";
    for flag in command.flags() {
        out += &format!(".TP\n.B {}\n{}\n", escape(synopsis(flag).trim_start()), escape(flag.help));
    }
    let examples: String = command.examples().map(|line| escape(line) + "\n").collect();
    out + &format!(".SH EXAMPLES\n.nf\n{examples}.fi\n.SH SEE ALSO\n.BR orlop (8),\n.BR orlop\\-image (8)\n")
}

/// A paragraph that is laid out by hand keeps its lines.
fn paragraph(text: &str) -> String {
    let fixed = text.lines().any(|line| line.starts_with([' ', '{', '}']));
    if fixed { format!(".nf\n{}\n.fi\n", escape(text)) } else { format!(".PP\n{}\n", escape(text)) }
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

    #[test]
    fn there_is_a_page_for_every_command_with_every_flag() {
        let pages = pages();
        assert_eq!(pages.len(), commands::all().count() + 1);
        for (command, (name, text)) in commands::all().zip(pages.iter().skip(1)) {
            assert!(text.starts_with(".TH ORLOP-IMAGE-"), "{name}");
            for flag in command.flags() {
                assert!(text.contains(&escape(&format!("--{}", flag.long))), "{name}: {}", flag.long);
            }
        }
        assert_eq!(escape(".SH x\n'y\\z -f"), "\\&.SH x\n\\&'y\\ez \\-f");
    }
}
