//! A table in the layout of Go's tabwriter, as runc sets it: columns of at least 12, three spaces between them.

use std::borrow::Cow;

/// The least width of a column.
const LEAST: usize = 12;
/// The spaces after the widest cell of a column.
const GAP: usize = 3;

/// Lays out `rows`, which all have `N` cells; the last cell of a row is not padded.
pub(crate) fn table<const N: usize>(rows: &[[Cow<'_, str>; N]]) -> String {
    let mut widths = [LEAST; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + GAP);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            text.push_str(cell);
            if index + 1 < N {
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_runc() {
        let row = |cells: [&'static str; 6]| cells.map(Cow::Borrowed);
        let head = row(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        assert_eq!(
            table(std::slice::from_ref(&head)),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        // Taken from runc 1.1.5.
        let one = row(["web1", "14693", "running", "/tmp/b1", "2026-11-21T04:08:08.719277269Z", "root"]);
        assert_eq!(
            table(&[head, one]),
            "ID          PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             web1        14693       running     /tmp/b1     2026-11-21T04:08:08.719277269Z   root\n"
        );
    }
}
