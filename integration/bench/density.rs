//! Many idle containers on one machine: the memory that each costs, and how long everything takes beside them.
//!
//! The floor program keeps as many of its own, so that each share of memory and each growth of time is told beside the kernel's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orlop_integration::process;

use crate::bundles::{self, Kind};
use crate::memory::private_kib;
use crate::parts::rate;
use crate::report::{Report, median};
use crate::stopwatch::Stopwatch;
use crate::{Options, Peer};

/// How often each operation is timed, without and with neighbours.
const ROUNDS: usize = 30;
/// How many commands make and remove the neighbours at once.
const CALLERS: usize = 4;
const FLOOR: &str = "floor";

/// Every runtime in turn, after the floor.
pub(crate) fn density(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    beside_floor(watch, options.density, report);
    for peer in &options.peers {
        beside_peer(watch, peer, options.density, report);
    }
}

/// Times without neighbours and beside them, by operation.
#[derive(Default)]
struct Times(BTreeMap<&'static str, [Vec<f64>; 2]>);

impl Times {
    fn add(&mut self, what: &'static str, beside: bool, milliseconds: f64) {
        self.0.entry(what).or_default()[usize::from(beside)].push(milliseconds);
    }

    /// How many times as long it takes beside the neighbours, in the middle.
    fn growth(&self, what: &str) -> f64 {
        let [alone, beside] = &self.0[what];
        median(beside) / median(alone)
    }

    fn report(&self, count: usize, mut add: impl FnMut(&str, f64)) {
        for (what, [alone, beside]) in &self.0 {
            alone.iter().for_each(|time| add(&format!("{what}, alone"), *time));
            beside.iter().for_each(|time| add(&format!("{what}, beside {count}"), *time));
        }
    }
}

/// The floor beside containers of its own.
fn beside_floor(watch: &Stopwatch<'_>, count: usize, report: &mut Report) {
    let mut times = Times::default();
    let mut floors = |beside| (0..2 * ROUNDS).for_each(|_| times.add("run", beside, floor(watch)));
    floors(false);
    let before = Memory::settled();
    let kept = Kept::new(watch, count);
    Memory::settled().less(&before).report(count, |label, value| report.count(label, FLOOR, value));
    floors(true);
    kept.end();
    floors(false);
    times.report(count, |label, time| report.floor(label, FLOOR, time));
    report.count(&format!("growth of run beside {count}"), FLOOR, times.growth("run"));
}

/// Milliseconds of one container of the floor's.
fn floor(watch: &Stopwatch<'_>) -> f64 {
    let program = watch.floor().display().to_string();
    let sample = watch.time_any(&[&program, "container", &rootfs(watch), "1"]);
    assert_eq!(sample.status, 0, "floor");
    sample.milliseconds
}

fn rootfs(watch: &Stopwatch<'_>) -> String {
    watch.bench.dir.join("rootfs").display().to_string()
}

/// Containers that the floor program keeps.
struct Kept(Child);

impl Kept {
    fn new(watch: &Stopwatch<'_>, count: usize) -> Self {
        let mut command = Command::new(watch.floor());
        command.env("ORLOP_TAG", &watch.bench.tag).args(["keep", &rootfs(watch), &count.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("floor");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("floor");
        assert_eq!(line, "kept\n", "floor");
        Self(child)
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("floor").success(), "floor");
    }
}

/// A runtime beside containers of its own.
fn beside_peer(watch: &Stopwatch<'_>, peer: &Peer, count: usize, report: &mut Report) {
    let neighbours: Vec<(String, String)> = (0..count)
        .map(|_| {
            let name = watch.name();
            (bundles::write(watch, Kind::Lasting, &name), name)
        })
        .collect();
    let mut times = Times::default();
    lives(watch, peer, &mut times, false, report);
    let processes = process::living_descendants().len();
    let before = Memory::settled();
    let root = watch.root(peer);
    let made = rate(CALLERS, count, |n| {
        let mut command = Command::new(&peer.path);
        let (bundle, name) = &neighbours[n];
        command.args(["--root", &root, "run", "--detach", "--bundle", bundle, name]).stdout(Stdio::null());
        command
    });
    process::reap();
    Memory::settled().less(&before).report(count, |label, value| report.figure(label, peer, value));
    let stayed = process::living_descendants().len() - processes;
    report.figure(&format!("processes that stay of {count}"), peer, number(stayed) - number(count));
    report.figure(&format!("made per second, {CALLERS} callers"), peer, made);
    state_files(watch, peer, &neighbours[0].1, report);
    lives(watch, peer, &mut times, true, report);
    let removed = rate(CALLERS, count, |n| {
        let mut command = Command::new(&peer.path);
        command.args(["--root", &root, "delete", "--force", &neighbours[n].1]).stdout(Stdio::null());
        command
    });
    process::reap();
    report.figure(&format!("removed per second, {CALLERS} callers"), peer, removed);
    lives(watch, peer, &mut times, false, report);
    times.report(count, |label, time| report.milliseconds(label, peer, time));
    let growth = times.growth("run");
    report.figure(&format!("growth of run beside {count}"), peer, growth);
    // The floor has the same neighbours, in turns: a change of the machine's speed meets both.
    let share = growth / times.growth("run of the floor");
    report.figure(&format!("growth of run beside {count}, of the floor's"), peer, share);
}

/// Whole lives of other containers.
fn lives(watch: &Stopwatch<'_>, peer: &Peer, times: &mut Times, beside: bool, report: &mut Report) {
    for _ in 0..ROUNDS {
        let name = watch.name();
        let bundle = bundles::write(watch, Kind::Plain, &name);
        let sample = watch.time(peer, &["run", "--bundle", &bundle, &name]);
        times.add("run", beside, sample.milliseconds);
        times.add("run of the floor", beside, floor(watch));
        let name = watch.name();
        let bundle = bundles::write(watch, Kind::Lasting, &name);
        times.add("create", beside, watch.time(peer, &["create", "--bundle", &bundle, &name]).milliseconds);
        let label = format!("private memory of a waiting init, {}, KiB", if beside { "beside them" } else { "alone" });
        report.figure(&label, peer, private_kib(watch.pid(peer, &name)));
        for verb in ["start", "state"] {
            times.add(verb, beside, watch.time(peer, &[verb, &name]).milliseconds);
        }
        times.add("exec", beside, watch.time(peer, &["exec", &name, "/bin/true", "nothing"]).milliseconds);
        times.add("list", beside, watch.time(peer, &["list"]).milliseconds);
        times.add("delete --force", beside, watch.time(peer, &["delete", "--force", &name]).milliseconds);
        process::reap();
    }
}

/// What a container's state takes on the file system, by length and by blocks.
fn state_files(watch: &Stopwatch<'_>, peer: &Peer, id: &str, report: &mut Report) {
    fn walk(dir: &Path, sums: &mut [u64; 2]) {
        for entry in fs::read_dir(dir).expect("a state directory").flatten() {
            let about = entry.path().symlink_metadata().expect("a state file");
            if about.is_dir() {
                walk(&entry.path(), sums);
            } else {
                sums[0] += about.len();
                sums[1] += about.blocks() * 512;
            }
        }
    }
    let mut sums = [0; 2];
    walk(&Path::new(&watch.root(peer)).join(id), &mut sums);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let [length, blocks] = sums.map(|sum| sum as f64 / 1024.0);
    report.figure("files of a container's state, KiB", peer, length);
    report.figure("blocks of these files, KiB", peer, blocks);
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Figures of /proc/meminfo, in KiB.
struct Memory(BTreeMap<String, f64>);

impl Memory {
    /// After the kernel has done what it does later.
    fn settled() -> Self {
        std::thread::sleep(Duration::from_secs(2));
        let text = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let figure = |text: &str| text.split_whitespace().next()?.parse().ok();
        Self(lines.filter_map(|(name, text)| Some((name.to_owned(), figure(text)?))).collect())
    }

    fn less(mut self, before: &Self) -> Self {
        self.0.iter_mut().for_each(|(name, figure)| *figure -= before.0[name]);
        self
    }

    /// Of a difference: all that is in use but the page cache, and its parts, per container.
    fn report(&self, count: usize, mut add: impl FnMut(&str, f64)) {
        let of = |names: &[&str]| names.iter().map(|name| self.0[*name]).sum::<f64>() / number(count);
        let used = of(&["Shmem"]) - of(&["MemFree", "Buffers", "Cached"]);
        add("system's memory per container, KiB", used);
        for (label, name) in [
            ("slab", "Slab"),
            ("per processor", "Percpu"),
            ("kernel stacks", "KernelStack"),
            ("page tables", "PageTables"),
            ("anonymous", "AnonPages"),
            ("tmpfs", "Shmem"),
        ] {
            add(&format!("    of that: {label}, KiB"), of(&[name]));
        }
        add("    less available memory, KiB", -of(&["MemAvailable"]));
    }
}
