//! create, start, state, kill, delete, run.

use std::fs;

use orlop_integration::{Sandbox, case, process};
use serde_json::json;

#[case]
fn run_gives_the_exit_code(t: &Sandbox) {
    let c = t.container("a");
    assert_eq!(c.sh("echo out; echo err >&2; exit 7").run().code(7).stdout, "out\n");
    let out = c.sh("exit 0").run().ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
    for code in [1, 2, 126, 127, 128, 255] {
        c.sh(&format!("exit {code}")).run().code(code);
    }
}

#[case(needs(Containers))]
fn run_from_the_bundle_as_working_directory(t: &Sandbox) {
    let c = t.container("a");
    c.sh("exit 3").write();
    t.cmd(&["run", &c.id]).dir(&c.bundle).run().code(3);
}

#[case(needs(Host))]
fn run_killed_by_a_signal_gives_128_and_its_number(t: &Sandbox) {
    let c = t.container("a");
    // In a pid namespace of its own, the kernel would shield the first process from its own signals.
    c.share("pid").sh("kill -KILL $$; sleep 10").run().code(137);
    c.sh("kill -TERM $$; sleep 10").run().code(143);
}

#[case]
fn run_forwards_signals(t: &Sandbox) {
    let c = t.container("a");
    c.sh("trap 'echo term; exit 5' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done");
    let runtime = c.run_cmd(&[]).spawn();
    t.wait_until("the trap is set", || runtime.stdout().contains("ready"));
    let pid = nix::unistd::Pid::from_raw(runtime.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    t.wait_until("SIGUSR1 arrives", || runtime.stdout().contains("usr1"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let out = runtime.wait().code(5);
    assert!(out.stdout.contains("term"));
}

#[case]
fn run_detached_leaves_it_running(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    assert!(process::is_alive(pid));
    assert_eq!(c.status(), "running");
    c.end();
}

#[case(not_crun("since crun 1.15"))]
fn run_keep_leaves_it_stopped(t: &Sandbox) {
    let c = t.container("a");
    c.sh("exit 4").run_cmd(&["--keep"]).run().code(4);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
    c.simple("state", &[], &[]).fails();
}

#[case]
fn run_reads_standard_input(t: &Sandbox) {
    let c = t.container("a");
    let out = c.args(&["cat"]).run_cmd(&[]).stdin("one\ntwo\n").run().ok();
    assert_eq!(out.stdout, "one\ntwo\n");
}

#[case]
fn life_of_a_container(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]).set("/annotations", json!({"org.example.key": "value"}));
    c.create().ok();
    let state = c.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], c.id.as_str());
    assert_eq!(state["bundle"], c.bundle.display().to_string());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    let pid = c.pid();
    assert!(pid > 1 && process::is_alive(pid));
    c.start().ok();
    assert_eq!(c.status(), "running");
    assert_eq!(c.pid(), pid);
    c.kill("KILL").ok();
    t.wait_until("stopped", || c.status() == "stopped");
    assert_eq!(c.state()["pid"], 0);
    c.delete().ok();
    c.simple("state", &[], &[]).fails();
}

#[case]
fn nothing_runs_before_start(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo started > /tmp/mark; exec /probe pause");
    c.create().ok();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mark = c.rootfs().join("tmp/mark");
    assert!(!mark.is_file(), "the command ran before start");
    c.start().ok();
    t.wait_until("the command runs", || mark.is_file());
    c.end();
}

#[case]
fn create_refuses_an_id_that_exists(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    c.create().code(1).says("exist");
    c.run().code(1);
    assert_eq!(c.status(), "running", "the first one must not suffer");
    assert_eq!(c.pid(), pid);
    c.end();
}

#[case]
fn start_refuses_a_running_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    c.start().fails();
    assert_eq!(c.status(), "running");
    c.end();
}

#[case]
fn start_refuses_an_unknown_container(t: &Sandbox) {
    t.logged(&["start", &t.id("none")]).run().code(1);
}

#[case]
fn start_refuses_a_stopped_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_detached().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    c.start().fails();
    c.delete().ok();
}

#[case]
fn kill_takes_numbers_and_names(t: &Sandbox) {
    let c = t.container("a");
    for (signal, name) in [("9", "KILL"), ("SIGKILL", "KILL"), ("KILL", "KILL")] {
        let pid = c.run_paused();
        c.kill(signal).ok();
        t.wait_gone(pid);
        c.delete().ok();
        assert_eq!(name, "KILL");
    }
    c.sh("trap 'echo usr1 > /tmp/usr1' USR1; touch /tmp/ready; while :; do sleep 0.02; done");
    c.run_detached().ok();
    let (ready, seen) = (c.rootfs().join("tmp/ready"), c.rootfs().join("tmp/usr1"));
    t.wait_until("ready", || ready.is_file());
    for signal in ["10", "SIGUSR1", "USR1"] {
        c.kill(signal).ok();
        t.wait_until(&format!("signal {signal} arrives"), || seen.is_file());
        t.wait_until("the mark goes", || fs::remove_file(&seen).is_ok());
    }
    c.end();
}

#[case]
fn kill_sends_term_by_default(t: &Sandbox) {
    let c = t.container("a");
    c.sh("trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.02; done").run_detached().ok();
    t.wait_until("ready", || c.rootfs().join("tmp/ready").is_file());
    let pid = c.pid();
    c.simple("kill", &[], &[]).ok();
    t.wait_gone(pid);
    c.delete().ok();
}

#[case(not_crun("takes an unknown name as signal 0"))]
fn kill_refuses_unknown_signals(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for bad in ["NONE", "SIGWHAT", "-5", "999", "9x"] {
        c.kill(bad).fails();
    }
    assert_eq!(c.status(), "running");
    c.end();
}

#[case(not_crun("its text is another"))]
fn kill_refuses_a_stopped_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_detached().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    let out = c.kill("KILL").code(1);
    let known = ["container not running", "no such process", "process already finished", "not running"];
    assert!(known.iter().any(|text| out.stderr.contains(text)), "engines do not understand {:?}", out.stderr);
    c.delete().ok();
}

#[case]
fn kill_refuses_an_unknown_container(t: &Sandbox) {
    t.logged(&["kill", &t.id("none"), "9"]).run().code(1);
}

#[case(not_crun("its init is the first process, which ignores them"))]
fn a_created_container_heeds_the_signals_that_ask_to_end(t: &Sandbox) {
    for signal in ["TERM", "INT", "HUP"] {
        let c = t.container(&signal.to_lowercase());
        c.create().ok();
        c.kill(signal).ok();
        t.wait_until("it has stopped", || c.status() == "stopped");
        c.delete().ok();
    }
}

#[case]
fn kill_ends_a_created_container(t: &Sandbox) {
    let c = t.container("a");
    c.create().ok();
    let pid = c.pid();
    c.kill("KILL").ok();
    t.wait_gone(pid);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[case(needs(Host))]
fn kill_all_reaches_every_process(t: &Sandbox) {
    let c = t.container("a");
    // Without a pid namespace, the end of the first process does not end the others.
    c.share("pid").sh("/probe pause & /probe pause & echo $! > /tmp/other; exec /probe pause");
    c.run_detached().ok();
    let file = c.rootfs().join("tmp/other");
    t.wait_until("the other process", || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let other: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let pid = c.pid();
    c.simple("kill", &["--all"], &["KILL"]).ok();
    t.wait_gone(pid);
    t.wait_gone(other);
    c.delete().ok();
}

#[case]
fn kill_signal_zero_is_refused_or_harmless(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let code = c.kill("0").code;
    assert!(code == 0 || code == 1, "exit code {code}");
    assert_eq!(c.status(), "running");
    c.end();
}

#[case]
fn delete_refuses_a_running_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    c.delete().code(1);
    assert_eq!(c.status(), "running");
    c.end();
}

#[case(not_crun("its text is another"))]
fn delete_refuses_an_unknown_container(t: &Sandbox) {
    t.logged(&["delete", &t.id("none")]).run().code(1).says("does not exist");
}

#[case(not_crun("crun fails"))]
fn delete_force_of_an_unknown_container_succeeds(t: &Sandbox) {
    t.logged(&["delete", "--force", &t.id("none")]).run().ok();
    t.logged(&["delete", "-f", &t.id("none")]).run().ok();
}

#[case]
fn delete_force_ends_a_running_container(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    c.delete_force().ok();
    assert!(!process::is_alive(pid));
    c.simple("state", &[], &[]).fails();
}

#[case(needs(ControlGroups))]
fn delete_force_ends_a_paused_container(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    c.simple("pause", &[], &[]).ok();
    c.delete_force().ok();
    t.wait_gone(pid);
}

#[case]
fn delete_takes_a_created_container(t: &Sandbox) {
    let c = t.container("a");
    c.create().ok();
    let pid = c.pid();
    c.delete_force().ok();
    t.wait_gone(pid);
}

#[case(needs(ControlGroups))]
fn delete_removes_the_cgroups_that_the_container_made(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    let dirs = t.cgroups_of(&c.id);
    assert!(!dirs.is_empty());
    for dir in &dirs {
        fs::create_dir(dir.join("inner")).unwrap();
        fs::create_dir(dir.join("inner/most")).unwrap();
    }
    c.kill("KILL").ok();
    t.wait_gone(pid);
    c.delete().ok();
    assert_eq!(t.cgroups_of(&c.id), Vec::<std::path::PathBuf>::new());
}

#[case(needs(Host))]
fn delete_ends_the_rest_of_a_shared_pid_namespace(t: &Sandbox) {
    let c = t.container("a");
    c.share("pid").sh("/probe pause & echo $! > /tmp/other; exec /probe pause");
    c.run_detached().ok();
    let file = c.rootfs().join("tmp/other");
    t.wait_until("the other process", || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let other: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    c.delete_force().ok();
    t.wait_gone(other);
}

#[case]
fn state_of_an_unknown_container_fails(t: &Sandbox) {
    let out = t.logged(&["state", &t.id("none")]).run().code(1);
    assert!(out.stderr.contains("does not exist") || out.stderr.contains("No such file"), "{}", out.stderr);
    assert_eq!(out.stdout, "");
}

#[case(not_crun("tells no rootfs"))]
fn state_names_what_engines_read(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let state = c.state();
    for key in ["ociVersion", "id", "status", "pid", "bundle", "rootfs", "created", "owner"] {
        assert!(!state[key].is_null(), "state lacks {key}: {state}");
    }
    assert!(state["rootfs"].as_str().unwrap().ends_with("/rootfs"));
    let created = state["created"].as_str().unwrap();
    assert!(created.len() >= 20 && created.contains('T') && created.ends_with('Z'), "no RFC 3339 time: {created}");
    assert!(state["owner"].is_string());
    c.end();
}

#[case]
fn state_does_not_confuse_a_reused_pid(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    process::kill_hard(pid);
    t.wait_gone(pid);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[case]
fn pid_file_holds_the_pid(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("pid");
    let path = file.display().to_string();
    c.args(&["/probe", "pause"]).create_cmd(&["--pid-file", &path]).run().ok();
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), c.pid().to_string());
    c.start().ok();
    c.end();
    fs::remove_file(&file).unwrap();
    c.run_cmd(&["--detach", "--pid-file", &path]).run().ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), c.pid().to_string(), "no newline, as runc");
    c.end();
}

#[case]
fn a_pid_file_that_cannot_be_written_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]).create_cmd(&["--pid-file", "/nowhere/at/all/pid"]).run().code(1);
    c.simple("state", &[], &[]).fails();
}

#[case]
fn identifiers_with_every_allowed_character(t: &Sandbox) {
    for name in ["UPPER", "under_score", "do.t", "pl+us", "0", "da-sh"] {
        let c = t.container(name);
        c.run().ok();
    }
}

#[case(needs(Host))]
fn a_container_without_a_pid_namespace(t: &Sandbox) {
    let c = t.container("a");
    c.share("pid").sh("echo $$").run().ok();
    let pid: i32 = c.run().ok().stdout.trim().parse().unwrap();
    assert!(pid > 1);
}

#[case]
fn many_containers_at_once(t: &Sandbox) {
    let containers: Vec<_> = (0..10).map(|n| t.container(&format!("c{n}"))).collect();
    let runs: Vec<_> = containers.iter().map(|c| c.sh("exit 6").run_cmd(&[]).spawn()).collect();
    for run in runs {
        let _ = run.wait().code(6);
    }
}

#[case]
fn root_option_separates_containers(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let other = t.dir.join("other").display().to_string();
    t.bare(&["--root", &other, "state", &c.id]).run().code(1);
    c.end();
}

#[case]
fn the_created_container_survives_its_creator(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]).create().ok();
    let pid = c.pid();
    let parent = process::read(pid).unwrap().parent;
    assert_ne!(parent, 1, "given to the nearest reaper, not to pid 1");
    assert_eq!(parent, i32::try_from(std::process::id()).unwrap());
    c.start().ok();
    c.end();
}

/// An orphan of a container that shares the host's pid namespace becomes a child of `run`, or of whoever adopts orphans above it.
#[case(needs(Host))]
fn orphans_go_to_the_subreaper(t: &Sandbox) {
    for (flags, adopted) in [(&[][..], true), (&["--no-subreaper"][..], false)] {
        let c = t.container(if adopted { "a" } else { "b" });
        c.share("pid").sh("(sleep 9 & echo $! > /tmp/orphan); touch /tmp/made; exec sleep 9");
        let run = c.run_cmd(flags).spawn();
        t.wait_until("the orphan", || c.rootfs().join("tmp/made").is_file());
        let orphan = std::fs::read_to_string(c.rootfs().join("tmp/orphan")).unwrap();
        let parent = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", orphan.trim())).unwrap();
            stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse::<i32>().unwrap()
        };
        let expected = if adopted { run.pid() } else { i32::try_from(std::process::id()).unwrap() };
        t.wait_until("the adoption", || parent() == expected);
        c.kill("KILL").ok();
        let _ = run.wait().code(137);
    }
}

#[case(not_runc("crun's"))]
fn regular_expressions_choose_containers(t: &Sandbox) {
    let containers = ["web1", "web2", "db"].map(|name| t.container(name));
    let pids: Vec<i32> = containers.iter().map(|c| c.run_paused()).collect();
    let pattern = format!("^{}-web[0-9]$", t.tag);
    let _ = t.cmd(&["kill", "--regex", &pattern, "KILL"]).run().ok();
    pids.iter().take(2).for_each(|pid| t.wait_gone(*pid));
    assert_eq!(containers[2].status(), "running");
    let _ = t.cmd(&["delete", "--regex", &pattern]).run().ok();
    let left = t.cmd(&["list", "--quiet"]).run().ok().stdout;
    assert_eq!(left.trim(), containers[2].id);
    let _ = t.cmd(&["delete", "--force", "--regex", &t.tag]).run().ok();
}
