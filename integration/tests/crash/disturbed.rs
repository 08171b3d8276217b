//! Every verb, disturbed at its system calls.

use orlop_integration::everywhere::{Disturbance, Disturbed};
use orlop_integration::{Case, Container, Sandbox, cases};

pub(crate) const CASES: &[Case] = cases![
    killed_during_create.not_crun("leaves its cgroup").seconds(3600),
    killed_during_start.seconds(3600),
    killed_during_run.not_crun("leaves its cgroup").seconds(3600),
    killed_during_detached_run.seconds(3600),
    killed_during_exec.seconds(3600),
    killed_during_update.seconds(3600),
    killed_during_pause.seconds(3600),
    killed_during_resume.seconds(3600),
    killed_during_kill.seconds(3600),
    killed_during_delete.seconds(3600),
    killed_during_forced_delete.seconds(3600),
    child_of_create_is_killed.not_crun("leaves its cgroup").seconds(3600),
    child_of_run_is_killed.not_crun("leaves its cgroup").seconds(3600),
    child_of_exec_is_killed.seconds(3600),
    init_is_killed_during_start.seconds(3600),
    init_is_killed_during_exec.seconds(3600),
    init_is_killed_during_update.seconds(3600),
    init_is_killed_during_pause.seconds(3600),
    init_is_killed_during_resume.seconds(3600),
    init_is_killed_during_kill.seconds(3600),
    init_is_killed_during_forced_delete.seconds(3600),
    calls_of_create_fail.not_runc("dies of a signal").not_crun("leaves its cgroup").seconds(7200),
    calls_of_start_fail.seconds(7200),
    calls_of_run_fail.not_runc("hangs").seconds(7200),
    calls_of_detached_run_fail.not_runc("hangs").seconds(7200),
    calls_of_exec_fail.not_runc("cannot be deleted afterwards").seconds(7200),
    calls_of_update_fail.seconds(7200),
    calls_of_pause_fail.seconds(7200),
    calls_of_resume_fail.seconds(7200),
    calls_of_kill_fail.seconds(7200),
    calls_of_delete_fail.seconds(7200),
    calls_of_forced_delete_fail.seconds(7200),
];

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

const CREATE: Disturbed<'_> = Disturbed { prepare: &nothing, command: &|c| c.create_cmd(&[]) };
const START: Disturbed<'_> = Disturbed { prepare: &created, command: &|c| c.simple_cmd("start", &[], &[]) };
const RUN: Disturbed<'_> = Disturbed { prepare: &nothing, command: &|c| c.args(&["/probe", "exit", "0"]).run_cmd(&[]) };
const DETACHED_RUN: Disturbed<'_> = Disturbed { prepare: &nothing, command: &|c| c.run_cmd(&["--detach"]) };
const EXEC: Disturbed<'_> =
    Disturbed { prepare: &running, command: &|c| c.simple_cmd("exec", &[], &["/probe", "exit", "0"]) };
const UPDATE: Disturbed<'_> =
    Disturbed { prepare: &running, command: &|c| c.simple_cmd("update", &["--pids-limit", "50"], &[]) };
const PAUSE: Disturbed<'_> = Disturbed { prepare: &running, command: &|c| c.simple_cmd("pause", &[], &[]) };
const RESUME: Disturbed<'_> = Disturbed { prepare: &paused, command: &|c| c.simple_cmd("resume", &[], &[]) };
const KILL: Disturbed<'_> = Disturbed { prepare: &running, command: &|c| c.simple_cmd("kill", &[], &["KILL"]) };
const DELETE: Disturbed<'_> = Disturbed { prepare: &stopped, command: &|c| c.simple_cmd("delete", &[], &[]) };
const FORCED_DELETE: Disturbed<'_> =
    Disturbed { prepare: &running, command: &|c| c.simple_cmd("delete", &["--force"], &[]) };

fn killed_during_create(t: &Sandbox) {
    CREATE.everywhere(t, Disturbance::Kill);
}

fn killed_during_start(t: &Sandbox) {
    START.everywhere(t, Disturbance::Kill);
}

fn killed_during_run(t: &Sandbox) {
    RUN.everywhere(t, Disturbance::Kill);
}

fn killed_during_detached_run(t: &Sandbox) {
    DETACHED_RUN.everywhere(t, Disturbance::Kill);
}

fn killed_during_exec(t: &Sandbox) {
    EXEC.everywhere(t, Disturbance::Kill);
}

fn killed_during_update(t: &Sandbox) {
    UPDATE.everywhere(t, Disturbance::Kill);
}

fn killed_during_pause(t: &Sandbox) {
    PAUSE.everywhere(t, Disturbance::Kill);
}

fn killed_during_resume(t: &Sandbox) {
    RESUME.everywhere(t, Disturbance::Kill);
}

fn killed_during_kill(t: &Sandbox) {
    KILL.everywhere(t, Disturbance::Kill);
}

fn killed_during_delete(t: &Sandbox) {
    DELETE.everywhere(t, Disturbance::Kill);
}

fn killed_during_forced_delete(t: &Sandbox) {
    FORCED_DELETE.everywhere(t, Disturbance::Kill);
}

fn child_of_create_is_killed(t: &Sandbox) {
    CREATE.everywhere(t, Disturbance::KillChild);
}

fn child_of_run_is_killed(t: &Sandbox) {
    RUN.everywhere(t, Disturbance::KillChild);
}

fn child_of_exec_is_killed(t: &Sandbox) {
    EXEC.everywhere(t, Disturbance::KillChild);
}

fn init_is_killed_during_start(t: &Sandbox) {
    START.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_exec(t: &Sandbox) {
    EXEC.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_update(t: &Sandbox) {
    UPDATE.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_pause(t: &Sandbox) {
    PAUSE.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_resume(t: &Sandbox) {
    RESUME.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_kill(t: &Sandbox) {
    KILL.everywhere(t, Disturbance::KillInit);
}

fn init_is_killed_during_forced_delete(t: &Sandbox) {
    FORCED_DELETE.everywhere(t, Disturbance::KillInit);
}

fn calls_of_create_fail(t: &Sandbox) {
    CREATE.everywhere(t, Disturbance::Fail);
}

fn calls_of_start_fail(t: &Sandbox) {
    START.everywhere(t, Disturbance::Fail);
}

fn calls_of_run_fail(t: &Sandbox) {
    RUN.everywhere(t, Disturbance::Fail);
}

fn calls_of_detached_run_fail(t: &Sandbox) {
    DETACHED_RUN.everywhere(t, Disturbance::Fail);
}

fn calls_of_exec_fail(t: &Sandbox) {
    EXEC.everywhere(t, Disturbance::Fail);
}

fn calls_of_update_fail(t: &Sandbox) {
    UPDATE.everywhere(t, Disturbance::Fail);
}

fn calls_of_pause_fail(t: &Sandbox) {
    PAUSE.everywhere(t, Disturbance::Fail);
}

fn calls_of_resume_fail(t: &Sandbox) {
    RESUME.everywhere(t, Disturbance::Fail);
}

fn calls_of_kill_fail(t: &Sandbox) {
    KILL.everywhere(t, Disturbance::Fail);
}

fn calls_of_delete_fail(t: &Sandbox) {
    DELETE.everywhere(t, Disturbance::Fail);
}

fn calls_of_forced_delete_fail(t: &Sandbox) {
    FORCED_DELETE.everywhere(t, Disturbance::Fail);
}
