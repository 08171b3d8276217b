//! Many callers with every verb over the same few containers.
//!
//! `ORLOP_CRASH_OPERATIONS` sets how many operations there are (default 400).

use std::collections::BTreeMap;
use std::time::Instant;

use orlop_integration::everywhere::nothing_left;
use orlop_integration::figures::Row;
use orlop_integration::{Cmd, Container, Flavor, Sandbox, case};

const CALLERS: usize = 8;
const CONTAINERS: usize = 20;

/// Seconds that an operation may take with seven others on a busy machine; a stall of the runtime's own waits is 10 s.
const SLOW: u64 = 8;

fn operations() -> usize {
    std::env::var("ORLOP_CRASH_OPERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

const VERBS: [&str; 15] = [
    "create",
    "create",
    "start",
    "exec",
    "kill",
    "delete",
    "delete --force",
    "state",
    "list",
    "pause",
    "resume",
    "run",
    "update",
    "ps",
    "gc",
];

fn command(c: &Container<'_>, verb: &str) -> Cmd {
    match verb {
        "create" => c.create_cmd(&[]),
        "run" => c.run_cmd(&["--detach"]),
        "exec" => c.simple_cmd("exec", &[], &["/bin/true"]),
        "kill" => c.simple_cmd("kill", &[], &["KILL"]),
        "delete --force" => c.simple_cmd("delete", &["--force"], &[]),
        "update" => c.simple_cmd("update", &["--pids-limit", "50"], &[]),
        "list" | "gc" => c.sandbox.logged(&[verb]),
        _ => c.simple_cmd(verb, &[], &[]),
    }
}

#[case(not_runc("not compared"), not_crun("not compared"), seconds(7200))]
fn eight_callers_over_the_same_containers(t: &Sandbox) {
    let containers: Vec<Container<'_>> = (0..CONTAINERS).map(|n| t.container(&format!("c{n}"))).collect();
    containers.iter().for_each(|c| drop(c.args(&["/probe", "pause"]).write().bundle.clone()));
    // So that there is a state directory from the beginning.
    containers[0].run_detached().ok();
    let mut numbers = Numbers(20);
    let mut outcomes: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    let mut running = Vec::new();
    let mut begun = 0;
    while begun < operations() || !running.is_empty() {
        while begun < operations() && running.len() < CALLERS {
            let verb = VERBS[numbers.below(VERBS.len())];
            let c = &containers[numbers.below(CONTAINERS)];
            running.push((verb, Instant::now(), command(c, verb).deadline(60).spawn()));
            begun += 1;
        }
        let mut rest = Vec::new();
        for (verb, since, mut one) in running {
            if !one.has_ended() {
                assert!(since.elapsed().as_secs() < SLOW, "{verb} takes {:?}", since.elapsed());
                rest.push((verb, since, one));
                continue;
            }
            let out = one.wait();
            assert!(out.code < 1000 && !out.stderr.contains("panicked"), "{verb}: {out:?}");
            // What was executed may be killed with its container.
            let with_its_container = verb == "exec" && out.code == 128 + libc::SIGKILL;
            assert!(
                out.code == 0 || !out.stderr.is_empty() || with_its_container,
                "{verb}: fails without a word: {out:?}"
            );
            for wrong in ["does not end", "out of memory", "out of turn"] {
                assert!(!out.stderr.contains(wrong), "{verb}: {out:?}");
            }
            // What may be called at any time has no reason to fail.
            let always = ["list", "gc", "delete --force"].contains(&verb) && t.is(Flavor::Orlop);
            assert!(out.code == 0 || !always, "{verb}: {out:?}");
            *outcomes.entry((verb, out.code == 0)).or_default() += 1;
        }
        running = rest;
        orlop_integration::process::reap_orphans();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for c in &containers {
        let out = c.delete_force();
        assert_eq!(out.code, 0, "delete --force at the end: {}", out.stderr);
    }
    nothing_left(t, "many callers");
    for verb in VERBS.iter().collect::<std::collections::BTreeSet<_>>() {
        let count = |success| outcomes.get(&(*verb, success)).copied().unwrap_or(0) as u64;
        t.figures(&Row::new("at once", verb, &[("succeeded", count(true)), ("refused", count(false))]));
    }
    for verb in ["create", "start", "exec", "pause", "resume", "run", "update"] {
        // Few operations may not bring every container to where a verb applies.
        assert!(begun < 400 || outcomes.contains_key(&(verb, true)), "{verb} never succeeded: {outcomes:?}");
    }
}
