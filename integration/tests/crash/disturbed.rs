//! Every verb, disturbed at its system calls. In CRIU's place stands the double: its own calls are not the runtime's.

use orlop_integration::everywhere::{Disturbance, Disturbed, deleted};
use orlop_integration::tracer::{Act, Point, Whose, can_inject};
use orlop_integration::{Cmd, Container, Sandbox, case, double};

fn nothing(_: &Container<'_>) {}

fn created(c: &Container<'_>) {
    c.create().ok();
}

fn running(c: &Container<'_>) {
    c.run_detached().ok();
}

fn paused(c: &Container<'_>) {
    c.run_detached().ok();
    c.simple("pause", &[], &[]).ok();
}

fn stopped(c: &Container<'_>) {
    c.run_detached().ok();
    let pid = c.pid();
    c.kill("KILL").ok();
    c.sandbox.wait_gone(pid);
}

fn images(c: &Container<'_>) -> String {
    c.sandbox.dir.join("images").display().to_string()
}

/// As a checkpoint leaves them.
fn saved(c: &Container<'_>) {
    double::forget_restored(c.sandbox);
    let dir = images(c);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(format!("{dir}/descriptors.json"), "[]").unwrap();
}

fn checkpoint(c: &Container<'_>, flags: &[&str]) -> Cmd {
    let dir = images(c);
    let all = [&["--image-path", &dir], flags].concat();
    double::with(c.sandbox, c.simple_cmd("checkpoint", &all, &[]), "good")
}

fn restore(c: &Container<'_>, behaviour: &str, flags: &[&str]) -> Cmd {
    c.write();
    let (dir, bundle) = (images(c), c.bundle.display().to_string());
    let all = [&["--image-path", &dir, "--bundle", &bundle], flags].concat();
    double::with(c.sandbox, c.simple_cmd("restore", &all, &[]), behaviour)
}

const CREATE: Disturbed<'_> = Disturbed { name: "create", prepare: &nothing, command: &|c| c.create_cmd(&[]) };
const START: Disturbed<'_> =
    Disturbed { name: "start", prepare: &created, command: &|c| c.simple_cmd("start", &[], &[]) };
const RUN: Disturbed<'_> =
    Disturbed { name: "run", prepare: &nothing, command: &|c| c.args(&["/probe", "exit", "0"]).run_cmd(&[]) };
const DETACHED_RUN: Disturbed<'_> =
    Disturbed { name: "run --detach", prepare: &nothing, command: &|c| c.run_cmd(&["--detach"]) };
const EXEC: Disturbed<'_> =
    Disturbed { name: "exec", prepare: &running, command: &|c| c.simple_cmd("exec", &[], &["/probe", "exit", "0"]) };
const DETACHED_EXEC: Disturbed<'_> = Disturbed {
    name: "exec --detach",
    prepare: &running,
    command: &|c| c.simple_cmd("exec", &["--detach"], &["/probe", "pause"]),
};
const UPDATE: Disturbed<'_> =
    Disturbed { name: "update", prepare: &running, command: &|c| c.simple_cmd("update", &["--pids-limit", "50"], &[]) };
const PAUSE: Disturbed<'_> =
    Disturbed { name: "pause", prepare: &running, command: &|c| c.simple_cmd("pause", &[], &[]) };
const RESUME: Disturbed<'_> =
    Disturbed { name: "resume", prepare: &paused, command: &|c| c.simple_cmd("resume", &[], &[]) };
const KILL: Disturbed<'_> =
    Disturbed { name: "kill", prepare: &running, command: &|c| c.simple_cmd("kill", &[], &["KILL"]) };
const DELETE: Disturbed<'_> =
    Disturbed { name: "delete", prepare: &stopped, command: &|c| c.simple_cmd("delete", &[], &[]) };
const FORCED_DELETE: Disturbed<'_> =
    Disturbed { name: "delete --force", prepare: &running, command: &|c| c.simple_cmd("delete", &["--force"], &[]) };
const CHECKPOINT: Disturbed<'_> = Disturbed { name: "checkpoint", prepare: &running, command: &|c| checkpoint(c, &[]) };
const CHECKPOINT_GOING_ON: Disturbed<'_> = Disturbed {
    name: "checkpoint --leave-running",
    prepare: &running,
    command: &|c| checkpoint(c, &["--leave-running"]),
};
const RESTORE: Disturbed<'_> =
    Disturbed { name: "restore --detach", prepare: &saved, command: &|c| restore(c, "good", &["--detach"]) };
const FOREGROUND_RESTORE: Disturbed<'_> =
    Disturbed { name: "restore", prepare: &saved, command: &|c| restore(c, "ends", &[]) };

/// Whichever namespace it is: an error, never an end in the middle because the way back is closed.
#[case(extension)]
fn a_restore_that_enters_no_namespace_says_so(t: &Sandbox) {
    t.need(can_inject(), "calls can be made to fail on x86-64 only");
    let watched = t.container("watched");
    saved(&watched);
    let (_, trace) = restore(&watched, "good", &["--detach"]).trace(Point::watch(Whose::All));
    deleted(&watched, "an undisturbed restore");
    let entered = (0..).zip(&trace.numbers).filter(|(_, number)| **number == libc::SYS_setns.cast_unsigned());
    for (at, _) in entered {
        let c = t.container(&format!("c{at}"));
        saved(&c);
        let point = Point { at, act: Act::Fail(libc::EPERM), whose: Whose::All };
        let (out, _) = restore(&c, "good", &["--detach"]).trace(point);
        assert!(out.code < 1000 && (out.code == 0 || !out.stderr.is_empty()), "call {at}: {out:?}");
        deleted(&c, "a restore that enters no namespace");
    }
}

/// Functions that disturb one command in one way each.
macro_rules! rows {
    (
        seconds($seconds:literal)
        $(fn $name:ident() { $verb:ident, $way:ident $(, $mark:ident $(($reason:literal))?)* })*
    ) => {
        $(#[case($($mark $(($reason))?,)* seconds($seconds))]
        fn $name(t: &Sandbox) {
            $verb.everywhere(t, Disturbance::$way);
        })*
    };
}

rows! {
    seconds(3600)

    fn killed_during_create() { CREATE, Kill, not_crun("leaves its cgroup") }
    fn killed_during_start() { START, Kill }
    fn killed_during_run() { RUN, Kill, not_crun("leaves its cgroup") }
    fn killed_during_detached_run() { DETACHED_RUN, Kill }
    fn killed_during_exec() { EXEC, Kill }
    fn killed_during_detached_exec() { DETACHED_EXEC, Kill }
    fn killed_during_update() { UPDATE, Kill }
    fn killed_during_pause() { PAUSE, Kill }
    fn killed_during_resume() { RESUME, Kill }
    fn killed_during_kill() { KILL, Kill }
    fn killed_during_delete() { DELETE, Kill }
    fn killed_during_forced_delete() { FORCED_DELETE, Kill }
    fn killed_during_checkpoint() { CHECKPOINT, Kill, extension }
    fn killed_during_checkpoint_of_one_that_goes_on() { CHECKPOINT_GOING_ON, Kill, extension }
    fn killed_during_restore() { RESTORE, Kill, extension }
    fn killed_during_foreground_restore() { FOREGROUND_RESTORE, Kill, extension }
    fn child_of_create_is_killed() { CREATE, KillChild, not_crun("leaves its cgroup") }
    fn child_of_run_is_killed() { RUN, KillChild, not_crun("leaves its cgroup") }
    fn child_of_detached_run_is_killed() { DETACHED_RUN, KillChild, not_crun("leaves its cgroup") }
    fn child_of_exec_is_killed() { EXEC, KillChild }
    fn child_of_detached_exec_is_killed() { DETACHED_EXEC, KillChild }
    fn child_of_checkpoint_is_killed() { CHECKPOINT, KillChild, extension }
    fn child_of_restore_is_killed() { RESTORE, KillChild, extension }
    fn init_is_killed_during_start() { START, KillInit }
    fn init_is_killed_during_exec() { EXEC, KillInit }
    fn init_is_killed_during_detached_exec() { DETACHED_EXEC, KillInit }
    fn init_is_killed_during_update() { UPDATE, KillInit }
    fn init_is_killed_during_pause() { PAUSE, KillInit }
    fn init_is_killed_during_resume() { RESUME, KillInit }
    fn init_is_killed_during_kill() { KILL, KillInit }
    fn init_is_killed_during_forced_delete() { FORCED_DELETE, KillInit }
    fn init_is_killed_during_checkpoint() { CHECKPOINT, KillInit, extension }
    fn restored_process_is_killed_during_restore() { RESTORE, KillRestored, extension }
    fn start_beside_kill() { START, KillVerb }
    fn exec_beside_kill() { EXEC, KillVerb }
    fn update_beside_kill() { UPDATE, KillVerb }
    fn pause_beside_kill() { PAUSE, KillVerb, not_runc("stays paused") }
    fn resume_beside_kill() { RESUME, KillVerb }
    fn checkpoint_beside_kill() { CHECKPOINT, KillVerb, extension }
}

rows! {
    seconds(7200)

    fn calls_of_create_fail() { CREATE, Fail, not_runc("dies of a signal"), not_crun("leaves its cgroup") }
    fn calls_of_start_fail() { START, Fail }
    fn calls_of_run_fail() { RUN, Fail, not_runc("hangs") }
    fn calls_of_detached_run_fail() { DETACHED_RUN, Fail, not_runc("hangs") }
    fn calls_of_exec_fail() { EXEC, Fail, not_runc("cannot be deleted afterwards") }
    fn calls_of_detached_exec_fail() { DETACHED_EXEC, Fail, not_runc("cannot be deleted afterwards") }
    fn calls_of_update_fail() { UPDATE, Fail }
    fn calls_of_pause_fail() { PAUSE, Fail }
    fn calls_of_resume_fail() { RESUME, Fail }
    fn calls_of_kill_fail() { KILL, Fail }
    fn calls_of_delete_fail() { DELETE, Fail }
    fn calls_of_forced_delete_fail() { FORCED_DELETE, Fail }
    fn calls_of_checkpoint_fail() { CHECKPOINT, Fail, extension }
    fn calls_of_checkpoint_of_one_that_goes_on_fail() { CHECKPOINT_GOING_ON, Fail, extension }
    fn calls_of_restore_fail() { RESTORE, Fail, extension }
}
