//! The guard against regressions: figures that do not depend on the machine's speed, against a file that is checked in.
//!
//! System calls depend on how many cgroup hierarchies are mounted: `guard.json` is of a host with nine of v1, `guard-v2.json` of
//! `--layout v2`. With `--sandbox PROGRAM`, the example `agent_sandbox`, a sandbox in the caller's process is guarded and each command in
//! it, by an exec server and by `exec`: caller, server and command together. A change that makes them smaller should write the file anew (`--write-guard`), so that the next one cannot eat the gain.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};

use crate::Options;
use crate::costs::{self, Cost};
use crate::stopwatch::{Layout, Stopwatch};

const GUARDED: [&str; 3] = ["run", "exec", "state"];

/// One fault maps as much of the program as the page cache holds in one piece, and that is another thing after each build.
const FOLIOS: f64 = 15.0;
/// One command more in a program that runs already has pages to itself.
const PAGES: f64 = 3.0;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Guard {
    /// How much more than the figure is still good, as a share of it.
    tolerance: f64,
    verbs: BTreeMap<String, Cost>,
    /// A sandbox in the caller's process with one command.
    #[serde(default)]
    sandboxes: BTreeMap<String, Cost>,
    /// One command more in it.
    #[serde(default)]
    commands: BTreeMap<String, Cost>,
}

impl Guard {
    /// What is so here.
    fn take(watch: &Stopwatch<'_>, options: &Options) -> Self {
        let verb = |verb: &&str| ((*verb).to_owned(), of_verb(watch, options, verb));
        let verbs = GUARDED.iter().map(verb).collect();
        let mut guard = Self { tolerance: 0.1, verbs, sandboxes: BTreeMap::new(), commands: BTreeMap::new() };
        if let Some(program) = &options.sandbox {
            // The program keeps its state where the user's environment says, and that is not to meet what is there.
            mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
                .expect("mount a tmpfs for the state");
            std::fs::copy(watch.floor(), costs::SANDBOXED).expect("the command of the sandbox");
            for (name, plain) in [("exec server", false), ("exec", true)] {
                let tries: Vec<[Cost; 2]> = (0..3).map(|_| costs::of_sandbox(watch, program, plain)).collect();
                let of = |n: usize| least(&tries.iter().map(|costs| costs[n]).collect::<Vec<_>>());
                guard.sandboxes.insert(format!("sandbox, {name}"), of(0));
                guard.commands.insert(format!("command, {name}"), of(1));
            }
        }
        guard
    }
}

/// Of several tries the smallest: what else happens on the machine only ever adds.
fn least(tries: &[Cost]) -> Cost {
    let least = |figure: fn(&Cost) -> f64| tries.iter().map(figure).fold(f64::INFINITY, f64::min);
    let instructions = tries.iter().filter_map(|cost| cost.instructions).min_by(f64::total_cmp);
    Cost { calls: least(|c| c.calls), faults: least(|c| c.faults), peak_kib: least(|c| c.peak_kib), instructions }
}

fn of_verb(watch: &Stopwatch<'_>, options: &Options, verb: &str) -> Cost {
    let peer = &options.peers[0];
    let mut tries: Vec<Cost> = (0..2).map(|_| costs::of(watch, peer, verb)).collect();
    // Single steps take most of a minute; those of one layout tell what the other's would.
    let counted = options.layout == Layout::Host;
    tries.push(if counted { costs::with_instructions } else { costs::of }(watch, peer, verb));
    least(&tries)
}

/// Writes the file anew.
pub(crate) fn write(watch: &Stopwatch<'_>, options: &Options, path: &Path) {
    let text = serde_json::to_string_pretty(&Guard::take(watch, options)).expect("JSON");
    std::fs::write(path, text + "\n").expect("the guard's file");
}

/// Compares; fails when a figure is beyond the tolerance.
pub(crate) fn check(watch: &Stopwatch<'_>, options: &Options, path: &Path) -> ExitCode {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let was: Guard = serde_json::from_slice(&text).expect("the guard's file");
    assert!(was.commands.is_empty() || options.sandbox.is_some(), "{} needs --sandbox", path.display());
    let is = Guard::take(watch, options);
    let mut worse = 0;
    for (was_all, is_all, pages) in
        [(&was.verbs, &is.verbs, FOLIOS), (&was.sandboxes, &is.sandboxes, FOLIOS), (&was.commands, &is.commands, PAGES)]
    {
        for (name, before) in was_all {
            let now = is_all.get(name).unwrap_or_else(|| panic!("{}: {name} is not measured", path.display()));
            worse += compare(name, before, now, was.tolerance, pages);
        }
    }
    ExitCode::from(u8::from(worse > 0))
}

/// Prints how one of them compares, and gives how many of its figures are worse.
fn compare(name: &str, was: &Cost, is: &Cost, tolerance: f64, pages: f64) -> usize {
    let mut figures = vec![("system calls", was.calls, is.calls, 2.0), ("page faults", was.faults, is.faults, pages)];
    match (was.instructions, is.instructions) {
        (Some(was), Some(is)) => figures.push(("instructions", was, is, 2.0)),
        (Some(_), None) => println!("{name}: instructions are not compared: they cannot be counted here"),
        (None, _) => {}
    }
    let mut worse = 0;
    for (what, was, is, slack) in figures {
        let verdict = if is > was * (1.0 + tolerance) + slack {
            worse += 1;
            "WORSE"
        } else if is < was * (1.0 - tolerance) {
            "better: write the file anew"
        } else {
            "as before"
        };
        println!("{:<36} {was:>12} -> {is:>12}  {verdict}", format!("{name}: {what}"));
    }
    worse
}
