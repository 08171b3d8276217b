//! Many containers at once whose roots are overlays of many layers: until all run, and until all are gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use orlop_integration::process;
use serde_json::json;

use crate::bundles::{self, Kind};
use crate::parts::rate;
use crate::report::Report;
use crate::stopwatch::Stopwatch;
use crate::{Options, Peer};

const CONTAINERS: u32 = 100;
const LAYERS: usize = 50;
const CALLERS: usize = 8;
const ROUNDS: usize = 3;

/// Every runtime in turn, several times.
pub(crate) fn storm(watch: &Stopwatch<'_>, options: &Options, report: &mut Report) {
    let layers = layers(watch);
    for _ in 0..ROUNDS {
        for peer in &options.peers {
            once(watch, peer, &layers, report);
        }
    }
}

/// The layers on a tmpfs, the root file system of all benchmarks lowest.
fn layers(watch: &Stopwatch<'_>) -> Vec<PathBuf> {
    let rootfs = watch.bench.dir.join("rootfs");
    let layer = |n: usize| {
        let layer = watch.bench.dir.join(format!("run/l{n}"));
        fs::create_dir_all(layer.join("etc")).expect("layer");
        fs::write(layer.join(format!("etc/layer-{n}")), "").expect("a file of a layer");
        layer
    };
    std::iter::once(rootfs).chain((1..LAYERS).map(layer)).collect()
}

fn once(watch: &Stopwatch<'_>, peer: &Peer, layers: &[PathBuf], report: &mut Report) {
    let before = mounts();
    let dir = watch.bench.dir.join("run/storm");
    let containers: Vec<(String, String, PathBuf)> = (0..CONTAINERS)
        .map(|n| {
            let root = overlay(&dir.join(n.to_string()), layers);
            let name = watch.name();
            let bundle =
                bundles::write_with(watch, Kind::Lasting, &name, |config| config["root"]["path"] = json!(root));
            (bundle, name, root)
        })
        .collect();
    let state = watch.root(peer);
    let milliseconds = |rate: f64| 1e3 / rate * f64::from(CONTAINERS);
    let made = rate(CALLERS, containers.len(), |n| {
        let mut command = Command::new(&peer.path);
        let (bundle, name, _) = &containers[n];
        command.args(["--root", &state, "run", "--detach", "--bundle", bundle, name]).stdout(Stdio::null());
        command
    });
    let what = format!("{CONTAINERS} with {LAYERS} layers, {CALLERS} callers");
    report.milliseconds(&format!("{what}: until all run"), peer, milliseconds(made));
    let removed = rate(CALLERS, containers.len(), |n| {
        let mut command = Command::new(&peer.path);
        command.args(["--root", &state, "delete", "--force", &containers[n].1]).stdout(Stdio::null());
        command
    });
    report.milliseconds(&format!("{what}: until all are gone"), peer, milliseconds(removed));
    process::reap();
    // Nobody but the runtime may still hold one of them.
    for (_, name, root) in &containers {
        umount2(root, MntFlags::empty()).unwrap_or_else(|errno| panic!("umount {}: {errno}", root.display()));
        assert!(!Path::new(&state).join(name).exists(), "{}: the state of {name} is left", peer.name);
    }
    fs::remove_dir_all(&dir).expect("the overlays' directories");
    let left = mounts() - before;
    report.figure(&format!("{what}: mounts left"), peer, f64::from(left));
}

/// An overlay of these layers, the first lowest; gives where it is mounted.
fn overlay(dir: &Path, layers: &[PathBuf]) -> PathBuf {
    let place = |name: &str| {
        let place = dir.join(name);
        fs::create_dir_all(&place).expect("a directory of an overlay");
        place
    };
    let (upper, work, root) = (place("u"), place("w"), place("m"));
    let lower: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).expect("mount an overlay");
    root
}

/// How many mounts this namespace has.
fn mounts() -> i32 {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    i32::try_from(text.lines().count()).expect("a few mounts")
}
