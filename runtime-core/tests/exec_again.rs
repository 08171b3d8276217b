//! What a `Container` keeps between its execs is what the container is then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking, and looks at the file system as a user would"
)]

use std::fs::File;
use std::io::Read;

use orlop::{ContainerId, ExecOptions, ExecProcess, Exit, Kind, Runtime};
use orlop_integration::{Container, Sandbox, case};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// The container of the harness as the library has it.
fn of(c: &Container<'_>) -> orlop::Container {
    orlop::Container::new(Runtime::new(&c.sandbox.root), ContainerId::new(&c.id).unwrap())
}

fn options() -> ExecOptions {
    ExecOptions::new(ExecProcess::Args(["/probe", "facts"].map(str::to_owned).to_vec()))
}

fn facts(container: &orlop::Container, options: ExecOptions) -> Value {
    let (mut output, stdout) = std::io::pipe().unwrap();
    let streams = [File::open("/dev/null").unwrap().into(), stdout.try_clone().unwrap().into(), stdout.into()];
    let process = container.exec(options.stdio(streams)).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Code(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The second exec gives what the first one gave, and what an exec of another value gives.
#[case(needs(Host))]
fn every_exec_gives_the_same(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/env", json!(["A=b"]))
        .set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5]}));
    let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
    c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    c.run_paused();
    let container = of(&c);
    let all = [facts(&container, options()), facts(&container, options()), facts(&container.clone(), options())];
    let expected = facts(&of(&c), options());
    for found in all {
        for key in expected.as_object().unwrap().keys() {
            if !["pid", "ppid", "sid", "pgid", "fds", "session_keyring", "boottime"].contains(&key.as_str()) {
                assert_eq!(found[key], expected[key], "{key}");
            }
        }
    }
    // What one exec is told, the next one is not.
    let told = facts(&container, options().env(vec![("C".into(), "d".into())]));
    assert!(told["env"].to_string().contains("C=d"), "{told}");
    assert_eq!(facts(&container, options())["env"], expected["env"]);
    c.end();
}

/// What was kept of a container is not used for the next one of its id.
#[case(needs(Host))]
fn the_next_container_of_the_id_is_found_anew(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/env", json!(["WHICH=first"])).run_paused();
    let container = of(&c);
    for _ in 0..2 {
        assert!(facts(&container, options())["env"].to_string().contains("WHICH=first"));
    }
    c.end();
    let error = container.exec(options()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    c.set("/process/env", json!(["WHICH=second"])).run_paused();
    assert!(facts(&container, options())["env"].to_string().contains("WHICH=second"));
    c.end();
}

#[case(needs(Host))]
fn a_container_that_is_paused_or_stopped_is_refused_again(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let container = of(&c);
    let expected = facts(&container, options());
    container.pause().unwrap();
    let error = container.exec(options()).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongStatus, "{error}");
    assert!(error.to_string().contains("cannot exec in a paused container"), "{error}");
    container.resume().unwrap();
    assert_eq!(facts(&container, options())["env"], expected["env"]);
    container.kill(&orlop::KillOptions::default().signal(orlop::Signal::KILL)).unwrap();
    let begun = std::time::Instant::now();
    while container.state().unwrap().status != orlop::Status::Stopped {
        assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    }
    let error = container.exec(options()).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongStatus, "{error}");
    assert!(error.to_string().contains("stopped"), "{error}");
    drop(container.delete(&orlop::DeleteOptions::default()).unwrap());
}

/// Nothing is kept that grows, and nothing that the commands get.
#[case(needs(Host))]
fn what_is_kept_is_two_descriptors(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let container = of(&c);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..3 {
        let found = facts(&container, options());
        let numbers: Vec<&String> = found["fds"].as_object().unwrap().keys().collect();
        assert_eq!(numbers, ["0", "1", "2"], "{found}");
        assert_eq!(open(), before + 2);
    }
    drop(container);
    assert_eq!(open(), before);
    c.end();
}
