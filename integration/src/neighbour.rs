//! Hostile neighbours: a container that looks at every process which comes into a namespace of its, by every way the kernel offers.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::figures::Row;
use crate::{Container, Sandbox};

/// What Docker gives a container.
pub const DOCKER: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Who the neighbour is: its name in the table, its capabilities besides Docker's, and whether it makes a user namespace below its own,
/// where it has every capability.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// Its name in the table.
    pub name: &'static str,
    docker: bool,
    more: &'static [&'static str],
    nested: bool,
}

/// Without any capability.
pub const PLAIN: Who = Who { name: "no capabilities", docker: false, more: &[], nested: false };
/// With those that Docker gives.
pub const DOCKERS: Who = Who { name: "Docker's", docker: true, more: &[], nested: false };
/// The same, and all capabilities in a user namespace below.
pub const NESTED: Who = Who { name: "Docker's, all in a nested user namespace", docker: true, more: &[], nested: true };
/// May trace.
pub const TRACER: Who = Who { name: "Docker's and SYS_PTRACE", docker: true, more: &["CAP_SYS_PTRACE"], nested: false };
/// May trace and administer.
pub const POWERFUL: Who = Who {
    name: "Docker's, SYS_PTRACE and SYS_ADMIN",
    docker: true,
    more: &["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"],
    nested: false,
};

impl Who {
    /// A part of a file's name that no other has.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}{}{}", self.docker, self.more.len(), self.nested)
    }

    fn capabilities(&self) -> Vec<&'static str> {
        let docker = if self.docker { DOCKER } else { &[] };
        docker.iter().chain(self.more).copied().collect()
    }
}

/// What the neighbour may have found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Nothing at all.
    Nothing,
    /// With CAP_SYS_PTRACE in the same user namespace it may trace, and reach a socket and the FIFO that a created container waits on;
    /// but nothing of the host is there to be had, nor a right that the command has not.
    Tracing,
}

/// Gives the command of a container these capabilities.
pub fn give(c: &Container<'_>, capabilities: &[&str]) {
    c.remove("/process/capabilities");
    for set in ["bounding", "effective", "permitted"] {
        c.set(&format!("/process/capabilities/{set}"), json!(capabilities));
    }
}

/// A container whose command is attacked: it has everything that makes a runtime hold the host's files for it.
pub fn victim<'a>(t: &'a Sandbox, name: &str) -> Container<'a> {
    let c = t.container(name);
    t.add_neighbour(&c.rootfs());
    c.args(&["/neighbour", "exit"]);
    c.set("/process/oomScoreAdj", json!(500));
    give(&c, DOCKER);
    c
}

/// The neighbour's container, ready to run.
pub fn neighbour<'a>(t: &'a Sandbox, name: &str, who: Who) -> Container<'a> {
    let c = t.container(name);
    t.add_neighbour(&c.rootfs());
    c.set("/process/oomScoreAdj", json!(500));
    give(&c, &who.capabilities());
    // The host's root is told by this file; no container has it.
    let canary = t.dir.join("of-the-host");
    fs::write(&canary, "").unwrap();
    let mounts = fs::read_link("/proc/self/ns/mnt").unwrap();
    let canary = canary.strip_prefix("/").unwrap().display().to_string();
    let own_pids = c.config(|spec| {
        spec["linux"]["namespaces"].as_array().unwrap().iter().any(|namespace| namespace["type"] == "pid")
    });
    assert!(own_pids);
    let mut words = vec!["/neighbour".to_owned(), "watch".into(), canary, mounts.display().to_string(), "0".into()];
    if who.nested {
        words.push("nested".into());
    }
    c.set("/process/args", json!(words));
    c
}

/// Lets a neighbour see the processes of the host; it looks at those of this test alone.
pub fn see_the_host(c: &Container<'_>) {
    c.share("pid").set("/process/args/4", json!(std::process::id().to_string()));
}

/// Waits until the neighbour watches.
pub fn wait_ready(t: &Sandbox, c: &Container<'_>) {
    t.wait_until("the neighbour watches", || c.rootfs().join("ready").is_file());
}

/// One set: who is beside whom, and how often.
#[derive(Debug)]
pub struct Set {
    name: String,
    /// How many containers were created.
    pub creates: usize,
    /// How many commands were executed.
    pub executions: usize,
    allowed: Allowed,
    begun: Instant,
}

impl Set {
    /// Begins it now.
    #[must_use]
    pub fn new(name: String, allowed: Allowed) -> Self {
        Self { name, creates: 0, executions: 0, allowed, begun: Instant::now() }
    }
}

/// What no neighbour may find, whatever its rights.
const OF_THE_HOST: [&str; 7] = [
    "host procfs",
    "core_pattern opened for writing",
    "control group",
    "host root",
    "host mount namespace",
    "namespace",
    "other descriptor",
];

/// Ends the watch and judges what was found.
#[track_caller]
pub fn judge(t: &Sandbox, c: &Container<'_>, set: &Set) {
    fs::write(c.rootfs().join("stop"), "").unwrap();
    let report = c.rootfs().join("report");
    t.wait_until("the neighbour's report", || report.is_file());
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let count = |what: &str| report["counts"][what].as_u64().unwrap_or(0);
    // How a descriptor was had is counted besides what it led to.
    let innocent = ["looks", "processes", "met before their command"];
    let found: Vec<(&String, u64)> = report["counts"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(what, _)| !innocent.contains(&what.as_str()))
        .map(|(what, count)| (what, count.as_u64().unwrap_or(0)))
        .collect();
    let attached = count("ptrace attach");
    let host: u64 = OF_THE_HOST.iter().map(|what| count(what)).sum();
    let ways = ["fd opened", "pidfd_getfd", "ptrace attach"];
    let opened: u64 = found.iter().filter(|(what, _)| !ways.contains(&what.as_str())).map(|(_, count)| count).sum();
    let numbers = [
        ("creates", set.creates as u64),
        ("execs", set.executions as u64),
        ("seen", count("processes")),
        ("met before their command", count("met before their command")),
        ("looks", count("looks")),
        ("opened", opened),
        ("of the host", host),
        ("attached", attached),
        ("rights gained", u64::from(report["gained"] != "0")),
        ("seconds", set.begun.elapsed().as_secs()),
    ];
    t.figures(&Row::new("neighbours", &set.name, &numbers));
    println!("{}: {found:?}, capabilities gained: {}", set.name, report["gained"]);
    let name = &set.name;
    assert!(count("met before their command") > 0, "{name}: nobody was met, so nothing was shown");
    assert_eq!(host, 0, "{name}: something of the host: {report:#}");
    assert_eq!(report["gained"], "0", "{name}: rights of the runtime: {report:#}");
    assert!(set.allowed == Allowed::Tracing || found.is_empty(), "{name}: {found:?}: {report:#}");
}
