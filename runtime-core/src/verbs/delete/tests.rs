#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]

use std::path::PathBuf;
use std::process::{Child, Command};

use super::*;
use crate::state::{EXEC_FIFO, InitProcess};
use crate::verbs::gc::{GcOptions, gc};
use crate::{HostPid, KillOptions, Signal, kill, list, pause, ps, resume, state};

/// A state root with containers whose "init" is a sleeping child of the test, in no cgroup and no namespace of its own.
struct Scratch {
    root: PathBuf,
    runtime: Runtime,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("orlop-verbs-{}-{name}", std::process::id()));
        let runtime = Runtime { root: root.join("root"), ..Runtime::default() };
        drop(Store::create(&runtime).unwrap());
        Self { root, runtime }
    }

    fn add(&self, name: &str, change: impl FnOnce(&mut Record)) -> (ContainerId, Sleeper) {
        let id = ContainerId::new(name).unwrap();
        let sleeper = Sleeper(Command::new("sleep").arg("1000").spawn().unwrap());
        let pid = HostPid::new(i32::try_from(sleeper.0.id()).unwrap()).unwrap();
        let pidfd = pidfd::open(pid).unwrap();
        let mut record = Record::intent(&id);
        record.oci_version = "1.3.0".into();
        record.bundle = "/no/such/bundle".into();
        record.rootfs = "/no/such/bundle/rootfs".into();
        record.init = Some(InitProcess::of(pid, pidfd.as_fd()).unwrap());
        record.phase = Phase::Created;
        change(&mut record);
        let hook = self.root.join("hooked");
        let config = format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"hooks":{{"poststop":[
                {{"path":"/bin/sh","args":["sh","-c","cat >> {0}; test -d {1}/{name} && echo still-there >> {0}; exit 3"]}}]}}}}"#,
            hook.display(),
            self.runtime.root.display()
        );
        let store = Store::create(&self.runtime).unwrap();
        drop(store.claim(&id, &record, config.as_bytes()).unwrap().keep().unwrap());
        (id, sleeper)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.runtime.root.join(name)
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.runtime.root).unwrap().next().is_none()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

struct Sleeper(Child);

impl Sleeper {
    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn stop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn force() -> DeleteOptions {
    DeleteOptions { force: true, ..DeleteOptions::default() }
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_status_follows_the_process() {
    let scratch = Scratch::new("status");
    let (id, mut sleeper) = scratch.add("web", |_| {});
    let pid = i32::try_from(sleeper.0.id()).unwrap();
    let now = state(&scratch.runtime, &id).unwrap();
    assert_eq!((now.status, now.pid), (Status::Running, pid));
    assert_eq!(ps(&scratch.runtime, &id).unwrap(), [HostPid::new(pid).unwrap()]);

    // A FIFO beside a process that is not the program that waits at it: left by a `start` that was killed.
    nix::unistd::mkfifo(&scratch.path("web").join(EXEC_FIFO), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(state(&scratch.runtime, &id).unwrap().status, Status::Running);

    sleeper.0.kill().unwrap();
    // A zombie, as long as nobody waits for it, is a stopped container.
    let begin = Instant::now();
    while state(&scratch.runtime, &id).unwrap().status != Status::Stopped {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    sleeper.0.wait().unwrap();
    let now = state(&scratch.runtime, &id).unwrap();
    assert_eq!((now.status, now.pid), (Status::Stopped, 0));
    assert!(ps(&scratch.runtime, &id).unwrap().is_empty());
    assert_eq!(
        message(kill(&scratch.runtime, &id, &KillOptions::default())),
        "find container web: container not running"
    );
    kill(&scratch.runtime, &id, &KillOptions { signal: Signal::KILL, all: true }).unwrap();
    assert_eq!(message(pause(&scratch.runtime, &id)), "find container web: container not running");
    assert_eq!(message(resume(&scratch.runtime, &id)), "find container web: container not paused");
}

#[test]
fn another_process_with_the_pid_is_not_the_container() {
    let scratch = Scratch::new("reuse");
    let (id, mut sleeper) = scratch.add("web", |record| {
        // What is recorded belongs to a process before this one.
        let init = record.init.as_mut().unwrap();
        match &mut init.pidfd_inode {
            Some(inode) => *inode -= 1,
            None => init.start_time = init.start_time.map(|time| time - 1),
        }
    });
    assert_eq!(state(&scratch.runtime, &id).unwrap().status, Status::Stopped);
    let killed = kill(&scratch.runtime, &id, &KillOptions { signal: Signal::KILL, all: false });
    assert_eq!(message(killed), "find container web: container not running");
    assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_empty());
    assert!(sleeper.is_running());
}

#[test]
fn the_state_reads_as_runc_prints_it() {
    let scratch = Scratch::new("json");
    let (id, sleeper) = scratch.add("web", |record| {
        record.created = "2026-11-21T03:59:20.556803094Z".into();
    });
    let pid = sleeper.0.id();
    let expected = format!(
        r#"{{"ociVersion":"1.3.0","id":"web","pid":{pid},"status":"running","bundle":"/no/such/bundle","rootfs":"/no/such/bundle/rootfs","created":"2026-11-21T03:59:20.556803094Z","owner":""}}"#
    );
    assert_eq!(serde_json::to_string(&state(&scratch.runtime, &id).unwrap()).unwrap(), expected);
    let (_, _other) =
        scratch.add("db", |record| record.annotations = [("b".into(), "1".into()), ("a".into(), "2".into())].into());
    std::fs::create_dir(scratch.path("empty")).unwrap();
    std::fs::create_dir(scratch.path("torn")).unwrap();
    std::fs::write(scratch.path("torn/state.json"), "{").unwrap();
    let listing = list(&scratch.runtime).unwrap();
    let rows = serde_json::to_string(&listing.containers).unwrap();
    let name = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    assert!(
        rows.ends_with(&format!("{}}}]", expected.replace(r#""owner":""}"#, &format!(r#""owner":"{name}""#)))),
        "{rows}"
    );
    assert!(rows.contains(r#""annotations":{"a":"2","b":"1"},"owner""#), "{rows}");
    assert_eq!(listing.failures.len(), 1);
    assert!(listing.failures[0].to_string().contains("state.json of torn: is damaged"));
}

#[test]
fn delete_takes_what_is_stopped_and_kills_only_by_force() {
    let scratch = Scratch::new("delete");
    let (id, mut sleeper) = scratch.add("web", |_| {});
    let error = delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::WrongStatus);
    assert!(
        error.to_string().starts_with("delete: cannot delete container web that is not stopped: running"),
        "{error}"
    );
    assert!(sleeper.is_running());
    delete(&scratch.runtime, &id, &force()).unwrap();
    assert!(!sleeper.is_running());
    assert!(scratch.is_empty());
    assert_eq!(delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap_err().kind(), Kind::NotFound);
    assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_empty(), "an unknown id");
    let nowhere = Runtime { root: "/no/such/root".into(), ..Runtime::default() };
    assert!(delete(&nowhere, &id, &force()).unwrap().is_empty());

    let (id, mut sleeper) = scratch.add("web", |_| {});
    sleeper.stop();
    delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap();
    assert!(scratch.is_empty());
}

#[test]
fn poststop_hooks_run_when_the_container_is_gone_and_only_warn() {
    let scratch = Scratch::new("poststop");
    let (id, mut sleeper) = scratch.add("web", |record| record.poststop_hooks = true);
    sleeper.stop();
    let warnings = delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].to_string().starts_with("run hook poststop #0 /bin/sh (config /hooks/poststop/0): exit status 3")
    );
    let said = std::fs::read_to_string(scratch.root.join("hooked")).unwrap();
    assert_eq!(said, r#"{"ociVersion":"1.3.0","id":"web","status":"stopped","bundle":"/no/such/bundle"}"#);
    assert!(scratch.is_empty());
}

#[test]
fn a_delete_that_was_killed_before_its_hooks_is_finished() {
    for name in ["force", "gc"] {
        let scratch = Scratch::new(name);
        let (id, mut sleeper) = scratch.add("web", |record| record.poststop_hooks = true);
        sleeper.stop();
        let locked = Store::open(&scratch.runtime).unwrap().unwrap().lock(&id).unwrap();
        let locked = locked.park().unwrap();
        // While the first delete is alive, its hooks are its own.
        assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_empty());
        assert!(!scratch.root.join("hooked").exists());
        drop(locked);
        assert!(list(&scratch.runtime).unwrap().containers.is_empty());
        if name == "force" {
            delete(&scratch.runtime, &id, &force()).unwrap();
        } else {
            assert_eq!(gc(&scratch.runtime, &GcOptions::default()).unwrap().removed, std::slice::from_ref(&id));
        }
        assert!(scratch.root.join("hooked").exists());
        assert!(scratch.is_empty());
    }
}

#[test]
fn whatever_a_killed_create_left_goes() {
    let scratch = Scratch::new("dead");
    let (_, mut alive) = scratch.add("alive", |_| {});
    let (_, mut stopped) = scratch.add("stopped", |_| {});
    stopped.stop();
    scratch.add("intent", |record| {
        record.phase = Phase::Creating;
        record.init = None;
    });
    std::fs::create_dir(scratch.path("empty")).unwrap();
    std::fs::create_dir(scratch.path("unwritten")).unwrap();
    std::fs::write(scratch.path("unwritten/state.json"), "").unwrap();
    scratch.add("working", |record| record.phase = Phase::Creating);
    let store = Store::open(&scratch.runtime).unwrap().unwrap();
    let at_work = store.lock(&ContainerId::new("working").unwrap()).unwrap();

    let names = |collected: &crate::Collected| collected.removed.iter().map(ToString::to_string).collect::<Vec<_>>();
    let dry = gc(&scratch.runtime, &GcOptions { dry_run: true }).unwrap();
    assert_eq!(names(&dry), ["empty", "intent", "unwritten"]);
    assert!(scratch.path("intent").exists());
    let collected = gc(&scratch.runtime, &GcOptions::default()).unwrap();
    assert_eq!(names(&collected), ["empty", "intent", "unwritten"]);
    assert!(collected.failures.is_empty());
    let left: Vec<_> = store.ids().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(left, ["alive", "stopped", "working"]);
    assert!(alive.is_running());
    drop(at_work);
    assert_eq!(names(&gc(&scratch.runtime, &GcOptions::default()).unwrap()), ["working"]);
}

#[test]
fn a_damaged_state_file_is_no_obstacle_to_force() {
    let scratch = Scratch::new("damaged");
    for content in ["{", "[]", "nonsense"] {
        let id = ContainerId::new("web").unwrap();
        std::fs::create_dir(scratch.path("web")).unwrap();
        std::fs::write(scratch.path("web/state.json"), content).unwrap();
        assert_eq!(delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap_err().kind(), Kind::State);
        delete(&scratch.runtime, &id, &force()).unwrap();
        assert!(scratch.is_empty());
    }
}

#[test]
fn delete_waits_for_a_live_create_no_longer_than_told() {
    let scratch = Scratch::new("deadline");
    let (id, _sleeper) = scratch.add("web", |record| record.phase = Phase::Creating);
    let store = Store::open(&scratch.runtime).unwrap().unwrap();
    let _at_work = store.lock(&id).unwrap();
    let options = DeleteOptions { force: true, deadline: Duration::from_millis(30) };
    assert_eq!(delete(&scratch.runtime, &id, &options).unwrap_err().kind(), Kind::Timeout);
}
