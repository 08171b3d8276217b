//! The life of a cgroup on every layout: made, joined, frozen, killed, removed.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use orlop_cgroups::{Cgroup, Freezers, Join, Pid, Signal, Spec};

use crate::environment::is_root;
use crate::process::{shell, until};
use crate::sandbox::{Sandbox, layouts, path, unique};

fn there(path: &str) -> bool {
    Path::new(path).is_dir()
}

#[test]
fn a_process_is_born_in_the_cgroup() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let mut child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        until(5, "the process is in the cgroup", || sandbox.processes().unwrap().pids == [child.pid()]);
        for path in sandbox.record().paths.iter() {
            let procs = std::fs::read_to_string(format!("{path}/cgroup.procs")).unwrap();
            assert_eq!(procs.trim(), child.pid().to_string(), "{name}: {path}");
        }
        assert!(!sandbox.is_empty().unwrap());
        sandbox.kill_all().unwrap();
        assert_eq!(child.wait(), 128 + 9, "{name}");
        assert!(sandbox.wait_empty(Duration::from_secs(5)).unwrap());
    }
}

fn entering(tasks: Vec<BorrowedFd<'_>>) -> Join<'_> {
    Join { clone_into: None, tasks, attach: false }
}

#[test]
fn a_cgroup_can_be_made_and_entered_in_two_steps() {
    for (name, layout) in layouts() {
        let place = path(&unique());
        let spec = Spec { id: "test", cgroups_path: Some(&place), rootless: !is_root(), ..Spec::default() };
        let record = Cgroup::plan(&layout, &spec).unwrap();
        let mut sandbox = Sandbox::open(Cgroup::create_unified(record, &spec).unwrap());
        sandbox.create_v1().unwrap();
        let (early, late) = sandbox.tasks_in_two().unwrap();
        let all = sandbox.join().unwrap().tasks.len();
        assert_eq!(early.len() + late.len(), all, "{name}");
        if late.is_empty() {
            assert_eq!(all, 0, "{name}: a host with v1 has cpuset or devices there");
            continue;
        }
        if sandbox.record().path("cpuset").is_some() {
            let mut refused = shell(&entering(late), "exec sleep 100");
            assert_eq!(refused.wait(), 126, "{name}: a cpuset without CPUs was entered");
        }
        sandbox.fill_cpuset().unwrap();
        // Once is enough.
        sandbox.fill_cpuset().unwrap();
        let (early, late) = sandbox.tasks_in_two().unwrap();
        let child = shell(&entering(early.into_iter().chain(late).collect()), "exec sleep 100");
        until(5, "the process is in the cgroup", || sandbox.processes().unwrap().pids == [child.pid()]);
        for (controller, path) in &sandbox.record().paths.v1 {
            let procs = std::fs::read_to_string(format!("{path}/cgroup.procs")).unwrap();
            assert_eq!(procs.trim(), child.pid().to_string(), "{name}: {controller}");
        }
    }
}

#[test]
fn removal_takes_away_what_was_made_and_nothing_else() {
    for (name, layout) in layouts() {
        let base = path(&unique());
        let first = Sandbox::at(&layout, &format!("{base}/a/one"));
        let second = Sandbox::at(&layout, &format!("{base}/a/two"));
        let paths: Vec<String> = first.record().paths.iter().cloned().collect();
        let made = first.record().made.clone();
        assert!(paths.iter().all(|path| made.contains(path)), "{name}");
        // The first one made the parents, which the second one still needs.
        drop(first);
        assert!(paths.iter().all(|path| !there(path)), "{name}");
        assert!(second.record().paths.iter().all(|path| there(path)), "{name}");
        drop(second);
        let record = Cgroup::plan(&layout, &Spec { id: "c", cgroups_path: Some(&base), ..Spec::default() }).unwrap();
        for path in record.paths.iter() {
            // Parents that were shared stay: only an empty tree may be left, made by the first and kept for the second.
            if there(path) {
                std::fs::remove_dir(format!("{path}/a")).unwrap();
                std::fs::remove_dir(path).unwrap();
                std::fs::remove_dir(Path::new(path).parent().unwrap()).ok();
            }
        }
    }
}

#[test]
fn sub_cgroups_go_with_the_container() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        for path in sandbox.record().paths.iter() {
            std::fs::create_dir_all(format!("{path}/inner/most")).unwrap();
        }
        let paths: Vec<String> = sandbox.record().paths.iter().cloned().collect();
        sandbox.remove().unwrap();
        assert!(paths.iter().all(|path| !there(path)), "{name}");
        // Again: what is gone is no error.
        sandbox.remove().unwrap();
        sandbox.kill_all().unwrap();
        assert!(sandbox.processes().unwrap().is_empty() && sandbox.is_empty().unwrap());
        assert!(!sandbox.is_frozen().unwrap() && !sandbox.record().is_paused().unwrap());
    }
}

#[test]
fn removal_never_touches_processes() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let mut child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        let error = sandbox.remove_within(Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), orlop_cgroups::Kind::Busy, "{name}: {error}");
        assert!(error.to_string().contains(&format!("1 processes are in it ({})", child.pid())), "{name}: {error}");
        assert!(child.is_running());
        assert_eq!(sandbox.processes().unwrap().pids, [child.pid()], "{name}");
    }
}

#[test]
fn freezing_stops_and_thawing_goes_on() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let file = std::env::temp_dir().join(unique());
        let script = format!("while :; do echo >> {}; sleep 0.01; done", file.display());
        let mut child = shell(&sandbox.join().unwrap(), &script);
        let marks = || std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        until(20, "the process runs", || marks() > 2);
        sandbox.freeze().unwrap();
        assert!(sandbox.is_frozen().unwrap() && sandbox.record().is_paused().unwrap(), "{name}");
        let before = marks();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(marks(), before, "{name}: it runs while frozen");
        // Twice is no error.
        sandbox.freeze().unwrap();
        sandbox.thaw().unwrap();
        assert!(!sandbox.is_frozen().unwrap() && !sandbox.record().is_paused().unwrap(), "{name}");
        until(20, "the process runs again", || marks() > before);
        sandbox.thaw().unwrap();
        // A frozen container dies too.
        sandbox.freeze().unwrap();
        sandbox.kill_all().unwrap();
        assert_eq!(child.wait(), 128 + 9, "{name}");
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn who_asks_of_many_sees_each_as_it_is_now() {
    for (name, layout) in layouts() {
        let base = path(&unique());
        let make = || ["a", "b", "c"].map(|one| Sandbox::at(&layout, &format!("{base}{one}")));
        let mut freezers = Freezers::default();
        let mut paused = |all: &[Sandbox; 3]| all.each_ref().map(|one| freezers.is_paused(one.record()).unwrap());
        let all = make();
        assert_eq!(paused(&all), [false, false, false], "{name}");
        all[1].freeze().unwrap();
        assert_eq!(paused(&all), [false, true, false], "{name}");
        all[1].thaw().unwrap();
        all[2].freeze().unwrap();
        assert_eq!(paused(&all), [false, false, true], "{name}");
        all[2].thaw().unwrap();
        all[0].remove().unwrap();
        assert_eq!(paused(&all), [false, false, false], "{name}: one that is gone");
        // The directory above goes with the last one, who made it, and is another one then.
        let above = all[0].record().path("freezer").unwrap().rsplit_once('/').unwrap().0.to_owned();
        all.into_iter().rev().for_each(drop);
        assert!(!there(&above) || !is_root(), "{name}");
        let again = make();
        again[0].freeze().unwrap();
        again[2].freeze().unwrap();
        assert_eq!(paused(&again), [true, false, true], "{name}");
        again.into_iter().rev().for_each(drop);
    }
}

#[test]
fn a_directory_that_is_kept_is_not_taken_for_another() {
    for (name, layout) in layouts() {
        let (base, other) = (path(&unique()), path(&unique()));
        let at = |path: &str| Sandbox::at(&layout, path);
        // The same name in two places, of which one is frozen.
        let first = at(&format!("{base}a"));
        let second = at(&format!("{base}b"));
        let elsewhere = at(&format!("{other}a"));
        elsewhere.freeze().unwrap();
        let mut freezers = Freezers::default();
        let order = [&first, &second, &elsewhere, &first, &elsewhere, &elsewhere, &second];
        let found = order.map(|one| freezers.is_paused(one.record()).unwrap());
        assert_eq!(found, [false, false, true, false, true, true, false], "{name}");
        elsewhere.thaw().unwrap();
    }
}

#[test]
fn every_process_gets_a_signal() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let script = "trap 'exit 7' TERM; echo > /dev/null; while :; do sleep 0.01; done";
        let mut children: Vec<_> = (0..3).map(|_| shell(&sandbox.join().unwrap(), script)).collect();
        // The shells have to have set their traps.
        std::thread::sleep(Duration::from_millis(300));
        sandbox.kill(Signal::TERM).unwrap();
        for child in &mut children {
            let status = child.wait();
            assert!(status == 7 || status == 128 + 15, "{name}: {status}");
        }
    }
}

#[test]
fn an_exec_joins_an_opened_cgroup_and_a_sub_cgroup() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let text = serde_json::to_string(sandbox.record()).unwrap();
        let opened = Cgroup::open(serde_json::from_str(&text).unwrap());
        let first = shell(&opened.join().unwrap(), "exec sleep 100");
        assert_eq!(opened.processes().unwrap().pids, [first.pid()], "{name}");
        drop(first);
        sandbox.make_sub("inner");
        let sub = opened.sub(&[], "inner").unwrap();
        let second = shell(&sub.join().unwrap(), "exec sleep 100");
        until(5, "the process is in the sub-cgroup", || sub.processes().unwrap().pids == [second.pid()]);
        assert_eq!(opened.processes().unwrap().pids, [second.pid()], "{name}: counted with what is below");
        assert!(opened.sub(&[], "../outside").is_err());
        assert!(opened.sub(&["nonsense"], "inner").is_err());
        sandbox.freeze().unwrap();
        assert_eq!(opened.join().unwrap_err().kind(), orlop_cgroups::Kind::Frozen, "{name}");
        sandbox.thaw().unwrap();
    }
}

#[test]
fn a_payload_cgroup_lies_below_the_containers() {
    for (name, layout) in layouts() {
        let path = path(&unique());
        let spec = Spec {
            id: "test",
            cgroups_path: Some(&path),
            rootless: !crate::environment::is_root(),
            payload: Some("a/b"),
            ..Spec::default()
        };
        if layout.version() != orlop_cgroups::Version::V2 {
            let error = Cgroup::plan(&layout, &spec).unwrap_err();
            assert!(error.to_string().contains("needs cgroup v2"), "{name}: {error}");
            continue;
        }
        let sandbox = Sandbox::of(&layout, &spec).unwrap();
        let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        until(5, "the process is in the cgroup", || sandbox.processes().unwrap().pids == [child.pid()]);
        sandbox.enter_payload(child.pid()).unwrap();
        let procs = |below: &str| sandbox.read("", &format!("{below}cgroup.procs"));
        assert_eq!((procs(""), procs("a/b/")), (String::new(), child.pid().to_string()));
        // What it has of controllers is the payload's to use.
        assert_eq!(sandbox.read("", "a/b/cgroup.controllers"), sandbox.read("", "cgroup.controllers"));
        let again: orlop_cgroups::Record =
            serde_json::from_str(&serde_json::to_string(sandbox.record()).unwrap()).unwrap();
        let second = shell(&Cgroup::open(again).payload().unwrap().join().unwrap(), "exec sleep 100");
        until(5, "both are there", || sandbox.processes().unwrap().len() == 2);
        assert_eq!(procs(""), "");
        sandbox.kill_all().unwrap();
        drop((child, second));
        sandbox.remove().unwrap();
        let outside = Spec { payload: Some("../x"), ..spec };
        assert_eq!(Cgroup::plan(&layout, &outside).unwrap_err().kind(), orlop_cgroups::Kind::InvalidPath);
    }
}

#[test]
fn a_running_process_can_be_moved_in() {
    for (name, layout) in layouts() {
        let mut sandbox = Sandbox::new(&layout);
        let child =
            shell(&orlop_cgroups::Join { clone_into: None, tasks: Vec::new(), attach: false }, "exec sleep 100");
        sandbox.attach(child.pid()).unwrap();
        assert_eq!(sandbox.processes().unwrap().pids, [child.pid()], "{name}");
        let error = sandbox.attach(Pid::from_raw(i32::MAX - 1).unwrap()).unwrap_err();
        assert_eq!(error.kind(), orlop_cgroups::Kind::NotFound, "{name}: {error}");
    }
}

/// A freeze that cannot come to an end by itself: beside it, processes fork, are killed and thawed all the time.
#[test]
fn a_freeze_ends_when_a_kill_undoes_it() {
    const ROUNDS: u32 = 60;
    for (name, layout) in layouts() {
        let (mut frozen, mut undone) = (0, 0);
        for round in 0..ROUNDS {
            let sandbox = Sandbox::new(&layout);
            let script = "while :; do sleep 0.001 & sleep 0.002 & wait; done";
            let mut child = shell(&sandbox.join().unwrap(), script);
            let killer = Cgroup::open(sandbox.record().clone());
            let started = std::time::Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_micros(u64::from(round) * 40));
                    killer.kill_all().unwrap();
                    killer.release_killed().unwrap();
                });
                match sandbox.freeze() {
                    Ok(()) => frozen += 1,
                    Err(error) if error.kind() == orlop_cgroups::Kind::NotFrozen => undone += 1,
                    Err(error) => panic!("{name}: {error}"),
                }
            });
            let took = started.elapsed();
            assert!(took < Duration::from_secs(2), "{name}: the freeze took {took:?} in round {round}");
            sandbox.release_killed().unwrap();
            assert_eq!(child.wait(), 128 + 9, "{name}");
            assert!(sandbox.wait_empty(Duration::from_secs(5)).unwrap(), "{name}");
        }
        println!("{name}: of {ROUNDS} freezes beside a kill {frozen} held, {undone} were undone");
    }
}

#[test]
fn a_freeze_ends_soon_whoever_thaws_beside_it() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let _child = shell(&sandbox.join().unwrap(), "while :; do sleep 0.001 & sleep 0.002 & wait; done");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = Cgroup::open(sandbox.record().clone());
            let done = &done;
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    other.release_killed().unwrap();
                    std::thread::sleep(Duration::from_micros(50));
                }
            });
            let started = std::time::Instant::now();
            let outcomes: Vec<_> = (0..50).map(|_| sandbox.freeze().map_err(|error| error.kind())).collect();
            let took = started.elapsed();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            let undone = outcomes.iter().filter(|one| **one == Err(orlop_cgroups::Kind::NotFrozen)).count();
            println!("{name}: of 50 freezes beside thaws {undone} were undone, in {took:?}");
            assert!(
                outcomes.iter().all(|one| matches!(one, Ok(()) | Err(orlop_cgroups::Kind::NotFrozen))),
                "{outcomes:?}"
            );
            assert!(took < Duration::from_secs(9), "{name}: {took:?}");
        });
    }
}

#[test]
fn processes_below_are_told_from_those_in_the_cgroup_itself() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let nested = Sandbox::open(sandbox.make_sub("inner"));
        let below = shell(&nested.join().unwrap(), "exec sleep 100");
        until(5, "the process is below", || sandbox.processes().unwrap().pids == [below.pid()]);
        assert_eq!(sandbox.own_processes().unwrap().pids, [], "{name}");
        assert_eq!(nested.own_processes().unwrap().pids, [below.pid()], "{name}");
        nested.kill_all().unwrap();
        drop(below);
        drop(nested);
        sandbox.remove().unwrap();
        assert_eq!(sandbox.own_processes().unwrap().pids, [], "{name}: gone");
    }
}
