//! Collecting figures, and printing them as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::Peer;
use crate::stopwatch::Sample;

/// One row: an operation, and the figures of each column.
#[derive(Debug)]
struct Row {
    label: String,
    unit: &'static str,
    columns: Vec<(String, Vec<f64>)>,
}

/// All figures.
#[derive(Debug)]
pub(crate) struct Report {
    peers: Vec<Peer>,
    rows: Vec<Row>,
}

/// The `share`-th value of sorted figures.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The middle of the figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(&sorted(figures), 0.5)
}

impl Report {
    pub(crate) fn new(peers: &[Peer]) -> Self {
        Self { peers: peers.to_vec(), rows: Vec::new() }
    }

    fn add(&mut self, label: &str, unit: &'static str, column: &str, value: f64) {
        let row = match self.rows.iter().position(|row| row.label == label) {
            Some(found) => &mut self.rows[found],
            None => {
                self.rows.push(Row { label: label.to_owned(), unit, columns: Vec::new() });
                self.rows.last_mut().expect("the row just added")
            }
        };
        match row.columns.iter_mut().find(|(name, _)| name == column) {
            Some((_, figures)) => figures.push(value),
            None => row.columns.push((column.to_owned(), vec![value])),
        }
    }

    /// A timed operation of a runtime: its time, and its processor time in a row of its own.
    pub(crate) fn time(&mut self, label: &str, peer: &Peer, sample: &Sample) {
        self.add(label, "ms", &peer.name, sample.milliseconds);
        self.add(&format!("{label}: CPU"), "ms", &peer.name, sample.cpu_milliseconds);
    }

    /// A time that was not taken by the stop-watch.
    pub(crate) fn milliseconds(&mut self, label: &str, peer: &Peer, value: f64) {
        self.add(label, "ms", &peer.name, value);
    }

    /// The floor's time for an operation.
    pub(crate) fn floor(&mut self, label: &str, column: &str, milliseconds: f64) {
        self.add(label, "ms", column, milliseconds);
    }

    /// The floor's figure that is no time.
    pub(crate) fn count(&mut self, label: &str, column: &str, value: f64) {
        self.add(label, "", column, value);
    }

    /// A figure that is no time.
    pub(crate) fn figure(&mut self, label: &str, peer: &Peer, value: f64) {
        self.add(label, "", &peer.name, value);
    }

    /// Prints a table: median, tenth to ninetieth percentile, and the first runtime's ratio to each other column.
    pub(crate) fn print(&self) {
        for peer in &self.peers {
            println!("{}: {} ({})", peer.name, peer.version, peer.path.display());
        }
        println!("\nmedian (10th to 90th percentile); ratio: {} to that column\n", self.peers[0].name);
        for row in &self.rows {
            println!("{}{}", row.label, if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) });
            let own =
                row.columns.iter().find(|(name, _)| *name == self.peers[0].name).map(|(_, figures)| median(figures));
            for (name, figures) in &row.columns {
                let figures = sorted(figures);
                let middle = quantile(&figures, 0.5);
                let mut line = format!("    {name:<28} {middle:>10.2}");
                if figures.len() > 1 {
                    write!(line, "  ({:.2} to {:.2})", quantile(&figures, 0.1), quantile(&figures, 0.9)).expect("text");
                }
                if let Some(own) = own
                    && *name != self.peers[0].name
                    && middle > 0.0
                {
                    write!(line, "  ratio {:.2}", own / middle).expect("text");
                }
                println!("{line}");
            }
        }
    }

    /// The same as JSON.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let columns: serde_json::Map<String, Value> = row
                    .columns
                    .iter()
                    .map(|(name, figures)| {
                        let figures = sorted(figures);
                        let value = json!({
                            "median": quantile(&figures, 0.5), "p10": quantile(&figures, 0.1), "p90": quantile(&figures, 0.9),
                            "samples": figures.len()
                        });
                        (name.clone(), value)
                    })
                    .collect();
                json!({ "operation": row.label, "unit": row.unit, "figures": columns })
            })
            .collect();
        let peers: Vec<Value> = self
            .peers
            .iter()
            .map(|peer| json!({ "name": peer.name, "version": peer.version, "path": peer.path }))
            .collect();
        format!("{:#}\n", json!({ "runtimes": peers, "rows": rows }))
    }
}
