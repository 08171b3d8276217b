//! Hostile neighbours: a container looks at every process that the runtime brings into a namespace of its, by every way the kernel
//! offers, while containers are made and commands executed beside it.
//!
//! `ORLOP_NEIGHBOUR_ROUNDS` sets how many containers or commands each set gets (default 12; a release is tested with 2000). Each set
//! prints a line of what was met and what was opened (`--show-output` shows them).

use std::fs;

use orlop_integration::{Case, Container, Flavor, Sandbox, cases};
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] = cases![
    created_in_the_pid_namespace_of_a_neighbour
        .not_runc("its init can be opened by some of these neighbours")
        .seconds(7200),
    created_in_the_pid_namespace_of_one_that_may_trace.not_runc("its root can be had through /proc").seconds(7200),
    created_beside_a_neighbour_in_the_hosts_pid_namespace
        .not_runc("its init can be opened by some of these neighbours")
        .seconds(7200),
    created_in_the_user_namespace_of_a_neighbour
        .not_runc("its init can be opened by some of these neighbours")
        .seconds(7200),
    executed_beside_a_neighbour.not_runc("its init can be opened by some of these neighbours").seconds(7200),
    executed_beside_a_neighbour_that_may_trace
        .not_runc("its init can be opened by some of these neighbours")
        .seconds(7200),
    executed_beside_a_neighbour_in_a_user_namespace
        .not_runc("its init can be opened by some of these neighbours")
        .seconds(7200),
    without_root_beside_a_neighbour.not_runc("its init can be opened by some of these neighbours").seconds(7200),
];

fn rounds() -> usize {
    std::env::var("ORLOP_NEIGHBOUR_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// What Docker gives a container.
const DOCKER: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Who the neighbour is: its name in the table, its capabilities besides Docker's, and whether it makes a user namespace below its own,
/// where it has every capability.
#[derive(Clone, Copy)]
struct Who {
    name: &'static str,
    docker: bool,
    more: &'static [&'static str],
    nested: bool,
}

const PLAIN: Who = Who { name: "no capabilities", docker: false, more: &[], nested: false };
const DOCKERS: Who = Who { name: "Docker's", docker: true, more: &[], nested: false };
const NESTED: Who = Who { name: "Docker's, all in a nested user namespace", docker: true, more: &[], nested: true };
const TRACER: Who = Who { name: "Docker's and SYS_PTRACE", docker: true, more: &["CAP_SYS_PTRACE"], nested: false };
const POWERFUL: Who = Who {
    name: "Docker's, SYS_PTRACE and SYS_ADMIN",
    docker: true,
    more: &["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"],
    nested: false,
};

impl Who {
    fn capabilities(&self) -> Vec<&'static str> {
        let docker = if self.docker { DOCKER } else { &[] };
        docker.iter().chain(self.more).copied().collect()
    }
}

/// What the neighbour may have found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Nothing at all.
    Nothing,
    /// With CAP_SYS_PTRACE in the same user namespace it may trace, and reach a socket and the FIFO that a created container waits on;
    /// but nothing of the host is there to be had, nor a right that the command has not.
    Tracing,
}

fn give(c: &Container<'_>, capabilities: &[&str]) {
    c.remove("/process/capabilities");
    for set in ["bounding", "effective", "permitted"] {
        c.set(&format!("/process/capabilities/{set}"), json!(capabilities));
    }
}

/// A container whose command is attacked: it has everything that makes a runtime hold the host's files for it.
fn victim<'a>(t: &'a Sandbox, name: &str) -> Container<'a> {
    let c = t.container(name);
    t.add_neighbour(&c.rootfs());
    c.args(&["/neighbour", "exit"]);
    c.set("/process/oomScoreAdj", json!(500));
    give(&c, DOCKER);
    c
}

/// The neighbour's container, ready to run.
fn neighbour<'a>(t: &'a Sandbox, name: &str, who: Who) -> Container<'a> {
    let c = t.container(name);
    t.add_neighbour(&c.rootfs());
    c.set("/process/oomScoreAdj", json!(500));
    give(&c, &who.capabilities());
    // The host's root is told by this file; no container has it.
    let canary = t.dir.join("of-the-host");
    fs::write(&canary, "").unwrap();
    let mounts = fs::read_link("/proc/self/ns/mnt").unwrap();
    let canary = canary.strip_prefix("/").unwrap().display().to_string();
    let own_pids = c.config(|spec| {
        spec["linux"]["namespaces"].as_array().unwrap().iter().any(|namespace| namespace["type"] == "pid")
    });
    assert!(own_pids);
    let mut words = vec!["/neighbour".to_owned(), "watch".into(), canary, mounts.display().to_string(), "0".into()];
    if who.nested {
        words.push("nested".into());
    }
    c.set("/process/args", json!(words));
    c
}

/// Lets a neighbour see the processes of the host; it looks at those of this test alone.
fn see_the_host(c: &Container<'_>) {
    c.share("pid").set("/process/args/4", json!(std::process::id().to_string()));
}

fn wait_ready(t: &Sandbox, c: &Container<'_>) {
    t.wait_until("the neighbour watches", || c.rootfs().join("ready").is_file());
}

/// Ends the watch and judges what was found.
#[track_caller]
fn judge(t: &Sandbox, c: &Container<'_>, set: &str, made: usize, allowed: Allowed) {
    fs::write(c.rootfs().join("stop"), "").unwrap();
    let report = c.rootfs().join("report");
    t.wait_until("the neighbour's report", || report.is_file());
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let count = |what: &str| report["counts"][what].as_u64().unwrap_or(0);
    let innocent = ["looks", "processes", "met before their command"];
    let found: Vec<String> = report["counts"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(what, _)| !innocent.contains(&what.as_str()))
        .map(|(what, count)| format!("{what} {count}"))
        .collect();
    let opened = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    println!(
        "neighbour: {set}: {made} made, {} seen, {} met before their command, {} looks; opened: {opened}; capabilities gained: {}",
        count("processes"),
        count("met before their command"),
        count("looks"),
        report["gained"].as_str().unwrap()
    );
    assert!(count("met before their command") > 0, "{set}: nobody was met, so nothing was shown");
    let of_the_host = [
        "host procfs",
        "core_pattern opened for writing",
        "control group",
        "host root",
        "host mount namespace",
        "namespace",
        "other descriptor",
    ];
    for what in of_the_host {
        assert_eq!(count(what), 0, "{set}: {what}: {report:#}");
    }
    assert_eq!(report["gained"], "0", "{set}: rights of the runtime: {report:#}");
    if allowed == Allowed::Nothing {
        assert!(found.is_empty(), "{set}: opened {opened}: {report:#}");
    }
}

/// Makes containers beside the neighbour: most are run, every fourth is created and waits a moment before its start.
fn create_beside(victim: &Container<'_>, command: &dyn Fn(orlop_integration::Cmd) -> orlop_integration::Cmd) -> usize {
    for round in 0..rounds() {
        if round % 4 == 3 {
            command(victim.create_cmd(&[])).run().ok();
            std::thread::sleep(std::time::Duration::from_millis(5));
            command(victim.simple_cmd("start", &[], &[])).run().ok();
            command(victim.simple_cmd("delete", &["--force"], &[])).run().ok();
        } else {
            command(victim.run_cmd(&[])).run().ok();
        }
    }
    rounds()
}

fn execute_beside(c: &Container<'_>, command: &dyn Fn(orlop_integration::Cmd) -> orlop_integration::Cmd) -> usize {
    for _ in 0..rounds() {
        command(c.simple_cmd("exec", &[], &["/neighbour", "exit"])).run().ok();
    }
    rounds()
}

fn as_root(command: orlop_integration::Cmd) -> orlop_integration::Cmd {
    command
}

fn created_in_pid_namespace(t: &Sandbox, who: Who, allowed: Allowed, n: usize) {
    let a = neighbour(t, &format!("a{n}"), who);
    a.run_detached().ok();
    wait_ready(t, &a);
    let b = victim(t, &format!("b{n}"));
    b.join("pid", &format!("/proc/{}/ns/pid", a.pid()));
    let made = create_beside(&b, &as_root);
    judge(t, &a, &format!("create, shared pid namespace, {}", who.name), made, allowed);
    a.delete_force().ok();
}

fn created_in_the_pid_namespace_of_a_neighbour(t: &Sandbox) {
    for (n, who) in [PLAIN, DOCKERS, NESTED].into_iter().enumerate() {
        created_in_pid_namespace(t, who, Allowed::Nothing, n);
    }
}

fn created_in_the_pid_namespace_of_one_that_may_trace(t: &Sandbox) {
    for (n, who) in [TRACER, POWERFUL].into_iter().enumerate() {
        created_in_pid_namespace(t, who, Allowed::Tracing, n);
    }
}

fn created_beside_a_neighbour_in_the_hosts_pid_namespace(t: &Sandbox) {
    for (n, (who, own)) in [(PLAIN, true), (DOCKERS, true), (DOCKERS, false), (NESTED, true)].into_iter().enumerate() {
        let a = neighbour(t, &format!("a{n}"), who);
        see_the_host(&a);
        a.run_detached().ok();
        wait_ready(t, &a);
        let b = victim(t, &format!("b{n}"));
        if !own {
            b.share("pid");
        }
        let made = create_beside(&b, &as_root);
        let pids = if own { "its own" } else { "the host's" };
        judge(
            t,
            &a,
            &format!("create, {pids} pid namespace, neighbour in the host's, {}", who.name),
            made,
            Allowed::Nothing,
        );
        a.delete_force().ok();
    }
}

/// With a user namespace of its own, no capability of the neighbour reaches a process that was not made in it.
fn created_in_the_user_namespace_of_a_neighbour(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    for (n, who) in [DOCKERS, POWERFUL].into_iter().enumerate() {
        let a = neighbour(t, &format!("a{n}"), who);
        a.map_users(100_000, 65_536);
        a.run_detached().ok();
        wait_ready(t, &a);
        let b = victim(t, &format!("b{n}"));
        b.give_rootfs_to(100_000);
        let pid = a.pid();
        for (kind, file) in [("pid", "pid"), ("user", "user")] {
            b.join(kind, &format!("/proc/{pid}/ns/{file}"));
        }
        if t.is(Flavor::Runc) {
            // Before 1.2 it wants the map of a namespace that it joins.
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            b.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        }
        let made = create_beside(&b, &as_root);
        judge(t, &a, &format!("create, shared pid and user namespace, {}", who.name), made, Allowed::Nothing);
        a.delete_force().ok();
    }
}

fn executed(t: &Sandbox, who: Who, allowed: Allowed, n: usize) {
    let a = neighbour(t, &format!("a{n}"), who);
    a.run_detached().ok();
    wait_ready(t, &a);
    let made = execute_beside(&a, &as_root);
    judge(t, &a, &format!("exec, {}", who.name), made, allowed);
    a.delete_force().ok();
}

fn executed_beside_a_neighbour(t: &Sandbox) {
    for (n, who) in [PLAIN, DOCKERS, NESTED].into_iter().enumerate() {
        executed(t, who, Allowed::Nothing, n);
    }
}

fn executed_beside_a_neighbour_that_may_trace(t: &Sandbox) {
    for (n, who) in [TRACER, POWERFUL].into_iter().enumerate() {
        executed(t, who, Allowed::Tracing, n);
    }
}

fn executed_beside_a_neighbour_in_a_user_namespace(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    for (n, who) in [DOCKERS, POWERFUL].into_iter().enumerate() {
        let a = neighbour(t, &format!("a{n}"), who);
        a.map_users(100_000, 65_536);
        a.run_detached().ok();
        wait_ready(t, &a);
        let made = execute_beside(&a, &as_root);
        judge(t, &a, &format!("exec, user namespace, {}", who.name), made, Allowed::Nothing);
        a.delete_force().ok();
    }
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

fn without_root_beside_a_neighbour(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    std::os::unix::fs::chown(&t.dir, Some(USER), Some(USER)).unwrap();
    let runtime = t.dir.join("xdg");
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
    let as_user = |command: orlop_integration::Cmd| command.env("XDG_RUNTIME_DIR", &runtime).user(USER, USER);
    for (n, (who, host)) in [(DOCKERS, false), (POWERFUL, false), (POWERFUL, true)].into_iter().enumerate() {
        let a = neighbour(t, &format!("a{n}"), who);
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
        let b = victim(t, &format!("b{n}"));
        for_a_user(&b);
        let mut made = if host { 0 } else { execute_beside(&a, &as_user) };
        made += create_beside(&b, &as_user);
        let place = if host { "the host's pid namespace" } else { "user namespaces of one user, and exec" };
        judge(t, &a, &format!("without root, create, {place}, {}", who.name), made, Allowed::Nothing);
        as_user(a.simple_cmd("delete", &["--force"], &[])).run().ok();
    }
}
