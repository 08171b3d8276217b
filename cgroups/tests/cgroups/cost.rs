//! What it costs, in system calls.

use std::process::Command;

use orlop_cgroups::{Cgroup, Layout, Spec};

use crate::environment::needs;
use crate::process::shell;
use crate::sandbox::{Sandbox, resources, unique};

/// A container of Docker's with its default resources.
const DOCKER: &str = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"},
    {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":9,"access":"rwm"},
    {"allow":true,"type":"c","major":1,"minor":8,"access":"rwm"},{"allow":true,"type":"c","major":5,"minor":0,"access":"rwm"},
    {"allow":true,"type":"c","major":5,"minor":1,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":229,"access":"rwm"}],
    "memory":{"disableOOMKiller":false},"blockIO":{}}"#;

/// Runs in a process of its own, under strace: calls between the marks are counted. A mark is a name that cannot be opened.
#[test]
fn body() {
    let Ok(kind) = std::env::var("ORLOP_TEST_COST") else { return };
    let mark = |name: &str| drop(std::fs::File::open(format!("/orlop-mark-{name}")));
    let detected = Layout::detect().unwrap();
    let v2 = kind == "v2";
    let path = format!("/{}", unique());
    let spec = Spec { id: "c", cgroups_path: Some(&path), ..Spec::default() };
    let root = if v2 && !detected.hierarchies().is_empty() {
        detected.unified().unwrap().to_owned()
    } else {
        "/sys/fs/cgroup".to_owned()
    };
    mark("start");
    let layout = Layout::detect_at(&root).unwrap();
    let record = Cgroup::plan(&layout, &spec).unwrap();
    let sandbox = Sandbox::open(Cgroup::create(record, &spec).unwrap());
    let join = sandbox.join().unwrap();
    let child = shell(&join, "exec sleep 100");
    mark("joined");
    sandbox.apply(&resources(DOCKER)).unwrap();
    mark("applied");
    drop(join);
    sandbox.kill_all().unwrap();
    drop(child);
    mark("killed");
    sandbox.remove().unwrap();
    mark("end");
}

/// The calls between each pair of marks.
fn counts(kind: &str) -> Vec<(String, Vec<String>)> {
    let file = std::env::temp_dir().join(unique());
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&file)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "cost::body", "--nocapture", "--test-threads=1"])
        .env("ORLOP_TEST_COST", kind)
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(status.status.success(), "{status:?}");
    // The lines of the thread that makes the marks.
    let thread = text
        .lines()
        .find(|line| line.contains("orlop-mark-start"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut current = Vec::new();
    for line in text.lines().filter(|line| line.starts_with(&thread)) {
        let call = line.split_once(' ').unwrap().1.trim();
        if let Some((_, name)) = call.split_once("orlop-mark-") {
            let name = name.split('"').next().unwrap().to_owned();
            sections.push((name, std::mem::take(&mut current)));
        // Memory and signals are not what is counted here.
        } else if ![
            "brk",
            "mmap",
            "munmap",
            "mremap",
            "madvise",
            "---",
            "<... ",
            "rt_sig",
            "fcntl(",
            "wait4",
            "clock_nanosleep",
        ]
        .iter()
        .any(|other| call.starts_with(other))
        {
            current.push(call.to_owned());
        }
    }
    sections
}

#[test]
fn a_v2_cgroup_is_opened_made_and_joined_in_eight_calls() {
    needs!(Root, Program("strace"));
    let layout = Layout::detect().unwrap();
    let Some(root) = layout.unified() else {
        return crate::environment::skip("the cost on v2", "no v2 tree");
    };
    let sections = counts("v2");
    let joined = sections.iter().find(|(name, _)| name == "joined").unwrap();
    for (name, calls) in &sections {
        println!("{name}: {}\n  {}", calls.len(), calls.join("\n  "));
    }
    // Where the usual controllers are missing, finding out costs a few more.
    let usual = std::fs::read_to_string(format!("{root}/cgroup.subtree_control")).unwrap();
    let all =
        ["cpuset", "cpu", "io", "memory", "pids"].iter().all(|name| usual.split_whitespace().any(|one| one == *name));
    let most = if all { 8 } else { 20 };
    assert!(joined.1.len() <= most, "{} calls:\n{}", joined.1.len(), joined.1.join("\n"));
}

#[test]
fn a_v1_container_is_made_in_few_calls() {
    needs!(Root, V1, Program("strace"));
    let sections = counts("v1");
    for (name, calls) in &sections {
        println!("{name}: {}\n  {}", calls.len(), calls.join("\n  "));
    }
    let total: usize = sections.iter().map(|(_, calls)| calls.len()).sum();
    // crun needs 170 for the same on a host with nine hierarchies.
    assert!(total <= 150, "{total} calls");
}
