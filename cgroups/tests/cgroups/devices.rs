//! Device rules in force: opens refused and allowed, and no moment without a filter.

use orlop_cgroups::DeviceFilter;

use crate::environment::needs;
use crate::process::shell;
use crate::sandbox::{Sandbox, layouts, resources};

const ALLOW_NULL: &str =
    r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]}"#;
const ALLOW_ZERO: &str =
    r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
const DENY_ZERO_WRITE: &str =
    r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":5,"access":"w"}]}"#;
const ALLOW_ALL: &str = r#"{"devices":[{"allow":true,"access":"rwm"}]}"#;

/// Whether the shell in the cgroup could do it.
fn can(sandbox: &Sandbox, script: &str) -> bool {
    // The shell itself needs no device, its redirections are what is tried.
    shell(&sandbox.join().unwrap(), &format!("{{ {script}; }} 2>&-")).wait() == 0
}

const READ_NULL: &str = "true < /dev/null";
const READ_ZERO: &str = "true < /dev/zero";
const WRITE_ZERO: &str = "true > /dev/zero";
const BOTH_ZERO: &str = "true <> /dev/zero";
const READ_MEM_LIKE: &str = "true < /dev/full";

#[test]
fn opens_are_refused_and_allowed_as_the_rules_say() {
    needs!(Root);
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let check = |stage: &str, expected: [bool; 5]| {
            let found =
                [READ_NULL, READ_ZERO, WRITE_ZERO, BOTH_ZERO, READ_MEM_LIKE].map(|script| can(&sandbox, script));
            assert_eq!(found, expected, "{name}: {stage}");
        };
        check("without rules", [true; 5]);
        sandbox.limit(ALLOW_NULL);
        check("only null", [true, false, false, false, false]);
        // An update goes by the same way, from one list to another.
        sandbox.update(&resources(ALLOW_ZERO)).unwrap();
        check("only zero, reading", [false, true, false, false, false]);
        sandbox.update(&resources(DENY_ZERO_WRITE)).unwrap();
        check("all but writing zero", [true, true, false, false, true]);
        // Nothing about devices leaves the rules alone.
        sandbox.update(&resources("{}")).unwrap();
        check("an update without devices", [true, true, false, false, true]);
        sandbox.update(&resources(ALLOW_ALL)).unwrap();
        check("everything", [true; 5]);
    }
}

#[test]
fn device_nodes_cannot_be_made_without_the_right() {
    needs!(Root);
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(ALLOW_ZERO);
        let node = std::env::temp_dir().join(crate::sandbox::unique());
        let script = format!("mknod {} c 1 3", node.display());
        assert!(!can(&sandbox, &script), "{name}");
        assert!(std::fs::remove_file(&node).is_err(), "{name}: the node was made");
    }
}

/// A kept filter is for the rules that it was loaded for, and each cgroup has it by itself.
#[test]
fn a_kept_filter_is_the_one_of_its_rules_alone() {
    needs!(Root);
    for (name, layout) in layouts() {
        let filter = DeviceFilter::default();
        let first = Sandbox::new(&layout);
        let others: Vec<_> = [ALLOW_ZERO, ALLOW_NULL].map(|rules| (Sandbox::new(&layout), rules)).into();
        first.apply_with(&resources(ALLOW_NULL), &filter).unwrap();
        for (sandbox, rules) in &others {
            sandbox.apply_with(&resources(rules), &filter).unwrap();
        }
        drop(filter);
        let can_both = |sandbox: &Sandbox| [READ_NULL, READ_ZERO].map(|script| can(sandbox, script));
        assert_eq!(can_both(&first), [true, false], "{name}");
        first.update(&resources(ALLOW_ZERO)).unwrap();
        assert_eq!(can_both(&first), [false, true], "{name}: an update");
        assert_eq!(can_both(&others[0].0), [false, true], "{name}: other rules");
        assert_eq!(can_both(&others[1].0), [true, false], "{name}: the same rules");
    }
}

#[test]
fn there_is_no_moment_without_a_filter_during_updates() {
    needs!(Root);
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(ALLOW_NULL);
        // Ends with 1 as soon as the forbidden device opens, or the allowed one does not.
        let script = "while :; do if { true < /dev/zero; } 2>&-; then exit 1; fi; if ! { true < /dev/null; } 2>&-; then exit 2; fi; done";
        let mut prober = shell(&sandbox.join().unwrap(), script);
        for round in 0..200 {
            let json = if round % 2 == 0 {
                r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                   {"allow":true,"type":"c","major":1,"minor":8,"access":"rwm"}]}"#
            } else {
                ALLOW_NULL
            };
            sandbox.update(&resources(json)).unwrap();
        }
        assert!(prober.is_running(), "{name}: it ended with {}", prober.wait());
    }
}

/// Runs in a process of its own, without the right to load programs.
#[test]
fn body_without_rights() {
    if std::env::var_os("ORLOP_TEST_POWERLESS").is_none() {
        return;
    }
    for (name, layout) in layouts() {
        if layout.hierarchy("devices").is_some() {
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        let error = sandbox.apply(&resources(ALLOW_NULL)).unwrap_err();
        assert_eq!((error.field(), error.errno()), (Some("/devices"), Some(libc::EPERM)), "{name}: {error}");
        println!("refused: {error}");
    }
}

#[test]
fn rules_that_cannot_be_enforced_are_an_error() {
    needs!(Root, Program("setpriv"));
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-sys_admin,-bpf,-net_admin"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "devices::body_without_rights", "--nocapture"])
        .env("ORLOP_TEST_POWERLESS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    if layouts().iter().any(|(_, layout)| layout.hierarchy("devices").is_none()) {
        assert!(String::from_utf8_lossy(&output.stdout).contains("refused: "), "{output:?}");
    }
}

#[test]
fn impossible_rules_are_refused_before_anything_is_set() {
    needs!(Root);
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(ALLOW_NULL);
        let hole = r#"{"devices":[{"allow":true,"type":"c","major":1,"access":"rw"},
            {"allow":false,"type":"c","major":1,"minor":5,"access":"w"}]}"#;
        let error = sandbox.update(&resources(hole)).unwrap_err();
        assert_eq!(error.field(), Some("/devices/1"), "{name}: {error}");
        assert!(can(&sandbox, READ_NULL) && !can(&sandbox, READ_ZERO), "{name}");
    }
}
