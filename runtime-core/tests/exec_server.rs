//! The exec server: its commands are what `exec` makes of them, nobody in the container sees it, and it ends when it should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking, and looks at the file system as a user would"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Signals;

use orlop::{
    Capability, ContainerId, ExecOptions, ExecProcess, ExecServer, Exit, Kind, Runtime, Signal, SubCgroup, Terminal,
    User,
};
use orlop_integration::labels::{LABEL, OTHER, Profile, needs_selinux};
use orlop_integration::neighbour::{Allowed, DOCKERS, PLAIN, Set, TRACER, Who, give, judge, neighbour, wait_ready};
use orlop_integration::{Container, Sandbox, case, process};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// The container of the harness as the library has it.
fn of(c: &Container<'_>) -> orlop::Container {
    orlop::Container::new(Runtime::new(&c.sandbox.root), ContainerId::new(&c.id).unwrap())
}

/// A container as it is by default, and its server.
fn served(t: &Sandbox) -> (Container<'_>, ExecServer) {
    let c = t.container("a");
    let server = serve(&c);
    (c, server)
}

/// Has a container's command wait, and starts its server.
fn serve(c: &Container<'_>) -> ExecServer {
    c.run_paused();
    of(c).exec_server().unwrap()
}

fn words(words: &[&str]) -> ExecOptions {
    ExecOptions::new(ExecProcess::Args(words.iter().map(|&word| word.to_owned()).collect()))
}

/// What a command printed, and how it ended.
fn run(server: &ExecServer, options: ExecOptions) -> orlop::Result<(String, Exit)> {
    let (mut output, stdout) = std::io::pipe().unwrap();
    let streams = [File::open("/dev/null").unwrap().into(), stdout.try_clone().unwrap().into(), stdout.into()];
    let process = server.exec(options.stdio(streams))?;
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    Ok((text, process.wait()?))
}

fn facts(server: &ExecServer) -> Value {
    let (text, exit) = run(server, words(&["/probe", "facts"])).unwrap();
    assert_eq!(exit, Exit::Code(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The processes of the container besides its first one.
fn others(c: &Container<'_>) -> Vec<i32> {
    let first = c.pid();
    of(c).ps().unwrap().iter().map(|pid| pid.get()).filter(|pid| *pid != first).collect()
}

/// The only other process of the container: its server.
fn server_of(c: &Container<'_>) -> i32 {
    let [pid] = others(c)[..] else { panic!("{:?}", others(c)) };
    pid
}

/// A kind of server, by what makes a container have it.
struct Of {
    name: &'static str,
    change: fn(&Container<'_>),
}

/// It has taken on the identity of the container's process, and its commands are forked once.
const OF_OWN: Of = Of { name: "own", change: |_| {} };
/// Its commands take on their identities themselves, and are forked twice.
const OF_ALL: Of = Of {
    name: "all",
    change: |c| {
        c.set("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 3600, "hard": 3600}]));
    },
};

fn same_as_exec(t: &Sandbox, name: &str, change: impl Fn(&Container<'_>)) {
    let c = t.container(name);
    change(&c);
    let server = serve(&c);
    let (expected, found) = (c.exec_facts(&[]), facts(&server));
    let keys = |facts: &Value| facts.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(&expected));
    for key in keys(&found) {
        // Numbers and keyrings are each process's own; the streams are different files.
        if !["pid", "ppid", "sid", "pgid", "fds", "session_keyring", "boottime"].contains(&key.as_str()) {
            assert_eq!(found[&key], expected[&key], "{name}: {key}");
        }
    }
    assert_ne!(found["session_keyring"], expected["session_keyring"], "{name}");
    assert_ne!(found["session_keyring"], facts(&server)["session_keyring"], "{name}");
    drop(server);
    c.end();
}

#[case(needs(Host))]
fn commands_are_what_exec_makes_of_them(t: &Sandbox) {
    same_as_exec(t, "plain", |_| {});
    same_as_exec(t, "user", |c| {
        c.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63}));
        c.set("/process/noNewPrivileges", json!(true)).set("/process/cwd", json!("/tmp"));
        c.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]));
        c.set("/process/oomScoreAdj", json!(300)).set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE"}));
        c.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}));
    });
    same_as_exec(t, "own", |c| {
        c.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63}));
        c.set("/process/noNewPrivileges", json!(true)).set("/process/cwd", json!("/tmp"));
        c.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]));
        c.set("/process/oomScoreAdj", json!(300)).set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE"}));
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
        c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    });
    same_as_exec(t, "hosts-pids", |c| {
        c.share("pid");
    });
    same_as_exec(t, "cgroupns", |c| {
        c.namespace("cgroup");
    });
    same_as_exec(t, "filter", |c| {
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
        c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    });
}

#[case(needs(Host))]
fn commands_are_what_exec_makes_of_them_in_a_user_namespace(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    same_as_exec(t, "mapped", |c| {
        c.map_users(100_000, 65_536).give_rootfs_to(100_000);
    });
}

#[case(needs(Host))]
fn output_status_and_signals(t: &Sandbox) {
    let (c, server) = served(t);
    assert_eq!(run(&server, words(&["sh", "-c", "echo out; exit 7"])).unwrap(), ("out\n".into(), Exit::Code(7)));
    let (_, exit) = run(&server, words(&["sh", "-c", "kill -KILL $$"])).unwrap();
    assert_eq!(exit, Exit::Signal(9));
    let options =
        words(&["sh", "-c", "echo $A $HOME; pwd; id -u"]).cwd("/tmp".to_owned()).user(User { uid: 12, gid: None });
    let options = options.env(vec![("A".to_owned(), "b".to_owned())]);
    assert_eq!(run(&server, options).unwrap().0, "b /\n/tmp\n12\n");
    // A process that lasts is the caller's child, and has its pid and pidfd told to whom the options name.
    let pid_file = t.dir.join("pid");
    let process = server.exec(words(&["/probe", "pause"]).pid_file(pid_file.clone())).unwrap();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), process.id().to_string());
    process.kill(Signal::KILL).unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Signal(9));
    drop(server);
    c.end();
}

#[case]
fn errors_are_those_of_exec(t: &Sandbox) {
    let (c, server) = served(t);
    for command in ["/no/such/command", "no-such-command", "/etc/passwd", "/tmp"] {
        let (theirs, ours) = (of(&c).exec(words(&[command])).unwrap_err(), server.exec(words(&[command])).unwrap_err());
        assert_eq!((theirs.to_string(), theirs.kind()), (ours.to_string(), ours.kind()), "{command}");
    }
    let ours = server.exec(words(&["true"]).cwd("/no/such/directory".to_owned())).unwrap_err();
    let theirs = of(&c).exec(words(&["true"]).cwd("/no/such/directory".to_owned())).unwrap_err();
    assert_eq!(theirs.to_string(), ours.to_string());
    run(&server, words(&["true"])).unwrap();
    drop(server);
    c.end();
}

#[case]
fn what_it_cannot_do_is_refused_by_name(t: &Sandbox) {
    let (c, server) = served(t);
    let process = |more: Value| {
        let mut process = json!({"args": ["true"], "cwd": "/"});
        process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ExecOptions::new(ExecProcess::Json(process.to_string().into_bytes()))
    };
    let sub = SubCgroup { controllers: Vec::new(), path: "sub".into() };
    for (options, name) in [
        (words(&["true"]).tty(true), "a terminal"),
        (words(&["true"]).terminal(Terminal::Socket("/s".into())), "a terminal"),
        (words(&["true"]).sub_cgroups(vec![sub]), "a sub-cgroup"),
        (words(&["true"]).preserve_fds(1u32), "descriptors besides"),
        (words(&["true"]).ignore_paused(true), "paused container"),
        (words(&["true"]).apparmor("other".to_owned()), "AppArmor profile"),
        (words(&["true"]).process_label("a:b:c:s0".to_owned()), "SELinux label"),
        (words(&["true"]).capabilities(vec!["CAP_SYS_BOOT".parse::<Capability>().unwrap()]), "bounding set"),
        (process(json!({"oomScoreAdj": 77})), "oomScoreAdj"),
        (process(json!({"execCPUAffinity": {"initial": "0"}})), "initial CPU affinity"),
    ] {
        let error = server.exec(options).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    run(&server, words(&["true"])).unwrap();
    drop(server);
    c.end();
}

#[case(needs(Host))]
fn nobody_in_the_container_sees_it(t: &Sandbox) {
    let (c, server) = served(t);
    let (text, _) = run(&server, words(&["sh", "-c", "cd /proc; echo [0-9]*"])).unwrap();
    let pids: Vec<&str> = text.split_whitespace().collect();
    assert_eq!((pids[0], pids.len()), ("1", 2), "{text}");
    // It counts as a process of the container, nevertheless.
    let held = fs::read_dir(format!("/proc/{}/fdinfo", server_of(&c))).unwrap().map(|one| one.unwrap().path());
    let held: Vec<String> = held.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(held.len(), 6, "standard streams, the socket, the container's init, the signal of the runtime's end");
    // What it forks into the pid namespace has them for a moment: nothing there leads out.
    let named: Vec<&str> =
        held.iter().filter_map(|info| info.lines().find_map(|line| line.strip_prefix("Pid:"))).collect();
    assert_eq!(named.iter().map(|pid| pid.trim()).collect::<Vec<_>>(), [c.pid().to_string()]);
    drop(server);
    assert_eq!(others(&c), [] as [i32; 0]);
    c.end();
}

fn waits_for_its_end(pid: i32) {
    let end = Instant::now() + Duration::from_secs(10);
    while process::is_alive(pid) {
        assert!(Instant::now() < end, "{pid} has not ended");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[case]
fn it_ends_with_the_container(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    c.kill("KILL").ok();
    waits_for_its_end(pid);
    let error = server.exec(words(&["true"])).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongStatus, "{error}");
    c.delete().ok();
    let error = server.exec(words(&["true"])).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongStatus, "{error}");
}

#[case]
fn a_container_is_deleted_with_its_server(t: &Sandbox) {
    let (c, server) = served(t);
    let sleeper = server.exec(words(&["/probe", "pause"])).unwrap();
    c.delete_force().ok();
    assert!(!process::is_alive(sleeper.id().get()));
    drop(server);
}

#[case]
fn one_that_was_killed_is_an_error(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    process::kill_hard(pid);
    for _ in 0..2 {
        let error = server.exec(words(&["true"])).unwrap_err();
        assert!(error.to_string().contains("the exec server has ended"), "{error}");
    }
    drop(server);
    c.end();
}

#[case(needs(ControlGroups))]
fn without_room_for_a_process_it_says_so_and_goes_on(t: &Sandbox) {
    for (of, at_once) in [(OF_OWN, 1), (OF_ALL, 2)] {
        let c = t.container(of.name);
        (of.change)(&c);
        // The first process, the server, and a command, which takes one or two for a moment.
        c.set("/linux/resources/pids", json!({"limit": 2 + at_once}));
        let server = serve(&c);
        let again = |what: &str| {
            let error = server.exec(words(&["true"])).unwrap_err();
            assert_eq!(error.errno(), Some(nix::libc::EAGAIN), "{}, {what}: {error}", of.name);
        };
        let limit = |limit: &str| c.simple("update", &["--pids-limit", limit], &[]).ok();
        let first = server.exec(words(&["/probe", "pause"])).unwrap();
        again("the last of a command's");
        limit("3");
        again("the first of a command's");
        first.kill(Signal::KILL).unwrap();
        first.wait().unwrap();
        limit(&(2 + at_once).to_string());
        run(&server, words(&["true"])).unwrap();
        drop(server);
        c.end();
    }
}

#[case(needs(ControlGroups))]
fn a_paused_container_is_refused(t: &Sandbox) {
    let (c, server) = served(t);
    c.simple("pause", &[], &[]).ok();
    let error = server.exec(words(&["true"])).unwrap_err();
    assert!(error.to_string().contains("paused"), "{error}");
    c.simple("resume", &[], &[]).ok();
    run(&server, words(&["true"])).unwrap();
    // Frozen, it cannot end by itself, and its owner does not hang.
    c.simple("pause", &[], &[]).ok();
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    c.simple("resume", &[], &[]).ok();
    process::reap_orphans();
    c.end();
}

#[case]
fn several_threads_start_commands(t: &Sandbox) {
    let (c, server) = served(t);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for round in 0..25 {
                    let script = format!("echo {thread} {round}; exit {round}");
                    let (text, exit) = run(server, words(&["sh", "-c", &script])).unwrap();
                    assert_eq!((text, exit), (format!("{thread} {round}\n"), Exit::Code(round)));
                }
            });
        }
    });
    drop(server);
    c.end();
}

#[case(needs(Host))]
fn it_holds_nothing_of_what_has_passed(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    let held = |pid: &str| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mapped = || fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count();
    run(&server, words(&["true"])).unwrap();
    let before = (held("self"), held(&pid.to_string()), mapped());
    for round in 0..100 {
        match round % 3 {
            0 => drop(run(&server, words(&["true"])).unwrap()),
            1 => drop(server.exec(words(&["/no/such/command"])).unwrap_err()),
            _ => assert!(!run(&server, words(&["sh", "-c", "kill -9 $$"])).unwrap().1.eq(&Exit::Code(0))),
        }
    }
    assert_eq!((held("self"), held(&pid.to_string()), mapped()), before);
    let children: BTreeSet<i32> = process::descendants(i32::try_from(std::process::id()).unwrap())
        .iter()
        .filter(|one| one.parent == i32::try_from(std::process::id()).unwrap())
        .map(|one| one.pid)
        .collect();
    assert!(children.len() <= 2 && children.contains(&pid), "{children:?}");
    drop(server);
    c.end();
}

#[case]
fn a_call_that_is_cancelled_leaves_nothing(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    // A server that does not answer.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).unwrap();
    let (gone, sender) = std::io::pipe().unwrap();
    drop(sender);
    assert!(gone.as_fd().as_raw_fd() > 2);
    let error = server.exec(words(&["/probe", "pause"]).cancel(std::os::fd::OwnedFd::from(gone))).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled, "{error}");
    assert_eq!(others(&c), [] as [i32; 0]);
    drop(server);
    c.end();
}

/// An owner that has forked, and whose child holds all its descriptors, is killed.
#[case]
fn it_ends_with_its_owner_whoever_has_its_socket(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let told = t.dir.join("child");
    let owner = process::fork_to(|| {
        let server = of(&c).exec_server().unwrap();
        let child = process::fork_to(|| {
            // Nor does the server heed, or end for, a process that is not its owner.
            for uid in [0, 12] {
                let error = server.exec(words(&["true"]).user(User { uid, gid: None })).unwrap_err();
                assert_eq!(error.kind(), Kind::Unsupported, "{error}");
            }
            File::create(t.dir.join("refused")).unwrap();
            std::thread::sleep(Duration::from_secs(600));
        });
        run(&server, words(&["true"])).unwrap();
        fs::write(t.dir.join("written"), child.to_string()).unwrap();
        fs::rename(t.dir.join("written"), &told).unwrap();
        std::thread::sleep(Duration::from_secs(600));
    });
    t.wait_until("the child of the owner", || told.exists() && t.dir.join("refused").exists());
    let child: i32 = fs::read_to_string(&told).unwrap().parse().unwrap();
    let server = server_of(&c);
    process::kill_hard(owner);
    waits_for_its_end(server);
    assert!(process::is_alive(child), "it has the server's socket still");
    process::kill_hard(child);
    process::reap_orphans();
    c.end();
}

/// The thread that has started it is its parent only as long as there is that thread.
#[case]
fn it_outlives_the_thread_that_has_started_it(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let container = of(&c);
    let server = std::thread::spawn(move || container.exec_server().unwrap()).join().unwrap();
    for _ in 0..3 {
        assert_eq!(run(&server, words(&["echo", "there"])).unwrap().0, "there\n");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(server);
    c.end();
}

/// A copy of the server's handle in a forked process ends nothing.
#[case]
fn a_forked_process_that_ends_leaves_the_server_alone(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    let mut server = Some(server);
    let child = process::fork_to(|| drop(server.take()));
    waits_for_its_end(child);
    process::reap_orphans();
    assert!(process::is_alive(pid));
    run(server.as_ref().unwrap(), words(&["true"])).unwrap();
    drop(server);
    c.end();
}

/// The processes of a container that are on the way to their command.
fn on_the_way(c: &Container<'_>, server: i32) -> Option<i32> {
    let inits = others(c).into_iter().filter(|pid| *pid != server);
    inits.into_iter().find(|pid| process::read(*pid).is_some_and(|one| one.command == "orlop:init"))
}

/// Stops a process on its way to its command, so that no more of them are counted; whether it did in a minute.
fn stop_one(c: &Container<'_>, server: i32, started: &AtomicU64) -> bool {
    let send = |pid: i32, signal: Signals| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let Some(found) = on_the_way(c, server).filter(|found| send(*found, Signals::SIGSTOP)) else { continue };
        std::thread::sleep(Duration::from_millis(20));
        let before = started.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        if on_the_way(c, server) == Some(found) && before == started.load(Ordering::Relaxed) {
            return true;
        }
        // It had become its command by then, or was gone.
        send(found, Signals::SIGCONT);
    }
    false
}

/// Whoever has asked for a command that is held on its way, and has ended meanwhile, gets none.
#[case(seconds(120))]
fn what_one_that_is_gone_has_asked_for_is_not_executed(t: &Sandbox) {
    asked_for_by_one_that_is_gone(t, &OF_OWN);
}

#[case(seconds(120))]
fn what_one_that_is_gone_has_asked_a_server_of_all_for_is_not_executed(t: &Sandbox) {
    asked_for_by_one_that_is_gone(t, &OF_ALL);
}

fn asked_for_by_one_that_is_gone(t: &Sandbox, kind: &Of) {
    let c = t.container("a");
    (kind.change)(&c);
    c.run_paused();
    let log = c.rootfs().join("tmp/log");
    fs::write(&log, "").unwrap();
    let owner = process::fork_to(|| {
        let server = of(&c).exec_server().unwrap();
        fs::write(t.dir.join("server"), server_of(&c).to_string()).unwrap();
        fs::rename(t.dir.join("server"), t.dir.join("told")).unwrap();
        loop {
            run(&server, words(&["sh", "-c", "echo >> /tmp/log"])).unwrap();
        }
    });
    t.wait_until("the server", || t.dir.join("told").exists());
    let server: i32 = fs::read_to_string(t.dir.join("told")).unwrap().parse().unwrap();
    let send = |pid: i32, signal: Signals| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok();
    let length = || fs::metadata(&log).unwrap().len();
    let end = Instant::now() + Duration::from_secs(60);
    let held = loop {
        assert!(Instant::now() < end, "no command was stopped on its way");
        let Some(found) = on_the_way(&c, server).filter(|found| send(*found, Signals::SIGSTOP)) else { continue };
        std::thread::sleep(Duration::from_millis(20));
        let before = length();
        std::thread::sleep(Duration::from_millis(50));
        // It has more than its streams and its socket still, and so is not yet past its last look at who has asked for it.
        let has_more = fs::read_dir(format!("/proc/{found}/fd")).is_ok_and(|all| all.count() > 4);
        if on_the_way(&c, server) == Some(found) && before == length() && has_more {
            break found;
        }
        send(found, Signals::SIGCONT);
    };
    process::kill_hard(owner);
    waits_for_its_end(server);
    let before = length();
    assert!(send(held, Signals::SIGCONT));
    t.wait_until("the end of what was held", || others(&c).is_empty());
    assert_eq!(length(), before, "it was executed for nobody");
    process::reap_orphans();
    c.end();
}

/// What stops a command before it is one stops that caller alone, and only until it wants no more.
#[case(seconds(120))]
fn a_command_that_is_stopped_on_its_way_holds_up_nobody_else(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    let (cancel, sender) = std::io::pipe().unwrap();
    let started = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            loop {
                let cancel = std::os::fd::OwnedFd::from(cancel.try_clone().unwrap());
                match server.exec(words(&["true"]).cancel(cancel)) {
                    Ok(process) => drop(process.wait().unwrap()),
                    Err(error) => return error,
                }
                started.fetch_add(1, Ordering::Relaxed);
            }
        });
        let caught = stop_one(&c, pid, &started);
        for _ in 0..if caught { 20 } else { 0 } {
            let begun = Instant::now();
            run(&server, words(&["true"])).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
        let begun = Instant::now();
        drop(sender);
        let error = stuck.join().unwrap();
        assert!(caught, "no command was stopped on its way: {error}");
        assert_eq!(error.kind(), Kind::Cancelled, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
    assert_eq!(others(&c), [pid], "nothing is left of what was cancelled");
    run(&server, words(&["true"])).unwrap();
    drop(server);
    c.end();
}

/// A cancelled call for which the server needs a moment leaves the server to other commands.
#[case]
fn a_call_that_is_cancelled_leaves_the_server(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    for _ in 0..100 {
        let (gone, sender) = std::io::pipe().unwrap();
        drop(sender);
        match server.exec(words(&["/probe", "exit", "0"]).cancel(std::os::fd::OwnedFd::from(gone))) {
            Ok(process) => drop(process.wait().unwrap()),
            Err(error) => assert_eq!(error.kind(), Kind::Cancelled, "{error}"),
        }
    }
    assert_eq!(others(&c), [pid]);
    run(&server, words(&["true"])).unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let zombies = process::descendants(own).into_iter().filter(|one| one.parent == own && one.state == 'Z');
    assert_eq!(zombies.map(|one| one.pid).collect::<Vec<_>>(), [] as [i32; 0], "all is reaped");
    drop(server);
    c.end();
}

/// The container's root kills all that it can see, all the time.
#[case(seconds(300))]
fn a_container_that_kills_whatever_comes_hangs_nobody(t: &Sandbox) {
    let c = t.container("a");
    c.sh("trap '' TERM; : > /tmp/ready; while :; do kill -KILL -1; done");
    c.run_detached().ok();
    t.wait_until("the killer", || c.rootfs().join("tmp/ready").exists());
    let server = of(&c).exec_server().unwrap();
    let pid = server_of(&c);
    let mut ends = BTreeSet::new();
    for _ in 0..200 {
        let begun = Instant::now();
        match server.exec(words(&["/probe", "pause"])) {
            Ok(process) => {
                let exit = process.wait().unwrap();
                assert_eq!(exit, Exit::Signal(9));
                ends.insert("as a command");
            }
            Err(error) => {
                assert!(error.to_string().contains("killed by signal 9"), "{error}");
                ends.insert("on its way");
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    assert!(!ends.is_empty(), "{ends:?}");
    assert!(process::is_alive(pid), "it is out of reach");
    drop(server);
    c.delete_force().ok();
}

const TO_MOUNT: [&str; 4] = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER"];

/// A root that the container has mounted upon its own, after the server came in: what an exec finds there, a command finds.
#[case]
fn commands_are_in_the_root_that_exec_enters(t: &Sandbox) {
    let c = t.container("a");
    give(&c, &TO_MOUNT);
    let server = serve(&c);
    in_the_root_that_exec_enters(&c, server, &[]);
}

/// The same where only another exec could do that.
#[case]
fn commands_are_in_the_root_that_an_exec_with_more_rights_has_made(t: &Sandbox) {
    let (c, server) = served(t);
    run(&server, words(&["true"])).unwrap();
    let more: Vec<&str> = TO_MOUNT.iter().flat_map(|one| ["--cap", *one]).collect();
    in_the_root_that_exec_enters(&c, server, &more);
}

fn in_the_root_that_exec_enters(c: &Container<'_>, server: ExecServer, rights: &[&str]) {
    // The new root is stacked on the old one, which is where the container's processes still are.
    let script = "mkdir /tmp/new && mount -t tmpfs new /tmp/new && cp -a /bin /probe /etc /tmp/new && mkdir /tmp/new/proc \
        && : > /tmp/new/above && mount --move /tmp/new /";
    c.exec(rights, &["sh", "-c", script]).ok();
    let look = ["sh", "-c", "ls -d /above; pwd"];
    let expected = c.exec(&[], &look).ok().stdout;
    assert_eq!(run(&server, words(&look)).unwrap().0, expected);
    drop(server);
    c.end();
}

/// A command with nothing but its own rights is made as one of an exec, which has more until it executes it.
#[case(needs(Host))]
fn commands_of_a_user_get_what_exec_gives_them(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/process/noNewPrivileges", json!(true));
    let closed = c.rootfs().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let server = serve(&c);
    let pid = server_of(&c);
    let (owner, exit) = run(&server, words(&["stat", "-L", "-c", "%u", "/proc/self/fd/1"])).unwrap();
    assert_eq!((owner.as_str(), exit), ("1000\n", Exit::Code(0)));
    assert_eq!(run(&server, words(&["sh", "-c", "echo again > /dev/stdout"])).unwrap().0, "again\n");
    assert_eq!(server_of(&c), pid, "one server makes what has the container's identity");
    // A directory that the container's user may not enter.
    let look = ["sh", "-c", "pwd; ls 2>&1 | wc -l"];
    let expected = c.exec(&["--cwd", "/closed"], &look).ok().stdout;
    assert_eq!(run(&server, words(&look).cwd("/closed".to_owned())).unwrap().0, expected);
    // The second one is there by now, and makes what is somebody else's.
    assert_eq!(others(&c).len(), 2);
    for (uid, expected) in [(0, "0\n"), (1000, "1000\n"), (12, "12\n")] {
        let options = words(&["id", "-u"]).user(User { uid, gid: None });
        assert_eq!(run(&server, options).unwrap().0, expected);
    }
    assert_eq!(others(&c).len(), 2);
    drop(server);
    assert_eq!(others(&c), [] as [i32; 0]);
    c.end();
}

/// Where the runtime has other ids, root of the container gives its streams to itself, if that may be done at all.
#[case(needs(Host))]
fn streams_belong_to_root_of_a_user_namespace(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    let c = t.container("a");
    c.map_users(100_000, 65_536).give_rootfs_to(100_000);
    let server = serve(&c);
    // A file of a group that is not mapped is nobody's to give away.
    for (before, group, after) in [(0, 0, 0), (100_000, 0, 100_000), (100_005, 0, 100_005), (100_005, 100_005, 100_000)]
    {
        for exec in [false, true] {
            let (_output, stdout) = std::io::pipe().unwrap();
            nix::unistd::fchown(&stdout, Some(before.into()), Some(group.into())).unwrap();
            let null = || std::os::fd::OwnedFd::from(File::open("/dev/null").unwrap());
            let options = words(&["true"]).stdio([null(), stdout.try_clone().unwrap().into(), null()]);
            let process = if exec { of(&c).exec(options) } else { server.exec(options) };
            assert_eq!(process.unwrap().wait().unwrap(), Exit::Code(0));
            assert_eq!(nix::sys::stat::fstat(&stdout).unwrap().st_uid, after, "of {before}:{group}, by exec: {exec}");
        }
    }
    drop(server);
    c.end();
}

/// What the verbs make of a server: a process of the container, that goes with it.
#[case(needs(ControlGroups))]
fn verbs_beside_a_server(t: &Sandbox) {
    let (c, server) = served(t);
    let pid = server_of(&c);
    assert!(of(&c).ps().unwrap().iter().any(|one| one.get() == pid));
    c.simple("update", &["--pids-limit", "64"], &[]).ok();
    run(&server, words(&["true"])).unwrap();
    c.simple("kill", &["--all"], &["KILL"]).ok();
    waits_for_its_end(pid);
    let error = server.exec(words(&["true"])).unwrap_err();
    assert!(error.kind() == Kind::WrongStatus || error.to_string().contains("has ended"), "{error}");
    drop(server);
    process::reap_orphans();
    c.delete().ok();
    assert!(!t.root.join(&c.id).exists());
}

/// A server is no process of the container's pid namespace, so that CRIU does not save it.
#[case(needs(ControlGroups), seconds(240))]
fn a_checkpoint_beside_a_server(t: &Sandbox) {
    let there = ["/usr/sbin/criu", "/usr/bin/criu"].iter().any(|path| std::path::Path::new(path).exists());
    t.need_promised("criu", there, "criu is not installed");
    let works = there && t.program("criu", &["check"]).deadline(60).run().code == 0;
    t.need_promised("criu", works, "criu does not work on this kernel");
    let c = t.container("a");
    c.sh("exec /probe pause < /dev/null > /dev/null 2>&1").run_detached().ok();
    t.wait_until("the command", || process::read(c.pid()).is_some_and(|one| one.command == "probe"));
    let server = of(&c).exec_server().unwrap();
    let pid = server_of(&c);
    let images = t.dir.join("images").display().to_string();
    let flags = ["--leave-running", "--image-path", &images];
    let _ = c.simple_cmd("checkpoint", &flags, &[]).deadline(120).run().ok();
    assert!(process::is_alive(pid));
    run(&server, words(&["true"])).unwrap();
    let flags = ["--image-path", &images];
    let _ = c.simple_cmd("checkpoint", &flags, &[]).deadline(120).run().ok();
    waits_for_its_end(pid);
    drop(server);
    assert!(!t.root.join(&c.id).exists());
}

const CONFINEMENT: [&str; 3] =
    ["sh", "-c", "exec 2>/dev/null; cat /proc/self/attr/current; echo; echo x > /tmp/denied && echo denied"];

/// Labels outlive the server's fork, and the command's own.
#[case(needs(Host))]
fn commands_are_confined_by_the_containers_profile(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    for (name, ids) in [("a", false), ("b", true)] {
        let c = t.container(name);
        c.set("/process/apparmorProfile", json!(profile.name));
        if ids {
            c.map_users(100_000, 65_536).give_rootfs_to(100_000);
        }
        let server = serve(&c);
        for options in [words(&CONFINEMENT), words(&CONFINEMENT).apparmor(profile.name.clone())] {
            let (text, exit) = run(&server, options.no_new_privs(ids)).unwrap();
            assert_eq!((text.trim_end(), exit), (format!("{} (enforce)", profile.name).as_str(), Exit::Code(1)));
        }
        let error = server.exec(words(&CONFINEMENT).apparmor("unconfined".to_owned())).unwrap_err();
        assert!(error.to_string().contains("AppArmor profile"), "{error}");
        drop(server);
        c.end();
    }
}

#[case]
fn commands_have_the_containers_selinux_label(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!(LABEL));
    let server = serve(&c);
    for options in [["cat", "/proc/self/attr/current"], ["/probe", "keyring-label"]].map(|command| words(&command)) {
        let (text, exit) = run(&server, options.process_label(LABEL.to_owned())).unwrap();
        assert_eq!((text.trim_end_matches(['\0', '\n']), exit), (LABEL, Exit::Code(0)));
    }
    let error = server.exec(words(&["true"]).process_label(OTHER.to_owned())).unwrap_err();
    assert!(error.to_string().contains("SELinux label"), "{error}");
    drop(server);
    c.end();
}

fn beside_a_neighbour(t: &Sandbox, who: Who, allowed: Allowed) {
    let total: Option<usize> = std::env::var("ORLOP_NEIGHBOUR_TOTAL").ok().and_then(|text| text.parse().ok());
    let mut set = Set::new(format!("exec server, {}", who.name), allowed);
    let a = neighbour(t, &format!("a-{}", who.file()), who);
    a.run_detached().ok();
    wait_ready(t, &a);
    let server = of(&a).exec_server().unwrap();
    for _ in 0..total.map_or(50, |total| total / 3) {
        assert_eq!(run(&server, words(&["/neighbour", "exit"])).unwrap().1, Exit::Code(0));
        set.executions += 1;
    }
    judge(t, &a, &set);
    drop(server);
    a.delete_force().ok();
}

#[case(seconds(3600))]
fn neighbours_find_nothing_of_it(t: &Sandbox) {
    beside_a_neighbour(t, PLAIN, Allowed::Nothing);
    beside_a_neighbour(t, DOCKERS, Allowed::Nothing);
    beside_a_neighbour(t, TRACER, Allowed::Tracing);
}
