#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]

use super::*;
use crate::base::{HostPid, Signal};
use crate::state::EXEC_FIFO;
use crate::verbs::events::{EventData, EventKind, EventsOptions, events, stats};
use crate::verbs::fixture::{Scratch, cgroup};
use crate::verbs::gc::{GcOptions, gc};
use crate::verbs::kill::{KillOptions, kill};
use crate::verbs::list::list;
use crate::verbs::pause::{pause, resume};
use crate::verbs::ps::ps;
use crate::verbs::state::state;
use crate::verbs::update::{UpdateOptions, update};

fn force() -> DeleteOptions {
    DeleteOptions { force: true, ..DeleteOptions::default() }
}

/// Makes a directory look as if it had been made a while ago.
fn set_old(path: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(path).unwrap().set_modified(then).unwrap();
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
    assert_eq!((now.status, now.pid), (Status::Running, HostPid::new(pid)));
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
    assert_eq!((now.status, now.pid), (Status::Stopped, None));
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
    assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_clean());
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
    assert_eq!(listing.report.warnings().len(), 1);
    assert!(listing.report.warnings()[0].to_string().contains("state.json of torn: is damaged"));
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
    drop(delete(&scratch.runtime, &id, &force()).unwrap());
    assert!(!sleeper.is_running());
    assert!(scratch.is_empty());
    assert_eq!(delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap_err().kind(), Kind::NotFound);
    assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_clean(), "an unknown id");
    let nowhere = Runtime::new("/no/such/root");
    assert!(delete(&nowhere, &id, &force()).unwrap().is_clean());

    let (id, mut sleeper) = scratch.add("web", |_| {});
    sleeper.stop();
    drop(delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap());
    assert!(scratch.is_empty());
}

#[test]
fn poststop_hooks_run_when_the_container_is_gone_and_only_warn() {
    let scratch = Scratch::new("poststop");
    let (id, mut sleeper) = scratch.add("web", |record| record.poststop_hooks = true);
    sleeper.stop();
    let warnings = delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap();
    assert_eq!(warnings.warnings().len(), 1);
    assert!(
        warnings.warnings()[0]
            .to_string()
            .starts_with("run hook /bin/sh (config /hooks/poststop/0): error running poststop hook #0: exit status 3")
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
        assert!(delete(&scratch.runtime, &id, &force()).unwrap().is_clean());
        assert!(!scratch.root.join("hooked").exists());
        drop(locked);
        assert!(list(&scratch.runtime).unwrap().containers.is_empty());
        if name == "force" {
            drop(delete(&scratch.runtime, &id, &force()).unwrap());
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
    set_old(&scratch.path("empty"));
    std::fs::create_dir(scratch.path("unwritten")).unwrap();
    std::fs::write(scratch.path("unwritten/state.json"), "").unwrap();
    set_old(&scratch.path("unwritten"));
    scratch.add("working", |record| record.phase = Phase::Creating);
    let store = Store::open(&scratch.runtime).unwrap().unwrap();
    let at_work = store.lock(&ContainerId::new("working").unwrap()).unwrap();

    std::fs::create_dir(scratch.path("infant")).unwrap();

    let names =
        |collected: &crate::verbs::gc::Collected| collected.removed.iter().map(ToString::to_string).collect::<Vec<_>>();
    let dry = gc(&scratch.runtime, &GcOptions { dry_run: true }).unwrap();
    assert_eq!(names(&dry), ["empty", "intent", "unwritten"]);
    assert!(scratch.path("intent").exists());
    let collected = gc(&scratch.runtime, &GcOptions::default()).unwrap();
    assert_eq!(names(&collected), ["empty", "intent", "unwritten"]);
    assert!(collected.report.is_clean());
    let left: Vec<_> = store.ids().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(left, ["alive", "infant", "stopped", "working"]);
    assert!(alive.is_running());
    drop(at_work);
    let infant = ContainerId::new("infant").unwrap();
    drop(delete(&scratch.runtime, &infant, &force()).unwrap());
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
        drop(delete(&scratch.runtime, &id, &force()).unwrap());
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

/// Waits until the container has the status.
fn wait_for(runtime: &Runtime, id: &ContainerId, status: Status) {
    let begin = Instant::now();
    while state(runtime, id).unwrap().status != status {
        assert!(begin.elapsed() < Duration::from_secs(10), "not {status} in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_paused_container_is_told_killed_and_deleted_without_a_hang() {
    let scratch = Scratch::new("paused");
    for (round, forced) in [("killed", false), ("forced", true), ("all", false)] {
        let Some(mut own) = cgroup(round) else { return };
        let record = own.0.record().clone();
        let (id, mut sleeper) = scratch.add("web", |state| {
            state.cgroup = Some(record.clone());
            state.namespaces = vec![crate::state::NamespaceRecord { kind: "pid".into(), path: None }];
        });
        own.take(&sleeper);
        let pid = HostPid::new(i32::try_from(sleeper.0.id()).unwrap()).unwrap();
        assert_eq!(ps(&scratch.runtime, &id).unwrap(), [pid]);
        assert_eq!(message(resume(&scratch.runtime, &id)), "find container web: container not paused");
        pause(&scratch.runtime, &id).unwrap();
        assert_eq!(state(&scratch.runtime, &id).unwrap().status, Status::Paused);
        assert_eq!(message(pause(&scratch.runtime, &id)), "find container web: container not running");
        assert!(
            message(delete(&scratch.runtime, &id, &DeleteOptions::default())).contains("that is not stopped: paused")
        );
        resume(&scratch.runtime, &id).unwrap();
        assert_eq!(state(&scratch.runtime, &id).unwrap().status, Status::Running);
        pause(&scratch.runtime, &id).unwrap();
        if !forced {
            kill(&scratch.runtime, &id, &KillOptions { signal: Signal::KILL, all: round == "all" }).unwrap();
            wait_for(&scratch.runtime, &id, Status::Stopped);
            sleeper.0.wait().unwrap();
        }
        drop(delete(&scratch.runtime, &id, &DeleteOptions::default().force(forced)).unwrap());
        assert!(!own.is_there());
        assert!(!sleeper.is_running() && scratch.is_empty());
    }
}

#[test]
fn what_shares_its_pid_namespace_is_killed_by_its_cgroup() {
    let Some(mut own) = cgroup("shared") else { return };
    let scratch = Scratch::new("shared");
    let record = own.0.record().clone();
    let (id, mut init) = scratch.add("web", |state| state.cgroup = Some(record.clone()));
    let (_, mut other) = scratch.add("other", |_| {});
    own.take(&init);
    own.take(&other);
    kill(&scratch.runtime, &id, &KillOptions { signal: Signal::new(0).unwrap(), all: true }).unwrap();
    init.stop();
    assert_eq!(
        message(kill(&scratch.runtime, &id, &KillOptions::default())),
        "find container web: container not running"
    );
    assert!(other.is_running());
    // Its init is gone, but SIGKILL is for all that is left.
    kill(&scratch.runtime, &id, &KillOptions { signal: Signal::KILL, all: false }).unwrap();
    other.0.wait().unwrap();
    let again = kill(&scratch.runtime, &id, &KillOptions { signal: Signal::KILL, all: false });
    assert_eq!(message(again), "find container web: container not running");

    let (_, mut left) = scratch.add("left", |_| {});
    own.take(&left);
    drop(delete(&scratch.runtime, &id, &DeleteOptions::default()).unwrap());
    left.0.wait().unwrap();
    assert!(!own.is_there());
}

/// The cgroup of an intent may have been somebody's before: its processes are no business of gc.
#[test]
fn a_killed_create_takes_nobody_along() {
    let Some(mut own) = cgroup("planned") else { return };
    let scratch = Scratch::new("planned");
    let record = own.0.record().clone();
    let (id, mut innocent) = scratch.add("web", |state| {
        state.phase = Phase::Creating;
        state.init = None;
        state.cgroup = Some(record.clone());
    });
    own.take(&innocent);
    let collected = gc(&scratch.runtime, &GcOptions::default()).unwrap();
    assert!(collected.removed.is_empty());
    assert!(collected.report.warnings()[0].to_string().contains("busy"), "{:?}", collected.report);
    assert!(innocent.is_running() && own.is_there());
    innocent.stop();
    assert_eq!(gc(&scratch.runtime, &GcOptions::default()).unwrap().removed, [id]);
    assert!(!own.is_there());
}

#[test]
fn an_update_holds_and_is_kept_or_changes_nothing() {
    let Some(mut own) = cgroup("update") else { return };
    let scratch = Scratch::new("update");
    let record = own.0.record().clone();
    let (id, sleeper) = scratch.add("web", |state| state.cgroup = Some(record.clone()));
    own.take(&sleeper);
    let Some(pids) = record.path("pids").map(|path| format!("{path}/pids.max")) else {
        eprintln!("SKIP an_update_holds_and_is_kept_or_changes_nothing: needs the pids controller");
        return;
    };
    let limit = || std::fs::read_to_string(&pids).unwrap().trim().to_owned();
    let kept = || {
        Store::find(&scratch.runtime, &id)
            .unwrap()
            .record
            .resources
            .map(|resources| serde_json::to_string(&*resources).unwrap())
    };

    let options = UpdateOptions { pids_limit: Some(20), kernel_memory: Some(1), ..UpdateOptions::default() };
    assert_eq!(update(&scratch.runtime, &id, &options).unwrap().warnings().len(), 1);
    assert_eq!((limit().as_str(), kept().as_deref()), ("20", Some(r#"{"pids":{"limit":20}}"#)));

    let options = UpdateOptions {
        resources: Some(br#"{"pids":{"limit":30},"unified":{"no.such":"1"}}"#.to_vec()),
        ..UpdateOptions::default()
    };
    update(&scratch.runtime, &id, &options).unwrap_err();
    assert_eq!((limit().as_str(), kept().as_deref()), ("20", Some(r#"{"pids":{"limit":20}}"#)));

    for (bytes, pointer) in [(&b"{"[..], None), (br#"{"pids":{"limit":"x"}}"#, Some("/pids/limit"))] {
        let options = UpdateOptions { resources: Some(bytes.to_vec()), ..UpdateOptions::default() };
        let error = update(&scratch.runtime, &id, &options).unwrap_err();
        assert_eq!((error.kind(), error.field()), (Kind::InvalidConfig, pointer));
    }
    let both = UpdateOptions { resources: Some(b"{}".to_vec()), pids_limit: Some(1), ..UpdateOptions::default() };
    assert_eq!(update(&scratch.runtime, &id, &both).unwrap_err().kind(), Kind::InvalidArgument);
    let schema =
        UpdateOptions { pids_limit: Some(7), l3_cache_schema: Some("L3:0=f".into()), ..UpdateOptions::default() };
    assert!(
        message(update(&scratch.runtime, &id, &schema)).contains("updating a non-existent Intel RDT configuration")
    );
    assert_eq!(limit(), "20");
    drop(sleeper);
    let options = UpdateOptions { pids_limit: Some(1), ..UpdateOptions::default() };
    assert_eq!(message(update(&scratch.runtime, &id, &options)), "find container web: container not running");
}

#[test]
fn events_come_as_they_happen_and_end_with_the_container() {
    let Some(mut own) = cgroup("events") else { return };
    let scratch = Scratch::new("events");
    let record = own.0.record().clone();
    let (id, mut sleeper) = scratch.add("web", |state| state.cgroup = Some(record.clone()));
    own.take(&sleeper);
    let text = serde_json::to_string(&stats(&scratch.runtime, &id).unwrap()).unwrap();
    assert!(text.starts_with(r#"{"type":"stats","id":"web","data":{"cpu":{"#), "{text}");
    assert!(text.contains(r#""pids":{"current":1"#), "{text}");
    assert!(text.ends_with(r#""intel_rdt":{},"network_interfaces":null}}"#), "{text}");

    let zero = EventsOptions { interval: Some(Duration::ZERO) };
    assert!(message(events(&scratch.runtime, &id, &zero)).contains("duration interval must be greater than 0"));
    let begin = Instant::now();
    let mut stream =
        events(&scratch.runtime, &id, &EventsOptions { interval: Some(Duration::from_millis(50)) }).unwrap();
    for _ in 0..2 {
        let event = stream.next().unwrap().unwrap();
        assert_eq!(event.kind, EventKind::Stats);
        assert!(matches!(event.data, Some(EventData::Stats(_))));
    }
    assert!(begin.elapsed() >= Duration::from_millis(100) && begin.elapsed() < Duration::from_secs(5));
    sleeper.stop();
    let rest: Vec<_> = stream.map(|event| event.unwrap().kind).filter(|kind| *kind != EventKind::Stats).collect();
    assert_eq!(rest, [EventKind::Exit]);
    assert_eq!(message(stats(&scratch.runtime, &id)), "read events: container with id web is not running");
    assert_eq!(
        message(events(&scratch.runtime, &id, &EventsOptions::default())),
        "read events: container with id web is not running"
    );
}
