//! The timed operations.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use orlop_integration::process;

use crate::bundles::{self, Kind};
use crate::report::Report;
use crate::stopwatch::Stopwatch;
use crate::{Options, Peer};

/// Each operation of a container's life, `rounds` times for each runtime in turn.
pub(crate) fn times(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    if !options.layout.limits_pids() {
        println!("SKIP update: no controller pids in cgroup v2 here");
    }
    for round in 0..options.rounds {
        floor(watch, report);
        for n in 0..options.peers.len() {
            // Nobody is always first after the same other one.
            let peer = &options.peers[(n + round) % options.peers.len()];
            for (kind, label) in Kind::SHORT {
                let name = watch.name();
                let bundle = bundles::write(watch, kind, &name);
                let sample = watch.time(peer, &["run", "--bundle", &bundle, &name]);
                report.time(label, peer, &sample);
            }
            life(watch, peer, report);
        }
        eprint!("\rround {} of {}", round + 1, options.rounds);
    }
    eprintln!();
}

/// The floor: in a loop, as a whole process, and a process that does nothing.
fn floor(watch: &Stopwatch<'_>, report: &mut Report) {
    let program = watch.floor().display().to_string();
    let rootfs = watch.bench.dir.join("rootfs").display().to_string();
    let mut command = Command::new(&program);
    let output = command.env("ORLOP_TAG", &watch.bench.tag).args(["container", &rootfs, "5"]).output().expect("floor");
    assert!(output.status.success(), "floor: {}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        report.floor("run", "floor, in a loop", line.parse::<f64>().expect("nanoseconds") / 1e6);
    }
    let sample = watch.time_any(&[&program, "container", &rootfs, "1"]);
    assert_eq!(sample.status, 0, "floor");
    report.floor("run", "floor, whole process", sample.milliseconds);
    report.floor("state", "a process that does nothing", watch.time_any(&[&program, "nothing"]).milliseconds);
}

/// create, start, state, list, exec, update, kill, delete.
fn life(watch: &Stopwatch<'_>, peer: &Peer, report: &mut Report) {
    let name = watch.name();
    let bundle = bundles::write(watch, Kind::Lasting, &name);
    let create = watch.time(peer, &["create", "--bundle", &bundle, &name]);
    let start = watch.time(peer, &["start", &name]);
    let pid = watch.pid(peer, &name);
    report.time("create", peer, &create);
    report.time("start", peer, &start);
    report.time("state", peer, &watch.time(peer, &["state", &name]));
    report.time("list of 1", peer, &watch.time(peer, &["list"]));
    report.time("exec", peer, &watch.time(peer, &["exec", &name, "/bin/true", "nothing"]));
    report.milliseconds("8 execs at once, each", peer, execs_at_once(watch, peer, &name));
    if watch.bench.layout.limits_pids() {
        report.time("update", peer, &watch.time(peer, &["update", "--pids-limit", "100", &name]));
    }
    report.time("kill", peer, &watch.time(peer, &["kill", &name, "KILL"]));
    wait_for_end(pid);
    let delete = watch.time(peer, &["delete", &name]);
    report.time("delete", peer, &delete);
    let sum = create.milliseconds + start.milliseconds + delete.milliseconds;
    report.milliseconds("create + start + delete", peer, sum);
}

/// Processor time of everything that a container's life takes: per process (the runtime's and the container's) and of the whole machine,
/// with what the kernel does later. The second means something on a machine that does nothing else.
pub(crate) fn processor(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    const LIVES: u32 = 25;
    for round in 0..options.rounds.div_ceil(4) {
        for n in 0..options.peers.len() {
            let peer = &options.peers[(n + round) % options.peers.len()];
            let lives: Vec<(String, String)> = (0..LIVES)
                .map(|_| {
                    let name = watch.name();
                    (bundles::write(watch, Kind::Plain, &name), name)
                })
                .collect();
            let (own, machine) = (processor_time(), machine_time());
            for (bundle, name) in &lives {
                command(watch, peer, &["create", "--bundle", bundle, name]);
                let pid = watch.pid(peer, name);
                command(watch, peer, &["start", name]);
                wait_for_end(pid);
                command(watch, peer, &["delete", name]);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            let label = "create + state + start + delete: CPU";
            report.milliseconds(
                &format!("{label} of all processes"),
                peer,
                (processor_time() - own) / f64::from(LIVES),
            );
            let machine = (machine_time() - machine) / f64::from(LIVES);
            report.milliseconds(&format!("{label} of the machine"), peer, machine);
        }
    }
}

fn command(watch: &Stopwatch<'_>, peer: &Peer, words: &[&str]) {
    let mut command = Command::new(&peer.path);
    command.args(["--root", &watch.root(peer)]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().expect("start").success(), "{} {words:?}", peer.name);
}

/// Of all children that have been waited for, in milliseconds: this process adopts what a runtime leaves.
fn processor_time() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("getrusage");
    let milliseconds = |time: nix::sys::time::TimeVal| time_in_milliseconds(time.tv_sec(), time.tv_usec());
    milliseconds(usage.user_time()) + milliseconds(usage.system_time())
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn time_in_milliseconds(seconds: i64, microseconds: i64) -> f64 {
    seconds as f64 * 1e3 + microseconds as f64 / 1e3
}

/// All time that the processors were not idle, in milliseconds (`cpu` of /proc/stat, in hundredths of a second).
fn machine_time() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let line = text.lines().next().expect("the line of all processors");
    let ticks: Vec<f64> = line.split_whitespace().skip(1).map(|word| word.parse().expect("a number")).collect();
    // user, nice, system; then idle and iowait; irq, softirq.
    (ticks[..3].iter().sum::<f64>() + ticks[5] + ticks[6]) * 10.0
}

fn wait_for_end(pid: i32) {
    while process::is_alive(pid) {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    process::reap();
}

fn execs_at_once(watch: &Stopwatch<'_>, peer: &Peer, name: &str) -> f64 {
    let root = watch.root(peer);
    let begun = Instant::now();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let words = ["--root", root.as_str(), "exec", name, "/bin/true", "nothing"];
            Command::new(&peer.path).args(words).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("exec")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success(), "{}: exec", peer.name);
    }
    begun.elapsed().as_secs_f64() * 1e3 / 8.0
}

/// Containers per second with one, two and eight callers, and what the floor would do.
pub(crate) fn parallel(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    let floor = watch.floor();
    let rootfs = watch.bench.dir.join("rootfs").display().to_string();
    // Three rounds, so that a bad moment of the machine is not one runtime's.
    for callers in [1, 2, 8].into_iter().cycle().take(9) {
        let label = format!("containers per second, {callers} at once");
        let floors = rate(callers, options.parallel, |_| {
            let mut command = Command::new(&floor);
            command.env("ORLOP_TAG", &watch.bench.tag).args(["container", &rootfs, "1"]).stdout(Stdio::null());
            command
        });
        report.count(&label, "floor, whole process", floors);
        for peer in &options.peers {
            let bundles: Vec<(String, String)> = (0..options.parallel)
                .map(|_| {
                    let name = watch.name();
                    (bundles::write(watch, Kind::Plain, &name), name)
                })
                .collect();
            let root = watch.root(peer);
            let own = rate(callers, options.parallel, |index| {
                let mut command = Command::new(&peer.path);
                let (bundle, name) = &bundles[index];
                command.args(["--root", root.as_str(), "run", "--bundle", bundle, name]);
                command
            });
            report.figure(&label, peer, own);
        }
    }
}

/// How many of `count` commands end per second, `callers` of them at a time; all must succeed.
pub(crate) fn rate(callers: usize, count: usize, command: impl Fn(usize) -> Command + Sync) -> f64 {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let mut command = command(index);
                    let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status().expect("start");
                    assert!(status.success(), "{command:?}");
                }
            });
        }
    });
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = count as f64;
    count / begun.elapsed().as_secs_f64()
}

/// The floor beside the containers that run: what of a growth is the kernel's own.
fn floor_beside(watch: &Stopwatch<'_>, label: &str, report: &mut Report) {
    let program = watch.floor().display().to_string();
    let rootfs = watch.bench.dir.join("rootfs").display().to_string();
    for _ in 0..10 {
        let sample = watch.time_any(&[&program, "container", &rootfs, "1"]);
        assert_eq!(sample.status, 0, "floor");
        report.floor(label, "floor, whole process", sample.milliseconds);
        report.floor(&format!("{label}: CPU"), "floor, whole process", sample.cpu_milliseconds);
    }
}

/// The first ten and the last ten of many running containers, and `list` of 1, 100 and all of them.
pub(crate) fn scale(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    const FIRST: &str = "run --detach, the first ten";
    let last = format!("run --detach, the last ten of {}", options.scale);
    for peer in &options.peers {
        let mut names = Vec::new();
        floor_beside(watch, FIRST, report);
        for n in 0..options.scale {
            let name = watch.name();
            let bundle = bundles::write(watch, Kind::Lasting, &name);
            let sample = watch.time(peer, &["run", "--detach", "--bundle", &bundle, &name]);
            names.push(name);
            if n < 10 {
                report.time(FIRST, peer, &sample);
            }
            if n + 10 >= options.scale {
                report.time(&last, peer, &sample);
            }
            if n + 1 == 100 || n + 1 == options.scale {
                for _ in 0..5 {
                    report.time(&format!("list of {}", n + 1), peer, &watch.time(peer, &["list"]));
                }
            }
        }
        floor_beside(watch, &last, report);
        eprintln!("{}: {} containers", peer.name, names.len());
        for name in names {
            watch.remove(peer, &name);
        }
    }
}
