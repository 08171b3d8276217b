//! exec: a further process in a container.

use std::fs;
use std::path::{Path, PathBuf};

use orlop_integration::{Container, Flavor, Sandbox, case, process};
use serde_json::{Value, json};

fn paused<'a>(t: &'a Sandbox) -> Container<'a> {
    let c = t.container("a");
    c.run_paused();
    c
}

#[case]
fn exit_codes_and_output(t: &Sandbox) {
    let c = paused(t);
    for code in [0, 1, 7, 126, 255] {
        c.exec(&[], &["sh", "-c", &format!("echo out; echo err >&2; exit {code}")]).code(code);
    }
    let out = c.exec(&[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
    c.end();
}

#[case]
fn killed_by_a_signal_gives_128_and_its_number(t: &Sandbox) {
    let c = paused(t);
    c.exec(&[], &["sh", "-c", "kill -KILL $$"]).code(137);
    c.exec(&[], &["sh", "-c", "kill -TERM $$"]).code(143);
    c.exec(&[], &["sh", "-c", "kill -USR1 $$"]).code(138);
    c.end();
}

/// Then the runtime and the new process take turns, and neither can wait for the other to work beside it.
#[case]
fn on_one_processor(t: &Sandbox) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let here = nix::unistd::Pid::from_raw(0);
    let all = sched_getaffinity(here).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::count()).find(|number| all.is_set(*number).unwrap()).unwrap()).unwrap();
    sched_setaffinity(here, &one).unwrap();
    let c = paused(t);
    for code in [0, 7] {
        let out = c.exec(&[], &["sh", "-c", &format!("echo out; exit {code}")]).code(code);
        assert_eq!(out.stdout, "out\n");
    }
    let out = c.exec(&[], &["no-such-command"]).code(255);
    assert!(out.stderr.contains("not found in"), "{}", out.stderr);
    // Somebody is told of the process before its command.
    let file = t.dir.join("pid");
    c.exec(&["--pid-file", file.to_str().unwrap()], &["true"]).ok();
    assert!(fs::read_to_string(&file).unwrap().trim().parse::<i32>().is_ok());
    c.end();
    assert_eq!(t.container("b").args(&["echo", "out"]).run().ok().stdout, "out\n");
    sched_setaffinity(here, &all).unwrap();
}

#[case]
fn a_missing_command_is_an_error_that_engines_know(t: &Sandbox) {
    let c = paused(t);
    let code = 255;
    let out = c.exec(&[], &["/no/such/command"]).code(code);
    assert!(out.stderr.to_lowercase().contains("no such file or directory"), "{}", out.stderr);
    let out = c.exec(&[], &["no-such-command"]).code(code);
    assert!(out.stderr.contains("executable file") && out.stderr.contains("not found in"), "{}", out.stderr);
    let out = c.exec(&[], &["/etc/passwd"]).code(code);
    assert!(out.stderr.to_lowercase().contains("permission denied"), "{}", out.stderr);
    c.end();
}

#[case(needs(Ids))]
fn joins_every_namespace(t: &Sandbox) {
    let c = t.container("a");
    c.namespace("cgroup").map_users(100_000, 65536);
    c.run_paused();
    let pid = c.pid();
    let facts = c.exec_facts(&[]);
    for (name, link) in facts["namespaces"].as_object().unwrap() {
        let of_first = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(link, of_first.to_str().unwrap(), "{name}");
    }
    c.end();
}

#[case]
fn joins_the_cgroup(t: &Sandbox) {
    let c = paused(t);
    c.exec(&["--detach"], &["/probe", "pause"]).ok();
    for dir in t.cgroups_of(&c.id) {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        // The v2 tree of a hybrid host is used by some runtimes only; where it is, it holds both.
        if !procs.is_empty() {
            assert_eq!(procs.lines().count(), 2, "{}", dir.display());
        }
    }
    c.end();
}

#[case]
fn works_in_a_created_container(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]).create().ok();
    assert_eq!(c.exec(&[], &["echo", "early"]).ok().stdout, "early\n");
    c.start().ok();
    c.end();
}

#[case]
fn refused_in_an_unknown_container(t: &Sandbox) {
    t.logged(&["exec", &t.id("none"), "true"]).run().fails();
}

#[case]
fn refused_in_a_stopped_container(t: &Sandbox) {
    let c = t.container("a");
    c.run_detached().ok();
    t.wait_until("stopped", || c.status() == "stopped");
    c.exec(&[], &["true"]).fails();
    c.delete().ok();
}

#[case(needs(ControlGroups), not_crun("waits until it is resumed"))]
fn refused_in_a_paused_container(t: &Sandbox) {
    let c = paused(t);
    c.simple("pause", &[], &[]).ok();
    c.exec(&[], &["true"]).fails();
    c.simple("resume", &[], &[]).ok();
    c.exec(&[], &["true"]).ok();
    c.end();
}

#[case(needs(ControlGroups), not_crun("no such flag"))]
fn ignore_paused_waits_for_the_resume(t: &Sandbox) {
    let c = paused(t);
    c.simple("pause", &[], &[]).ok();
    let waiting = c.simple_cmd("exec", &["--ignore-paused"], &["echo", "thawed"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(200));
    c.simple("resume", &[], &[]).ok();
    assert_eq!(waiting.wait().ok().stdout, "thawed\n");
    c.end();
}

#[case(needs(Ids))]
fn takes_env_cwd_and_user(t: &Sandbox) {
    let c = paused(t);
    let facts = c.exec_facts(&["--env", "A=1", "--env", "B=two words", "--cwd", "/tmp", "--user", "1000:2000"]);
    let env: Vec<&str> = facts["env"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(env.contains(&"A=1") && env.contains(&"B=two words"), "{env:?}");
    assert_eq!(facts["cwd"], "/tmp");
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(1000), &json!(2000)));
    let facts = c.exec_facts(&["-u", "1000"]);
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(1000), &json!(0)), "no gid given means 0");
    c.end();
}

#[case(needs(Ids), not_crun("no such flag"))]
fn takes_additional_groups(t: &Sandbox) {
    let c = paused(t);
    let facts = c.exec_facts(&["--user", "1000:1000", "--additional-gids", "2000", "--additional-gids", "3000"]);
    let mut groups: Vec<u64> = facts["groups"].as_array().unwrap().iter().map(|g| g.as_u64().unwrap()).collect();
    groups.sort_unstable();
    groups.retain(|gid| *gid != 1000);
    assert_eq!(groups, [2000, 3000]);
    c.end();
}

/// A set of the probe's status as a number.
pub(crate) fn set(facts: &Value, name: &str) -> u64 {
    u64::from_str_radix(facts["status"][name].as_str().unwrap(), 16).unwrap()
}

#[case]
fn takes_capabilities(t: &Sandbox) {
    let c = paused(t);
    let facts = c.exec_facts(&["--cap", "CAP_NET_RAW"]);
    for name in ["CapBnd", "CapPrm", "CapEff"] {
        assert_ne!(set(&facts, name) & (1 << 13), 0, "{name}");
    }
    assert_eq!(set(&facts, "CapInh"), 0, "CVE-2022-29162: exec must not add to the inheritable set");
    c.end();
}

#[case]
fn takes_no_new_privileges(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/noNewPrivileges", json!(false)).run_paused();
    assert_eq!(c.exec_facts(&[])["status"]["NoNewPrivs"], "0");
    assert_eq!(c.exec_facts(&["--no-new-privs"])["status"]["NoNewPrivs"], "1");
    c.end();
}

fn process_file(t: &Sandbox) -> String {
    let path = t.dir.join("process.json");
    let process = json!({
        "terminal": false, "cwd": "/tmp", "args": ["/probe", "facts"], "env": ["PATH=/bin", "FROM=file"],
        "user": { "uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o77 },
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 100, "hard": 200 }],
        "noNewPrivileges": true,
        "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] }
    });
    fs::write(&path, process.to_string()).unwrap();
    path.display().to_string()
}

fn check_process_file(facts: &Value) {
    assert_eq!((&facts["uid"], &facts["gid"], &facts["cwd"]), (&json!(5), &json!(6), &json!("/tmp")));
    assert_eq!(facts["groups"], json!([7, 8]));
    assert_eq!(facts["rlimits"]["RLIMIT_CORE"], json!([100, 200]));
    assert_eq!(facts["status"]["NoNewPrivs"], "1");
    assert_eq!(set(facts, "CapBnd"), 1 << 5);
    assert!(facts["env"].as_array().unwrap().contains(&json!("FROM=file")));
}

#[case(needs(Ids))]
fn a_process_file_says_it_all(t: &Sandbox) {
    let c = paused(t);
    let path = process_file(t);
    let facts = t.logged(&["exec", "--process", &path, &c.id]).run().ok().json();
    check_process_file(&facts);
    if t.is(Flavor::Orlop) {
        assert_eq!(facts["status"]["Umask"], "0077", "runc 1.1 ignores it here");
    }
    let facts = t.logged(&["exec", "-p", &path, &c.id]).run().ok().json();
    check_process_file(&facts);
    c.end();
}

#[case]
fn detached_gives_the_pid(t: &Sandbox) {
    let c = paused(t);
    let file = t.dir.join("exec.pid");
    c.exec(&["--detach", "--pid-file", &file.display().to_string()], &["/probe", "pause"]).ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    // execve(2) closes descriptors, by which the runtime knows of it, before it shows the new name.
    t.wait_until("the command's name", || process::read(pid).is_some_and(|found| found.command == "probe"));
    let found = process::read(pid).unwrap();
    assert_eq!(found.parent, i32::try_from(std::process::id()).unwrap());
    process::kill_hard(pid);
    t.wait_gone(pid);
    assert_eq!(c.status(), "running");
    c.end();
}

#[case]
fn standard_input_is_passed(t: &Sandbox) {
    let c = paused(t);
    assert_eq!(c.simple_cmd("exec", &[], &["cat"]).stdin("to cat\n").run().ok().stdout, "to cat\n");
    c.end();
}

#[case]
fn forwards_signals(t: &Sandbox) {
    let c = paused(t);
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let exec = c.simple_cmd("exec", &[], &["sh", "-c", script]).spawn();
    t.wait_until("ready", || exec.stdout().contains("ready"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(exec.pid()), nix::sys::signal::Signal::SIGTERM).unwrap();
    let _ = exec.wait().code(9);
    c.end();
}

#[case]
fn passes_descriptors(t: &Sandbox) {
    let c = paused(t);
    let file = fs::File::create(t.dir.join("passed")).unwrap();
    let out =
        c.simple_cmd("exec", &["--preserve-fds", "1"], &["sh", "-c", "echo through >&3"]).fd(file.into(), 3).run();
    let _ = out.ok();
    assert_eq!(fs::read_to_string(t.dir.join("passed")).unwrap(), "through\n");
    c.end();
}

#[case]
fn passes_descriptors_from_three(t: &Sandbox) {
    let c = paused(t);
    let mut command = c.simple_cmd("exec", &["--preserve-fds=2"], &["/probe", "facts"]);
    for fd in [3, 4] {
        let file = fs::File::create(t.dir.join(format!("passed{fd}"))).unwrap();
        command = command.fd(file.into(), fd);
    }
    let facts = command.run().ok().json();
    let numbers: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
    c.end();
}

#[case(not_crun("--env replaces the environment"))]
fn environment_of_the_container_is_the_default(t: &Sandbox) {
    let c = t.container("a");
    c.push("/process/env", json!("MARK=container")).run_paused();
    let facts = c.exec_facts(&["--env", "X=1"]);
    let env = facts["env"].as_array().unwrap();
    assert!(env.contains(&json!("MARK=container")) && env.contains(&json!("X=1")), "{env:?}");
    assert!(env.iter().any(|v| v.as_str().unwrap().starts_with("HOME=")), "{env:?}");
    c.end();
}

#[case]
fn cwd_is_made_in_the_container_never_on_the_host(t: &Sandbox) {
    let c = paused(t);
    let name = format!("/tmp/{}-cwd", t.tag);
    let _either_made_or_refused = c.exec(&["--cwd", &name], &["pwd"]);
    assert!(!std::path::Path::new(&name).is_dir(), "made on the host");
    c.end();
}

#[case]
fn many_at_once(t: &Sandbox) {
    let c = paused(t);
    let all: Vec<_> = (0..20).map(|_| c.simple_cmd("exec", &[], &["sh", "-c", "exit 3"]).spawn()).collect();
    for exec in all {
        let _ = exec.wait().code(3);
    }
    c.end();
}

#[case]
fn leaves_no_zombie_in_the_container(t: &Sandbox) {
    let c = paused(t);
    for _ in 0..5 {
        c.exec(&[], &["true"]).ok();
    }
    let procs = c.exec(&[], &["sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status; true"]).ok().stdout;
    assert_eq!(procs, "");
    c.end();
}

#[case]
fn exit_of_a_child_is_not_taken_for_the_commands(t: &Sandbox) {
    let c = paused(t);
    c.exec(&[], &["sh", "-c", "(exit 1) & (exit 2) & sleep 0.1; exit 5"]).code(5);
    c.end();
}

#[case]
fn unknown_flag_is_refused(t: &Sandbox) {
    let c = paused(t);
    c.exec(&["--no-such-flag"], &["true"]).fails();
    c.end();
}

#[case]
fn without_a_command_is_refused(t: &Sandbox) {
    let c = paused(t);
    c.exec(&[], &[]).fails();
    c.end();
}

#[case(needs(ControlGroups), not_crun("lets a path out, until crun 1.29"))]
fn sub_cgroup(t: &Sandbox) {
    let c = paused(t);
    let dirs = t.cgroups_of(&c.id);
    for dir in &dirs {
        fs::create_dir(dir.join("sub")).unwrap();
        // A v1 cpuset wants its CPUs before its processes.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if dir.join("sub").join(file).is_file() {
                fs::copy(dir.join(file), dir.join("sub").join(file)).unwrap();
            }
        }
    }
    c.exec(&["--cgroup", "sub", "--detach"], &["/probe", "pause"]).ok();
    let dir = t.controller("memory", &c.id).unwrap();
    assert_eq!(fs::read_to_string(dir.join("sub/cgroup.procs")).unwrap().lines().count(), 1);
    let out = c.exec(&["--cgroup", "../.."], &["true"]).fails();
    assert!(out.stderr.contains("sub cgroup path"), "{}", out.stderr);
    let out = c.exec(&["--cgroup", "none-such"], &["true"]).fails();
    assert!(out.stderr.contains(" adding pid ") && out.stderr.contains("o such file"), "{}", out.stderr);
    if t.controller("memory", &c.id).is_some_and(|dir| dir.join("tasks").is_file()) {
        let out = c.exec(&["--cgroup", "none-such:/"], &["true"]).fails();
        assert!(out.stderr.contains("unknown controller "), "{}", out.stderr);
    }
    c.end();
}

/// Makes a cgroup beside or below others, in the v1 cpuset with the CPUs and memory nodes of the one above.
fn make_cgroup(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let file = Path::new(file);
        if dir.join(file).is_file() && !dir.join("cgroup.events").is_file() {
            fs::copy(dir.parent().unwrap().join(file), dir.join(file)).unwrap();
        }
    }
}

#[case(not_runc("wants it in all"), not_crun("wants it in one"))]
fn a_sub_cgroup_in_one_hierarchy_is_joined_there(t: &Sandbox) {
    let c = paused(t);
    let dirs = t.cgroups_of(&c.id);
    let Some(dir) = dirs.iter().find(|dir| dir.join("pids.current").is_file()) else { t.skip("no pids controller") };
    make_cgroup(&dir.join("foo"));
    let cgroups = c.exec(&["--cgroup", "foo"], &["cat", "/proc/self/cgroup"]).ok().stdout;
    let end = |line: &str| line.ends_with(&format!("/{}/foo", c.id)) || line.ends_with("/foo");
    assert!(cgroups.lines().any(end), "{cgroups}");
    assert!(dirs.len() == 1 || !cgroups.lines().all(end), "{cgroups}");
    let out = c.exec(&["--cgroup", "bar"], &["true"]).fails();
    assert!(out.stderr.contains(" adding pid ") && out.stderr.contains("o such file"), "{}", out.stderr);
    c.end();
}

#[case(needs(ControlGroups), not_runc("until runc 1.5.2"), not_crun("lets a path out, until crun 1.29"))]
fn a_neighbours_cgroup_is_no_sub_cgroup(t: &Sandbox) {
    let c = paused(t);
    // Its name begins as the container's does.
    let neighbours: Vec<PathBuf> =
        t.cgroups_of(&c.id).iter().map(|dir| dir.with_file_name(format!("{}2", c.id))).collect();
    neighbours.iter().for_each(|dir| make_cgroup(dir));
    let mut paths = vec![format!("../{}2", c.id), format!("x/../../{}2", c.id), format!("/../{}2", c.id)];
    if t.controller("freezer", &c.id).is_some_and(|dir| dir.join("tasks").is_file()) {
        paths.push(format!("freezer:../{}2", c.id));
    }
    for path in paths {
        let out = c.exec(&["--cgroup", &path], &["true"]).fails();
        assert!(out.stderr.contains("sub cgroup path"), "{}", out.stderr);
    }
    c.end();
    neighbours.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
}

#[case(needs(ControlGroups), not_runc("until runc 1.5"), not_crun("believes its state file"))]
fn a_container_that_has_moved_is_found_where_it_is(t: &Sandbox) {
    for gone in [true, false] {
        let c = t.container(if gone { "gone" } else { "left" });
        let pid = c.run_paused().to_string();
        let old = t.cgroups_of(&c.id);
        let new: Vec<PathBuf> = old.iter().map(|dir| dir.with_file_name(format!("{}-moved", c.id))).collect();
        for (old, new) in old.iter().zip(&new) {
            make_cgroup(new);
            fs::write(new.join("cgroup.procs"), &pid).unwrap();
            if gone {
                fs::remove_dir(old).unwrap();
            }
        }
        c.exec(&["--detach"], &["/probe", "pause"]).ok();
        for dir in &new {
            let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
            assert_eq!(processes.lines().count(), 2, "{}: {processes}", dir.display());
        }
        assert_eq!(c.simple("ps", &["--format", "json"], &[]).ok().json().as_array().unwrap().len(), 2);
        c.simple("pause", &[], &[]).ok();
        assert_eq!(c.status(), "paused");
        c.simple("resume", &[], &[]).ok();
        assert_eq!(c.status(), "running");
        if let Some(dir) = new.iter().find(|dir| dir.join("pids.max").is_file()) {
            c.simple("update", &["--pids-limit", "77"], &[]).ok();
            assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap().trim(), "77");
            let stats = c.simple("events", &["--stats"], &[]).ok().json();
            assert_eq!(stats["data"]["pids"]["current"], json!(2), "{stats}");
        }
        // One that is held where it is now dies all the same.
        c.simple("pause", &[], &[]).ok();
        c.kill("KILL").ok();
        t.wait_until("stopped", || c.status() == "stopped");
        if gone {
            new.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
            c.delete().ok();
        } else {
            // What no process is in any more nobody can tell of: only its maker.
            c.delete().ok();
            new.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
        }
        // With the init alive, delete knows them.
        c.run_paused();
        let (old, pid) = (t.cgroups_of(&c.id), c.pid().to_string());
        for (old, new) in old.iter().zip(&new) {
            make_cgroup(new);
            fs::write(new.join("cgroup.procs"), &pid).unwrap();
            if gone {
                fs::remove_dir(old).unwrap();
            }
        }
        c.delete_force().ok();
        assert!(new.iter().chain(&old).all(|dir| !dir.is_dir()), "{new:?}");
    }
}

#[case(extension)]
fn a_container_among_others_is_not_taken_for_all_of_them(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused().to_string();
    let mut other = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let old = t.cgroups_of(&c.id);
    let new: Vec<PathBuf> = old.iter().map(|dir| dir.with_file_name(format!("{}-shared", c.id))).collect();
    for (old, new) in old.iter().zip(&new) {
        make_cgroup(new);
        fs::write(new.join("cgroup.procs"), other.id().to_string()).unwrap();
        fs::write(new.join("cgroup.procs"), &pid).unwrap();
        fs::remove_dir(old).unwrap();
    }
    // A process may join them; but nothing is done to all of them.
    c.exec(&[], &["true"]).ok();
    c.simple("pause", &[], &[]).fails();
    c.simple("kill", &["--all"], &["KILL"]).ok();
    t.wait_until("stopped", || c.status() == "stopped");
    assert!(other.try_wait().unwrap().is_none(), "a process of somebody else was killed");
    c.delete().ok();
    other.kill().unwrap();
    other.wait().unwrap();
    new.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
}

#[case(not_runc("only where all is cgroup v2"))]
fn a_cgroup_that_hands_on_its_controllers_takes_no_process(t: &Sandbox) {
    let c = paused(t);
    let dirs = t.cgroups_of(&c.id);
    let v2 = dirs.iter().find(|dir| dir.join("cgroup.subtree_control").is_file());
    let Some(v2) = v2 else { t.skip("no cgroup v2 tree") };
    let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap();
    let Some(controller) = controllers.split_whitespace().next() else { t.skip("no controller in the v2 tree") };
    let inner = v2.join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), c.pid().to_string()).unwrap();
    fs::write(v2.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();

    // Unasked, the process goes where init went; asked for the topmost one, it is told why that cannot be.
    let out = c.exec(&[], &["cat", "/proc/self/cgroup"]).ok();
    assert!(out.stdout.lines().any(|line| line.starts_with("0::") && line.ends_with("/inner")), "{}", out.stdout);
    let out = c.exec(&["--cgroup", "/"], &["true"]).fails();
    let text = out.stderr.to_lowercase();
    assert!(text.contains("adding pid ") && text.contains(" to cgroups"), "{text}");
    assert!(text.contains("device or resource busy"), "{text}");
    c.end();
}
