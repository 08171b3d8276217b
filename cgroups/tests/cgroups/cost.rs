//! What it costs, in system calls.

use std::process::Command;

use orlop_cgroups::{Cgroup, Layout, Spec};

use crate::bundle::Bundle;
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

/// Runs a command under strace, and gives the lines of its system calls; file descriptors are shown with their paths.
fn trace(command: &[&str], environment: &[(&str, &str)], v1_alone: bool) -> Vec<String> {
    /// A mount namespace without the v2 tree of a hybrid host.
    const ALONE: [&str; 6] =
        ["unshare", "-m", "sh", "-c", "umount /sys/fs/cgroup/unified && exec \"$0\" \"$@\"", "env"];

    let file = std::env::temp_dir().join(unique());
    let output = Command::new("strace")
        .args(["-f", "-y", "-o"])
        .arg(&file)
        .args(v1_alone.then_some(&ALONE).into_iter().flatten())
        .args(command)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{output:?}");
    text.lines().map(str::to_owned).collect()
}

/// Whether a line of strace's is a call about control groups.
fn is_about_cgroups(line: &str) -> bool {
    let resumed = line.contains(" resumed>");
    !resumed
        && ["/sys/fs/cgroup", "bpf(", "CLONE_INTO_CGROUP", "/proc/self/cgroup"].iter().any(|word| line.contains(word))
}

/// The calls about control groups between each pair of marks.
fn counts(kind: &str, v1_alone: bool) -> Vec<(String, Vec<String>)> {
    let own = std::env::current_exe().unwrap();
    let arguments = [own.to_str().unwrap(), "--exact", "cost::body", "--nocapture", "--test-threads=1"];
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    let mut current = Vec::new();
    for line in trace(&arguments, &[("ORLOP_TEST_COST", kind)], v1_alone) {
        if let Some((_, name)) = line.split_once("orlop-mark-") {
            let name = name.split('"').next().unwrap().to_owned();
            sections.push((name, std::mem::take(&mut current)));
        } else if is_about_cgroups(&line) && !line.contains("fcntl(") {
            current.push(line);
        }
    }
    // What comes before the first mark is the test's own.
    sections.remove(0);
    sections
}

fn show(sections: &[(String, Vec<String>)]) {
    for (name, calls) in sections {
        println!("{name}: {}\n  {}", calls.len(), calls.join("\n  "));
    }
}

#[test]
fn a_v2_cgroup_is_opened_made_and_joined_in_eight_calls() {
    needs!(Root, Program("strace"));
    let layout = Layout::detect().unwrap();
    let Some(root) = layout.unified() else {
        return crate::environment::skip("the cost on v2", "no v2 tree");
    };
    if std::fs::read_to_string(format!("{root}/cgroup.controllers")).unwrap().trim().is_empty() {
        return crate::environment::skip("the cost on v2", "the v2 tree has no controllers at all");
    }
    // The first container has the controllers handed down, and the others find them.
    counts("v2", false);
    let sections = counts("v2", false);
    show(&sections);
    let (_, calls) = sections.iter().find(|(name, _)| name == "joined").unwrap();
    // Where the usual controllers are missing, finding out costs a few more.
    let usual = std::fs::read_to_string(format!("{root}/cgroup.subtree_control")).unwrap();
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"]
        .iter()
        .all(|name| usual.split_whitespace().any(|one| one == *name));
    let most = if all { 8 } else { 11 };
    assert!(calls.len() <= most, "{} calls:\n{}", calls.len(), calls.join("\n"));
}

#[test]
fn a_container_costs_fewer_calls_than_with_crun() {
    needs!(Root, Program("strace"), Program("crun"));
    let layout = Layout::detect().unwrap();
    // crun refuses hybrid hosts, so it and we get the v1 hierarchies alone there.
    let v1_alone = layout.version() == orlop_cgroups::Version::Hybrid;
    let bundle = Bundle::new(&["/bin/true"], &format!("/{}", unique()), DOCKER);
    let id = unique();
    if v1_alone && std::fs::symlink_metadata("/run/systemd/system").is_ok() {
        return crate::environment::skip("the cost beside crun's", "crun minds the empty mount point of the v2 tree");
    }
    let lines = trace(&["crun", "run", "--bundle", bundle.dir.to_str().unwrap(), &id], &[], v1_alone);
    let theirs: Vec<String> = lines.into_iter().filter(|line| is_about_cgroups(line)).collect();
    let kind = if layout.version() == orlop_cgroups::Version::V2 { "v2" } else { "v1" };
    let sections = counts(kind, v1_alone);
    let ours: usize = sections.iter().map(|(_, calls)| calls.len()).sum();
    show(&sections);
    println!("crun: {}\n  {}", theirs.len(), theirs.join("\n  "));
    assert!(ours <= theirs.len(), "{ours} calls, and crun has {}", theirs.len());
}

#[test]
fn a_v1_container_is_made_in_few_calls() {
    needs!(Root, V1, Program("strace"));
    let sections = counts("v1", false);
    show(&sections);
    let total: usize = sections.iter().map(|(_, calls)| calls.len()).sum();
    let hierarchies = Layout::detect().unwrap().hierarchies().len();
    // Made, opened, joined, removed: four for each, and what devices, cpuset and freezer need.
    assert!(total <= 4 * hierarchies + 90, "{total} calls");
}
