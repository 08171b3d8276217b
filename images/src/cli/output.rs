//! What is printed: results to standard output, complaints to standard error.

use std::io::{IsTerminal, Write};

use orlop_images::base::printable;
use serde_json::{Value, json};

use crate::cli::failure::Failure;

/// Writes `text` to standard output. A reader that has gone away, as in `| head`, is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one line to standard error, with what would steer a terminal escaped.
pub(crate) fn complain(line: &str) {
    // There is nowhere left to tell it if this fails.
    drop(writeln!(std::io::stderr(), "{}", printable(line)));
}

/// Writes `value` as JSON, indented. What steers a terminal and JSON leaves as it is stands as an escape, too.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if c != '\n' && printable(c.encode_utf8(&mut [0; 4])).len() > c.len_utf8() {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    print(&(text + "\n"))
}

/// Writes a document of an image as it is; to a terminal, with what would steer it escaped.
pub(crate) fn document(text: &str) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return print(text);
    }
    text.split_inclusive('\n').try_for_each(|line| match line.strip_suffix('\n') {
        Some(line) => print(&format!("{}\n", printable(line))),
        None => print(&printable(line)),
    })
}

/// Tells that a command is through with the container `name`.
pub(crate) fn name(name: &str, as_json: bool) -> Result<(), Failure> {
    print(&if as_json { format!("{}\n", json!({ "name": name })) } else { format!("{name}\n") })
}

/// Rows as a table: columns as wide as their widest cell, three spaces between them. Images' words are in it, so that what steers
/// a terminal is escaped.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let all = || std::iter::once(head.to_vec()).chain(rows.iter().map(|row| row.iter().map(AsRef::as_ref).collect()));
    let mut widths = vec![0; head.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for people.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or_default();
    if unit == "B" || value >= 99.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (99_960, "100 kB"), (1 << 30, "1.1 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn tables_are_as_wide_as_their_cells() {
        let rows = vec![vec!["aa".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["A", "BBB"], &rows), "A    BBB\naa   b\n");
        let rows = vec![vec!["\u{1b}c".to_owned(), "\u{9b}2J\n".to_owned()]];
        assert_eq!(table(&["A", "B"], &rows), "A         B\n\\u{1b}c   \\u{9b}2J\\n\n");
    }
}
