//! What others may do with a shim: its socket, its limits, and what a container sees of it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use orlop_integration::{Sandbox, case};

use crate::client::{Fifo, Shim, Stdio3, bundle, call_binary, params, process, wait_until};
use crate::memory::Memory;
use crate::processes_cpu;
use crate::proto::bootstrap::BootstrapResult;
use crate::proto::task::{CheckpointTaskRequest, StateResponse};
use crate::proto::{Empty, decode, encode};
use crate::ttrpc::{Code, Decoder, Incoming, Request, request};

/// More than the shim serves.
const CONNECTIONS: usize = 1100;
const NOBODY: u32 = 65534;

/// A shim with one container that sleeps.
fn sleeping(t: &Sandbox) -> (Shim, String) {
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    (shim, id)
}

/// Connects as another user.
#[allow(unsafe_code, reason = "the standard library changes the user of a whole process only")]
fn connect_as(user: u32, path: &Path) -> std::io::Result<UnixStream> {
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            // SAFETY: takes numbers. It changes this thread alone, which ends with the connection made.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
            assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
            UnixStream::connect(path)
        });
        connecting.join().unwrap()
    })
}

/// Changes how many files another process may have open.
#[allow(unsafe_code, reason = "prlimit(2) has no safe wrapper")]
fn limit_open_files(pid: i32, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: reads one limit, which lives as long as the call, and writes none.
    let changed = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
}

/// Whether the other side has closed, without having answered.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[case]
fn other_users_do_not_reach_the_socket(t: &Sandbox) {
    let (mut shim, id) = sleeping(t);
    let path = shim.address.clone();
    let dir = path.parent().unwrap();
    assert_eq!((mode(dir), mode(&path)), (0o700, 0o600));
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(sockets.lines().any(|line| line.ends_with(path.to_str().unwrap())), "it has a path, and no abstract name");
    assert_eq!(connect_as(NOBODY, &path).unwrap_err().kind(), ErrorKind::PermissionDenied);
    // With the modes out of the way, it is the shim that refuses.
    for (path, mode) in [(&*path, 0o666), (dir, 0o755), (&*t.dir, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    match connect_as(NOBODY, &path) {
        Ok(mut stream) => assert!(is_closed(&mut stream), "another user is answered"),
        Err(error) => t.skip(&format!("the directory of the case cannot be reached by another user: {error}")),
    }
    assert_eq!(shim.state(&id, "").unwrap().status, 2);
    shim.end(&id);
    shim.shut_down();
}

#[case]
fn connections_are_limited(t: &Sandbox) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    t.need(hard >= 2 * CONNECTIONS as u64, "the limit of open files is too low for so many connections");
    let (mut shim, id) = sleeping(t);
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let pid = shim.pid("");
    let before = Memory::of(pid).private;
    let mut streams: Vec<UnixStream> = (0..CONNECTIONS).map(|_| UnixStream::connect(&shim.address).unwrap()).collect();
    assert!(is_closed(streams.last_mut().unwrap()), "there is no end of connections");
    assert_eq!(shim.state(&id, "").unwrap().status, 2, "who came before is served");
    let held = Memory::of(pid).private - before;
    assert!(held < 2048, "{CONNECTIONS} connections cost {held} KiB");
    drop(streams);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    // There is room again once the shim has seen that they are gone.
    wait_until("their end", || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() < 100);
    let mut another = Shim::connect(t, &format!("unix://{}", shim.address.display()));
    another.end(&id);
    drop(another);
    shim.shut_down();
}

#[case]
fn without_descriptors_it_waits_for_some(t: &Sandbox) {
    let (mut shim, id) = sleeping(t);
    let pid = shim.pid("");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // A new descriptor gets the lowest number that is free.
    let dir = format!("/proc/{pid}/fd");
    let free = (0..).find(|number| fs::symlink_metadata(format!("{dir}/{number}")).is_err()).unwrap();
    limit_open_files(pid, free, hard);
    let mut late = UnixStream::connect(&shim.address).unwrap();
    let before = processes_cpu(pid);
    for _ in 0..25 {
        assert_eq!(shim.state(&id, "").unwrap().status, 2, "who is connected is served");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(processes_cpu(pid) - before < 10, "it is busy with a connection that it cannot take");
    limit_open_files(pid, hard, hard);
    let call = Request {
        service: "containerd.task.v3.Task".to_owned(),
        method: "State".to_owned(),
        payload: encode(&process(&id, "")),
        timeout_nano: 0,
    };
    late.write_all(&request(1, &call)).unwrap();
    late.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(late.read(&mut [0]).unwrap() > 0, "the connection is taken when there is room for it");
    drop(late);
    shim.end(&id);
    shim.shut_down();
}

/// A shim allows itself as many open files as it may have; its containers get what it was given.
#[case]
fn containers_have_the_limits_that_the_shim_was_given(t: &Sandbox) {
    const GIVEN: u64 = 300;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    t.need(hard > GIVEN, "the limit of open files cannot be raised");
    let c = t.container("a");
    c.remove("/process/rlimits").sh("ulimit -Sn; ulimit -Hn; sleep 1000");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let (mut out, mut of_exec) = (Fifo::output(t, "out"), Fifo::output(t, "exec"));
    setrlimit(Resource::RLIMIT_NOFILE, GIVEN, hard).unwrap();
    let mut shim = Shim::start(t, &bundle, &id);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", shim.pid(""))).unwrap();
    let own: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(own[3..5], [hard.to_string(), hard.to_string()]);
    shim.create(&bundle, &id, Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "").unwrap();
    let expected = format!("{GIVEN}\n{hard}\n");
    assert_eq!(String::from_utf8(out.read_until(|all| all.len() >= expected.len())).unwrap(), expected);
    let command = ["sh", "-c", "ulimit -Sn; ulimit -Hn"];
    shim.exec(&id, "e", &command, Stdio3 { stdout: Some(&of_exec), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "e").unwrap();
    assert_eq!(shim.wait(&id, "e"), 0);
    assert_eq!(String::from_utf8(of_exec.read_all()).unwrap(), expected);
    shim.end(&id);
    shim.shut_down();
}

/// So do the programs that it starts for itself: the one that takes its events, and CRIU.
#[case]
fn programs_have_the_limit_of_open_files_that_the_shim_was_started_with(t: &Sandbox) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let programs = t.dir.join("programs");
    fs::create_dir(&programs).unwrap();
    let told = |name: &str| programs.join(format!("{name}.limit"));
    for name in ["criu", "containerd"] {
        let script = format!("#!/bin/sh\ncat >/dev/null\nulimit -Sn >{}\n", told(name).display());
        fs::write(programs.join(name), script).unwrap();
        fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let c = t.container("a");
    c.args(&["sleep", "1000"]);
    let (bundle, id) = (bundle(&c), t.id("a"));
    let mut asked = params(t, &id);
    asked.containerd_binary = programs.join("containerd").display().to_string();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    setrlimit(Resource::RLIMIT_NOFILE, 321, hard).unwrap();
    let (ok, answer) = call_binary(&bundle, &id, "start", &encode(&asked), &[("PATH", &path)]);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(ok, "{}", String::from_utf8_lossy(&answer));
    let mut shim = Shim::connect(t, &decode::<BootstrapResult>(&answer).unwrap().address);
    shim.create(&bundle, &id, Stdio3::default()).unwrap();
    shim.start_task(&id, "").unwrap();
    let images = t.dir.join("images").display().to_string();
    let checkpoint = CheckpointTaskRequest { id: id.clone(), path: images, options: None };
    // The script is no CRIU.
    shim.call::<Empty>("Checkpoint", &checkpoint).unwrap_err();
    for name in ["criu", "containerd"] {
        assert_eq!(fs::read_to_string(told(name)).unwrap(), "321\n", "{name}");
    }
    shim.end(&id);
    shim.shut_down();
}

#[case]
fn a_container_gets_no_descriptor_of_the_shim(t: &Sandbox) {
    let c = t.container("a");
    c.sh("for fd in /proc/self/fd/*; do echo ${fd##*/}; done; sleep 1000");
    let (bundle, id) = (bundle(&c), t.id("a"));
    let (mut out, mut of_exec) = (Fifo::output(t, "out"), Fifo::output(t, "exec"));
    let mut shim = Shim::start(t, &bundle, &id);
    shim.create(&bundle, &id, Stdio3 { stdout: Some(&out), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "").unwrap();
    // The shell reads the directory by the next one.
    let expected = "0\n1\n2\n3\n";
    assert_eq!(String::from_utf8(out.read_until(|all| all.len() >= expected.len())).unwrap(), expected);
    let command = ["sh", "-c", "for fd in /proc/self/fd/*; do echo ${fd##*/}; done"];
    shim.exec(&id, "e", &command, Stdio3 { stdout: Some(&of_exec), ..Stdio3::default() }).unwrap();
    shim.start_task(&id, "e").unwrap();
    assert_eq!(shim.wait(&id, "e"), 0);
    assert_eq!(String::from_utf8(of_exec.read_all()).unwrap(), expected);
    shim.end(&id);
    shim.shut_down();
}

/// The answer that comes next on a connection.
fn answer(stream: &mut UnixStream) -> Incoming {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut decoder, mut bytes) = (Decoder::default(), [0; 4096]);
    loop {
        if let Some(incoming) = decoder.next() {
            return incoming;
        }
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the connection is closed");
        decoder.feed(&bytes[..count]);
    }
}

#[case]
fn a_message_that_is_too_large_costs_no_memory(t: &Sandbox) {
    const LENGTH: u32 = 64 << 20;
    let (mut shim, id) = sleeping(t);
    let pid = shim.pid("");
    let before = Memory::of(pid).private;
    let mut stream = UnixStream::connect(&shim.address).unwrap();
    let header = [&LENGTH.to_be_bytes()[..], &1u32.to_be_bytes(), &[1, 0]].concat();
    stream.write_all(&header).unwrap();
    let Incoming::Response { response, .. } = answer(&mut stream) else { panic!("no answer") };
    let status = response.status.unwrap();
    assert_eq!(status.code, Code::ResourceExhausted as i32, "{}", status.message);
    for _ in 0..LENGTH >> 16 {
        stream.write_all(&[7; 1 << 16]).unwrap();
    }
    let held = Memory::of(pid).private;
    assert!(held < before + 256, "from {before} to {held} KiB");
    // What comes after it is served.
    let call = Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: "State".to_owned(),
        payload: encode(&process(&id, "")),
        timeout_nano: 0,
    };
    stream.write_all(&request(3, &call)).unwrap();
    let Incoming::Response { stream: 3, response } = answer(&mut stream) else { panic!("no answer") };
    assert_eq!(crate::proto::decode::<StateResponse>(&response.payload).unwrap().id, id);
    drop(stream);
    shim.end(&id);
    shim.shut_down();
}

/// A client that asks and asks, and reads no answers, is not heard after a while.
#[case]
fn a_client_that_reads_no_answers_costs_little(t: &Sandbox) {
    const ASKED: usize = 64 << 20;
    let (mut shim, id) = sleeping(t);
    let pid = shim.pid("");
    let before = Memory::of(pid).private;
    let mut stream = UnixStream::connect(&shim.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let call = Request {
        service: "containerd.task.v3.Task".to_owned(),
        method: "State".to_owned(),
        payload: encode(&process(&id, "")),
        timeout_nano: 0,
    };
    let call = request(1, &call);
    let (mut asked, mut refused) = (0, 0);
    while asked < ASKED && refused < 50 {
        match stream.write(&call) {
            Ok(count) => (asked, refused) = (asked + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(asked < ASKED, "it is heard for ever");
    let held = Memory::of(pid).private;
    assert!(held < before + 1024, "from {before} to {held} KiB");
    assert_eq!(shim.state(&id, "").unwrap().status, 2, "others are served");
    drop(stream);
    shim.end(&id);
    shim.shut_down();
}

#[case]
fn a_message_that_is_none_is_refused(t: &Sandbox) {
    let (mut shim, id) = sleeping(t);
    for method in ["Create", "Kill", "Update", "Wait", "Checkpoint"] {
        let mut stream = UnixStream::connect(&shim.address).unwrap();
        let call = Request {
            service: "containerd.task.v3.Task".to_owned(),
            method: method.to_owned(),
            // A field whose length goes beyond the end.
            payload: vec![0x0a, 0xff, 0x01],
            timeout_nano: 0,
        };
        stream.write_all(&request(1, &call)).unwrap();
        let Incoming::Response { response, .. } = answer(&mut stream) else { panic!("no answer") };
        let status = response.status.unwrap();
        assert_eq!(status.code, Code::InvalidArgument as i32, "{method}: {}", status.message);
    }
    let stream = shim.send("containerd.task.v3.Task", "State", &process(&id, ""));
    assert!(shim.receive::<Empty>(stream).is_ok());
    shim.end(&id);
    shim.shut_down();
}
