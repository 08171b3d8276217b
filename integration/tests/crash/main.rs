//! The runtime is killed, or one of its system calls fails, at points spread over each verb: it must neither hang nor leave anything
//! that `delete --force` does not take away.
//!
//! `ORLOP_CRASH_POINTS` sets the number of points of each verb (default 24; `all` for every system call).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use orlop_integration::tracer::{Act, Point, Trace, can_inject};
use orlop_integration::{Case, Cmd, Container, Output, Sandbox, cases, leak};

const CASES: &[Case] = cases![
    the_tracer_changes_nothing,
    killed_during_create.not_crun("leaves its cgroup").seconds(600),
    killed_during_start.seconds(600),
    killed_during_run.not_crun("leaves its cgroup").seconds(600),
    killed_during_detached_run.seconds(600),
    killed_during_exec.seconds(600),
    killed_during_kill.seconds(600),
    killed_during_delete.seconds(600),
    killed_during_forced_delete.seconds(600),
    killed_during_pause_and_update.seconds(600),
    calls_of_create_that_fail.not_runc("dies of a signal").not_crun("leaves its cgroup").seconds(900),
    calls_of_run_and_its_children_that_fail.not_runc("hangs").seconds(900),
    calls_of_exec_and_its_children_that_fail.not_runc("cannot be deleted afterwards").seconds(900),
    calls_of_delete_that_fail.seconds(900),
    few_descriptors_are_an_error_and_leave_nothing.not_runc("its Go runtime needs more").not_crun("leaves its cgroup"),
    killed_hook_or_init_is_reported.seconds(60),
];

fn main() -> std::process::ExitCode {
    orlop_integration::run("crash", &[("crash", CASES)])
}

const WATCH: Point = Point { at: u64::MAX, act: Act::Watch, follow: false };

/// Points spread evenly over `calls` system calls.
fn points(calls: u64) -> Vec<u64> {
    let wish = std::env::var("ORLOP_CRASH_POINTS").unwrap_or_default();
    let count = if wish == "all" { calls } else { wish.parse().unwrap_or(24) };
    let count = count.clamp(1, calls.max(1));
    (0..count).map(|n| n * calls / count).collect()
}

/// A container per point, since a killed create may have left one under the name.
fn fresh<'a>(t: &'a Sandbox, n: usize) -> Container<'a> {
    let c = t.container(&format!("c{n}"));
    c.args(&["/probe", "pause"]);
    c
}

fn nothing_left(t: &Sandbox, what: &str) {
    let left = leak::find(&t.tag, std::slice::from_ref(&t.root));
    assert!(left.is_empty(), "{what} left {left:#?}");
}

fn deleted(c: &Container<'_>, what: &str) {
    let out = c.delete_force();
    assert_eq!(out.code, 0, "delete --force after {what}: {}", out.stderr);
    nothing_left(c.sandbox, what);
    std::fs::remove_dir_all(&c.bundle).expect("the bundle goes");
}

/// Kills `command`, made anew for each point on a container that `prepare` has brought where it must be.
fn kill_everywhere(t: &Sandbox, prepare: fn(&Container<'_>), command: fn(&Container<'_>) -> Cmd) {
    let c = fresh(t, 0);
    prepare(&c);
    let (_, trace) = command(&c).trace(WATCH);
    deleted(&c, "an undisturbed run");
    eprintln!("{} calls", trace.calls);
    for (n, at) in points(trace.calls).into_iter().enumerate() {
        let c = fresh(t, n + 1);
        prepare(&c);
        let (_, trace) = command(&c).trace(Point { at, act: Act::Kill, follow: false });
        let what = format!("SIGKILL at call {at} (number {:?}, exit {})", trace.number, trace.code);
        deleted(&c, &what);
    }
}

fn the_tracer_changes_nothing(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo out; exit 5");
    let (out, trace) = c.run_cmd(&[]).trace(WATCH);
    assert_eq!((out.code, out.stdout.as_str()), (5, "out\n"));
    assert!(trace.calls > 20, "{trace:?}");
    let follow = Point { follow: true, ..WATCH };
    let (out, all) = c.run_cmd(&[]).trace(follow);
    assert_eq!((out.code, out.stdout.as_str()), (5, "out\n"));
    assert!(all.calls > trace.calls, "{all:?}");
    let (out, _) = c.create_cmd(&[]).trace(follow);
    assert_eq!(out.code, 0, "{}", out.stderr);
    c.start().ok();
    c.delete_force().ok();
    let (out, trace) = c.run_cmd(&[]).trace(Point { at: 30, act: Act::Kill, follow: false });
    assert_eq!(out.code, 1009, "{trace:?}");
    leak::clean(&t.tag);
    let _ = c.delete_force();
    let _ = std::fs::remove_dir_all(t.root.join(&c.id));
}

fn killed_during_create(t: &Sandbox) {
    kill_everywhere(t, |_| {}, |c| c.create_cmd(&[]));
}

fn killed_during_start(t: &Sandbox) {
    kill_everywhere(t, |c| drop(c.create().ok()), |c| c.simple_cmd("start", &[], &[]));
}

fn killed_during_run(t: &Sandbox) {
    kill_everywhere(
        t,
        |c| {
            c.args(&["/bin/true"]);
        },
        |c| c.run_cmd(&[]),
    );
}

fn killed_during_detached_run(t: &Sandbox) {
    kill_everywhere(t, |_| {}, |c| c.run_cmd(&["--detach"]));
}

fn killed_during_exec(t: &Sandbox) {
    kill_everywhere(t, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("exec", &[], &["/bin/true"]));
}

fn killed_during_kill(t: &Sandbox) {
    kill_everywhere(t, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("kill", &[], &["KILL"]));
}

fn killed_during_delete(t: &Sandbox) {
    kill_everywhere(
        t,
        |c| {
            c.run_detached().ok();
            let pid = c.pid();
            c.kill("KILL").ok();
            c.sandbox.wait_gone(pid);
        },
        |c| c.simple_cmd("delete", &[], &[]),
    );
}

fn killed_during_forced_delete(t: &Sandbox) {
    kill_everywhere(t, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("delete", &["--force"], &[]));
}

fn killed_during_pause_and_update(t: &Sandbox) {
    kill_everywhere(t, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("pause", &[], &[]));
    std::fs::create_dir_all(&t.dir).unwrap();
    for entry in std::fs::read_dir(&t.dir).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("bundle-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    kill_everywhere(t, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("update", &["--pids-limit", "50"], &[]));
}

/// System calls of a program's own start and of its allocator: what cannot report an error may die of it.
const START_UP: &[u64] = &[9, 10, 11, 12, 25, 158, 218, 273, 334];

/// Whether a command ended as it may when one of its calls failed: by an exit code, or, in its start-up code alone, by a signal.
fn ended_well(out: &Output, trace: &Trace) -> bool {
    out.code < 1000 || trace.number.is_some_and(|number| START_UP.contains(&number))
}

fn fail_everywhere(t: &Sandbox, follow: bool, prepare: fn(&Container<'_>), command: fn(&Container<'_>) -> Cmd) {
    t.need(can_inject(), "calls can be made to fail on x86-64 only");
    let c = fresh(t, 0);
    prepare(&c);
    let (_, trace) = command(&c).trace(Point { follow, ..WATCH });
    deleted(&c, "an undisturbed run");
    let mut count = 0;
    for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
        for at in points(trace.calls) {
            count += 1;
            let c = fresh(t, count);
            prepare(&c);
            let (out, trace) = command(&c).trace(Point { at, act: Act::Fail(errno), follow });
            let what =
                format!("errno {errno} at call {at} (number {:?}), exit {}: {}", trace.number, out.code, out.stderr);
            assert!(ended_well(&out, &trace), "{what}");
            assert!(out.code == 0 || !out.stderr.is_empty() || out.code >= 128, "fails without a word: {what}");
            deleted(&c, &what);
        }
    }
}

fn calls_of_create_that_fail(t: &Sandbox) {
    fail_everywhere(t, false, |_| {}, |c| c.create_cmd(&[]));
}

fn calls_of_run_and_its_children_that_fail(t: &Sandbox) {
    fail_everywhere(t, true, |_| {}, |c| c.args(&["/probe", "exit", "0"]).run_cmd(&[]));
}

fn calls_of_exec_and_its_children_that_fail(t: &Sandbox) {
    fail_everywhere(t, true, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("exec", &[], &["/probe", "exit", "0"]));
}

fn calls_of_delete_that_fail(t: &Sandbox) {
    fail_everywhere(t, false, |c| drop(c.run_detached().ok()), |c| c.simple_cmd("delete", &["--force"], &[]));
}

fn few_descriptors_are_an_error_and_leave_nothing(t: &Sandbox) {
    let mut codes = Vec::new();
    for count in 8..64 {
        let c = fresh(t, count);
        let out = c.create_cmd(&[]).descriptors(u64::try_from(count).unwrap()).run();
        let what = format!("a create with {count} descriptors");
        codes.push(out.code);
        if out.code == 0 {
            deleted(&c, &what);
        } else {
            assert!(out.stderr.contains("too many open files"), "{what}: {}", out.stderr);
            nothing_left(t, &what);
            std::fs::remove_dir_all(&c.bundle).expect("the bundle goes");
        }
    }
    assert!(codes.first() != Some(&0) && codes.last() == Some(&0), "{codes:?}");
}

fn killed_hook_or_init_is_reported(t: &Sandbox) {
    let c = t.container("hook");
    let path = t.dir.join("hook.sh");
    std::fs::write(&path, "#!/bin/sh\nkill -KILL $$\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    c.set("/hooks", serde_json::json!({"createRuntime": [{"path": path.display().to_string()}]}));
    c.create().fails();
    nothing_left(t, "a killed hook");
    // A prestart hook that kills the container's first process.
    let c = t.container("init");
    let script = "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); kill -KILL $pid\n";
    std::fs::write(&path, script).unwrap();
    c.set("/hooks", serde_json::json!({"createRuntime": [{"path": path.display().to_string()}]}));
    c.create().fails();
    let _ = c.delete_force();
    nothing_left(t, "a killed init");
}
