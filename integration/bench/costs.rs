//! What does not drift with the machine's speed: system calls, instructions, page faults; and peak memory.

use std::process::{Command, Stdio};

use orlop_integration::Cmd;
use orlop_integration::tracer::{Act, Point};

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
    /// Instructions in user space of the runtime's own process; none where valgrind is not installed or cannot run it.
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
    let point = Point { at: u64::MAX, act: Act::Watch, follow: true };
    let command =
        Cmd::new(peer.path.as_os_str(), watch.bench.dir.join("traced")).args(["--root", &watch.root(peer)]).args(words);
    let (output, trace) = command.trace(point);
    assert_eq!(output.code, 0, "{} {verb} under trace: {}", peer.name, output.stderr);
    watch.remove(peer, &name);

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let calls = trace.calls as f64;
    Cost { calls, faults: sample.faults, peak_kib: sample.peak_kib, instructions: instructions(watch, peer, verb) }
}

/// Counted by callgrind, which follows no children.
fn instructions(watch: &Stopwatch<'_>, peer: &Peer, verb: &str) -> Option<f64> {
    let (name, words) = ready(watch, peer, verb);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&peer.path)
        .args(["--root", &watch.root(peer)])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()
        .and_then(|child| wait_for(child, &watch.bench.dir));
    watch.remove(peer, &name);
    let text = output?;
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.split("Collected :").nth(1)?.trim().parse().ok()
}

/// Standard error of a child that ended well within half a minute. Not read to its end: a container may keep it open.
fn wait_for(mut child: std::process::Child, dir: &std::path::Path) -> Option<String> {
    use std::io::Read;
    let mut pipe = child.stderr.take()?;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let status = loop {
        if let Some(status) = child.try_wait().ok()? {
            break status;
        }
        if std::time::Instant::now() > until {
            child.kill().ok()?;
            child.wait().ok()?;
            eprintln!("valgrind did not end in 30 s ({})", dir.display());
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let mut text = vec![0_u8; 65536];
    let length = pipe.read(&mut text).ok()?;
    if !status.success() {
        eprintln!("valgrind: {}", String::from_utf8_lossy(&text[..length]));
    }
    status.success().then(|| String::from_utf8_lossy(&text[..length]).into_owned())
}

/// All verbs of all runtimes.
pub(crate) fn all(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    for verb in VERBS {
        for peer in &options.peers {
            let cost = of(watch, peer, verb);
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
