//! Seccomp profiles that speak of the very calls a runtime needs, and agents that answer: every verb ends with a clear
//! result.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use orlop_integration::console::Receiver;
use orlop_integration::{Container, Output, Sandbox, case};
use orlop_seccomp::Call;
use orlop_seccomp::notify::{AddFd, Event, Listener, Notification, Response};
use serde_json::{Value, json};

/// The status of a process that seccomp killed: 128 and SIGSYS.
const KILLED: i32 = 159;

fn profile(names: &[&str], action: &str, agent: Option<&Path>) -> Value {
    let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": action}]});
    if let Some(agent) = agent {
        profile["listenerPath"] = json!(agent.display().to_string());
    }
    profile
}

/// An engine's usual case: another user than root, and no no_new_privs, so that loading the filter takes a right.
#[case(needs(Ids))]
fn a_user_who_may_gain_rights_gets_the_filter(t: &Sandbox) {
    let c = t.container("a");
    c.sh("id -u; mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status")
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/noNewPrivileges", json!(false))
        .set("/linux/seccomp", profile(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", None));
    let output = c.run().ok();
    let text = output.stdout;
    assert!(text.starts_with("1000\n") && text.contains("not permitted") && text.contains("Seccomp:\t2"), "{text}");
}

/// AF_ALG and AF_VSOCK, as profiles of engines forbid them, and a type of sockets whatever flags are set beside it.
#[case]
fn a_family_of_sockets_is_told_by_the_bits_that_the_kernel_looks_at(t: &Sandbox) {
    let masked = |index: u32, mask: u64, value: u64| json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"});
    let refused = |args: Value| json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": args});
    let c = t.container("a");
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            refused(json!([masked(0, 0xffff_ffff, 38)])),
            refused(json!([masked(0, 0xffff_ffff, 40)])),
            refused(json!([masked(0, 0xffff_ffff, 1), masked(1, 0xf, 5)])),
        ]}),
    );
    c.run_paused();
    let number = libc::SYS_socket.to_string();
    // Whether this kernel has the other families or not, none is refused with EPERM.
    for (family, kind, is_refused) in [
        (38_u64, 5_u64, true),
        (0x1_0000_0026, 5, true),
        (40, 1, true),
        (0x8000_0000_0000_0028, 1, true),
        (37, 5, false),
        (39, 5, false),
        (41, 1, false),
        (1, 5, true),
        (1, 5 | 0x8_0000, true),
        (1, 1, false),
        (1, 1 | 0x8_0000, false),
    ] {
        let words = ["/probe", "syscall", &number, &family.cast_signed().to_string(), &kind.to_string(), "0"];
        let out = c.exec(&[], &words).stdout;
        assert_eq!(out.trim() == "errno 1", is_refused, "socket({family:#x}, {kind:#x}): {out}");
        assert!(is_refused || family != 1 || !out.contains("errno"), "socket({family:#x}, {kind:#x}): {out}");
    }
    c.end();
}

fn is(call: &Notification, name: &str) -> bool {
    Call::named(call.call.arch, name, &[]).is_some_and(|named| named.number == call.call.number)
}

/// Serves `containers` listeners, one after the other, and counts the calls `answer` is asked about.
fn agent(
    t: &Sandbox,
    containers: usize,
    answer: fn(&Listener, &Notification),
) -> (std::path::PathBuf, JoinHandle<usize>) {
    let socket = Receiver::new(&t.dir.join("agent"));
    let path = socket.path.clone();
    let serve = move |listener: &Listener| {
        let mut calls = 0;
        while let Event::Call(call) = listener.next(Some(Duration::from_secs(10))).unwrap() {
            answer(listener, &call);
            calls += 1;
        }
        calls
    };
    let agents = std::thread::spawn(move || {
        // Exec comes while the container's own process still calls: each has its thread.
        let serving: Vec<_> = (0..containers)
            .map(|_| {
                let (fd, state) = socket.receive();
                assert!(serde_json::from_slice::<Value>(&state).unwrap()["state"]["id"].is_string());
                std::thread::spawn(move || serve(&Listener::from(fd)))
            })
            .collect();
        serving.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (path, agents)
}

fn go_on(listener: &Listener, call: &Notification) {
    // The process may have been killed meanwhile.
    let _ = listener.respond(call.id, Response::Continue);
}

/// `create`, `start` and `delete`, `run` and `exec` of a program that makes no such call, all without harm.
fn harmless_programs_run(c: &Container<'_>) {
    c.args(&["/bin/true"]).run().ok();
    c.create().ok();
    assert_eq!(c.status(), "created");
    c.start().ok();
    c.delete_force().ok();
    c.run_paused();
    c.exec(&[], &["/bin/true"]).ok();
}

#[case(extension)]
fn write_may_be_killed(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["write", "writev", "sendmsg"], "SCMP_ACT_KILL_PROCESS", None));
    harmless_programs_run(&c);
    c.exec(&[], &["/bin/sh", "-c", "echo x"]).code(KILLED);
    c.end();
    c.sh("echo x").run().code(KILLED);
}

#[case(extension)]
fn write_may_fail(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["write", "writev", "sendmsg"], "SCMP_ACT_ERRNO", None));
    harmless_programs_run(&c);
    let out = c.exec(&[], &["/bin/sh", "-c", "echo x"]).fails();
    assert_eq!(out.stdout, "");
    c.end();
    let out = c.sh("echo x").run().fails();
    assert_eq!(out.stdout, "");
}

#[case(extension, needs(Admin))]
fn write_may_be_left_to_an_agent(t: &Sandbox) {
    // run, create, run --detach and two of exec, and the last run.
    let (path, agents) = agent(t, 6, go_on);
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["write", "writev", "sendmsg", "close"], "SCMP_ACT_NOTIFY", Some(&path)));
    harmless_programs_run(&c);
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", "echo of exec"]).ok().stdout, "of exec\n");
    c.end();
    assert_eq!(c.sh("echo of run").run().ok().stdout, "of run\n");
    assert!(agents.join().unwrap() > 0, "the agent was asked");
}

#[case(extension)]
fn execve_may_be_forbidden(t: &Sandbox) {
    for (n, action) in
        ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"].iter().enumerate()
    {
        let c = t.container(&format!("c{n}"));
        c.set("/linux/seccomp", profile(&["execve", "execveat"], action, None));
        let expected = if n == 0 { "operation not permitted" } else { "it must allow execve" };
        let says = |out: Output| {
            let text = out.logged_error().unwrap_or(&out.stderr).to_owned();
            assert!(text.contains(expected), "{action}: {text}");
        };
        says(c.run().fails());
        c.create().ok();
        says(c.start().fails());
        c.delete_force().ok();
    }
}

#[case(extension)]
fn execve_may_be_left_to_an_agent(t: &Sandbox) {
    let (path, agents) = agent(t, 2, go_on);
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["execve", "execveat"], "SCMP_ACT_NOTIFY", Some(&path)));
    assert_eq!(c.sh("echo x").run().ok().stdout, "x\n");
    c.args(&["/bin/true"]).create().ok();
    c.start().ok();
    assert!(agents.join().unwrap() >= 2, "execve itself was asked for");
    c.delete_force().ok();
}

#[case(extension)]
fn an_agent_makes_directories_and_injects_descriptors(t: &Sandbox) {
    let (path, agents) = agent(t, 1, |listener, call| {
        assert!(is(call, "mkdir") || is(call, "mkdirat"), "{call:?}");
        // The container's own root, as the process sees it: what the call would have been made on.
        let root = format!("/proc/{}/root/tmp", call.pid);
        assert!(listener.is_valid(call.id));
        fs::create_dir(format!("{root}/made-by-the-agent")).unwrap();
        // Its standard output becomes a file that it could not have opened.
        let file = File::create(std::env::temp_dir().join(format!("orlop-injected-{}", std::process::id()))).unwrap();
        let how = AddFd { at: Some(9), ..AddFd::default() };
        assert_eq!(listener.add_fd(call.id, file.as_fd(), how).unwrap(), 9);
        fs::write(format!("{root}/seen"), fs::read_link(format!("/proc/{}/fd/9", call.pid)).unwrap().to_str().unwrap())
            .unwrap();
        listener.respond(call.id, Response::Return(0)).unwrap();
    });
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY", Some(&path)));
    let out =
        c.sh("mkdir /tmp/other && ls -d /tmp/made-by-the-agent && cat /tmp/seen; test -e /tmp/other").run().code(1);
    assert_eq!(agents.join().unwrap(), 1);
    let injected = std::env::temp_dir().join(format!("orlop-injected-{}", std::process::id()));
    fs::remove_file(&injected).unwrap();
    assert_eq!(out.stdout, format!("/tmp/made-by-the-agent\n{}", injected.display()));
}

#[case(extension)]
fn an_agent_that_dies_leaves_no_hang(t: &Sandbox) {
    let socket = Receiver::new(&t.dir.join("agent"));
    let c = t.container("a");
    c.set("/linux/seccomp", profile(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY", Some(&socket.path)));
    let run = c.sh("mkdir /tmp/x; mkdir /tmp/y; echo alive").run_cmd(&[]).spawn();
    let (fd, _) = socket.receive();
    let listener = Listener::from(fd);
    assert!(matches!(listener.next(Some(Duration::from_secs(10))).unwrap(), Event::Call(_)));
    // It has taken the call, and is gone before it answers.
    drop(listener);
    let out = run.wait().ok();
    assert_eq!(out.stdout, "alive\n");
    assert_eq!(out.stderr.matches("Function not implemented").count(), 2, "{}", out.stderr);
}
