//! What does not drift with the machine's speed: system calls, instructions, page faults; and peak memory.

use std::path::Path;

use orlop_integration::Cmd;
use orlop_integration::tracer::{Act, Point, Whose, can_inject};

use crate::bundles::{self, Kind};
use crate::report::Report;
use crate::stopwatch::Stopwatch;
use crate::{Options, Peer};

/// The verbs whose costs are taken.
pub(crate) const VERBS: [&str; 6] = ["run", "create", "start", "exec", "state", "delete"];

/// One verb's costs.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cost {
    /// System calls of the runtime and its children until the runtime's end.
    pub(crate) calls: f64,
    /// Page faults of the runtime and the children that it waited for.
    pub(crate) faults: f64,
    /// Peak resident memory, in KiB.
    pub(crate) peak_kib: f64,
    /// Instructions in user space of the runtime's own process; none where single steps are not possible.
    pub(crate) instructions: Option<f64>,
}

/// A container in the state in which `verb` can be applied, and the words of the command.
fn ready(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> (String, Vec<String>) {
    let name = watch.name();
    let kind = if verb == "run" { Kind::Plain } else { Kind::Lasting };
    let bundle = bundles::write(watch, kind, &name);
    if verb != "run" && verb != "create" {
        let first = if verb == "start" { "create" } else { "run" };
        let mut words = vec![first];
        if first == "run" {
            words.push("--detach");
        }
        words.extend_from_slice(&["--bundle", &bundle, &name]);
        watch.time(peer, &words);
    }
    let words: Vec<&str> = match verb {
        "run" | "create" => vec![verb, "--bundle", &bundle, &name],
        "exec" => vec!["exec", &name, "/bin/true", "nothing"],
        "delete" => vec!["delete", "--force", &name],
        _ => vec![verb, &name],
    };
    let words = words.into_iter().map(str::to_owned).collect();
    (name, words)
}

/// The costs of one verb.
pub(crate) fn of(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> Cost {
    let (name, words) = ready(watch, peer, verb);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let sample = watch.time(peer, &words);
    watch.remove(peer, &name);

    let (name, words) = ready(watch, peer, verb);
    let point = Point::watch(Whose::All);
    let command =
        Cmd::new(peer.path.as_os_str(), watch.bench.dir.join("traced")).args(["--root", &watch.root(peer)]).args(words);
    let (output, trace) = command.trace(point);
    assert_eq!(output.code, 0, "{} {verb} under trace: {}", peer.name, output.stderr);
    watch.remove(peer, &name);

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let calls = trace.calls as f64;
    Cost { calls, faults: sample.faults, peak_kib: sample.peak_kib, instructions: None }
}

/// The costs of one verb with the instructions, which take seconds to count.
pub(crate) fn with_instructions(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> Cost {
    Cost { instructions: instructions(watch, peer, verb), ..of(watch, peer, verb) }
}

/// Counted by single steps: valgrind knows too few system calls, and a virtual machine has no counters.
fn instructions(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> Option<f64> {
    if !can_inject() {
        return None;
    }
    let (name, words) = ready(watch, peer, verb);
    let point = Point { at: u64::MAX, act: Act::Count, whose: Whose::Own };
    let command = Cmd::new(peer.path.as_os_str(), watch.bench.dir.join("stepped"));
    let (output, trace) = command.args(["--root", &watch.root(peer)]).args(words).deadline(240).trace(point);
    watch.remove(peer, &name);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let instructions = trace.instructions as f64;
    (output.code == 0).then_some(instructions)
}

/// How many more commands the costs of one are taken from.
const COMMANDS: u8 = 20;

/// Where the sandbox, whose /tmp is its own, finds the program that does nothing.
pub(crate) const SANDBOXED: &str = "/run/true";

/// The costs of a whole sandbox of `program` (`agent_sandbox [--plain] COUNT COMMAND…`) with `count` commands: caller,
/// exec server and commands together.
fn sandbox(watch: &Stopwatch<'_>, program: &Path, plain: bool, count: u8) -> Cost {
    let (program, count) = (program.display().to_string(), count.to_string());
    let mut words = if plain { vec!["--plain"] } else { Vec::new() };
    words.extend_from_slice(&[&count, SANDBOXED, "nothing"]);
    let sample = watch.time_any(&[&[program.as_str()], words.as_slice()].concat());
    let errors = std::fs::read_to_string(watch.bench.dir.join("errors")).unwrap_or_default();
    assert_eq!(sample.status, 0, "{program} {words:?}: {errors}");
    let traced = Cmd::new(program.as_ref(), watch.bench.dir.join("traced")).args(words.clone()).deadline(60);
    let (output, trace) = traced.trace(Point::watch(Whose::All));
    assert_eq!(output.code, 0, "{program} {words:?} under trace: {}", output.stderr);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let calls = trace.calls as f64;
    // Single steps through all of a sandbox's life take a minute.
    Cost { calls, faults: sample.faults, peak_kib: sample.peak_kib, instructions: None }
}

/// The costs of a sandbox with one command, and of one command more in it.
pub(crate) fn of_sandbox(watch: &Stopwatch<'_>, program: &Path, plain: bool) -> [Cost; 2] {
    // The first command does what later ones find done.
    let (one, many) = (sandbox(watch, program, plain, 1), sandbox(watch, program, plain, 1 + COMMANDS));
    let each = |more: f64, less: f64| (more - less) / f64::from(COMMANDS);
    let command = Cost {
        calls: each(many.calls, one.calls),
        faults: each(many.faults, one.faults),
        peak_kib: many.peak_kib,
        instructions: None,
    };
    [one, command]
}

/// All verbs of all runtimes.
pub(crate) fn all(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    for verb in VERBS {
        for peer in &options.peers {
            // A runtime in Go executes so many that counting takes minutes.
            let cost = if peer.version.starts_with("runc") {
                of(watch, peer, verb)
            } else {
                with_instructions(watch, peer, verb)
            };
            report.figure(&format!("{verb}: system calls"), peer, cost.calls);
            report.figure(&format!("{verb}: page faults"), peer, cost.faults);
            report.figure(&format!("{verb}: peak memory, KiB"), peer, cost.peak_kib);
            if let Some(instructions) = cost.instructions {
                report.figure(&format!("{verb}: instructions, thousands"), peer, instructions / 1e3);
            }
        }
    }
    for peer in &options.peers {
        let size = std::fs::metadata(&peer.path).map_or(0.0, |file| {
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            let bytes = file.len() as f64;
            bytes
        });
        report.figure("size of the program, KiB", peer, size / 1024.0);
    }
}
