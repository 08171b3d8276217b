//! Many containers and processes at once, and long rows of them.
//!
//! `ORLOP_STRESS` multiplies the numbers: 5 gives 200 runs at once and 1000 rounds of create and delete.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use orlop_integration::{Sandbox, case, leak};
use serde_json::json;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

fn scaled(number: usize) -> usize {
    let factor: usize = std::env::var("ORLOP_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    number * factor
}

#[case(seconds(1200))]
fn runs_at_once(t: &Sandbox) {
    let containers: Vec<_> = (0..scaled(40)).map(|n| t.container(&format!("c{n}"))).collect();
    let runs: Vec<_> = containers
        .iter()
        .enumerate()
        .map(|(n, c)| c.sh(&format!("exit {}", n % 100)).run_cmd(&[]).deadline(300).spawn())
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        let _ = run.wait().code(i32::try_from(n % 100).unwrap());
    }
}

#[case(seconds(1800))]
fn create_and_delete_again_and_again(t: &Sandbox) {
    let c = t.container("a");
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for round in 0..scaled(200) {
        c.create().ok();
        if round % 2 == 0 {
            c.start().ok();
        }
        c.delete_force().ok();
    }
    assert_eq!(descriptors(), before);
    let left = leak::find(&t.tag, std::slice::from_ref(&t.root));
    assert!(left.is_empty(), "{left:#?}");
}

#[case(seconds(600))]
fn exec_storm(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for _ in 0..scaled(4) {
        let all: Vec<_> = (0..25)
            .map(|n| {
                (n, c.simple_cmd("exec", &[], &["sh", "-c", &format!("echo {n}; exit {n}")]).deadline(120).spawn())
            })
            .collect();
        for (n, exec) in all {
            assert_eq!(exec.wait().code(n).stdout, format!("{n}\n"));
        }
    }
    assert_eq!(c.simple("ps", &["--format", "json"], &[]).ok().json().as_array().unwrap().len(), 1);
    c.end();
}

#[case(seconds(600))]
fn kill_races_with_exit(t: &Sandbox) {
    let c = t.container("a");
    for round in 0..scaled(30) {
        c.sh(&format!("usleep {}", (round % 10) * 3000)).run_detached().ok();
        // Either it reaches the process, or the process has ended: never anything else, and never a hang.
        let code = c.kill("KILL").code;
        assert!(code == 0 || code == 1, "{code}");
        t.wait_until("stopped", || c.status() == "stopped");
        c.delete().ok();
    }
}

#[case(seconds(600))]
fn delete_races_with_exit(t: &Sandbox) {
    let c = t.container("a");
    for round in 0..scaled(30) {
        c.sh(&format!("usleep {}", (round % 10) * 3000)).run_detached().ok();
        c.delete_force().ok();
        c.simple("state", &[], &[]).fails();
    }
}

#[case(seconds(300))]
fn creates_of_one_id_race(t: &Sandbox) {
    for round in 0..scaled(6) {
        let c = t.container(&format!("c{round}"));
        c.args(&["/probe", "pause"]);
        let all: Vec<_> = (0..6).map(|_| c.create_cmd(&[]).spawn()).collect();
        let codes: Vec<i32> = all.into_iter().map(|create| create.wait().code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "exactly one may succeed: {codes:?}");
        assert_eq!(c.status(), "created", "and it must be whole");
        c.start().ok();
        assert_eq!(c.status(), "running");
        c.delete_force().ok();
    }
}

#[case(not_runc("hangs"), seconds(300))]
fn starts_of_one_container_race(t: &Sandbox) {
    for round in 0..scaled(6) {
        let c = t.container(&format!("c{round}"));
        c.sh("echo x >> /tmp/starts; exec /probe pause").create().ok();
        let all: Vec<_> = (0..6).map(|_| c.simple_cmd("start", &[], &[]).spawn()).collect();
        let codes: Vec<i32> = all.into_iter().map(|start| start.wait().code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "exactly one may succeed: {codes:?}");
        t.wait_until("it runs", || c.rootfs().join("tmp/starts").is_file());
        assert_eq!(fs::metadata(c.rootfs().join("tmp/starts")).unwrap().size(), 2);
        c.delete_force().ok();
    }
}

#[case(not_crun("waits for ever in a frozen cgroup"), seconds(300))]
fn pause_and_resume_race_with_exec(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for _ in 0..scaled(10) {
        let execs: Vec<_> = (0..3).map(|_| c.simple_cmd("exec", &[], &["true"]).deadline(60).spawn()).collect();
        let pause = c.simple("pause", &[], &[]);
        assert!(pause.code == 0 || pause.code == 1, "{pause:?}");
        c.simple("resume", &[], &[]);
        for exec in execs {
            // Refused while it was paused, or done.
            let out = exec.wait();
            assert!(out.code < 1000, "{out:?}");
        }
    }
    assert_eq!(c.status(), "running");
    c.end();
}

/// `kill` takes no lock, so its thaw may come at any moment of a `pause`. Nobody then waits for a freeze that will not be.
#[case(not_runc("stays paused, with the kill waiting"), not_crun("an exec hangs in the frozen cgroup"), seconds(600))]
fn pause_races_with_kill_and_delete(t: &Sandbox) {
    let c = t.container("a");
    for round in 0..scaled(25) {
        c.sh("while :; do usleep 1000 & usleep 2000 & wait; done").run_detached().ok();
        let begun = Instant::now();
        let exec = c.simple_cmd("exec", &[], &["usleep", "100000"]).deadline(60).spawn();
        let pause = c.simple_cmd("pause", &[], &[]).deadline(60).spawn();
        std::thread::sleep(Duration::from_micros(u64::try_from(round % 25 * 200).unwrap()));
        let kill = c.simple_cmd("kill", &[], &["KILL"]).deadline(60).spawn();
        let delete = (round % 2 == 0).then(|| c.simple_cmd("delete", &["--force"], &[]).deadline(60).spawn());
        let (pause, kill) = (pause.wait(), kill.wait());
        assert!(pause.code == 0 || pause.code == 1, "{pause:?}");
        assert!(kill.code == 0 || kill.code == 1, "{kill:?}");
        assert!(exec.wait().code < 1000);
        match delete {
            Some(delete) => drop(delete.wait().ok()),
            None => t.wait_until("stopped", || c.status() == "stopped"),
        }
        c.delete_force().ok();
        assert!(begun.elapsed() < Duration::from_secs(5), "round {round} took {:?}", begun.elapsed());
    }
}

#[case(not_crun("list fails when one goes"), seconds(600))]
fn list_and_state_while_containers_come_and_go(t: &Sandbox) {
    let steady = t.container("steady");
    steady.run_paused();
    let coming: Vec<_> = (0..scaled(10)).map(|n| t.container(&format!("c{n}"))).collect();
    let runs: Vec<_> = coming.iter().map(|c| c.sh("usleep 20000").run_cmd(&[]).deadline(120).spawn()).collect();
    for _ in 0..scaled(20) {
        let ids = t.cmd(&["list", "--quiet"]).run().ok().stdout;
        assert!(ids.lines().any(|id| id == steady.id), "{ids}");
        let list = t.cmd(&["list", "--format", "json"]).run().ok().json();
        assert!(list.as_array().unwrap().iter().any(|entry| entry["id"] == json!(steady.id)));
        assert_eq!(steady.status(), "running");
    }
    for run in runs {
        let _ = run.wait().ok();
    }
    steady.end();
}

#[case(seconds(300))]
fn output_is_whole(t: &Sandbox) {
    let c = t.container("a");
    // More than any pipe or terminal holds, through the foreground process.
    let out = c.sh("seq 1 200000").run_cmd(&[]).deadline(120).run().ok();
    assert_eq!(out.stdout.lines().count(), 200_000);
    c.run_paused();
    let out = c.simple_cmd("exec", &[], &["seq", "1", "200000"]).deadline(120).run().ok();
    assert_eq!(out.stdout.lines().count(), 200_000);
    c.end();
}
