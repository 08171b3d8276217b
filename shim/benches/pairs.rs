//! This shim beside another, in turns: `ORLOP_SHIM_PEER=/usr/bin/containerd-shim-runc-v2 cargo bench -p orlop-shim`.
//!
//! Both are driven over their sockets with the same bundle. `ORLOP_SHIM_PEER_RUNTIME` names the runtime that the peer executes,
//! `ORLOP_SHIM_TURNS` how often (30).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark ends by panicking, and prints"
)]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a part of the program's messages, and the client of the tests"
)]

#[macro_use]
#[path = "../src/proto/mod.rs"]
mod proto;
#[path = "../src/ttrpc/mod.rs"]
mod ttrpc;

#[path = "../tests/task/client.rs"]
mod client;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use client::{Events, Shim, Stdio3, bundle, shim_program};
use orlop_integration::{Sandbox, case};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// The times of each step, by the program and the step's name.
type Times = BTreeMap<(&'static str, &'static str), Vec<Duration>>;

#[case(seconds(600))]
fn in_turns(t: &Sandbox) {
    let peer = std::env::var("ORLOP_SHIM_PEER").unwrap_or_default();
    t.need(!peer.is_empty(), "ORLOP_SHIM_PEER names no shim to compare with");
    let runtime = std::env::var("ORLOP_SHIM_PEER_RUNTIME").unwrap_or_default();
    let turns: usize = std::env::var("ORLOP_SHIM_TURNS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    // Where the peer has its sockets and states.
    std::fs::create_dir_all("/run/containerd").unwrap();
    let nothing = None::<&str>;
    nix::mount::mount(Some("tmpfs"), "/run/containerd", Some("tmpfs"), nix::mount::MsFlags::empty(), nothing).unwrap();
    let _events = Events::serve(&t.dir.join("events.sock"));
    let mut times = Times::new();
    for turn in 0..turns {
        one(t, &mut times, "ours", &shim_program(), "", turn);
        one(t, &mut times, "peer", Path::new(&peer), &runtime, turn);
    }
    for step in ["shim start", "create + start", "exec + start", "delete"] {
        let [ours, peer] = ["ours", "peer"].map(|who| median(times.get_mut(&(who, step)).unwrap()));
        println!(
            "{step:15} {:8.2} ms, peer {:8.2} ms, ratio {:.2}",
            ours.as_secs_f64() * 1e3,
            peer.as_secs_f64() * 1e3,
            ours.as_secs_f64() / peer.as_secs_f64()
        );
    }
}

fn one(t: &Sandbox, times: &mut Times, who: &'static str, program: &Path, runtime: &str, turn: usize) {
    let c = t.container(&format!("{who}{turn}"));
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id(&format!("{who}{turn}")));
    let mut clock = |step: &'static str, begun: Instant| {
        times.entry((who, step)).or_default().push(begun.elapsed());
    };
    let begun = Instant::now();
    let mut shim = Shim::start_program(t, program, &bundle, &id, runtime);
    clock("shim start", begun);
    let begun = Instant::now();
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    clock("create + start", begun);
    let begun = Instant::now();
    shim.exec(&id, "e", &["true"], Stdio3::default()).unwrap();
    shim.start_task(&id, "e").unwrap();
    clock("exec + start", begun);
    shim.wait(&id, "e");
    shim.delete(&id, "e").unwrap();
    shim.kill(&id, "", libc::SIGKILL, true).unwrap();
    shim.wait(&id, "");
    let begun = Instant::now();
    shim.delete(&id, "").unwrap();
    clock("delete", begun);
    shim.shut_down();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
