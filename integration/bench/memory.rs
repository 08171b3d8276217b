//! Memory that a container costs, and the smallest limits with which one starts.

use std::fs;

use serde_json::json;

use crate::bundles::{self, Kind};
use crate::report::Report;
use crate::stopwatch::Stopwatch;
use crate::{Options, Peer};

fn group_file(name: &str, files: &[&str]) -> Option<f64> {
    let places = [format!("/sys/fs/cgroup/memory/{name}"), format!("/sys/fs/cgroup/{name}")];
    let texts = places.iter().flat_map(|place| files.iter().map(move |file| format!("{place}/{file}")));
    texts.filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| text.trim().parse().ok())
}

/// The memory of a process that is its alone, in KiB. Pages of the program's file are not counted: they look private as
/// long as no other runs it, and dirty where it has just been written.
pub(crate) fn private_kib(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let private = text.lines().filter(|line| line.starts_with("Anonymous:"));
    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
}

/// What the container's control group is charged, and what its first process holds, before and after start.
pub(crate) fn held(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    const USAGE: &[&str] = &["memory.usage_in_bytes", "memory.current"];
    const PEAK: &[&str] = &["memory.max_usage_in_bytes", "memory.peak"];
    for peer in &options.peers {
        for _ in 0..5 {
            let name = watch.name();
            let bundle = bundles::write(watch, Kind::Lasting, &name);
            watch.time(peer, &["create", "--bundle", &bundle, &name]);
            let pid = watch.pid(peer, &name);
            report.figure("created: private memory of init, KiB", peer, private_kib(pid));
            if let Some(bytes) = group_file(&name, USAGE) {
                report.figure("created: charged to the container, KiB", peer, bytes / 1024.0);
            }
            watch.time(peer, &["start", &name]);
            std::thread::sleep(std::time::Duration::from_millis(30));
            if let Some(bytes) = group_file(&name, USAGE) {
                report.figure("running: charged to the container, KiB", peer, bytes / 1024.0);
            }
            if let Some(bytes) = group_file(&name, PEAK) {
                report.figure("running: charged at most, KiB", peer, bytes / 1024.0);
            }
            watch.remove(peer, &name);
        }
    }
}

/// Whether a container with this change starts and ends well, three times in a row.
fn starts(watch: &Stopwatch<'_>, peer: &Peer, resources: &serde_json::Value) -> bool {
    (0..3).all(|_| {
        let name = watch.name();
        let bundle = bundles::write_with(watch, Kind::Plain, &name, |config| {
            for (key, value) in resources.as_object().expect("resources") {
                config["linux"]["resources"][key] = value.clone();
            }
        });
        let good = watch.quiet(peer, &["run", "--bundle", &bundle, &name]);
        watch.remove(peer, &name);
        good
    })
}

/// The smallest of a row of limits that works.
pub(crate) fn smallest_limits(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    let memory = [128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536];
    let pids = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64];
    for peer in &options.peers {
        let smallest = memory.iter().find(|kib| starts(watch, peer, &json!({ "memory": { "limit": **kib * 1024 } })));
        if let Some(kib) = smallest {
            report.figure("smallest memory limit that starts, KiB", peer, f64::from(*kib));
        }
        let smallest = pids.iter().find(|limit| starts(watch, peer, &json!({ "pids": { "limit": limit } })));
        if let Some(limit) = smallest {
            report.figure("smallest pids limit that starts", peer, f64::from(*limit));
        }
    }
}
