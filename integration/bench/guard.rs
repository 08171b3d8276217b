//! The guard against regressions: figures that do not depend on the machine's speed, against a file that is checked in.
//!
//! System calls depend on how many cgroup hierarchies are mounted: the checked-in figures are of a host with nine of v1, and pure v2 needs
//! fewer. A change that makes them smaller should write the file anew (`--write-guard`), so that the next one cannot eat the gain.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use crate::Peer;
use crate::costs::{self, Cost};
use crate::stopwatch::Stopwatch;

const GUARDED: [&str; 3] = ["run", "exec", "state"];

/// One fault maps as much of the program as the page cache holds in one piece, and that is another thing after each build.
const FOLIOS: f64 = 15.0;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Guard {
    /// How much more than the figure is still good, as a share of it.
    tolerance: f64,
    verbs: BTreeMap<String, Cost>,
}

/// Of several tries the smallest: what else happens on the machine only ever adds.
fn best(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> Cost {
    let tries: Vec<Cost> = (0..3).map(|_| costs::of(watch, peer, verb)).collect();
    let least = |figure: fn(&Cost) -> f64| tries.iter().map(figure).fold(f64::INFINITY, f64::min);
    let instructions = costs::with_instructions(watch, peer, verb).instructions;
    Cost { calls: least(|c| c.calls), faults: least(|c| c.faults), peak_kib: least(|c| c.peak_kib), instructions }
}

/// Writes the file anew.
pub(crate) fn write(watch: &Stopwatch<'_>, peer: &Peer, path: &Path) {
    let verbs = GUARDED.iter().map(|verb| ((*verb).to_owned(), best(watch, peer, verb))).collect();
    let text = serde_json::to_string_pretty(&Guard { tolerance: 0.1, verbs }).expect("JSON");
    std::fs::write(path, text + "\n").expect("the guard's file");
}

/// Compares; fails when a figure is beyond the tolerance.
pub(crate) fn check(watch: &Stopwatch<'_>, peer: &Peer, path: &Path) -> ExitCode {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let guard: Guard = serde_json::from_slice(&text).expect("the guard's file");
    let mut worse = 0;
    let mut compare = |what: String, was: f64, is: f64, slack: f64| {
        let verdict = if is > was * (1.0 + guard.tolerance) + slack {
            worse += 1;
            "WORSE"
        } else if is < was * (1.0 - guard.tolerance) {
            "better: write the file anew"
        } else {
            "as before"
        };
        println!("{what:<28} {was:>12} -> {is:>12}  {verdict}");
    };
    for (verb, was) in &guard.verbs {
        let is = best(watch, peer, verb);
        compare(format!("{verb}: system calls"), was.calls, is.calls, 2.0);
        compare(format!("{verb}: page faults"), was.faults, is.faults, FOLIOS);
        match (was.instructions, is.instructions) {
            (Some(was), Some(is)) => compare(format!("{verb}: instructions"), was, is, 2.0),
            (Some(_), None) => println!("{verb}: instructions are not compared: they cannot be counted here"),
            (None, _) => {}
        }
    }
    ExitCode::from(u8::from(worse > 0))
}
