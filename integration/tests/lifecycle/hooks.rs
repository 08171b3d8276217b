//! Hooks: six kinds, where and when they run, what they are told, and what their failure means.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::{Value, json};

/// A script outside the root file system that appends its name, its working pid namespace and its input to `LOG.NAME`.
fn hook(t: &Sandbox, name: &str, script: &str) -> Value {
    let path = t.dir.join(format!("hook-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    json!({ "path": path.display().to_string(), "args": [name], "env": ["PATH=/usr/bin:/bin"] })
}

fn recording(t: &Sandbox, name: &str) -> Value {
    let dir = t.dir.display();
    hook(t, name, &format!("echo {name} >> {dir}/order; cat > {dir}/state-{name}"))
}

/// A hook that runs in the container, by a script in its root file system.
fn inner(c: &Container<'_>, name: &str, script: &str) -> Value {
    let path = c.rootfs().join(format!("hook-{name}"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    json!({ "path": format!("/hook-{name}"), "args": [name], "env": ["PATH=/usr/bin:/bin"] })
}

fn order(t: &Sandbox) -> Vec<String> {
    fs::read_to_string(t.dir.join("order")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn with_all_kinds<'a>(t: &'a Sandbox) -> Container<'a> {
    let c = t.container("a");
    let start = inner(&c, "startContainer", "echo startContainer >> /tmp/order; cat > /tmp/state-startContainer");
    c.set(
        "/hooks",
        json!({
            "prestart": [recording(t, "prestart")],
            "createRuntime": [recording(t, "createRuntime")],
            "createContainer": [recording(t, "createContainer")],
            "startContainer": [start],
            "poststart": [recording(t, "poststart")],
            "poststop": [recording(t, "poststop")]
        }),
    );
    c
}

#[case(not_runc("runs poststart at create (its issue 4347)"))]
fn all_kinds_in_order(t: &Sandbox) {
    let c = with_all_kinds(t);
    c.sh("cat /tmp/order; exec /probe pause");
    c.create().ok();
    assert_eq!(order(t), ["prestart", "createRuntime", "createContainer"]);
    let inside = c.rootfs().join("tmp/order");
    assert!(!inside.is_file(), "startContainer runs at start");
    c.start().ok();
    assert_eq!(fs::read_to_string(inside).unwrap(), "startContainer\n");
    t.wait_until("poststart", || order(t).len() == 4);
    assert_eq!(order(t)[3], "poststart");
    c.end();
    assert_eq!(order(t)[4], "poststop");
}

#[case(not_runc("runs poststart at create (its issue 4347)"), not_crun("names the working directory as bundle"))]
fn each_is_told_the_state(t: &Sandbox) {
    let c = with_all_kinds(t);
    c.set("/annotations", json!({"key": "value"})).args(&["/probe", "pause"]);
    c.create().ok();
    let pid = c.pid();
    c.start().ok();
    c.end();
    let read = |name: &str| -> Value {
        let path = if name == "startContainer" { c.rootfs().join("tmp") } else { t.dir.clone() };
        let text = fs::read_to_string(path.join(format!("state-{name}"))).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text:?}"))
    };
    let statuses = [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    for (name, status) in statuses {
        let state = read(name);
        assert_eq!(state["id"], c.id.as_str(), "{name}");
        assert_eq!(state["bundle"], c.bundle.display().to_string(), "{name}");
        assert_eq!(state["annotations"]["key"], "value", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
        // crun 1.8 words it otherwise.
        if !t.is(Flavor::Crun) {
            assert_eq!(state["status"], status, "{name}");
        }
        if ["prestart", "createRuntime", "poststart"].contains(&name) {
            assert_eq!(state["pid"], pid, "{name}");
        }
    }
}

#[case]
fn container_kinds_run_in_the_containers_namespaces(t: &Sandbox) {
    let c = t.container("a");
    let dir = t.dir.display().to_string();
    let say = |name: &str| {
        hook(t, name, &format!("(readlink /proc/self/ns/net; readlink /proc/self/ns/mnt) > {dir}/ns-{name}"))
    };
    c.set("/hooks", json!({"createRuntime": [say("createRuntime")], "createContainer": [say("createContainer")]}));
    c.args(&["/probe", "pause"]).create().ok();
    let pid = c.pid();
    let lines = |name: &str| {
        let text = fs::read_to_string(t.dir.join(format!("ns-{name}"))).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of = |pid: &str| {
        ["net", "mnt"].map(|ns| fs::read_link(format!("/proc/{pid}/ns/{ns}")).unwrap().display().to_string()).to_vec()
    };
    assert_eq!(lines("createRuntime"), of("self"));
    assert_eq!(lines("createContainer"), of(&pid.to_string()));
    c.start().ok();
    c.end();
}

#[case]
fn several_of_a_kind_run_in_order(t: &Sandbox) {
    let c = t.container("a");
    let list: Vec<Value> = ["one", "two", "three"].iter().map(|name| recording(t, name)).collect();
    c.set("/hooks", json!({ "createRuntime": list })).run().ok();
    assert_eq!(order(t), ["one", "two", "three"]);
}

#[case]
fn arguments_and_environment(t: &Sandbox) {
    let c = t.container("a");
    let mut entry = hook(t, "x", &format!("echo \"$0 $1 $2 $A\" > {}/said; cat > /dev/null", t.dir.display()));
    entry["args"] = json!(["zero", "first", "two words"]);
    entry["env"] = json!(["A=value", "PATH=/bin"]);
    let path = entry["path"].as_str().unwrap().to_owned();
    c.set("/hooks", json!({ "createRuntime": [entry] })).run().ok();
    assert_eq!(fs::read_to_string(t.dir.join("said")).unwrap().trim(), format!("{path} first two words value"));
}

#[case]
fn no_environment_is_the_runtimes(t: &Sandbox) {
    let c = t.container("a");
    let mut entry = hook(t, "x", &format!("/usr/bin/env > {}/said; /bin/cat > /dev/null", t.dir.display()));
    entry.as_object_mut().unwrap().remove("env");
    c.set("/hooks", json!({ "createRuntime": [entry] })).run_cmd(&[]).env("OF_THE_CALLER", "1").run().ok();
    let said = fs::read_to_string(t.dir.join("said")).unwrap();
    assert!(said.lines().any(|line| line == "OF_THE_CALLER=1"), "{said}");
}

fn failing<'a>(t: &'a Sandbox, kind: &str) -> Container<'a> {
    let c = t.container(kind);
    c.set(&format!("/hooks/{kind}"), json!([hook(t, kind, "echo hook says no >&2; exit 3")]));
    c
}

fn stops_create(t: &Sandbox, kind: &str) {
    let c = failing(t, kind);
    c.create().code(1);
    c.simple("state", &[], &[]).fails();
    c.run().code(1);
}

#[case(not_crun("exits with 255"))]
fn create_runtime_failure_stops_create(t: &Sandbox) {
    stops_create(t, "createRuntime");
}

#[case(not_crun("exits with 255"))]
fn prestart_failure_stops_create(t: &Sandbox) {
    stops_create(t, "prestart");
}

#[case]
fn create_container_failure_stops_create(t: &Sandbox) {
    stops_create(t, "createContainer");
}

#[case]
fn start_container_failure_stops_start(t: &Sandbox) {
    let c = t.container("a");
    let start = inner(&c, "startContainer", "exit 3");
    c.set("/hooks/startContainer", json!([start])).sh("touch /tmp/ran; exec /probe pause");
    c.create().ok();
    // runc and crun find out too late to tell; the command must not have run in any case.
    let code = c.start().code;
    assert!(code != 0 || !t.is(Flavor::Orlop), "start must fail");
    assert!(!c.rootfs().join("tmp/ran").is_file());
    c.delete_force().ok();
}

#[case(needs(Ids))]
fn start_container_hooks_are_what_the_command_is(t: &Sandbox) {
    let c = t.container("a");
    let dir = c.rootfs().join("tmp");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
    let look = |file: &str| {
        format!(
            "(id; pwd; umask; ulimit -n; cat /proc/self/cgroup; \
             grep -E '^(Uid|Gid|Cap...|NoNewPrivs|Seccomp):' /proc/self/status) > /tmp/{file}"
        )
    };
    let hook = inner(&c, "look", &look("hook"));
    c.set("/hooks", json!({ "startContainer": [hook] }));
    c.set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [7], "umask": 0o27}));
    c.set("/process/cwd", json!("/tmp")).set("/process/noNewPrivileges", json!(true));
    c.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]));
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    c.sh(&look("command")).run().ok();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(read("hook"), read("command"));
    assert!(read("hook").contains("gid=1001"), "{}", read("hook"));
}

#[case]
fn start_container_hooks_obey_the_seccomp_profile(t: &Sandbox) {
    let c = t.container("a");
    let hook = inner(&c, "make", "exec mkdir /tmp/made");
    c.set("/hooks", json!({ "startContainer": [hook] }));
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}),
    );
    let out = c.run();
    assert!(fs::symlink_metadata(c.rootfs().join("tmp/made")).is_err());
    // Debian's runc tells of it too late for an exit code.
    if t.is(Flavor::Orlop) {
        assert!(out.code == 1 && out.stderr.contains("bad system call"), "{out:?}");
    }
}

#[case(not_runc("runs poststart at create (its issue 4347)"), not_crun("since crun 1.27"))]
fn poststart_failure_stops_the_container(t: &Sandbox) {
    let c = failing(t, "poststart");
    c.args(&["/probe", "pause"]).create().ok();
    let pid = c.pid();
    c.start().fails();
    t.wait_gone(pid);
    c.delete_force().ok();
}

#[case(not_runc("leaves it stopped"), not_crun("since crun 1.29"))]
fn poststart_failure_destroys_the_container(t: &Sandbox) {
    let c = failing(t, "poststart");
    c.edit(|spec| spec["hooks"]["poststop"] = json!([recording(t, "poststop")]));
    c.args(&["/probe", "pause"]).create().ok();
    let pid = c.pid();
    let text = c.start().fails().stderr;
    assert!(text.contains("poststart hook #0"), "{text}");
    t.wait_gone(pid);
    c.simple("state", &[], &[]).fails();
    assert_eq!(order(t), ["poststop"]);
}

#[case]
fn poststop_failure_does_not_stop_delete(t: &Sandbox) {
    let c = failing(t, "poststop");
    let pid = c.run_paused();
    c.kill("KILL").ok();
    t.wait_gone(pid);
    c.delete().ok();
    c.simple("state", &[], &[]).fails();
}

#[case]
fn poststop_runs_after_the_process_ended(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hooks", json!({"poststop": [recording(t, "poststop")]})).run().ok();
    assert_eq!(order(t), ["poststop"]);
}

#[case]
fn poststop_runs_on_delete_force(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hooks", json!({"poststop": [recording(t, "poststop")]})).run_paused();
    c.delete_force().ok();
    assert_eq!(order(t), ["poststop"]);
}

#[case]
fn timeout_kills_a_hook_that_hangs(t: &Sandbox) {
    let c = t.container("a");
    let mut entry = hook(t, "slow", "exec sleep 60");
    entry["timeout"] = json!(1);
    let begun = std::time::Instant::now();
    c.set("/hooks", json!({ "createRuntime": [entry] })).create().code(1);
    assert!(begun.elapsed().as_secs() < 10, "took {:?}", begun.elapsed());
}

#[case(not_crun("exits with 255"))]
fn a_missing_hook_is_an_error(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hooks", json!({"createRuntime": [{"path": "/no/such/hook"}]})).create().code(1);
}

#[case(not_runc("looks it up"), not_crun("looks it up"))]
fn path_must_be_absolute(t: &Sandbox) {
    let c = t.container("a");
    c.set("/hooks", json!({"createRuntime": [{"path": "true"}]})).create().code(1);
}

#[case]
fn prestart_can_read_the_processes_namespaces(t: &Sandbox) {
    let c = t.container("a");
    let script =
        format!("pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {}/net", t.dir.display());
    c.set("/hooks", json!({"prestart": [hook(t, "x", &script)]})).args(&["/probe", "pause"]).create().ok();
    let expected = fs::read_link(format!("/proc/{}/ns/net", c.pid())).unwrap();
    assert_eq!(fs::read_to_string(t.dir.join("net")).unwrap().trim(), expected.to_str().unwrap());
    c.start().ok();
    c.end();
}

#[case(not_crun("exits with 255"))]
fn output_of_hooks_is_not_lost_or_mixed_into_run(t: &Sandbox) {
    let c = failing(t, "createRuntime");
    let out = c.create().code(1);
    let text = out.logged_error().unwrap();
    if !t.is(Flavor::Crun) {
        assert!(text.contains("hook says no") || out.stderr.contains("hook says no"), "{out:?}");
    }
}
