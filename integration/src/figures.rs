//! Figures that cases report, printed as one table at the end of a run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// The first columns' words and the last columns' numbers of one row of a table.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// Which table it belongs to.
    pub table: String,
    /// What the row is about.
    pub name: String,
    /// The numbers, each with its column's name. All rows of a table have the same columns.
    pub numbers: Vec<(String, u64)>,
}

impl Row {
    /// A row of the table `table`.
    #[must_use]
    pub fn new(table: &str, name: &str, numbers: &[(&str, u64)]) -> Self {
        let numbers = numbers.iter().map(|(column, number)| ((*column).to_owned(), *number)).collect();
        Self { table: table.to_owned(), name: name.to_owned(), numbers }
    }
}

/// Adds a row to `file`; rows come from many processes.
pub(crate) fn add(file: &Path, row: &Row) {
    let mut line = serde_json::to_vec(row).expect("JSON");
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("figures");
    file.write_all(&line).expect("figures");
}

/// Prints all rows of `file`, table by table, each with its sums.
pub(crate) fn print(file: &Path) {
    let text = fs::read_to_string(file).unwrap_or_default();
    let rows: Vec<Row> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let mut tables: Vec<&str> = Vec::new();
    for row in &rows {
        if !tables.contains(&row.table.as_str()) {
            tables.push(&row.table);
        }
    }
    for table in tables {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.table == table).collect();
        println!("\n{}", layout(table, &rows));
    }
}

fn layout(table: &str, rows: &[&Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let mut lines: Vec<Vec<String>> =
        vec![std::iter::once(table.to_owned()).chain(first.numbers.iter().map(|(name, _)| name.clone())).collect()];
    let mut sums = vec![0; first.numbers.len()];
    for row in rows {
        row.numbers.iter().zip(&mut sums).for_each(|((_, number), sum)| *sum += number);
        lines.push(std::iter::once(row.name.clone()).chain(row.numbers.iter().map(|(_, n)| n.to_string())).collect());
    }
    lines.push(std::iter::once(format!("sum of {}", rows.len())).chain(sums.iter().map(u64::to_string)).collect());
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let words = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    });
    words.collect::<Vec<_>>().join("\n")
}
