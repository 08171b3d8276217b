//! Hostile neighbours: a container looks at every process that the runtime brings into a namespace of its, by every way the kernel
//! offers, while containers are made and commands executed beside it.
//!
//! `ORLOP_NEIGHBOUR_TOTAL` sets how many containers are created, and how many commands executed, in all sets together (default 12 in
//! each set; a release is tested with 20000). The sets of a case run at the same time, as many as there are `ORLOP_TEST_WORKERS`. A
//! table at the end says what was made, met and opened in each.

use std::fs;

use orlop_integration::everywhere::workers;
use orlop_integration::neighbour::{
    Allowed, DOCKERS, NESTED, PLAIN, POWERFUL, Set, TRACER, Who, judge, neighbour, see_the_host, victim, wait_ready,
};
use orlop_integration::{Cmd, Container, Flavor, Sandbox, case};
use serde_json::json;

/// The sets in which containers are created, and those in which commands are executed; two are in both.
const SETS: [usize; 2] = [14, 9];

/// How many rounds each set gets when all of them together are to have as many as are asked for.
fn rounds(sets: usize) -> usize {
    let total: Option<usize> = std::env::var("ORLOP_NEIGHBOUR_TOTAL").ok().and_then(|text| text.parse().ok());
    total.map_or(12, |total| total.div_ceil(sets))
}

/// Does `one` for each of `sets`, some at a time.
fn at_once<S: Copy>(t: &Sandbox, sets: &[S], one: impl Fn(&Sandbox, S)) {
    let workers = workers().min(sets.len());
    let done = t.in_parallel(workers, |own, n| sets.iter().skip(n).step_by(workers).map(|set| one(own, *set)).count());
    assert_eq!(done.iter().sum::<usize>(), sets.len());
}

/// Containers that are made, and commands that are executed, at the same time beside one neighbour.
const TOGETHER: usize = 4;

/// Victims that are made at the same time, each as `change` wants it.
fn victims<'a>(t: &'a Sandbox, change: impl Fn(&Container<'a>)) -> Vec<Container<'a>> {
    let all: Vec<_> = (0..TOGETHER).map(|n| victim(t, &format!("victim-{n}"))).collect();
    all.iter().for_each(change);
    all
}

/// Starts all commands, and waits until all have succeeded.
fn all_ok(commands: Vec<Cmd>) {
    let running: Vec<_> = commands.into_iter().map(|command| command.deadline(120).spawn()).collect();
    running.into_iter().for_each(|one| drop(one.wait().ok()));
}

/// Makes containers beside the neighbour: most are run, every fourth is created and waits a moment before its start.
fn create_beside(victims: &[Container<'_>], command: &dyn Fn(Cmd) -> Cmd) -> usize {
    let count = rounds(SETS[0]).div_ceil(TOGETHER);
    for round in 0..count {
        let each = |one: &dyn Fn(&Container<'_>) -> Cmd| all_ok(victims.iter().map(|c| command(one(c))).collect());
        if round % 4 == 2 {
            each(&|c| c.create_cmd(&[]));
            std::thread::sleep(std::time::Duration::from_millis(5));
            each(&|c| c.simple_cmd("start", &[], &[]));
            each(&|c| c.simple_cmd("delete", &["--force"], &[]));
        } else {
            each(&|c| c.run_cmd(&[]));
        }
        victims[0].sandbox.forget_commands();
    }
    count * TOGETHER
}

fn execute_beside(c: &Container<'_>, command: &dyn Fn(Cmd) -> Cmd) -> usize {
    let count = rounds(SETS[1]).div_ceil(TOGETHER);
    for _ in 0..count {
        let one = || command(c.simple_cmd("exec", &[], &["/neighbour", "exit"]));
        all_ok((0..TOGETHER).map(|_| one()).collect());
        c.sandbox.forget_commands();
    }
    count * TOGETHER
}

fn as_root(command: Cmd) -> Cmd {
    command
}

fn created_in_pid_namespace(t: &Sandbox, whos: &[Who], allowed: Allowed) {
    at_once(t, whos, |t, who| {
        let mut set = Set::new(format!("create, shared pid namespace, {}", who.name), allowed);
        let a = neighbour(t, &format!("a-{}", who.file()), who);
        a.run_detached().ok();
        wait_ready(t, &a);
        let pids = format!("/proc/{}/ns/pid", a.pid());
        let victims = victims(t, |b| {
            b.join("pid", &pids);
        });
        set.creates = create_beside(&victims, &as_root);
        judge(t, &a, &set);
        a.delete_force().ok();
    });
}

#[case(not_runc("its init can be opened by some of these neighbours"), seconds(7200))]
fn created_in_the_pid_namespace_of_a_neighbour(t: &Sandbox) {
    created_in_pid_namespace(t, &[PLAIN, DOCKERS, NESTED], Allowed::Nothing);
}

#[case(not_runc("its root can be had through /proc"), not_crun("its root can be had through /proc"), seconds(7200))]
fn created_in_the_pid_namespace_of_one_that_may_trace(t: &Sandbox) {
    created_in_pid_namespace(t, &[TRACER, POWERFUL], Allowed::Tracing);
}

#[case(not_runc("its init can be opened by some of these neighbours"), seconds(7200))]
fn created_beside_a_neighbour_in_the_hosts_pid_namespace(t: &Sandbox) {
    at_once(t, &[(PLAIN, true), (DOCKERS, true), (DOCKERS, false), (NESTED, true)], |t, (who, own)| {
        let pids = if own { "its own" } else { "the host's" };
        let name = format!("create, {pids} pid namespace, neighbour in the host's, {}", who.name);
        let mut set = Set::new(name, Allowed::Nothing);
        let a = neighbour(t, &format!("a-{}-{own}", who.file()), who);
        see_the_host(&a);
        a.run_detached().ok();
        wait_ready(t, &a);
        let victims = victims(t, |b| {
            if !own {
                b.share("pid");
            }
        });
        set.creates = create_beside(&victims, &as_root);
        judge(t, &a, &set);
        a.delete_force().ok();
    });
}

/// With a user namespace of its own, no capability of the neighbour reaches a process that was not made in it.
#[case(
    not_runc("its init can be opened by some of these neighbours"),
    not_crun("its init can be traced by one with CAP_SYS_PTRACE"),
    seconds(7200)
)]
fn created_in_the_user_namespace_of_a_neighbour(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    at_once(t, &[DOCKERS, POWERFUL], |t, who| {
        let mut set = Set::new(format!("create, shared pid and user namespace, {}", who.name), Allowed::Nothing);
        let a = neighbour(t, &format!("a-{}", who.file()), who);
        a.map_users(100_000, 65_536);
        a.run_detached().ok();
        wait_ready(t, &a);
        let pid = a.pid();
        let victims = victims(t, |b| {
            b.give_rootfs_to(100_000);
            for kind in ["pid", "user"] {
                b.join(kind, &format!("/proc/{pid}/ns/{kind}"));
            }
            if t.is(Flavor::Runc) {
                // Before 1.2 it wants the map of a namespace that it joins.
                let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
                b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
            }
        });
        set.creates = create_beside(&victims, &as_root);
        judge(t, &a, &set);
        a.delete_force().ok();
    });
}

fn executed(t: &Sandbox, whos: &[Who], allowed: Allowed) {
    at_once(t, whos, |t, who| {
        let mut set = Set::new(format!("exec, {}", who.name), allowed);
        let a = neighbour(t, &format!("a-{}", who.file()), who);
        a.run_detached().ok();
        wait_ready(t, &a);
        set.executions = execute_beside(&a, &as_root);
        judge(t, &a, &set);
        a.delete_force().ok();
    });
}

#[case(not_runc("its init can be opened by some of these neighbours"), seconds(7200))]
fn executed_beside_a_neighbour(t: &Sandbox) {
    executed(t, &[PLAIN, DOCKERS, NESTED], Allowed::Nothing);
}

#[case(
    not_runc("its init can be opened by some of these neighbours"),
    not_crun("files of the host can be had through /proc"),
    seconds(7200)
)]
fn executed_beside_a_neighbour_that_may_trace(t: &Sandbox) {
    executed(t, &[TRACER, POWERFUL], Allowed::Tracing);
}

#[case(not_runc("its init can be opened by some of these neighbours"), seconds(7200))]
fn executed_beside_a_neighbour_in_a_user_namespace(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    at_once(t, &[DOCKERS, POWERFUL], |t, who| {
        let mut set = Set::new(format!("exec, user namespace, {}", who.name), Allowed::Nothing);
        let a = neighbour(t, &format!("a-{}", who.file()), who);
        a.map_users(100_000, 65_536);
        a.run_detached().ok();
        wait_ready(t, &a);
        set.executions = execute_beside(&a, &as_root);
        judge(t, &a, &set);
        a.delete_force().ok();
    });
}

const USER: u32 = 54_321;

/// Makes a container's config one that a user without rights can run.
fn for_a_user(c: &Container<'_>) {
    c.give_rootfs_to(USER);
    std::os::unix::fs::chown(&c.bundle, Some(USER), Some(USER)).unwrap();
    c.namespace("user").share("network");
    for kind in ["uid", "gid"] {
        c.set(&format!("/linux/{kind}Mappings"), json!([{"containerID": 0, "hostID": USER, "size": 1}]));
    }
    c.remove("/process/oomScoreAdj");
    c.edit(|spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        for mount in mounts {
            if mount["destination"] == "/sys" {
                *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
}

#[case(not_runc("its init can be opened by some of these neighbours"), seconds(7200))]
fn without_root_beside_a_neighbour(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    at_once(t, &[(DOCKERS, false), (POWERFUL, false), (POWERFUL, true)], |t, (who, host)| {
        let place = if host { "the host's pid namespace" } else { "user namespaces of one user, and exec" };
        let mut set = Set::new(format!("without root, create, {place}, {}", who.name), Allowed::Nothing);
        // A directory that the user can reach through, and another for its runtime's state.
        std::os::unix::fs::chown(&t.dir, Some(USER), Some(USER)).unwrap();
        let runtime = t.dir.join(format!("xdg-{host}"));
        fs::create_dir(&runtime).unwrap();
        std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
        let as_user = |command: Cmd| command.env("XDG_RUNTIME_DIR", &runtime).user(USER, USER);
        let a = neighbour(t, &format!("a-{}-{host}", who.file()), who);
        for_a_user(&a);
        if host {
            see_the_host(&a);
            a.edit(|spec| {
                for mount in spec["mounts"].as_array_mut().unwrap() {
                    if mount["destination"] == "/proc" {
                        *mount =
                            json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
                    }
                }
            });
        }
        as_user(a.run_cmd(&["--detach"])).run().ok();
        wait_ready(t, &a);
        let victims = victims(t, for_a_user);
        if !host {
            set.executions = execute_beside(&a, &as_user);
        }
        set.creates = create_beside(&victims, &as_user);
        judge(t, &a, &set);
        as_user(a.simple_cmd("delete", &["--force"], &[])).run().ok();
    });
}
