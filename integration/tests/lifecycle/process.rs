//! The `process` section: what the command finds when it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orlop_integration::{Flavor, Sandbox, case};
use serde_json::{Value, json};

use crate::exec::set;

#[case]
fn args_env_and_cwd(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "facts"])
        .set("/process/env", json!(["A=1", "EMPTY=", "UTF=ä\"\\"]))
        .set("/process/cwd", json!("/tmp"));
    let facts = c.run().ok().json();
    assert_eq!(facts["args"], json!(["/probe", "facts"]));
    assert_eq!(facts["cwd"], "/tmp");
    let env = facts["env"].as_array().unwrap();
    for entry in ["A=1", "EMPTY=", "UTF=ä\"\\"] {
        assert!(env.contains(&json!(entry)), "{entry} is not in {env:?}");
    }
}

#[case]
fn the_path_of_the_working_directory_may_be_long(t: &Sandbox) {
    let c = t.container("a");
    let cwd = format!("/tmp{}", format!("/{}", "d".repeat(200)).repeat(15));
    fs::create_dir_all(c.rootfs().join(&cwd[1..])).unwrap();
    c.set("/process/cwd", json!(cwd));
    assert_eq!(c.facts()["cwd"], json!(cwd));
}

#[case]
fn path_lookup_uses_the_containers_path(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("opt")).unwrap();
    t.copy_probe(&c.rootfs().join("opt/tool"));
    c.set("/process/env", json!(["PATH=/none:/opt:/bin"]));
    assert_eq!(c.args(&["tool", "echo", "found"]).run().ok().stdout, "found\n");
    c.set("/process/env", json!(["PATH=/none"])).run().fails();
}

#[case(needs(Ids), not_crun("sets none without an entry"))]
fn home_comes_from_passwd(t: &Sandbox) {
    let c = t.container("a");
    let home = |facts: &Value| {
        let env = facts["env"].as_array().unwrap().clone();
        env.iter().find_map(|v| v.as_str().unwrap().strip_prefix("HOME=").map(str::to_owned))
    };
    assert_eq!(home(&c.facts()).as_deref(), Some("/root"));
    c.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(home(&c.facts()).as_deref(), Some("/home/user"));
    c.set("/process/user", json!({"uid": 77, "gid": 0}));
    assert_eq!(home(&c.facts()).as_deref(), Some("/"), "no entry in passwd");
}

#[case]
fn a_given_home_stays(t: &Sandbox) {
    let c = t.container("a");
    c.push("/process/env", json!("HOME=/elsewhere"));
    assert!(c.facts()["env"].as_array().unwrap().contains(&json!("HOME=/elsewhere")));
}

#[case(not_runc("passes both; the C library takes the first"), not_crun("passes both"))]
fn a_later_variable_wins(t: &Sandbox) {
    let c = t.container("a");
    c.push("/process/env", json!("X=first")).push("/process/env", json!("X=second"));
    assert_eq!(c.sh("echo $X").run().ok().stdout, "second\n");
}

#[case(needs(Ids))]
fn user_group_and_additional_groups(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6, 7]}));
    let facts = c.facts();
    for (key, value) in [("uid", 1000), ("euid", 1000), ("gid", 1001), ("egid", 1001)] {
        assert_eq!(facts[key], value, "{key}");
    }
    assert_eq!(facts["groups"], json!([5, 6, 7]));
    c.set("/process/user", json!({"uid": 0, "gid": 0}));
    assert_eq!(c.facts()["groups"], json!([]), "the caller's groups must not leak");
}

#[case]
fn umask(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user/umask", json!(0o27));
    assert_eq!(c.facts()["status"]["Umask"], "0027");
}

#[case]
fn umask_defaults_to_022(t: &Sandbox) {
    let c = t.container("a");
    assert_eq!(c.facts()["status"]["Umask"], "0022");
}

#[case]
fn rlimits(t: &Sandbox) {
    let c = t.container("a");
    c.set(
        "/process/rlimits",
        json!([
            {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1000},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152},
            {"type": "RLIMIT_CPU", "soft": 100, "hard": 200}
        ]),
    );
    let facts = c.facts();
    assert_eq!(facts["rlimits"]["RLIMIT_NOFILE"], json!([512, 1000]));
    assert_eq!(facts["rlimits"]["RLIMIT_CORE"], json!([0, 0]));
    assert_eq!(facts["rlimits"]["RLIMIT_STACK"], json!([1_048_576, 2_097_152]));
    assert_eq!(facts["rlimits"]["RLIMIT_CPU"], json!([100, 200]));
}

#[case(not_crun("takes the last"))]
fn a_duplicate_rlimit_is_refused(t: &Sandbox) {
    let c = t.container("a");
    c.push("/process/rlimits", json!({"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5})).run().code(1);
}

#[case]
fn no_new_privileges(t: &Sandbox) {
    let c = t.container("a");
    assert_eq!(c.facts()["status"]["NoNewPrivs"], "1");
    c.set("/process/noNewPrivileges", json!(false));
    assert_eq!(c.facts()["status"]["NoNewPrivs"], "0");
}

const DEFAULT: u64 = 1 << 29 | 1 << 5 | 1 << 10; // AUDIT_WRITE, KILL, NET_BIND_SERVICE

#[case]
fn capability_sets_of_root(t: &Sandbox) {
    let facts = t.container("a").facts();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(set(&facts, name), DEFAULT, "{name}");
    }
    assert_eq!(set(&facts, "CapInh"), 0, "CVE-2022-24769");
}

#[case(needs(Ids))]
fn capability_sets_of_an_ordinary_user(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    c.remove("/process/capabilities/ambient");
    let facts = c.facts();
    assert_eq!(set(&facts, "CapBnd"), DEFAULT);
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(set(&facts, name), 0, "{name}");
    }
}

#[case]
fn no_capabilities_at_all(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/capabilities", json!({}));
    let facts = c.facts();
    for name in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(set(&facts, name), 0, "{name}");
    }
}

#[case(needs(Ids))]
fn all_five_capability_sets(t: &Sandbox) {
    let c = t.container("a");
    let two = json!(["CAP_KILL", "CAP_NET_RAW"]);
    c.set(
        "/process/capabilities",
        json!({"bounding": ["CAP_KILL", "CAP_NET_RAW", "CAP_CHOWN"], "permitted": two,
        "effective": two, "inheritable": two, "ambient": ["CAP_NET_RAW"]}),
    );
    c.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let facts = c.facts();
    assert_eq!(set(&facts, "CapBnd"), 1 << 5 | 1 << 13 | 1);
    assert_eq!(set(&facts, "CapInh"), 1 << 5 | 1 << 13);
    assert_eq!(set(&facts, "CapAmb"), 1 << 13);
    assert_eq!(set(&facts, "CapPrm"), 1 << 13, "an ordinary user keeps only the ambient ones over execve");
    assert_eq!(set(&facts, "CapEff"), 1 << 13);
}

/// The crates `procfs` and `caps` say what the kernel knows of a container's process, by names and readers of their own.
#[case(needs(Ids))]
fn other_readers_see_what_the_config_says(t: &Sandbox) {
    let c = t.container("a");
    let (bounding, permitted) = (["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SYS_CHROOT"], ["CAP_CHOWN", "CAP_KILL"]);
    c.set(
        "/process/capabilities",
        json!({"bounding": bounding, "permitted": permitted, "effective": permitted, "inheritable": ["CAP_KILL"], "ambient": []}),
    );
    c.set("/process/user", json!({"uid": 0, "gid": 7, "umask": 0o27, "additionalGids": [9, 8]}));
    c.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]));
    c.set("/process/oomScoreAdj", json!(123)).set("/process/noNewPrivileges", json!(true));
    let pid = c.run_paused();
    let process = procfs::process::Process::new(pid).unwrap();
    let status = process.status().unwrap();
    let mask = |names: &[&str]| {
        names.iter().map(|name| name.parse::<caps::Capability>().unwrap().bitmask()).fold(0, |all, one| all | one)
    };
    // With no_new_privs execve gives root's program nothing that it had not.
    let permitted = mask(&permitted);
    assert_eq!((status.capbnd, status.capprm, status.capeff), (Some(mask(&bounding)), permitted, permitted));
    assert_eq!((status.capinh, status.capamb), (mask(&["CAP_KILL"]), Some(0)));
    for (set, of_status) in [
        (caps::CapSet::Permitted, status.capprm),
        (caps::CapSet::Effective, status.capeff),
        (caps::CapSet::Inheritable, status.capinh),
    ] {
        let asked = caps::read(Some(pid), set).unwrap();
        assert_eq!(asked.iter().map(caps::Capability::bitmask).fold(0, |all, one| all | one), of_status, "{set:?}");
    }
    let mut groups = status.groups.clone();
    groups.sort_unstable();
    assert_eq!((status.ruid, status.egid, groups), (0, 7, vec![8, 9]));
    assert_eq!((status.umask, status.nonewprivs), (Some(0o27), Some(1)));
    assert_eq!(process.oom_score_adj().unwrap(), 123);
    let files = process.limits().unwrap().max_open_files;
    let number = |limit| match limit {
        procfs::process::LimitValue::Value(value) => value,
        procfs::process::LimitValue::Unlimited => u64::MAX,
    };
    assert_eq!((number(files.soft_limit), number(files.hard_limit)), (77, 99));
    let (inside, outside) =
        (process.namespaces().unwrap(), procfs::process::Process::myself().unwrap().namespaces().unwrap());
    for name in ["pid", "mnt", "uts", "ipc"] {
        let name = std::ffi::OsStr::new(name);
        assert_ne!(inside.0[name].identifier, outside.0[name].identifier, "{name:?}");
    }
    c.end();
}

#[case]
fn oom_score(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/oomScoreAdj", json!(321));
    assert_eq!(c.facts()["oom_score_adj"], "321");
}

#[case]
fn oom_score_is_left_when_not_set(t: &Sandbox) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(t.container("a").facts()["oom_score_adj"], own.trim());
}

#[case(not_runc("since runc 1.2"), not_crun("since crun 1.9"))]
fn scheduler(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 7}));
    let sched = &c.facts()["sched"];
    assert_eq!((&sched["policy"], &sched["nice"]), (&json!(3), &json!(7)));
    c.set("/process/scheduler", json!({"policy": "SCHED_IDLE"}));
    assert_eq!(c.facts()["sched"]["policy"], 5);
    c.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    let sched = &c.facts()["sched"];
    assert_eq!((&sched["policy"], &sched["nice"], &sched["flags"]), (&json!(0), &json!(19), &json!(1)));
}

#[case(needs(ControlGroups), not_runc("since runc 1.2"), not_crun("says less"))]
fn deadline_scheduling_needs_all_cpus(t: &Sandbox) {
    t.need(std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1), "two CPUs");
    let c = t.container("a");
    c.set("/linux/resources/cpu", json!({"cpus": "0"}));
    let deadline = json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1_000_000, "period": 1_000_000});
    let text = c.set("/process/scheduler", deadline).run().fails().stderr;
    assert!(text.contains("process scheduler can't be used together with AllowedCPUs"), "{text}");
}

/// Policies that need rights which the tests may not have; the guest lane has them.
#[case(not_runc("since runc 1.2"), not_crun("not in Debian's crun"))]
fn realtime_and_deadline_schedulers(t: &Sandbox) {
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 40_000_000});
    for (number, (scheduler, policy)) in [
        (json!({"policy": "SCHED_FIFO", "priority": 10}), 1),
        (json!({"policy": "SCHED_RR", "priority": 20}), 2),
        (deadline, 6),
    ]
    .into_iter()
    .enumerate()
    {
        let c = t.container(&format!("c{number}"));
        c.set("/process/scheduler", scheduler.clone());
        let out = c.args(&["/probe", "facts"]).run();
        let refused = out.stderr.contains("set scheduler (config /process/scheduler): operation not permitted");
        t.need_promised("systemd", !refused, "this machine lets nobody have a realtime policy");
        let sched = &out.ok().json()["sched"];
        assert_eq!(
            (&sched["policy"], &sched["priority"]),
            (&json!(policy), &scheduler.get("priority").cloned().unwrap_or(json!(0)))
        );
        for name in ["runtime", "deadline", "period"].iter().filter(|_| policy == 6) {
            assert_eq!(sched[*name], scheduler[*name], "{name}");
        }
    }
}

/// A fork takes a scheduling with SCHED_FLAG_RESET_ON_FORK away, and the entry of a pid namespace needs one.
#[case(not_runc("since runc 1.2"), not_crun("loses the flag"))]
fn scheduler_of_exec(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    c.run_paused();
    let sched = &c.exec_facts(&[])["sched"];
    assert_eq!((&sched["policy"], &sched["nice"], &sched["flags"]), (&json!(0), &json!(19), &json!(1)));
    c.end();
}

/// Who has given up root's rights by then.
#[case(needs(SameUsers, Ids), not_runc("since runc 1.2"), not_crun("loses the flag"))]
fn scheduler_of_exec_as_a_user(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/scheduler", json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    c.set("/process/user", json!({"uid": 1000, "gid": 1000})).run_paused();
    let sched = &c.exec_facts(&[])["sched"];
    assert_eq!((&sched["policy"], &sched["flags"]), (&json!(5), &json!(1)));
    c.end();
}

/// As `realtime_and_deadline_schedulers`, into a pid namespace that is there.
#[case(not_runc("since runc 1.2"), not_crun("loses the flag"))]
fn realtime_and_deadline_schedulers_of_exec(t: &Sandbox) {
    let reset = json!(["SCHED_FLAG_RESET_ON_FORK"]);
    let fifo = json!({"policy": "SCHED_FIFO", "priority": 10, "flags": reset});
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 40_000_000});
    let c = t.container("a");
    c.run_paused();
    for (scheduler, policy, flags) in [(fifo, 1, 1), (deadline, 6, 0)] {
        let mut process = c.config(|config| config["process"].clone());
        process["args"] = json!(["/probe", "facts"]);
        process["scheduler"] = scheduler;
        let file = c.bundle.join("process.json");
        fs::write(&file, process.to_string()).unwrap();
        let out = t.cmd(&["exec", "--process", &file.display().to_string(), &c.id]).run();
        let refused = out.stderr.contains("set scheduler (config /scheduler): operation not permitted");
        t.need_promised("systemd", !refused, "this machine lets nobody have a realtime policy");
        let sched = &out.ok().json()["sched"];
        assert_eq!((&sched["policy"], &sched["flags"]), (&json!(policy), &json!(flags)), "{sched}");
    }
    c.end();
}

#[case(not_runc("since runc 1.2"), not_crun("since crun 1.9"))]
fn io_priority(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    let facts = c.facts();
    assert_eq!((&facts["ioprio_class"], &facts["ioprio_level"]), (&json!(2), &json!(6)));
    c.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}));
    assert_eq!(c.facts()["ioprio_class"], 3);
}

#[case(not_runc("since runc 1.3"), not_crun("since crun 1.21"))]
fn cpu_affinity_of_exec(t: &Sandbox) {
    let c = t.container("a");
    let last = t.last_cpu();
    c.set("/process/execCPUAffinity", json!({"initial": "0", "final": last.to_string()}));
    c.run_paused();
    assert_eq!(c.exec_facts(&[])["affinity"], json!([last]));
    c.end();
    c.set("/process/execCPUAffinity", json!({"initial": "0"})).run_paused();
    assert_eq!(c.exec_facts(&[])["affinity"], json!([0]));
    c.end();
}

#[case(not_runc("since runc 1.2"))]
fn personality(t: &Sandbox) {
    let c = t.container("a");
    c.set("/linux/personality", json!({"domain": "LINUX32"}));
    let facts = c.facts();
    assert_eq!(facts["personality"], 8);
    assert_ne!(facts["machine"], "x86_64");
}

#[case]
fn signal_mask_is_clear(t: &Sandbox) {
    assert_eq!(t.container("a").facts()["status"]["SigBlk"], "0000000000000000");
}

#[case(needs(Containers), not_crun("passes them on"))]
fn ignored_signals_are_reset(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "facts"]).write();
    // The caller ignores SIGINT and SIGUSR1; std itself ignores SIGPIPE in the probe (bit 12), real-time
    // signals are the C library's.
    let command = format!(
        "trap '' INT USR1; exec {} --root {} run --bundle {} {}",
        t.subject.path.display(),
        t.root.display(),
        c.bundle.display(),
        c.id
    );
    let facts = t.program("/bin/sh", &["-c", &command]).run().ok().json();
    let ignored =
        u64::from_str_radix(facts["status"]["SigIgn"].as_str().unwrap(), 16).unwrap() & 0x7fff_ffff & !(1 << 12);
    assert_eq!(ignored, 0);
}

#[case]
fn only_standard_descriptors_are_open(t: &Sandbox) {
    let c = t.container("a");
    let numbers: Vec<String> = c.facts()["fds"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    c.run_paused();
    let numbers: Vec<String> = c.exec_facts(&[])["fds"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    c.end();
}

fn script(c: &orlop_integration::Container<'_>, name: &str, text: &str, mode: u32) {
    let path = c.rootfs().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[case]
fn shebang_script_runs(t: &Sandbox) {
    let c = t.container("a");
    script(&c, "script", "#!/bin/sh\necho from a script $1\n", 0o755);
    assert_eq!(c.args(&["/script", "arg"]).run().ok().stdout, "from a script arg\n");
}

#[case]
fn shebang_with_a_missing_interpreter_fails(t: &Sandbox) {
    let c = t.container("a");
    script(&c, "script", "#!/no/such/interpreter\n", 0o755);
    let out = c.args(&["/script"]).run().code(1);
    assert!(out.stderr.to_lowercase().contains("no such file or directory"), "{}", out.stderr);
    if t.is(Flavor::Orlop) {
        assert!(out.stderr.contains("/no/such/interpreter"), "names the cause: {}", out.stderr);
    }
}

#[case]
fn a_missing_command_is_127_for_engines(t: &Sandbox) {
    let c = t.container("a");
    let out = c.args(&["no-such-command"]).create().code(1);
    let text = out.logged_error().expect("a line of level error in the log").to_owned();
    assert!(text.contains("executable file") && text.contains("not found in"), "{text}");
    let out = c.args(&["/no/such/command"]).create().code(1);
    let text = out.logged_error().unwrap();
    assert!(text.to_lowercase().contains("no such file or directory"), "{text}");
}

#[case]
fn a_command_without_permission_is_126_for_engines(t: &Sandbox) {
    let c = t.container("a");
    let out = c.args(&["/etc/passwd"]).create().code(1);
    assert!(out.logged_error().unwrap().to_lowercase().contains("permission denied"), "{out:?}");
}

#[case(not_crun("its text is another"))]
fn a_directory_as_command_is_refused(t: &Sandbox) {
    let c = t.container("a");
    let out = c.args(&["/etc"]).create().code(1);
    let text = out.logged_error().unwrap().to_lowercase();
    assert!(text.contains("permission denied") || text.contains("is a directory"), "{text}");
}

#[case]
fn a_file_of_unknown_format_is_refused(t: &Sandbox) {
    let c = t.container("a");
    script(&c, "data", "no program at all\n", 0o755);
    let out = c.args(&["/data"]).run().code(1);
    assert!(out.stderr.to_lowercase().contains("exec format error"), "{}", out.stderr);
}

#[case]
fn cwd_is_made_when_missing(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/cwd", json!("/made/for/it"));
    assert_eq!(c.facts()["cwd"], "/made/for/it");
}

#[case(needs(Ids))]
fn cwd_of_a_user_who_may_not_enter_it(t: &Sandbox) {
    let c = t.container("a");
    fs::create_dir(c.rootfs().join("closed")).unwrap();
    fs::set_permissions(c.rootfs().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    c.set("/process/cwd", json!("/closed")).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    // Entered with root's rights before they are dropped, as runc does, or refused with a reason: never silently elsewhere.
    let out = c.args(&["/probe", "facts"]).run();
    if out.code == 0 {
        assert_eq!(out.json()["cwd"], "/closed");
    } else {
        assert!(out.stderr.to_lowercase().contains("permission denied"), "{}", out.stderr);
    }
}

#[case]
fn cwd_that_is_a_file_is_refused(t: &Sandbox) {
    let c = t.container("a");
    let out = c.set("/process/cwd", json!("/etc/passwd")).run().code(1);
    assert!(out.stderr.to_lowercase().contains("not a directory"), "{}", out.stderr);
}

#[case(not_crun("runs it"))]
fn cwd_must_be_absolute(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/cwd", json!("tmp")).run().code(1);
}

#[case]
fn session_keyring_is_its_own(t: &Sandbox) {
    let (a, b) = (t.container("a"), t.container("b"));
    let (a, b) = (a.facts()["session_keyring"].as_i64().unwrap(), b.facts()["session_keyring"].as_i64().unwrap());
    assert!(a > 0 && b > 0 && a != b, "{a} {b}");
}

#[case(needs(SameUsers))]
fn no_new_keyring_keeps_the_callers(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "facts"]);
    let first = c.run_cmd(&["--no-new-keyring"]).run().ok().json()["session_keyring"].clone();
    let second = c.run_cmd(&["--no-new-keyring"]).run().ok().json()["session_keyring"].clone();
    assert_eq!(first, second);
}

#[case]
fn first_process_is_pid_one_and_leads_a_session(t: &Sandbox) {
    let facts = t.container("a").facts();
    assert_eq!((&facts["pid"], &facts["ppid"], &facts["sid"]), (&json!(1), &json!(0), &json!(1)));
}

#[case]
fn not_dumpable_is_not_inherited(t: &Sandbox) {
    let c = t.container("a");
    assert_eq!(c.facts()["dumpable"], 1);
    c.run_paused();
    assert_eq!(c.exec_facts(&[])["dumpable"], 1);
    c.end();
}

#[case]
fn environment_of_the_runtime_does_not_leak(t: &Sandbox) {
    let c = t.container("a");
    let facts = c.args(&["/probe", "facts"]).run_cmd(&[]).env("SECRET_OF_THE_CALLER", "1").run().ok().json();
    let env = facts["env"].as_array().unwrap();
    assert_eq!(env.len(), 3, "PATH, TERM and HOME only: {env:?}");
}

#[case]
fn empty_args_are_refused(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/args", json!([])).run().code(1);
    c.set("/process/args", json!([""])).run().code(1);
    c.remove("/process/args").run().code(1);
}

#[case(not_crun("wraps them"))]
fn numeric_ids_of_four_billion(t: &Sandbox) {
    let c = t.container("a");
    for uid in [json!(4_294_967_296_u64), json!(-1), json!("0"), json!(1.5)] {
        c.set("/process/user/uid", uid).run().code(1);
    }
}
