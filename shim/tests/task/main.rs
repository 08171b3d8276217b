//! The shim as containerd sees it, without containerd: started as a program, called over its socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints figures"
)]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a part of the program's messages, and a client of this test"
)]

#[macro_use]
#[path = "../../src/proto/mod.rs"]
mod proto;
#[path = "../../src/ttrpc/mod.rs"]
mod ttrpc;

mod client;
mod containerd;
mod memory;
mod security;

use std::fs;
use std::time::Duration;

use client::{Events, Fifo, Shim, Stdio3, bundle, call_binary, params, process, wait_until};
use memory::Memory;
use orlop_integration::{Sandbox, case, process as processes};
use proto::event::{TaskDelete, TaskExit};
use proto::metrics::{v1, v2};
use proto::options::RuncOptions;
use proto::task::{
    CloseIORequest, ConnectResponse, PidsResponse, ResizePtyRequest, ShutdownRequest, StatsResponse, UpdateTaskRequest,
};
use proto::{Any, Empty, Mount, decode, encode};
use serde_json::json;
use ttrpc::Code;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

#[case]
fn a_container_lives_and_its_events_are_told_in_order(t: &Sandbox) {
    let events = Events::serve(&t.dir.join("events.sock"));
    let c = t.container("a");
    c.sh("echo out; echo err >&2; exit 7");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let (mut out, mut err) = (Fifo::output(t, "out"), Fifo::output(t, "err"));
    let mut shim = Shim::start(t, &bundle, &id);
    let stdio = Stdio3 { stdout: Some(&out), stderr: Some(&err), ..Stdio3::default() };
    let pid = shim.create(&bundle, &id, stdio).unwrap();
    let state = shim.state(&id, "").unwrap();
    assert_eq!((state.pid, state.status, state.id.as_str()), (pid, 1, id.as_str()), "created");
    assert_eq!(shim.start_task(&id, "").unwrap(), pid);
    assert_eq!(shim.wait(&id, ""), 7);
    assert_eq!(out.read_all(), b"out\n");
    assert_eq!(err.read_all(), b"err\n");
    let state = shim.state(&id, "").unwrap();
    assert_eq!((state.status, state.exit_status), (3, 7), "stopped");
    assert!(state.exited_at.unwrap().seconds > 1_700_000_000);
    let deleted = shim.delete(&id, "").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert_eq!(shim.state(&id, "").unwrap_err().code, Code::NotFound as i32);
    assert_eq!(events.topics(4), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    let exit: Vec<TaskExit> = events.of("/tasks/exit");
    assert_eq!((exit[0].id.as_str(), exit[0].exit_status, exit[0].pid), (id.as_str(), 7, pid));
    let delete: Vec<TaskDelete> = events.of("/tasks/delete");
    assert_eq!(delete[0].exit_status, 7);
    shim.shut_down();
}

#[case]
fn output_is_whole_though_the_process_has_ended_long_ago(t: &Sandbox) {
    let c = t.container("a");
    c.sh("dd if=/dev/zero bs=1000 count=60 2>/dev/null");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut out = Fifo::output(t, "out");
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    // The reader goes, and comes back when all is over: what was written is still there.
    out.close();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 0);
    std::thread::sleep(Duration::from_millis(50));
    out.open();
    let all = out.read_all();
    assert_eq!(all.len(), 60_000);
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

#[case]
fn output_that_nobody_reads_holds_up_no_deletion(t: &Sandbox) {
    let c = t.container("a");
    c.sh("for n in $(seq 200); do echo $n; usleep 1000; done");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut out = Fifo::output(t, "out");
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    out.close();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 0);
    let begun = std::time::Instant::now();
    shim.delete(&id, "").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "the deletion waits for a reader that there is none of");
    shim.shut_down();
}

#[case]
fn input_reaches_the_process_until_it_is_closed(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["cat"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let (mut input, mut out) = (Fifo::input(t, "in"), Fifo::output(t, "out"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3 { stdin: Some(&input), stdout: Some(&out), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "").unwrap();
    input.write(b"one\n");
    assert_eq!(out.read_until(|all| all.len() >= 4), b"one\n");
    // A client that detaches does not end the input.
    input.close();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(shim.state(&id, "").unwrap().status, 2, "running");
    input.write(b"two\n");
    assert_eq!(out.read_until(|all| all.len() >= 4), b"two\n");
    shim.call::<Empty>("CloseIO", &CloseIORequest { id: id.clone(), exec_id: String::new(), stdin: true }).unwrap();
    input.close();
    assert_eq!(shim.wait(&id, ""), 0);
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

#[case]
fn an_exec_has_its_own_life(t: &Sandbox) {
    let events = Events::serve(&t.dir.join("events.sock"));
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    let mut out = Fifo::output(t, "out");
    shim.exec(&id, "e1", &["sh", "-c", "echo hi; exit 9"], Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    assert_eq!(shim.state(&id, "e1").unwrap().status, 1);
    assert_eq!(shim.exec(&id, "e1", &["true"], Stdio3::default()).unwrap_err().code, Code::AlreadyExists as i32);
    shim.start_task(&id, "e1").unwrap();
    assert_eq!(shim.wait(&id, "e1"), 9);
    assert_eq!(out.read_all(), b"hi\n");
    assert_eq!(shim.delete(&id, "e1").unwrap().exit_status, 9);
    shim.exec(&id, "e2", &["sleep", "1000"], Stdio3::default()).unwrap();
    let pid = shim.start_task(&id, "e2").unwrap();
    let pids: PidsResponse = shim.call("Pids", &process(&id, "")).unwrap();
    let named = pids.processes.iter().find(|process| process.pid == pid).unwrap();
    assert_eq!(named.info.as_ref().unwrap().type_url, "containerd.runc.v1.ProcessDetails");
    assert_eq!(pids.processes.len(), 2);
    assert_eq!(shim.delete(&id, "e2").unwrap_err().code, Code::FailedPrecondition as i32);
    shim.kill(&id, "e2", libc::SIGKILL, false).unwrap();
    assert_eq!(shim.wait(&id, "e2"), 137);
    assert_eq!(shim.kill(&id, "e2", libc::SIGKILL, false).unwrap_err().code, Code::NotFound as i32);
    // The end of the first process is told after that of e3, which ends with it; e2 stays to be deleted with the container.
    shim.exec(&id, "e3", &["sleep", "1000"], Stdio3::default()).unwrap();
    shim.start_task(&id, "e3").unwrap();
    shim.end(&id);
    let topics = events.topics(12);
    let exits: Vec<TaskExit> = events.of("/tasks/exit");
    let order: Vec<&str> = exits.iter().map(|exit| exit.id.as_str()).collect();
    assert_eq!(order, ["e1", "e2", "e3", id.as_str()]);
    assert_eq!(topics[2..5], ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]);
    shim.shut_down();
}

#[case]
fn a_terminal_has_a_size_and_takes_input(t: &Sandbox) {
    let c = t.container("a");
    c.sh("tty; read line; stty size; echo $line").set("/process/terminal", json!(true));
    let (bundle, id) = (bundle(&c), t.id("a"));
    let (mut input, mut out) = (Fifo::input(t, "in"), Fifo::output(t, "out"));
    let mut shim = Shim::start(t, &bundle, &id);
    let stdio = Stdio3 { stdin: Some(&input), stdout: Some(&out), terminal: true, ..Stdio3::default() };
    shim.create(&bundle, &id, stdio).unwrap();
    let size = ResizePtyRequest { id: id.clone(), width: 132, height: 43, ..ResizePtyRequest::default() };
    shim.call::<Empty>("ResizePty", &size).unwrap();
    shim.start_task(&id, "").unwrap();
    let first = out.read_until(|all| all.ends_with(b"\n"));
    assert_eq!(String::from_utf8(first).unwrap(), "/dev/pts/0\r\n", "line breaks as from any terminal");
    input.write(b"word\n");
    assert_eq!(shim.wait(&id, ""), 0);
    let rest = String::from_utf8(out.read_all()).unwrap();
    assert_eq!(rest, "word\r\n43 132\r\nword\r\n");
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

#[case]
fn a_slow_reader_slows_its_own_container_only(t: &Sandbox) {
    let (a, b) = (t.container("a"), t.container("b"));
    a.sh("dd if=/dev/zero bs=65536 count=64 2>/dev/null");
    b.args(&["sleep", "1000"]).set("/annotations/io.kubernetes.cri.sandbox-id", json!(t.id("a")));
    let (bundle_a, bundle_b, id_a, id_b) = (bundle(&a), bundle(&b), t.id("a"), t.id("b"));
    let mut out = Fifo::output(t, "out");
    let mut shim = Shim::start(t, &bundle_a, &id_a);
    shim.create(&bundle_a, &id_a, Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    shim.start_task(&id_a, "").unwrap();
    shim.create(&bundle_b, &id_b, Stdio3::default()).unwrap();
    shim.start_task(&id_b, "").unwrap();
    let pid = shim.pid("");
    let ticks = || processes_cpu(pid);
    let (memory, before) = (Memory::of(pid).private, ticks());
    for _ in 0..20 {
        assert_eq!(shim.state(&id_a, "").unwrap().status, 2, "it waits for its reader");
        assert_eq!(shim.state(&id_b, "").unwrap().status, 2);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(ticks() - before < 10, "the shim is busy with nothing");
    assert!(Memory::of(pid).private < memory + 64, "a slow reader costs memory");
    let all = out.read_all();
    assert_eq!(all.len(), 64 * 65536);
    assert_eq!(shim.wait(&id_a, ""), 0);
    shim.delete(&id_a, "").unwrap();
    shim.end(&id_b);
    shim.shut_down();
}

#[case]
fn a_logging_program_gets_the_output(t: &Sandbox) {
    use std::os::unix::fs::PermissionsExt;
    let log = t.dir.join("logged");
    let script = t.dir.join("logger");
    let text = "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_NAMESPACE $1 $2\"; cat <&3; cat <&4; } >$2\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let c = t.container("a");
    c.sh("echo out; echo err >&2");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    let uri = format!("binary://{}?to={}", script.display(), log.display());
    shim.create(&bundle, &id, Stdio3 { uri: Some(&uri), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 0);
    shim.delete(&id, "").unwrap();
    let expected = format!("state to {}\nout\nerr\n", log.display());
    wait_until("the log", || fs::read_to_string(&log).is_ok_and(|text| text == expected));
    // One that ends without having been ready is an error, and leaves nothing.
    let uri = "binary-v2:///bin/true".to_owned();
    let error = shim.create(&bundle, &id, Stdio3 { uri: Some(&uri), ..Stdio3::default() }).unwrap_err();
    assert!(error.message.contains("start the logging program /bin/true"), "{}", error.message);
    shim.shut_down();
}

#[case]
fn output_to_a_file_is_appended(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo out; echo err >&2");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let log = t.dir.join("logs/a.log");
    let mut shim = Shim::start(t, &bundle, &id);
    let uri = format!("file://{}", log.display());
    for _ in 0..2 {
        shim.create(&bundle, &id, Stdio3 { uri: Some(&uri), ..Stdio3::default() }).unwrap();
        shim.start_task(&id, "").unwrap();
        assert_eq!(shim.wait(&id, ""), 0);
        shim.delete(&id, "").unwrap();
    }
    let mut lines: Vec<String> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "err", "out", "out"]);
    shim.shut_down();
}

#[case]
fn a_pod_shares_a_shim(t: &Sandbox) {
    let (pod, member) = (t.container("pod"), t.container("member"));
    pod.args(&["sleep", "1000"]).set("/annotations/io.kubernetes.cri.sandbox-id", json!(t.id("pod")));
    member.args(&["sleep", "1000"]).set("/annotations/io.kubernetes.cri.sandbox-id", json!(t.id("pod")));
    let (bundle_pod, bundle_member) = (bundle(&pod), bundle(&member));
    let (pod, member) = (t.id("pod"), t.id("member"));
    let mut first = Shim::start(t, &bundle_pod, &pod);
    first.create(&bundle_pod, &pod, Stdio3::default()).unwrap();
    let mut second = Shim::start(t, &bundle_member, &member);
    assert_eq!(first.address, second.address);
    second.create(&bundle_member, &member, Stdio3::default()).unwrap();
    assert_eq!(first.pid(&pod), second.pid(&member));
    second.start_task(&member, "").unwrap();
    second.end(&member);
    // With a container left, the shim stays.
    second.call::<Empty>("Shutdown", &ShutdownRequest::default()).unwrap();
    drop(second);
    let connected: ConnectResponse = first.call("Connect", &process(&pod, "")).unwrap();
    assert!(connected.task_pid > 0);
    first.start_task(&pod, "").unwrap();
    first.end(&pod);
    first.shut_down();
}

#[case]
fn limits_statistics_and_pausing(t: &Sandbox) {
    let events = Events::serve(&t.dir.join("events.sock"));
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    let resources = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned(),
        value: json!({ "pids": { "limit": 77 } }).to_string().into_bytes(),
    };
    shim.call::<Empty>("Update", &UpdateTaskRequest { id: id.clone(), resources: Some(resources) }).unwrap();
    let stats: StatsResponse = shim.call("Stats", &process(&id, "")).unwrap();
    let stats = stats.stats.unwrap();
    let pids = match stats.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => decode::<v1::Metrics>(&stats.value).unwrap().pids,
        "io.containerd.cgroups.v2.Metrics" => decode::<v2::Metrics>(&stats.value).unwrap().pids,
        other => panic!("{other}"),
    };
    // A host may have no pids controller; then there is no limit either.
    let pids = pids.unwrap();
    assert!(pids.current >= 1 && (pids.limit == 77 || t.controller("pids", &id).is_none()), "{pids:?}");
    shim.call::<Empty>("Pause", &process(&id, "")).unwrap();
    assert_eq!(shim.state(&id, "").unwrap().status, 4, "paused");
    assert_eq!(shim.call::<Empty>("Pause", &process(&id, "")).unwrap_err().code, Code::FailedPrecondition as i32);
    shim.call::<Empty>("Resume", &process(&id, "")).unwrap();
    assert_eq!(shim.state(&id, "").unwrap().status, 2, "running");
    assert_eq!(events.topics(4)[2..4], ["/tasks/paused", "/tasks/resumed"]);
    shim.end(&id);
    shim.shut_down();
}

#[case]
fn errors_name_what_is_wrong(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["no-such-command"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    let mut named = shim.create_request(&bundle, &id);
    let options = RuncOptions { binary_name: "/usr/sbin/runc".to_owned(), ..RuncOptions::default() };
    named.options = Some(Any::of("containerd.runc.v1.Options", &options));
    let error = shim.call::<Empty>("Create", &named).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument as i32);
    assert!(error.message.contains("BinaryName (/usr/sbin/runc)"), "{}", error.message);
    let error = match shim.create(&bundle, &id, Stdio3::default()) {
        Err(error) => error,
        Ok(_) => {
            let error = shim.start_task(&id, "").unwrap_err();
            shim.delete(&id, "").unwrap();
            error
        }
    };
    assert!(error.message.contains("executable file not found in $PATH"), "{}", error.message);
    for (service, method, message) in [
        ("containerd.task.v9.Task", "State", "service containerd.task.v9.Task"),
        ("containerd.task.v3.Task", "Dance", "no call Dance"),
        ("containerd.runtime.sandbox.v1.Sandbox", "CreateSandbox", "Sandbox"),
    ] {
        let stream = shim.send(service, method, &Empty {});
        let error = shim.receive::<Empty>(stream).unwrap_err();
        assert_eq!(error.code, Code::Unimplemented as i32);
        assert!(error.message.contains(message), "{}", error.message);
    }
    assert_eq!(shim.kill(&id, "", 9, false).unwrap_err().code, Code::NotFound as i32);
    assert_eq!(shim.delete(&id, "x").unwrap_err().code, Code::NotFound as i32);
    shim.shut_down();
}

/// The shim raises its own limit; hooks have the one that it was started with.
#[case]
fn hooks_have_the_limit_of_open_files_that_the_shim_was_started_with(t: &Sandbox) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const KINDS: [&str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 321, hard).unwrap();
    let c = t.container("a");
    c.args(&["sleep", "1000"]).set("/process/rlimits", json!([]));
    let seen = t.dir.join("seen");
    fs::create_dir(&seen).unwrap();
    for kind in KINDS {
        // Those in the container find the directory there.
        let script = format!("ulimit -n > {}/{kind}", seen.display());
        let shell = if kind == "startContainer" { "/bin/sh" } else { "/usr/bin/sh" };
        c.set(&format!("/hooks/{kind}"), json!([{ "path": shell, "args": ["sh", "-c", script] }]));
    }
    c.mount("bind", &seen.display().to_string(), &seen.display().to_string(), &["bind"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    shim.end(&id);
    shim.shut_down();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    for kind in KINDS {
        assert_eq!(fs::read_to_string(seen.join(kind)).unwrap(), "321\n", "{kind}");
    }
}

/// A shim answers the call that ends it, whatever else is connected meanwhile.
#[case]
fn the_call_that_ends_it_is_answered(t: &Sandbox) {
    let c = t.container("a");
    let (bundle, id) = (bundle(&c), t.id("a"));
    for round in 0..60 {
        let shim = Shim::start(t, &bundle, &id);
        let address = shim.address.clone();
        let early = (round % 3 > 0).then(|| std::os::unix::net::UnixStream::connect(&address).unwrap());
        std::thread::sleep(Duration::from_micros(round * 37));
        let early = early.filter(|_| round % 3 == 2);
        shim.shut_down();
        drop(early);
    }
}

#[case]
fn a_container_whose_start_hangs_can_be_killed(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    c.set("/hooks/startContainer", json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"] }]));
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    let mut other = Shim::connect(t, &format!("unix://{}", shim.address.display()));
    let start = other.send("containerd.task.v3.Task", "Start", &process(&id, ""));
    std::thread::sleep(Duration::from_millis(200));
    let begun = std::time::Instant::now();
    shim.kill(&id, "", libc::SIGKILL, true).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "the signal waits for the start");
    assert!(other.receive::<proto::task::PidResponse>(start).is_err());
    shim.delete(&id, "").unwrap();
    drop(other);
    shim.shut_down();
}

/// A file system whose server says nothing holds up whoever looks at it.
#[case]
fn a_root_file_system_that_hangs_does_not_hold_up_others(t: &Sandbox) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use std::os::fd::AsRawFd as _;
    let server = fs::File::options().read(true).write(true).open("/dev/fuse");
    t.need(server.is_ok(), "/dev/fuse");
    let (server, silent) = (server.unwrap(), t.dir.join("silent"));
    fs::create_dir(&silent).unwrap();
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    mount(Some("silent"), &silent, Some("fuse"), MsFlags::empty(), Some(data.as_str())).unwrap();
    let (a, b) = (t.container("a"), t.container("b"));
    let (bundle_a, bundle_b, id_a, id_b) = (bundle(&a), bundle(&b), t.id("a"), t.id("b"));
    let mut shim = Shim::start(t, &bundle_b, &id_b);
    shim.create(&bundle_b, &id_b, Stdio3::default()).unwrap();
    let mut other = Shim::connect(t, &format!("unix://{}", shim.address.display()));
    let mut asked = other.create_request(&bundle_a, &id_a);
    asked.rootfs = vec![proto::Mount {
        kind: "bind".to_owned(),
        source: silent.join("root").display().to_string(),
        target: String::new(),
        options: vec!["rbind".to_owned()],
    }];
    let creation = other.send("containerd.task.v2.Task", "Create", &asked);
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        assert_eq!(shim.state(&id_b, "").unwrap().status, 1);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "others are held up");
    drop(server);
    assert!(other.receive::<proto::task::PidResponse>(creation).is_err());
    umount2(&silent, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(other.state(&id_a, "").unwrap_err().code, Code::NotFound as i32);
    shim.delete(&id_b, "").unwrap();
    drop(other);
    shim.shut_down();
}

#[case]
fn hooks_do_not_hold_up_others(t: &Sandbox) {
    let (a, b) = (t.container("a"), t.container("b"));
    b.args(&["sleep", "1000"]);
    a.args(&["sleep", "1000"]).set("/hooks/createRuntime", json!([{ "path": "/bin/sleep", "args": ["sleep", "1"] }]));
    let (bundle_a, bundle_b, id_a, id_b) = (bundle(&a), bundle(&b), t.id("a"), t.id("b"));
    let mut shim = Shim::start(t, &bundle_b, &id_b);
    shim.create(&bundle_b, &id_b, Stdio3::default()).unwrap();
    let mut other = Shim::connect(t, &format!("unix://{}", shim.address.display()));
    let begun = std::time::Instant::now();
    let asked = other.create_request(&bundle_a, &id_a);
    let creation = other.send("containerd.task.v2.Task", "Create", &asked);
    let start = other.send("containerd.task.v2.Task", "Start", &process(&id_a, ""));
    while begun.elapsed() < Duration::from_millis(500) {
        assert_eq!(shim.state(&id_b, "").unwrap().status, 1);
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "the hook holds others up");
    other.receive::<proto::task::PidResponse>(creation).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "the hook was not run");
    other.receive::<proto::task::PidResponse>(start).unwrap();
    assert_eq!(other.state(&id_a, "").unwrap().status, 2);
    other.end(&id_a);
    shim.delete(&id_b, "").unwrap();
    drop(other);
    shim.shut_down();
}

#[case]
fn the_root_file_system_is_mounted_and_unmounted(t: &Sandbox) {
    let c = t.container("a");
    c.sh("touch /made && ! touch /sub/made");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let elsewhere = t.dir.join("image");
    fs::rename(bundle.join("rootfs"), &elsewhere).unwrap();
    fs::create_dir(elsewhere.join("sub")).unwrap();
    let mut shim = Shim::start(t, &bundle, &id);
    let mount = |target: &str, options: &[&str]| Mount {
        kind: "bind".to_owned(),
        source: elsewhere.display().to_string(),
        target: target.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let mut asked = shim.create_request(&bundle, &id);
    asked.rootfs = vec![mount("", &["rbind", "rw"]), mount("/sub", &["rbind", "ro"])];
    shim.call::<Empty>("Create", &asked).unwrap();
    let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&bundle.display().to_string());
    assert!(mounted());
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 0);
    shim.delete(&id, "").unwrap();
    assert!(!mounted());
    assert!(elsewhere.join("made").symlink_metadata().is_ok());
    // When creation fails, nothing stays mounted.
    asked.rootfs.push(mount("/no/such/place", &["rbind"]));
    let error = shim.call::<Empty>("Create", &asked).unwrap_err();
    assert!(error.message.contains("/no/such/place"), "{}", error.message);
    assert!(!mounted());
    shim.shut_down();
}

/// uidmap and gidmap, which containerd gives to snapshots of containers with user namespaces.
#[case]
fn the_root_file_system_gets_other_owners(t: &Sandbox) {
    use std::os::unix::fs::MetadataExt;
    const MAPS: [&str; 2] = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];
    let c = t.container("a");
    c.args(&["true"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let layers = t.dir.join("layers");
    fs::create_dir(&layers).unwrap();
    fs::rename(bundle.join("rootfs"), layers.join("image")).unwrap();
    for name in ["below", "upper", "work"] {
        fs::create_dir(layers.join(name)).unwrap();
    }
    fs::write(layers.join("below/file"), "").unwrap();
    let (at, owned) =
        (layers.display(), |path: &str| fs::metadata(bundle.join(path)).map(|facts| (facts.uid(), facts.gid())));
    let overlay =
        [format!("lowerdir={at}/image:{at}/below"), format!("upperdir={at}/upper"), format!("workdir={at}/work")];
    let bind = ["rbind".to_owned(), "rw".to_owned()];
    let mut shim = Shim::start(t, &bundle, &id);
    for (kind, given, file) in [("bind", &bind[..], "rootfs/bin/busybox"), ("overlay", &overlay, "rootfs/file")] {
        let mut asked = shim.create_request(&bundle, &id);
        let source = if kind == "bind" { layers.join("image").display().to_string() } else { kind.to_owned() };
        let options = |maps: &[&str]| given.iter().cloned().chain(maps.iter().map(|map| (*map).to_owned())).collect();
        let mount = Mount { kind: kind.to_owned(), source, target: String::new(), options: options(&MAPS) };
        asked.rootfs = vec![Mount { options: options(&MAPS[..1]), ..mount.clone() }];
        let error = shim.call::<Empty>("Create", &asked).unwrap_err();
        assert!(error.message.contains("option uidmap needs gidmap"), "{}", error.message);
        asked.rootfs = vec![mount];
        if let Err(error) = shim.call::<Empty>("Create", &asked) {
            let reason = "the file system or the kernel does not support idmapped mounts";
            t.need(!error.message.contains(reason), reason);
            panic!("{}", error.message);
        }
        assert_eq!(owned(file).unwrap(), (100_000, 200_000), "{kind}");
        assert!(bundle.join("idmapped").symlink_metadata().is_err(), "the layers stay mounted");
        shim.start_task(&id, "").unwrap();
        assert_eq!(shim.wait(&id, ""), 0);
        shim.delete(&id, "").unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&bundle.display().to_string()), "{mounts}");
    }
    shim.shut_down();
}

#[case]
fn both_versions_and_both_ways_to_start(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["true"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    // Without the message of 2.3 the socket is in its usual place: a mount of the case's own hides the host's.
    fs::create_dir_all("/run/containerd").unwrap();
    let nothing = None::<&str>;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), "/run/containerd", Some("tmpfs"), flags, nothing).unwrap();
    let options = encode(&Any::of("containerd.runc.v1.Options", &RuncOptions::default()));
    for (version, starts_with) in [(None, "unix:///run/containerd/s/"), (Some("2"), "{")] {
        let environment: Vec<(&str, &str)> = version.map(|version| ("MAX_SHIM_VERSION", version)).into_iter().collect();
        let (ok, answer) = call_binary(&bundle, &id, "start", &options, &environment);
        let answer = String::from_utf8(answer).unwrap();
        assert!(ok && answer.starts_with(starts_with), "{answer}");
        let address = fs::read_to_string(bundle.join("address")).unwrap();
        assert!(answer.contains(&address));
        let mut shim = Shim::connect(t, &address);
        for service in ["containerd.task.v2.Task", "containerd.task.v3.Task"] {
            let stream = shim.send(service, "Connect", &process(&id, ""));
            assert!(shim.receive::<ConnectResponse>(stream).unwrap().shim_pid > 1);
        }
        shim.shut_down();
    }
    let mut wrong = params(t, &id);
    wrong.instance_id = "another".to_owned();
    wrong.log_level = -4;
    let (ok, answer) = call_binary(&bundle, &id, "start", &encode(&wrong), &[]);
    assert!(!ok && !answer.is_empty(), "a message for another container starts nothing");
}

#[case]
fn delete_cleans_up_after_a_killed_shim(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    let pid = shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    let own = shim.pid("");
    processes::kill_hard(own);
    wait_until("the shim's death", || {
        processes::reap();
        !processes::is_alive(own)
    });
    assert!(processes::is_alive(pid.cast_signed()), "a container outlives its shim");
    assert!(shim.address.symlink_metadata().is_ok());
    let (ok, answer) = call_binary(&bundle, &id, "delete", &[], &[]);
    assert!(ok, "{}", String::from_utf8_lossy(&answer));
    let response: proto::task::DeleteResponse = decode(&answer).unwrap();
    assert_eq!((response.pid, response.exit_status), (pid, 137));
    wait_until("the container's end", || {
        processes::reap();
        !processes::is_alive(pid.cast_signed())
    });
    assert!(shim.address.symlink_metadata().is_err(), "the socket is left");
    let (ok, _) = call_binary(&bundle, &id, "delete", &[], &[]);
    assert!(ok, "once more is no error");
}

#[case]
fn want_of_memory_is_told_before_the_end(t: &Sandbox) {
    let c = t.container("a");
    c.sh("tail /dev/zero").set("/linux/resources/memory", json!({ "limit": 16 << 20 }));
    t.need(
        t.controller("memory", "").is_some() || fs::metadata("/sys/fs/cgroup/memory").is_ok(),
        "no memory controller",
    );
    let events = Events::serve(&t.dir.join("events.sock"));
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 137);
    shim.delete(&id, "").unwrap();
    let topics = events.topics(5);
    assert_eq!(topics[2], "/tasks/oom", "{topics:?}");
    shim.shut_down();
}

#[case]
fn a_shared_pid_namespace_leaves_nobody(t: &Sandbox) {
    let c = t.container("a");
    c.sh("sleep 1000 & sleep 1000 & exit 3").share("pid");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 3);
    let own = shim.pid("");
    // The orphans come to the shim, which kills them, and reaps them.
    wait_until("the orphans' end", || processes::descendants(own).is_empty());
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

/// Work that hangs, here a hook, has no zombies pile up, and loses nothing of its own.
#[case]
fn orphans_are_reaped_while_a_hook_hangs(t: &Sandbox) {
    let (a, b) = (t.container("a"), t.container("b"));
    let (ready, go) = (t.dir.join("ready"), t.dir.join("go"));
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let hook = format!(": >{}; read -r _ <{}", ready.display(), go.display());
    a.args(&["sleep", "1000"]).set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", hook] }]));
    b.args(&["sleep", "1000"]).share("pid");
    let (bundle_a, bundle_b, id_a, id_b) = (bundle(&a), bundle(&b), t.id("a"), t.id("b"));
    let mut shim = Shim::start(t, &bundle_b, &id_b);
    shim.create(&bundle_b, &id_b, Stdio3::default()).unwrap();
    shim.start_task(&id_b, "").unwrap();
    let mut other = Shim::connect(t, &format!("unix://{}", shim.address.display()));
    let asked = other.create_request(&bundle_a, &id_a);
    let creation = other.send("containerd.task.v2.Task", "Create", &asked);
    wait_until("the hook", || fs::symlink_metadata(&ready).is_ok());
    shim.exec(&id_b, "e", &["sh", "-c", "sleep 0.3 & exit 5"], Stdio3::default()).unwrap();
    shim.start_task(&id_b, "e").unwrap();
    assert_eq!(shim.wait(&id_b, "e"), 5);
    let own = shim.pid("");
    let is_orphan = |one: &processes::Process| one.state == 'Z' || one.command.contains("0.3");
    wait_until("the orphan's end", || !processes::descendants(own).iter().any(is_orphan));
    fs::write(&go, "\n").unwrap();
    other.receive::<proto::task::PidResponse>(creation).unwrap();
    shim.end(&id_a);
    shim.end(&id_b);
    drop(other);
    shim.shut_down();
}

/// What ends before its start is told, here since a hook takes its time, is told of in that order.
#[case]
fn an_end_during_a_hook_is_told_after_the_start(t: &Sandbox) {
    let events = Events::serve(&t.dir.join("events.sock"));
    let c = t.container("a");
    c.sh("exit 3").set("/hooks/poststart", json!([{ "path": "/bin/sleep", "args": ["sleep", "0.3"] }]));
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    assert_eq!(shim.wait(&id, ""), 3);
    assert_eq!(events.topics(3), ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    shim.delete(&id, "").unwrap();
    shim.shut_down();
}

/// The processor time of a process, in ticks of 10 ms.
fn processes_cpu(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
