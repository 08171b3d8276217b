//! Many times over, nothing may be left.

use std::time::{Duration, Instant};

use crate::process::shell;
use crate::sandbox::{Sandbox, layouts, path, unique};

/// How many rounds: fewer in an emulated guest, where each is many times slower.
fn rounds(count: usize) -> usize {
    if std::env::var_os("ORLOP_GUEST").is_some() { count / 5 } else { count }
}

#[test]
fn a_thousand_cgroups_come_and_go() {
    for (name, layout) in layouts() {
        let base = path(&unique());
        let start = Instant::now();
        let paths: Vec<String> = {
            let first = Sandbox::at(&layout, &base);
            for round in 0..rounds(1000) {
                let sandbox = Sandbox::at(&layout, &format!("{base}/{round}"));
                sandbox.remove().unwrap();
            }
            for path in first.record().paths.iter() {
                let left = std::fs::read_dir(path).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
                assert_eq!(left, 0, "{name}: {path}");
            }
            first.record().paths.iter().cloned().collect()
        };
        assert!(paths.iter().all(|path| !std::path::Path::new(path).is_dir()), "{name}");
        println!("{name}: {} cycles in {:?}", rounds(1000), start.elapsed());
    }
}

#[test]
fn processes_that_fork_while_they_are_killed_leave_nothing() {
    for (name, layout) in layouts() {
        for round in 0..rounds(200) {
            let sandbox = Sandbox::new(&layout);
            let script = "f() { while :; do /bin/true & done; }; f & f & f";
            let mut child = shell(&sandbox.join().unwrap(), script);
            std::thread::sleep(Duration::from_millis(u64::try_from(round % 7).unwrap()));
            sandbox.kill_all().unwrap();
            child.wait();
            sandbox.remove().unwrap_or_else(|error| panic!("{name}, round {round}: {error}"));
            for path in sandbox.record().paths.iter() {
                assert!(!std::path::Path::new(path).is_dir(), "{name}, round {round}: {path}");
            }
        }
    }
}
