//! Benchmarks of runc-compatible runtimes side by side.
//!
//! ```text
//! cargo run --release -p orlop-integration --bin bench -- [OPTION…]
//!   --runtime NAME=PATH   a runtime to measure; may be repeated (default: this workspace's orlop, and runc and crun where installed)
//!   --rounds N            how often each operation is timed (default 20)
//!   --scale N             containers beside which the last is timed (default 1000; 0 leaves this part out)
//!   --parallel N          containers started by 1, 2 and 8 callers at once (default 200; 0 leaves this part out)
//!   --density N           idle containers whose memory is taken, and beside which everything is timed (default 1000; 0 leaves this part out)
//!   --part NAME           times, processor, costs, memory, limits, scale, parallel, density or storm; may be repeated (default: all)
//!   --layout NAME         host (default), or v2: cgroup v2 alone, with the controllers that no v1 hierarchy holds
//!   --load N              busy loops that run beside all parts (default 0)
//!   --json FILE           writes all figures there too
//!   --guard FILE          only compares system calls, page faults and instructions of the first runtime with FILE; fails beyond its tolerance
//!   --sandbox PROGRAM     the example `agent_sandbox`, which is then guarded too
//!   --write-guard FILE    writes such a file
//! ```
//!
//! Operations are interleaved, so that a change of the machine's speed meets all runtimes alike. Everything happens in a mount namespace
//! of its own, from which a `unified` cgroup hierarchy beside v1 is taken away, since crun does not work with one. What the benchmarks
//! make is gone when they end, after a failure and SIGINT, SIGTERM or SIGHUP too.

mod bundles;
mod costs;
mod density;
mod guard;
mod keeper;
mod memory;
mod parts;
mod report;
mod stopwatch;
mod storm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use orlop_integration::Subject;
use stopwatch::{Bench, Layout, Load, Stopwatch};

/// A runtime to measure.
#[derive(Debug, Clone)]
struct Peer {
    name: String,
    path: PathBuf,
    version: String,
}

#[derive(Debug)]
struct Options {
    peers: Vec<Peer>,
    rounds: usize,
    scale: usize,
    parallel: usize,
    density: usize,
    parts: Vec<String>,
    layout: Layout,
    load: usize,
    json: Option<PathBuf>,
    guard: Option<PathBuf>,
    write_guard: Option<PathBuf>,
    sandbox: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            peers: Vec::new(),
            rounds: 20,
            scale: 1000,
            parallel: 200,
            density: 1000,
            parts: Vec::new(),
            layout: Layout::Host,
            load: 0,
            json: None,
            guard: None,
            write_guard: None,
            sandbox: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            let number = |text: String| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
            match flag.as_str() {
                "--runtime" => {
                    let value = value()?;
                    let (name, path) = value.split_once('=').ok_or("--runtime takes NAME=PATH")?;
                    options.peers.push(peer(name, Path::new(path)));
                }
                "--rounds" => options.rounds = number(value()?)?.max(1),
                "--scale" => options.scale = number(value()?)?,
                "--parallel" => options.parallel = number(value()?)?,
                "--density" => options.density = number(value()?)?,
                "--part" => options.parts.push(value()?),
                "--layout" => {
                    options.layout = match value()?.as_str() {
                        "host" => Layout::Host,
                        "v2" => Layout::V2,
                        other => return Err(format!("--layout takes host or v2, not {other}")),
                    }
                }
                "--load" => options.load = number(value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--guard" => options.guard = Some(value()?.into()),
                "--write-guard" => options.write_guard = Some(value()?.into()),
                "--sandbox" => options.sandbox = Some(value()?.into()),
                other => return Err(format!("unknown option {other}")),
            }
        }
        if options.peers.is_empty() {
            options.peers.push(peer("orlop", &Subject::from_environment().path));
            for (name, path) in [("runc", "/usr/sbin/runc"), ("crun", "/usr/bin/crun")] {
                if Path::new(path).is_file() {
                    options.peers.push(peer(name, Path::new(path)));
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn peer(name: &str, path: &Path) -> Peer {
    let subject = Subject::new(path);
    Peer { name: name.to_owned(), path: subject.path, version: subject.version }
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::from(2);
        }
    };
    orlop_integration::process::become_subreaper();
    match std::env::var_os(keeper::DIRECTORY) {
        Some(dir) => {
            let bench = Bench::inherited(dir.into(), options.layout);
            let _load = Load::start(&bench, options.load);
            run(&bench, &options)
        }
        None => keeper::keep(&Bench::new(options.layout)),
    }
}

fn run(bench: &Bench, options: &Options) -> ExitCode {
    let watch = Stopwatch::new(bench);
    if let Some(path) = &options.write_guard {
        guard::write(&watch, options, path);
        return ExitCode::SUCCESS;
    }
    if let Some(path) = &options.guard {
        return guard::check(&watch, options, path);
    }
    let mut report = report::Report::new(&options.peers);
    if options.wants("times") {
        parts::times(&watch, options, &mut report);
    }
    if options.wants("processor") {
        parts::processor(&watch, options, &mut report);
    }
    if options.wants("costs") {
        costs::all(&watch, options, &mut report);
    }
    if options.wants("memory") {
        memory::held(&watch, options, &mut report);
    }
    if options.wants("limits") {
        memory::smallest_limits(&watch, options, &mut report);
    }
    if options.wants("parallel") && options.parallel > 0 {
        parts::parallel(&watch, options, &mut report);
    }
    if options.wants("scale") && options.scale > 0 {
        parts::scale(&watch, options, &mut report);
    }
    if options.wants("density") && options.density > 0 {
        density::density(&watch, options, &mut report);
    }
    if options.wants("storm") {
        storm::storm(&watch, options, &mut report);
    }
    report.print();
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).expect("the JSON file");
    }
    ExitCode::SUCCESS
}
