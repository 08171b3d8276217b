//! `--verify`: a container that is what its config says is started, and one that is not is named and taken away.

use std::fs;

use orlop_integration::tracer::{Act, Point, Whose, can_inject};
use orlop_integration::{Sandbox, case};
use serde_json::{Value, json};

use crate::namespaces::{USER, rootless};

#[case(extension, needs(Ids, ControlGroups))]
fn verify_of_what_is_right(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user", json!({"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [5, 7]}));
    c.set("/process/cwd", json!("/tmp")).set("/root/readonly", json!(true)).set("/domainname", json!("domain"));
    c.set("/process/oomScoreAdj", json!(500))
        .set("/linux/sysctl", json!({"net.ipv4.ip_local_port_range": "2000 3000"}));
    c.set("/linux/resources/memory", json!({"limit": 33_554_433})).set("/linux/resources/pids", json!({"limit": 50}));
    c.mount("tmpfs", "x", "/mnt", &["ro", "nodev", "rprivate"]).namespace("cgroup");
    c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})).set("/process/noNewPrivileges", json!(false));
    c.args(&["/bin/true"]).run_cmd(&["--verify"]).run().ok();
    c.create_cmd(&["--verify"]).run().ok();
    c.start().ok();
    c.delete_force().ok();
    let owner = t.container("owner");
    owner.map_users(200_000, 65536).args(&["/probe", "pause"]);
    owner.run_cmd(&["--verify", "--detach"]).run().ok();
    let pid = owner.pid();
    let guest = t.container("guest");
    guest.give_rootfs_to(200_000);
    for (kind, name) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        guest.join(kind, &format!("/proc/{pid}/ns/{name}"));
    }
    guest.remove("/hostname").args(&["/bin/true"]).run_cmd(&["--verify"]).run().ok();
    owner.end();
}

#[case(extension, needs(Ids))]
fn verify_of_an_ordinary_user(t: &Sandbox) {
    let c = rootless(t, USER);
    c.args(&["/bin/true"]).run_cmd(&["--verify"]).env("XDG_RUNTIME_DIR", &t.dir).user(USER, USER).run().ok();
}

/// A profile under which `mkdir` fails with this number.
fn forbids_mkdir(errno: i32) -> Value {
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

/// With no_new_privs the filter comes last of all, after what else is compared.
#[case(extension)]
fn verify_watches_the_execution_under_a_filter(t: &Sandbox) {
    for no_new_privileges in [true, false] {
        let c = t.container(&format!("c{no_new_privileges}"));
        c.set("/process/noNewPrivileges", json!(no_new_privileges)).set("/linux/seccomp", forbids_mkdir(libc::EPERM));
        c.sh("grep TracerPid: /proc/self/status; mkdir /tmp/x; exit 7");
        let out = c.run_cmd(&["--verify"]).run().code(7);
        assert!(out.stdout.contains("TracerPid:\t0") && out.stderr.contains("not permitted"), "{}", out.text);
        c.args(&["/probe", "pause"]).create_cmd(&["--verify"]).run().ok();
        c.start().ok();
        assert_eq!(c.status(), "running");
        c.delete_force().ok();
        // Nobody who could wait for it longer than it takes.
        let out = c.args(&["/missing"]).run_cmd(&["--verify"]).run().fails();
        assert!(out.stderr.contains("/missing"), "{}", out.stderr);
    }
}

#[case(extension, needs(Host))]
fn verify_finds_another_filter_than_the_profiles(t: &Sandbox) {
    let c = t.container("a");
    let mark = c.rootfs().join("tmp/ran");
    c.sh("echo > /tmp/ran").set("/process/noNewPrivileges", json!(true));
    c.set("/linux/seccomp", forbids_mkdir(libc::EPERM)).create_cmd(&["--verify"]).run().ok();
    // What `start` reads is the copy that `create` has kept.
    let kept = t.root.join(&c.id).join("config.json");
    let text = fs::read_to_string(&kept).unwrap();
    assert!(text.contains("\"errnoRet\":1") || text.contains("\"errnoRet\": 1"), "{text}");
    fs::write(&kept, text.replace("\"errnoRet\":1", "\"errnoRet\":2").replace("\"errnoRet\": 1", "\"errnoRet\": 2"))
        .unwrap();
    let out = c.start().fails();
    assert!(out.stderr.contains("verify (config /linux/seccomp): promised the profile's program of"), "{}", out.stderr);
    assert!(!mark.exists() && c.status() == "stopped", "{}", c.status());
    c.delete_force().ok();
}

#[case(extension)]
fn verify_by_annotation(t: &Sandbox) {
    t.need(can_inject(), "calls can be replaced on x86-64 only");
    let c = t.container("a");
    let annotation = "/annotations/io.github.orlop.verify";
    c.set(annotation, json!("true")).args(&["/bin/true"]).run().ok();
    let (out, _) = c.run_cmd(&[]).trace(pretend(libc::SYS_prctl, Some(NO_NEW_PRIVS)));
    let _ = out.fails().says("verify (config /process/noNewPrivileges)");
    let out = c.set(annotation, json!("perhaps")).run().fails();
    assert!(out.stderr.contains("neither true nor false"), "{}", out.stderr);
}

const NO_NEW_PRIVS: u64 = 38;

fn pretend(call: libc::c_long, first: Option<u64>) -> Point {
    Point { at: 0, act: Act::Pretend(call.cast_unsigned(), first), whose: Whose::Children }
}

/// A kernel that does not do what it says, here by the hand of a tracer: nothing else would notice.
#[case(extension, needs(Ids))]
fn verify_finds_calls_that_only_seem_to_be_made(t: &Sandbox) {
    t.need(can_inject(), "calls can be replaced on x86-64 only");
    let table: &[(libc::c_long, Option<u64>, &[&str])] = &[
        (libc::SYS_prctl, Some(NO_NEW_PRIVS), &["/process/noNewPrivileges): promised 1, found 0"]),
        (libc::SYS_capset, None, &["/process/capabilities/effective)"]),
        (libc::SYS_setresuid, None, &["/process/user/uid)"]),
        (libc::SYS_setgroups, None, &["/process/user/additionalGids)"]),
        // The first one of all, with nothing in it, is for what the init makes.
        (libc::SYS_umask, Some(0o27), &["/process/user/umask): promised 0027, found"]),
        (libc::SYS_sethostname, None, &["/hostname)"]),
        (libc::SYS_prlimit64, None, &["/process/rlimits/0)"]),
    ];
    let mut wrong = Vec::new();
    for (n, (call, first, fields)) in table.iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let mark = c.rootfs().join("tmp/ran");
        c.set("/root/readonly", json!(true)).sh("echo > /tmp/ran");
        c.set("/process/user", json!({"uid": 1000, "gid": 1001, "umask": 0o27, "additionalGids": [5, 7]}));
        c.mount("tmpfs", "x", "/mnt", &["ro", "nodev"]);
        c.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]));
        let (out, trace) = c.run_cmd(&["--verify"]).trace(pretend(*call, *first));
        let told = fields.iter().all(|field| out.stderr.contains(field));
        if out.code != 1 || !told || trace.calls == 0 || mark.is_file() || t.root.join(&c.id).is_dir() {
            wrong.push(format!("{call}: exit {}, {} calls: {}", out.code, trace.calls, out.stderr));
        }
        let _ = fs::remove_dir_all(&c.bundle);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
